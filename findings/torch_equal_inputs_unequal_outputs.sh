#!/usr/bin/env bash
# Does an element-wise activation give equal outputs for equal inputs?
#
# Guess:   yes, to the bit: 67 equal numbers in a tensor come out as 67 equal numbers.
# Really:  not in PyTorch on a CPU. The last elements, those that do not fill a vector, go through other code.
#          softplus(0.3) and mish(-0.3) differ there in the last bit. softshrink(-0.3) is +0 in the vectors and
#          -0.0 in the last three. So the rows of a batch, computed one by one, are not the bits of the batch.
# Seen in: torch 2.13.0 on an x86-64 CPU with AVX2 (the kernels are asked for below), Python 3.11.
# Why it matters here: bit-exact comparisons of feature maps between batch sizes, crops or threads can fail
#          without anybody's fault, and a coder of zero words (zero run lengths, zero values) sees the two zeros
#          of softshrink as different words, so that its ratio depends on the map's length.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet torch==2.13.0
ATEN_CPU_CAPABILITY=avx2 "$work/venv/bin/python" - <<'PYTHON' | tee "$work/seen"
import warnings

warnings.filterwarnings("ignore", message="Failed to initialize NumPy")
import torch
from torch.nn import functional

print(f"torch {torch.__version__}, kernels {torch.backends.cpu.get_cpu_capability()}")
for activation, value in ((functional.relu, 0.3), (functional.softplus, 0.3), (functional.mish, -0.3), (functional.softshrink, -0.3)):
    words, counts = activation(torch.full((67,), value)).view(torch.int32).unique_consecutive(return_counts=True)
    listed = ", ".join(f"{count} x {word & 0xFFFFFFFF:#010x}" for word, count in zip(words.tolist(), counts.tolist()))
    print(f"{activation.__name__}({value}): {listed}")
batch = torch.linspace(-3, 3, 4 * 1001).reshape(4, 1001)
rows = torch.stack([functional.softplus(row.clone()) for row in batch])
print("softplus of a batch is its rows' softplus:", torch.equal(functional.softplus(batch), rows))
PYTHON
diff - <(grep -v '^torch ' "$work/seen") <<'SEEN'
relu(0.3): 67 x 0x3e99999a
softplus(0.3): 64 x 0x3f5ab706, 3 x 0x3f5ab707
mish(-0.3): 64 x 0xbe1ac2a7, 3 x 0xbe1ac2a8
softshrink(-0.3): 64 x 0x00000000, 3 x 0x80000000
softplus of a batch is its rows' softplus: False
SEEN
echo 'The finding still holds.'
