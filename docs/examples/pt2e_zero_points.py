"""PT2E quantization: every quantized map has a zero point of its own, which is the word that
compression has to take for zero.

Needs: pip install torchao
"""

import torch
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import (
    X86InductorQuantizer,
    get_default_x86_inductor_quantization_config,
)

import torch_ebpc

torch.manual_seed(0)
model = torch.nn.Sequential(
    torch.nn.Conv2d(3, 16, 3),
    torch.nn.Hardswish(),
    torch.nn.Conv2d(16, 16, 3),
    torch.nn.Hardswish(),
    torch.nn.Conv2d(16, 4, 3),
).eval()
for layer in model[::2]:
    torch.nn.init.normal_(layer.weight, std=0.5)  # so that many values are below -3, which are 0
images = torch.nn.functional.interpolate(torch.randn(4, 3, 8, 8), scale_factor=4, mode="bilinear")

quantizer = X86InductorQuantizer()
quantizer.set_global(get_default_x86_inductor_quantization_config())
prepared = prepare_pt2e(torch.export.export(model, (images,)).module(), quantizer)
prepared(images)  # calibrates
converted = convert_pt2e(prepared)


class Measured(torch.fx.Interpreter):
    """Runs the graph and counts what each of its quantize operators returns."""

    def call_function(self, target, args, kwargs):
        y = super().call_function(target, args, kwargs)
        if target is torch.ops.quantized_decomposed.quantize_per_tensor.default:
            zero = args[2]
            bits, as_zero_is_0 = (torch_ebpc.count_bits(y, zero=each) for each in (zero, 0))
            before = 8 * y.numel()
            self.ratios.append((zero, before / bits, before / as_zero_is_0))
        return y


measured = Measured(converted)
measured.ratios = []
with torch.no_grad():
    measured.run(images)
for zero, ratio, wrong in measured.ratios:
    print(f"zero point {zero:4}: ratio {ratio:.2f}; with 0 for zero {wrong:.2f}")
# Where few values are zero, as in the first two maps, it matters little which word stands for it.
zero, ratio, wrong = measured.ratios[-1]
assert zero != 0
assert ratio > wrong
