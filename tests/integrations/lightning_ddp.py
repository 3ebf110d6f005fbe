"""Trains on one process, or on two with halves of every batch; run as a script, as Lightning starts itself again."""

import sys
import warnings
from pathlib import Path

import torch
from torch import nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import lightning.pytorch as lightning

from eigenflow.integrations.lightning import SpectralCallback
from integrations.lightning_modules import quiet_trainer

COUNT, BATCH = 32, 8


class Classifier(lightning.LightningModule):
    """A network in float64, so that the mean of two means is that of all to rounding."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)).double()

    def training_step(self, batch, batch_idx):
        loss = nn.functional.cross_entropy(self.network(batch[0]), batch[1])
        self.log("train_loss", loss, sync_dist=True)
        return loss

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=0.01)


class Halves(torch.utils.data.Sampler):
    """Of every batch this process's half."""

    def __init__(self, rank, processes):
        self.rank, self.processes = rank, processes

    def __len__(self):
        return COUNT // self.processes

    def __iter__(self):
        each = BATCH // self.processes
        for begin in range(0, COUNT, BATCH):
            yield from range(begin + self.rank * each, begin + (self.rank + 1) * each)


class Data(lightning.LightningDataModule):
    """The same batches whoever trains."""

    def train_dataloader(self):
        generator = torch.Generator().manual_seed(1)
        inputs = torch.randn(COUNT, 5, dtype=torch.float64, generator=generator)
        labels = torch.randint(0, 3, (COUNT,), generator=generator)
        processes = self.trainer.world_size
        return torch.utils.data.DataLoader(
            torch.utils.data.TensorDataset(inputs, labels),
            batch_size=BATCH // processes,
            sampler=Halves(self.trainer.global_rank, processes),
        )


def main(folder: Path, processes: int) -> None:
    """Train for two epochs."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    callback = SpectralCallback(folder / "run", samples=6, modes=4, schedule=[0, 1, 3, 7], max_overhead=None)
    trainer = quiet_trainer(
        lightning,
        folder,
        callbacks=[callback],
        devices=processes,
        strategy="auto" if processes == 1 else lightning.strategies.DDPStrategy(process_group_backend="gloo"),
        use_distributed_sampler=False,
        max_epochs=2,
        log_every_n_steps=1,
    )
    trainer.fit(Classifier(), datamodule=Data())
    (folder / f"rank-{trainer.global_rank}").write_text(str(trainer.global_step))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
