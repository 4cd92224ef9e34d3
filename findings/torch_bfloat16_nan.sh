#!/usr/bin/env bash
# Which 16 bits are a bfloat16 NaN in PyTorch?
#
# Guess:   0x7fc0, the usual quiet NaN, whichever operation made it; a copy has the same bits everywhere.
# Really:  casting a contiguous float32 tensor gives 0xffff: the sign is set and so is every other bit. Casting a
#          strided tensor, or a float16 tensor, gives 0x7fc0. Casting float64, or dividing 0 by 0, gives both in
#          one tensor: 0xffff in whole vectors of words and 0x7fc0 in the last few. bfloat16 to float32 and back
#          therefore changes the words of a NaN. Without vector instructions all of it is 0x7fc0.
# Seen in: torch 2.13.0 on an x86-64 CPU with AVX2 (the kernels are asked for below), Python 3.11.
# Why it matters here: a lossless codec of bfloat16 words gives back exactly the NaN that it got, but two tensors
#          that went through the same arithmetic can differ in their NaN words by layout, length and CPU. Compare
#          such maps by value with equal_nan=True, or let neither hold a NaN; a difference in the words alone
#          is no proof that the codec lost something. And a NaN is -1 to whoever reads the words as int16.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet torch==2.13.0
cat >"$work/words.py" <<'PYTHON'
import warnings

warnings.filterwarnings("ignore", message="Failed to initialize NumPy")
import torch

nan = torch.full((67,), float("nan"))
zeros = torch.zeros(67, dtype=torch.bfloat16)
tensors = {
    "torch.full": torch.full((67,), float("nan"), dtype=torch.bfloat16),
    "from float32": nan.bfloat16(),
    "from float32, every second": torch.full((134,), float("nan"))[::2].bfloat16(),
    "from float16": nan.half().bfloat16(),
    "from float64": nan.double().bfloat16(),
    "0 / 0": zeros / zeros,
    "to float32 and back": torch.full((67,), float("nan"), dtype=torch.bfloat16).float().bfloat16(),
}
print(f"torch {torch.__version__}, kernels {torch.backends.cpu.get_cpu_capability()}")
for name, tensor in tensors.items():
    words, counts = (tensor.view(torch.int16).int() & 0xFFFF).unique_consecutive(return_counts=True)
    print(f"{name}: " + ", ".join(f"{c} x {w:#06x}" for w, c in zip(words.tolist(), counts.tolist())))
PYTHON
for kernels in avx2 default; do
  ATEN_CPU_CAPABILITY=$kernels "$work/venv/bin/python" "$work/words.py"
done | tee "$work/seen"
diff - <(grep -v '^torch ' "$work/seen") <<'SEEN'
torch.full: 67 x 0x7fc0
from float32: 67 x 0xffff
from float32, every second: 67 x 0x7fc0
from float16: 67 x 0x7fc0
from float64: 64 x 0xffff, 3 x 0x7fc0
0 / 0: 64 x 0xffff, 3 x 0x7fc0
to float32 and back: 67 x 0xffff
torch.full: 67 x 0x7fc0
from float32: 67 x 0x7fc0
from float32, every second: 67 x 0x7fc0
from float16: 67 x 0x7fc0
from float64: 67 x 0x7fc0
0 / 0: 67 x 0x7fc0
to float32 and back: 67 x 0x7fc0
SEEN
echo 'The finding still holds.'
