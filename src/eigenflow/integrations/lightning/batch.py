"""A probe's batch from what Lightning trains on: the same structure, a few samples, on the module's device."""

import copy
from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from eigenflow.core.errors import ArgumentError
from eigenflow.integrations.probe_batch import first_batch, own_random_numbers

__all__ = ["count_samples", "training_batch"]


def training_batch(trainer: Any, module: Any, samples: int, batch: Any = None) -> Any:
    """Make a batch as the training step gets it.

    Args:
        trainer: In training.
        module: That it trains.
        samples: Of every dataloader.
        batch: As a dataloader gives it; None: of the training set.

    Raises:
        ArgumentError: If there is no training set to take it of.
    """
    with own_random_numbers():
        if batch is None:
            batch = _from_loaders(trainer.train_dataloader, samples)
        batch = trainer.precision_plugin.convert_input(batch)
        batch = module._on_before_batch_transfer(batch, dataloader_idx=0)
        batch = trainer.strategy.batch_to_device(batch, dataloader_idx=0)
    if not any(isinstance(leaf, Tensor) and leaf.ndim for leaf in tree_leaves(batch)):
        raise ArgumentError(f"`probe` must hold tensors, samples first, but its batch is {type(batch).__name__}.")
    return batch


def count_samples(batch: Any) -> int:
    """Samples of a batch: entries of its first tensor."""
    if isinstance(batch, Tensor):
        return batch.size(0) if batch.ndim else 0
    if isinstance(batch, list | tuple):  # before mappings, as asking an abstract class takes longer
        entries = batch
    elif isinstance(batch, Mapping):
        entries = batch.values()
    else:
        return 0
    for entry in entries:
        if count := count_samples(entry):
            return count
    return 0


def _from_loaders(loaders: Any, samples: int) -> Any:
    """In the structure of the loaders, as Lightning combines them."""
    if isinstance(loaders, Mapping):
        return {key: _from_loaders(one, samples) for key, one in loaders.items()}
    if isinstance(loaders, list | tuple):
        return [_from_loaders(one, samples) for one in loaders]
    dataset, collate = getattr(loaders, "dataset", None), getattr(loaders, "collate_fn", None)
    if dataset is not None and callable(collate):
        is_batched = (
            getattr(loaders, "batch_sampler", None) is not None or getattr(loaders, "batch_size", 1) is not None
        )
        if is_batched:
            return first_batch(dataset, collate, samples)
        return _cut(first_batch(dataset, lambda found: collate(found[0]), 1), samples)
    if loaders is None or iter(loaders) is loaders:
        raise ArgumentError(
            f"`train_dataloaders` is {type(loaders).__name__}, of which no sample can be taken without its being used "
            f"up. Pass probe=, a batch."
        )
    return _cut(next(iter(copy.copy(loaders))), samples)


def _cut(batch: Any, samples: int) -> Any:
    count = count_samples(batch)
    return tree_map(lambda x: x[:samples] if isinstance(x, Tensor) and x.ndim and len(x) == count else x, batch)
