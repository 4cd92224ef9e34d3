#!/usr/bin/env bash
# What becomes of the zeros of a tensor in GGUF's blocks of 4, 5 and 8 bits?
#
# Guess:   zeros stay zeros: each type has a code for 0, and a pruned tensor or a ReLU map keeps its zero words.
# Really:  by the type, and by the block's other values. Q8_0 keeps all. Q4_0 and Q5_0 have a scale of the sign
#          opposite to that of the largest value, and 0 times that scale is -0.0 where the largest value is positive:
#          a ReLU map comes back without a single zero word (0x00000000), a block of nothing but zeros as well, and
#          a pruned tensor with about half of them. Q4_1 and Q5_1 count from the block's least value: of a pruned
#          tensor's zeros (almost) none is left, not even by value, while those of a ReLU map stay, as +0.
# Seen in: gguf 0.19.0 with numpy 2.4.6, Python 3.11 (or newer). ggml's own code in C has the same formulas.
# Why it matters here: sparsity by value and by words differ by up to all of it, and the share of zeros of the "same"
#          weights, and with it every zero-run and zero-value ratio, hangs on the GGUF type that they came through.
#          Adding 0.0 gives -0.0 its sign back; nothing gives Q4_1 and Q5_1 their zeros back.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet gguf==0.19.0 numpy==2.4.6
"$work/venv/bin/python" - <<'PYTHON' | tee "$work/seen"
import numpy as np
from gguf import GGMLQuantizationType, quants

random = np.random.default_rng(0)
values = random.normal(size=(64, 256)).astype(np.float32)
tensors = {
    "zeros": np.zeros_like(values),
    "ReLU map": np.maximum(values, 0),
    "pruned": np.where(random.random(values.shape) < 0.5, values, np.float32(0)),
}
for name, tensor in tensors.items():
    zeros = tensor == 0
    for kind in ("Q8_0", "Q5_0", "Q4_0", "Q5_1", "Q4_1"):
        kind = GGMLQuantizationType[kind]
        decoded = quants.dequantize(quants.quantize(tensor, kind), kind)[zeros]
        by_value, by_word = np.count_nonzero(decoded == 0), np.count_nonzero(decoded.view(np.uint32) == 0)
        print(f"{name}, {kind.name}: of {zeros.sum()} zeros {by_value} are zero by value, {by_word} by word")
PYTHON
diff - "$work/seen" <<'SEEN'
zeros, Q8_0: of 16384 zeros 16384 are zero by value, 16384 by word
zeros, Q5_0: of 16384 zeros 16384 are zero by value, 0 by word
zeros, Q4_0: of 16384 zeros 16384 are zero by value, 0 by word
zeros, Q5_1: of 16384 zeros 16384 are zero by value, 16384 by word
zeros, Q4_1: of 16384 zeros 16384 are zero by value, 16384 by word
ReLU map, Q8_0: of 8222 zeros 8222 are zero by value, 8222 by word
ReLU map, Q5_0: of 8222 zeros 8222 are zero by value, 0 by word
ReLU map, Q4_0: of 8222 zeros 8222 are zero by value, 0 by word
ReLU map, Q5_1: of 8222 zeros 8222 are zero by value, 8222 by word
ReLU map, Q4_1: of 8222 zeros 8222 are zero by value, 8222 by word
pruned, Q8_0: of 8146 zeros 8146 are zero by value, 8146 by word
pruned, Q5_0: of 8146 zeros 8146 are zero by value, 4166 by word
pruned, Q4_0: of 8146 zeros 8146 are zero by value, 4166 by word
pruned, Q5_1: of 8146 zeros 0 are zero by value, 0 by word
pruned, Q4_1: of 8146 zeros 48 are zero by value, 48 by word
SEEN
echo 'The finding still holds.'
