#!/usr/bin/env bash
# Does one thread compute the same bits from the same inputs each time?
#
# Guess:   yes: equal inputs, one thread, no random numbers; so outputs and gradients are equal, to the last bit.
# Really:  not for torch.linalg.lstsq: among 200 runs on one 2 x 3 system, results and gradients come in several
#          versions that differ in last bits. What differs between the runs is where memory happens to lie.
# Seen in: torch 2.13.0 on an x86-64 CPU with AVX2, Python 3.11. How many versions there are varies.
# Why it matters here: whoever proves that compressed or offloaded activations change no bit compares with such
#          runs. Two equal runs without prove nothing for this operator; many are needed before a difference counts.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet torch==2.13.0
OMP_NUM_THREADS=1 "$work/venv/bin/python" - <<'PYTHON' | tee "$work/seen"
import warnings

warnings.filterwarnings("ignore", message="Failed to initialize NumPy")
import torch

print(f"torch {torch.__version__}")
torch.manual_seed(0)
a, b = torch.randn(2, 3), torch.randn(2, 3)
memory, versions = [], set()
for number in range(200):
    memory.append(torch.empty(17 * (number % 7) + 1))
    x, y = a.clone().requires_grad_(), b.clone().requires_grad_()
    solution = torch.linalg.lstsq(x, y, driver="gelsy").solution
    gradients = torch.autograd.grad(solution.sum(), [x, y])
    versions.add(tuple(str(each.view(torch.int32).flatten().tolist()) for each in (solution.detach(), *gradients)))
print("more than one version:", len(versions) > 1)
PYTHON
grep -qx 'more than one version: True' "$work/seen"
echo 'The finding still holds.'
