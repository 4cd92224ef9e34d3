#!/usr/bin/env bash
# Is a tensor the same after it has been compressed?
#
# Guess:   yes: a compressor reads its input. An object of type bytes cannot change at all.
# Really:  ZipNN rotates the bits of bfloat16 and float32 where they lie, the sign from the first place to the last,
#          and leaves them so: 1.0 becomes 1.7e38. The container holds the right values; the tensor, its parameter
#          or state_dict entry, and even a bytes object hold the wrong ones. Compressed a second time, it is the
#          wrong values that come back. Nothing is raised; the version counter stays. +0 stays +0.
#          float16, float8, NumPy arrays and transposed tensors, which it copies, stay as they are.
# Seen in: zipnn 0.5.4 (from source, with a C compiler) with torch 2.13.0, Python 3.11. A copy that was made
#          of each tensor before was removed by https://github.com/zipnn/zipnn/pull/58. No report of it was found.
# Why it matters here: whoever puts ZipNN into a table of ratios, or asks it for a ratio in a hook, changes the map
#          that the next compressor or the next layer gets. Hand it a copy.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet torch==2.13.0 safetensors==0.8.0 numpy==2.4.6
"$work/venv/bin/python" -m pip install --quiet --no-deps zipnn==0.5.4
"$work/venv/bin/python" - <<'PYTHON' | tee "$work/seen"
import torch
from zipnn import ZipNN


def compressed(tensor):
    return ZipNN(input_format="torch").compress(tensor)


values = torch.linspace(-1, 1, 4096).relu()
for dtype in (torch.bfloat16, torch.float32, torch.float16, torch.float8_e4m3fn):
    tensor = values.to(dtype, copy=True)
    before, version = tensor.clone(), tensor._version
    restored = [ZipNN(input_format="torch").decompress(compressed(tensor)) for _ in range(2)]
    right = [torch.equal(each.float(), before.float()) for each in restored]
    zeros = [(each == 0).sum().item() for each in (before, tensor)]
    print(f"{dtype}: containers right {right}, zeros {zeros}, versions {[version, tensor._version]}")
tensor = values.bfloat16()
compressed(tensor)
print(f"tensor: 1.0 -> {tensor[-1].item():.2g}")
strided = values.bfloat16().view(64, 64).t()
compressed(strided)
print(f"transposed: 1.0 -> {strided[-1, -1].item():.2g}")
array = values.numpy().copy()
ZipNN(input_format="numpy").compress(array)
print(f"NumPy array: 1.0 -> {array[-1]:.2g}")
layer = torch.nn.Linear(64, 64, bias=False)
before = layer.weight.detach().clone()
compressed(layer.state_dict()["weight"])
print("a layer's weight is as before:", torch.equal(layer.weight, before))
words = values.bfloat16().view(torch.uint8).numpy().tobytes()
before = bytearray(words)  # a copy
ZipNN(input_format="byte", bytearray_dtype="bfloat16").compress(words)
print("bytes are as before:", words == before)
PYTHON
diff - "$work/seen" <<'SEEN'
torch.bfloat16: containers right [True, False], zeros [2048, 2048], versions [0, 0]
torch.float32: containers right [True, False], zeros [2048, 2048], versions [0, 0]
torch.float16: containers right [True, True], zeros [2048, 2048], versions [0, 0]
torch.float8_e4m3fn: containers right [True, True], zeros [2050, 2050], versions [0, 0]
tensor: 1.0 -> 1.7e+38
transposed: 1.0 -> 1
NumPy array: 1.0 -> 1
a layer's weight is as before: False
bytes are as before: False
SEEN
echo 'The finding still holds.'
