#!/usr/bin/env bash
# Does a saved-tensor hook that keeps a copy give the gradient that autograd gives without hooks?
#
# Guess:   yes: the hook is called with what the operation saves, so a copy of it will do. In-place changes that
#          come later show in the tensor's version counter.
# Really:  not for rrelu in training. Its noise is handed to the hook before the operation has filled it; the copy
#          has what was in that memory before. The version counter is 0 then and 0 afterwards. Nothing is raised,
#          and the gradient is wrong.
# Seen in: torch 2.13.0 on an x86-64 CPU, Python 3.11.
# Why it matters here: hooks that copy, quantize, offload or compress what autograd saves are how activations are
#          made small in training. For this operator they have to look again once the operation has run. Of the
#          operators in PyTorch's own samples (op_db), no other one did this.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet torch==2.13.0
"$work/venv/bin/python" - <<'PYTHON' | tee "$work/seen"
import contextlib
import warnings

warnings.filterwarnings("ignore", message="Failed to initialize NumPy")
import torch
from torch.autograd.graph import saved_tensors_hooks

print(f"torch {torch.__version__}")
x = torch.full((5,), -1.0, requires_grad=True)


def look(tensor):
    print(f"saved: {tensor.tolist()}, version {tensor._version}")
    return tensor


def look_again(tensor):
    print(f"asked for: {[round(each, 3) for each in tensor.tolist()]}, version {tensor._version}")
    return tensor


def gradient(hooks):
    torch.manual_seed(0)
    noise = torch.zeros(5)
    with hooks:
        y = torch.ops.aten.rrelu_with_noise(x, noise, 0.1, 0.3, True)
    (found,) = torch.autograd.grad(y.sum(), x)
    return [round(each, 3) for each in found.tolist()]


print("gradient without hooks:", gradient(contextlib.nullcontext()))
print("gradient with copies:", gradient(saved_tensors_hooks(torch.clone, lambda copy: copy)))
gradient(saved_tensors_hooks(look, look_again))
PYTHON
diff - <(grep -v '^torch ' "$work/seen") <<'SEEN'
gradient without hooks: [0.294, 0.242, 0.192, 0.284, 0.229]
gradient with copies: [0.0, 0.0, 0.0, 0.0, 0.0]
saved: [0.0, 0.0, 0.0, 0.0, 0.0], version 0
saved: [-1.0, -1.0, -1.0, -1.0, -1.0], version 0
asked for: [0.294, 0.242, 0.192, 0.284, 0.229], version 0
asked for: [-1.0, -1.0, -1.0, -1.0, -1.0], version 0
SEEN
echo 'The finding still holds.'
