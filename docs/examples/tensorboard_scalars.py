"""TensorBoard: ratios and zeros of each layer as curves.

Needs: pip install tensorboard
"""

import tempfile

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

import torch_ebpc

torch.manual_seed(0)
model = torch.nn.Sequential(
    torch.nn.Linear(20, 64), torch.nn.ReLU(), torch.nn.Linear(64, 64), torch.nn.ReLU()
)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
folder = tempfile.mkdtemp()
with SummaryWriter(folder) as writer:
    for step in range(3):
        with torch_ebpc.CompressionMeter(model) as meter:
            loss = model(torch.randn(8, 20)).square().mean()
        for name, value in meter.report().scalars().items():
            writer.add_scalar(name, value, step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

events = EventAccumulator(folder)  # what `tensorboard --logdir` shows
events.Reload()
for name in events.Tags()["scalars"]:
    print(f"{name:20}", *(f"{each.value:.2f}" for each in events.Scalars(name)))
assert set(events.Tags()["scalars"]) == set(meter.report().scalars())
