"""Trainers that say nothing, and small modules of the kinds that people have."""

import logging

import pytest

# What Lightning does that PyTorch 2.13 no longer likes, and what it has to say of short epochs and resuming.
LIGHTNINGS_OWN = [
    pytest.mark.filterwarnings(f"ignore:{message}")
    for message in (
        r"`isinstance\(treespec, LeafSpec",
        r".*does not have many workers",
        r".*smaller than the logging interval",
        r"The dirpath has changed",
        r"You're resuming from a checkpoint that ended before the epoch",
    )
]


def quiet_trainer(package, folder, **settings):
    """A Trainer on the CPU without progress bar and checkpoints of its own, if not told otherwise."""
    for name in ("lightning.pytorch", "lightning.fabric", "pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    usual = {
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "default_root_dir": str(folder),
    }
    return package.Trainer(**{**usual, **settings})
