"""Lightning: a meter every few steps of training, and its ratios in the logs.

Needs: pip install lightning
"""

import lightning
import torch
from torch import nn

import torch_ebpc


class Classifier(lightning.LightningModule):
    measure_every = 5  # steps: a meter that only observes costs some per cent of a step

    def __init__(self):
        super().__init__()
        self.network = nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten()
        )
        self.head = nn.LazyLinear(10)

    def training_step(self, batch, index):
        images, labels = batch
        if index % self.measure_every == 0:
            # Observing changes no bit of the step. Entered and left here, so no hook stays.
            with torch_ebpc.CompressionMeter(self.network) as meter:
                features = self.network(images)
            self.log_dict(meter.report().scalars())
        else:
            features = self.network(images)
        loss = nn.functional.cross_entropy(self.head(features), labels)
        self.log("loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


if __name__ == "__main__":
    torch.manual_seed(0)
    data = torch.utils.data.TensorDataset(torch.rand(40, 3, 16, 16), torch.randint(10, (40,)))
    model = Classifier()
    model.head(model.network(torch.rand(1, 3, 16, 16)))  # tells the lazy layer its size
    trainer = lightning.Trainer(
        max_steps=10, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(model, torch.utils.data.DataLoader(data, batch_size=4))
    metrics = {name: float(value) for name, value in trainer.logged_metrics.items()}
    for name, value in metrics.items():
        print(f"{name:25} {value:.2f}")
    assert metrics["ebpc_ratio/total"] > 1
