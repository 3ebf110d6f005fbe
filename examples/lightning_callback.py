"""
Record a run of Lightning
=========================

A LightningModule trains as it always did. One callback records the operator that trains it. Nothing of the module is
changed: which of its layers are the network, and which loss their outputs meet, is found by running its
``training_step`` on a copy.

The name of the run's folder may be given: ``python examples/lightning_callback.py runs/example``
"""

import sys
from pathlib import Path

import lightning.pytorch as lightning
import matplotlib.pyplot as plt
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import eigenflow as ef
from eigenflow.integrations.lightning import SpectralCallback


class Classifier(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.network = nn.Sequential(nn.Linear(2, 24), nn.Tanh(), nn.Linear(24, 3))

    def training_step(self, batch, batch_idx):
        points, labels = batch
        loss = nn.functional.cross_entropy(self.network(points), labels)
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=0.01)


def spirals(count: int) -> TensorDataset:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 3
    radius = torch.rand(count, generator=generator)
    angle = 4 * radius + 2 * torch.pi / 3 * labels + 0.2 * torch.randn(count, generator=generator)
    return TensorDataset(torch.stack([radius * angle.cos(), radius * angle.sin()], 1), labels)


def main(folder: str, epochs: int = 30) -> None:
    torch.manual_seed(0)
    callback = SpectralCallback(folder, count=20, modes=16, max_overhead=None)  # a run of a second: no cap on the time
    trainer = lightning.Trainer(
        max_epochs=epochs,
        callbacks=[callback],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=Path(folder).parent,
    )
    trainer.fit(Classifier(), DataLoader(spirals(240), batch_size=24, shuffle=True))

    run = ef.open_run(folder)
    print(f"{len(run.losses)} updates, {len(run.measured_steps)} of them measured")
    modes = run.modes
    _, axes = plt.subplots(layout="constrained")
    axes.loglog(modes["time"], modes["eigenvalue"], color="C0", alpha=0.6)
    axes.set(xlabel="time (sum of learning rates)", ylabel="eigenvalue λ [1 / time]", title="the operator of AdamW")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "runs/lightning")
    plt.show()
