"""Activations of which 90 % are zero, as squared ReLU gives them in language models: what would
compression give? (The question of https://github.com/pytorch/ao/issues/1920.)

Needs nothing but torch_ebpc. Values are drawn at random: a trained network's have more structure.
"""

import torch

import torch_ebpc

torch.manual_seed(0)
tokens, hidden = 512, 4096
threshold = torch.distributions.Normal(0.0, 1.0).icdf(torch.tensor(0.9))
activations = torch.relu(torch.randn(tokens, hidden) - threshold).square()
print(f"zeros: {100 * (activations == 0).float().mean():.1f} %")

for dtype in (torch.bfloat16, torch.float8_e4m3fn):
    x = activations.to(dtype)
    bits = 8 * x.element_size()
    packed = torch_ebpc.compress(x, codec="auto")
    assert torch.equal(torch_ebpc.decompress(packed).view(torch.uint8), x.view(torch.uint8))
    ratios = {
        method: bits * x.numel() / torch_ebpc.count_bits(x, method) for method in ("ebpc", "zvc")
    }
    print(
        f"{str(dtype)[6:]:13} EBPC {ratios['ebpc']:.2f}, a bit mask {ratios['zvc']:.2f},"
        f" container (auto) {x.nbytes / packed.numel():.2f}"
    )
