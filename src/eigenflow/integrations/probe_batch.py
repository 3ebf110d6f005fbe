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

__all__ = ["first_batch", "own_random_numbers", "smaller_batch"]

# Outputs of a forward pass, of which measuring holds several copies: 256 MiB each in float64.
MOST_OUTPUTS = 2**25
# So many samples and tokens are kept whatever the vocabulary.
FEWEST, SHORTEST = 4, 16


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
    # Data sets and collators draw from the global generators, numpy's too.
    python, numbers = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng():
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numbers)  # noqa: NPY002


def smaller_batch(
    batch: Mapping[str, Any], name: str, classes: int, max_rows: int
) -> tuple[dict[str, Any], str | None]:
    """Make a batch of tokens so small that its operator can be followed.

    Each label makes as many rows as there are classes, and each position as many numbers, so whole batches are too much
    where vocabularies are large. First sequences are cut, then samples left out, until the outputs fit; then labels, at
    evenly spread positions that are the same for all samples, until M has few enough rows.

    Args:
        batch: With whole labels, (samples, positions).
        name: Of the labels in it.
        classes: Outputs that meet one label.
        max_rows: Of M, if `FEWEST` samples with one label each do not already make more.

    Returns:
        The batch, and what was left out in words; None if nothing was.
    """
    labels = batch[name]
    if not isinstance(labels, Tensor) or labels.ndim != 2 or labels.is_floating_point():
        return dict(batch), None
    samples, length = labels.shape
    fewer = max(min(samples, FEWEST), min(samples, max_rows // classes))
    shorter = max(min(length, SHORTEST), min(length, MOST_OUTPUTS // (classes * fewer)))
    made = {key: _cut(value, (samples, length), fewer, shorter) for key, value in batch.items()}
    labels = made[name]
    counted = (labels != IGNORED_LABEL).any(0).nonzero().flatten()
    keep = max(1, max_rows // (classes * len(labels)))
    left = torch.full_like(labels, IGNORED_LABEL)
    positions = counted if keep >= len(counted) else counted[_evenly(len(counted), keep)]
    left[:, positions] = labels[:, positions]
    if (fewer, shorter, len(positions)) == (samples, length, len(counted)):
        return dict(batch), None
    words = (
        f"the probe holds {len(positions)} labels of each of {fewer} samples of {shorter} tokens ({samples} samples of "
        f"{length} were there), as every label makes {classes} rows of M (max_rows={max_rows})"
    )
    return {**made, name: left}, words


def _cut(value: Any, shape: tuple[int, int], samples: int, length: int) -> Any:
    if not isinstance(value, Tensor) or not value.ndim or len(value) != shape[0]:
        return value
    value = value[:samples]
    return value[:, :length] if value.ndim == 2 and value.shape[1] == shape[1] else value


def _evenly(size: int, count: int) -> Sequence[int]:
    return [size - 1 - index * size // count for index in range(count)][::-1]
