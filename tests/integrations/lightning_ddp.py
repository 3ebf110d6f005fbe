"""Trains on one process, or on two with halves of every batch; run as a script, as Lightning starts itself again.

`lightning_ddp.py FOLDER KIND`: "one" process; of two the "first" one records, or both ("sharded"); "parts" and
"sharded-parts" are the same with `fully_shard` in place of DistributedDataParallel.
"""

import sys
import warnings
from pathlib import Path

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule, fully_shard

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
        self.in_parts = False

    def configure_model(self):
        if self.in_parts and not isinstance(self.network, FSDPModule):
            fully_shard(self.network[0], mesh=self.device_mesh["data_parallel"])
            fully_shard(self.network, mesh=self.device_mesh["data_parallel"])

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


def strategy_of(kind: str):
    """How the processes share the training."""
    if kind == "one":
        return "auto"
    if "parts" in kind:
        sizes = {"data_parallel_size": 2, "tensor_parallel_size": 1}
        return lightning.strategies.ModelParallelStrategy(process_group_backend="gloo", **sizes)
    return lightning.strategies.DDPStrategy(process_group_backend="gloo")


def main(folder: Path, kind: str) -> None:
    """Train for two epochs."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    callback = SpectralCallback(
        folder / "run",
        samples=6,
        modes=200,  # all rows of M, so that no solver stops a step earlier or later
        method="tracked",
        schedule=[0, 1, 3, 7],
        max_overhead=None,
        sharded="sharded" in kind,
    )
    module = Classifier()
    module.in_parts = "parts" in kind
    trainer = quiet_trainer(
        lightning,
        folder,
        callbacks=[callback],
        devices=1 if kind == "one" else 2,
        strategy=strategy_of(kind),
        use_distributed_sampler=False,
        max_epochs=2,
        log_every_n_steps=1,
    )
    trainer.fit(module, datamodule=Data())
    (folder / f"rank-{trainer.global_rank}").write_text(str(trainer.global_step))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
