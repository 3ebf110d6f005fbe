"""A probe batch from a training set: always the same samples, whoever shuffles, and no random number is used up."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eigenflow.core.errors import ArgumentError
from eigenflow.tangent.loss.cross_entropy import IGNORED_LABEL

__all__ = ["fewer_labels", "first_batch", "own_random_numbers"]


def first_batch(dataset: Any, collate: Callable[[list[Any]], Any], count: int, *, skip: int = 0) -> Any:
    """Collate the first samples of a data set.

    A map-style data set is asked for evenly spread samples; of a stream, the first ones are taken of a new iterator.

    Args:
        dataset: Of PyTorch or Hugging Face.
        collate: Makes a batch of a list of samples. It may draw random numbers: always the same.
        count: How many samples; all if there are fewer.
        skip: Samples to leave out at the beginning.

    Raises:
        ArgumentError: If there are none.
    """
    with own_random_numbers():
        samples = _chosen(dataset, count, skip)
        if not samples:
            raise ArgumentError(f"`{type(dataset).__name__}` has no samples to make a probe of. Pass probe=.")
        return collate(samples)


def _chosen(dataset: Any, count: int, skip: int) -> list[Any]:
    try:
        size = len(dataset)
        get: Callable[[int], Any] = dataset.__getitem__
    except (TypeError, AttributeError):
        return list(islice(iter(dataset), skip, skip + count))
    indices = np.unique(np.linspace(min(skip, size), size - 1, min(count, max(size - skip, 0))).astype(int))
    return [get(int(index)) for index in indices]


@contextmanager
def own_random_numbers(seed: int = 0) -> Iterator[None]:
    """Random numbers of the same seed inside; outside, those that would have come anyway."""
    python, numbers = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numbers)


def fewer_labels(batch: Mapping[str, Any], name: str, classes: int, max_rows: int) -> tuple[dict[str, Any], str | None]:
    """Leave labels out of a batch of tokens until the operator has few enough rows.

    Each label makes as many rows as there are classes, so a whole batch of a large vocabulary is too much. The labels
    that stay lie at evenly spread positions, the same ones for all samples, so that the others need not be computed.

    Args:
        batch: With whole labels, (samples, positions).
        name: Of the labels in it.
        classes: Outputs a position.
        max_rows: At most so many, if one position of each sample does not already make more.

    Returns:
        The batch, and what was left out in words; None if nothing was.
    """
    labels = batch[name]
    if not isinstance(labels, Tensor) or labels.ndim != 2 or labels.is_floating_point():
        return dict(batch), None
    counted = (labels != IGNORED_LABEL).any(0).nonzero().flatten()
    keep = max(1, max_rows // (classes * len(labels)))
    if keep >= len(counted):
        return dict(batch), None
    positions = counted[_evenly(len(counted), keep)]
    left = torch.full_like(labels, IGNORED_LABEL)
    left[:, positions] = labels[:, positions]
    words = (
        f"the probe holds {len(positions)} of {len(counted)} positions of {len(labels)} samples, as each of their "
        f"labels makes {classes} rows of M (max_rows={max_rows})"
    )
    return {**batch, name: left}, words


def _evenly(size: int, count: int) -> Sequence[int]:
    return [size - 1 - index * size // count for index in range(count)][::-1]
