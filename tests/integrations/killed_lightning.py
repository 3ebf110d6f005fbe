"""Lightning, killed and going on from `last.ckpt`, in the middle of epochs."""

import warnings
from pathlib import Path

import torch
from torch import nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import lightning.pytorch as lightning
    from lightning.pytorch.callbacks import ModelCheckpoint

from eigenflow.integrations.lightning import SpectralCallback
from integrations.lightning_modules import quiet_trainer

EPOCHS, BATCHES, ACCUMULATION = 3, 21, 2
SCHEDULE = (0, 2, 8, 17, 32)


class Loader:
    """Batches in an order of its own in every epoch; knows how far it came, so that training goes on from there."""

    def __init__(self, inputs, targets):
        self.inputs, self.targets = inputs, targets
        self.epoch = self.position = 0

    def __len__(self):
        return BATCHES

    def __iter__(self):
        if self.position == BATCHES:  # the one before was asked for no more than its length
            self.epoch, self.position = self.epoch + 1, 0
        order = torch.randperm(BATCHES, generator=torch.Generator().manual_seed(self.epoch))
        while self.position < BATCHES:
            rows = [int(order[self.position]) + k for k in range(4)]
            self.position += 1
            yield self.inputs[rows], self.targets[rows]

    def state_dict(self):
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state):
        self.epoch, self.position = state["epoch"], state["position"]


class WholeUpdates(ModelCheckpoint):
    """Saves none in the middle of an accumulation, as after resuming: gradients are in no checkpoint of Lightning."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if (batch_idx + 1) % ACCUMULATION == 0 or batch_idx + 1 == BATCHES:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)


class Regression(lightning.LightningModule):
    """AdamW under a schedule."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Linear(4, 10), nn.Tanh(), nn.Linear(10, 1)).double()

    def training_step(self, batch, batch_idx):
        inputs, targets = batch
        return nn.functional.mse_loss(self.network(inputs), targets)

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=3e-3)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS * -(-BATCHES // ACCUMULATION))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def train(folder: Path, **settings) -> None:
    """Go on from the last checkpoint, if there is one."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    inputs = torch.randn(24, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    targets = torch.sin(inputs.sum(1, keepdim=True))
    callback = SpectralCallback(
        folder / "run", (inputs[:8], targets[:8]), modes=4, schedule=SCHEDULE, max_overhead=None, **settings
    )
    checkpoints = WholeUpdates(folder / "checkpoints", save_last=True, every_n_train_steps=3)
    trainer = quiet_trainer(
        lightning,
        folder,
        callbacks=[checkpoints, callback],
        enable_checkpointing=True,
        max_epochs=EPOCHS,
        accumulate_grad_batches=ACCUMULATION,
        gradient_clip_val=0.5,
    )
    last = folder / "checkpoints" / "last.ckpt"
    path = str(last) if last.exists() else None
    trainer.fit(Regression(), Loader(inputs, targets), ckpt_path=path, weights_only=None if path is None else False)


def train_tracked(folder: Path) -> None:
    """Modes are followed by products; what is carried from one measurement to the next stands in the folder."""
    train(folder, method="tracked")
