#!/usr/bin/env bash
# Which integer is a value half-way between two steps, and does the zero point matter?
#
# Guess:   the even one of the two, plus the zero point; the zero point only shifts the integers.
# Really:  torch.quantize_per_tensor (and per_channel) add the zero point first and round the sum. With an odd zero
#          point half a step goes to the other side: the zeros of a map of averages drop from 39 % to 14 %, with
#          the same scale and values. fake_quantize, with which such models are trained, and PT2E's operator round
#          first, as does ONNX's QuantizeLinear by its text; for them an odd zero point changes nothing.
# Seen in: torch 2.13.0 (which calls them deprecated) on an x86-64 CPU, with AVX2 and without, Python 3.11. A pull
#          request "Unify numerics between fakequant and quant/dequant", https://github.com/pytorch/pytorch/pull/37188,
#          was opened and closed in 2020; the documentation does not say when the zero point is added.
# Why it matters here: half steps are common where integers are averaged: pooling, resizing, residual sums. The share
#          of words equal to the zero point, on which zero-run and zero-value coders live, depends on whether that
#          point is odd. A fake-quantized model does not show it, and the move to PT2E changes the ratios.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet torch==2.13.0
cat >"$work/zeros.py" <<'PYTHON'
import warnings

warnings.filterwarnings("ignore", message="Failed to initialize NumPy")
warnings.filterwarnings("ignore", message="torch.quantize_per_tensor")
import torch
import torch.ao.quantization.fx._decomposed

print(f"torch {torch.__version__}, kernels {torch.backends.cpu.get_cpu_capability()}")
integers = torch.arange(-3.0, 4.0)
averages = torch.cartesian_prod(integers, integers).mean(1)  # of each two integers from -3 to 3
halves = torch.tensor([-1.5, -0.5, 0.5, 1.5])


def real(values, zero_point):
    return torch.quantize_per_tensor(values, 1.0, zero_point, torch.qint8).int_repr() - zero_point


def real_by_channel(values, zero_point):
    scales, zero_points = torch.ones(1), torch.tensor([zero_point])
    return torch.quantize_per_channel(values[None], scales, zero_points, 0, torch.qint8).int_repr()[0] - zero_point


def fake(values, zero_point):
    return torch.fake_quantize_per_tensor_affine(values, 1.0, zero_point, -128, 127).to(torch.int8)


def pt2e(values, zero_point):
    return torch.ops.quantized_decomposed.quantize_per_tensor(values, 1.0, zero_point, -128, 127, torch.int8) - zero_point


for quantize in (real, real_by_channel, fake, pt2e):
    found = {point: quantize(halves, point).tolist() for point in (0, 3, 4)}
    zeros = [f"{(quantize(averages, point) == 0).float().mean():.0%}" for point in found]
    print(f"{quantize.__name__}: {halves.tolist()} by zero point {found}, zeros {' '.join(zeros)}")
PYTHON
for kernels in avx2 default; do
  ATEN_CPU_CAPABILITY=$kernels "$work/venv/bin/python" "$work/zeros.py"
done | tee "$work/seen"
diff - <(grep -v '^torch ' "$work/seen") <<'SEEN'
real: [-1.5, -0.5, 0.5, 1.5] by zero point {0: [-2, 0, 0, 2], 3: [-1, -1, 1, 1], 4: [-2, 0, 0, 2]}, zeros 39% 14% 39%
real_by_channel: [-1.5, -0.5, 0.5, 1.5] by zero point {0: [-2, 0, 0, 2], 3: [-1, -1, 1, 1], 4: [-2, 0, 0, 2]}, zeros 39% 14% 39%
fake: [-1.5, -0.5, 0.5, 1.5] by zero point {0: [-2, 0, 0, 2], 3: [-2, 0, 0, 2], 4: [-2, 0, 0, 2]}, zeros 39% 39% 39%
pt2e: [-1.5, -0.5, 0.5, 1.5] by zero point {0: [-2, 0, 0, 2], 3: [-2, 0, 0, 2], 4: [-2, 0, 0, 2]}, zeros 39% 39% 39%
real: [-1.5, -0.5, 0.5, 1.5] by zero point {0: [-2, 0, 0, 2], 3: [-1, -1, 1, 1], 4: [-2, 0, 0, 2]}, zeros 39% 14% 39%
real_by_channel: [-1.5, -0.5, 0.5, 1.5] by zero point {0: [-2, 0, 0, 2], 3: [-1, -1, 1, 1], 4: [-2, 0, 0, 2]}, zeros 39% 14% 39%
fake: [-1.5, -0.5, 0.5, 1.5] by zero point {0: [-2, 0, 0, 2], 3: [-2, 0, 0, 2], 4: [-2, 0, 0, 2]}, zeros 39% 39% 39%
pt2e: [-1.5, -0.5, 0.5, 1.5] by zero point {0: [-2, 0, 0, 2], 3: [-2, 0, 0, 2], 4: [-2, 0, 0, 2]}, zeros 39% 39% 39%
SEEN
echo 'The finding still holds.'
