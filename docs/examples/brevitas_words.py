"""Brevitas: quantization-aware layers keep their integers inside; `words=` takes them out.

Needs: pip install brevitas
"""

import torch
from brevitas.nn import QuantConv2d, QuantReLU

import torch_ebpc

torch.manual_seed(0)
model = torch.nn.Sequential(
    QuantConv2d(3, 8, 3, weight_bit_width=4),
    QuantReLU(bit_width=4, return_quant_tensor=True),
    QuantConv2d(8, 8, 3, weight_bit_width=4),
    QuantReLU(bit_width=6, return_quant_tensor=True),
)
images = torch.rand(4, 3, 32, 32)
model(images)  # in training mode, for the scales
model.eval()

reports = []
for layer in ("1", "3"):  # words of 4 bits and of 6: ratios against each width
    with (
        torch.no_grad(),
        torch_ebpc.CompressionMeter(
            model, layer, words=lambda y: y.int(), word_bits=lambda y: y.bit_width
        ) as meter,
    ):
        model(images)
    reports.append(meter.report())
    print(reports[-1])
assert [report.rows[0].word_bits for report in reports] == [4, 6]
