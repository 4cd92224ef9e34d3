"""TorchScript: a file of a speech detector that takes several inputs (silero-vad's).

Needs: pip install --no-deps silero-vad (the file alone is used)
"""

import importlib.util
from pathlib import Path

import torch

import torch_ebpc

package = importlib.util.find_spec("silero_vad")
if package is None:
    raise ModuleNotFoundError("No module named 'silero_vad'", name="silero_vad")
model = torch.jit.load(Path(package.origin).with_name("data") / "silero_vad.jit").eval()

rate = 16000
seconds = torch.arange(rate) / rate
speech = torch.sin(2 * torch.pi * 220 * seconds) * torch.sin(2 * torch.pi * 3 * seconds)
# In TorchScript there are calls of functions, no modules with hooks.
with (
    torch.no_grad(),
    torch_ebpc.CompressionMeter(
        model, layers=(), functions=[torch.relu], transmission="tensor"
    ) as meter,
):
    for chunk in speech[: 512 * 20].split(512):
        model(chunk[None], rate)  # two arguments, as the model takes them
report = meter.report()
print(report)
assert report.total().values > 0
