"""A probe with few enough rows: fewer samples first, then fewer positions, and what was left out in words."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from eigenflow.core.errors import ArgumentError, ModelError
from eigenflow.integrations.language import evaluating
from eigenflow.integrations.readings import Reading
from eigenflow.integrations.tracing import PASS_PROBE
from eigenflow.tangent import Probe, ShardedProbe

__all__ = ["smaller_probe"]

Made = TypeVar("Made", Probe, Probe | ShardedProbe)
# So many samples are kept whatever their size.
FEWEST = 4


def smaller_probe(
    network: nn.Module,
    inputs: Any,
    reading: Reading,
    returned: Any,
    dtype: torch.dtype,
    max_rows: int,
    say: Callable[[str], None],
    make: Callable[..., Made],
) -> Made:
    """Make the probe of a reading, with at most so many rows.

    Args:
        network: The live one.
        inputs: As `Probe` takes them.
        reading: Which outputs meet what.
        returned: By the network for these inputs.
        dtype: Of the probe.
        max_rows: Of M, if a few samples with one position each do not already make more.
        say: Called with what was left out.
        make: Makes it of what `Probe` takes.

    Raises:
        ModelError: If the network cannot be measured with these inputs.
    """
    outputs = reading.taken(returned)
    samples, each = len(outputs), outputs[0].numel()
    kept = samples if samples * each <= max_rows else min(samples, max(min(samples, FEWEST), max_rows // each))
    inputs = tree_map(lambda x: x[:kept] if isinstance(x, Tensor) and x.ndim and len(x) == samples else x, inputs)
    reading = replace(reading, targets=reading.targets[:kept])
    picked = _with_fewer_positions(reading, outputs[:kept], max_rows)
    if kept < samples or picked is not reading:
        positions = picked.taken.positions
        some = "" if positions is None else f", {len(positions)} positions of each,"
        say(
            f"the probe holds {kept} of {samples} samples{some} as each makes {each} rows of M (max_rows={max_rows}); "
            f"its loss is the mean over what it holds"
        )
    own = next((p.dtype for p in network.parameters() if p.is_floating_point()), dtype)
    targets = picked.targets.to(own) if picked.targets.is_floating_point() else picked.targets
    reading = picked
    taken = reading.taken if reading.taken.key is not None or reading.taken.positions is not None else None
    try:
        with evaluating(network):
            return make(network, inputs, targets, loss=reading.loss, output=taken, dtype=dtype)
    except (ArgumentError, ModelError) as error:
        raise ModelError(f"{error} {PASS_PROBE}") from error


def _with_fewer_positions(reading: Reading, outputs: Tensor, max_rows: int) -> Reading:
    """Keep outputs at evenly spread positions, the same for all samples."""
    axis, samples = reading.taken.class_axis, len(outputs)
    classes = 1 if axis is None else outputs.shape[axis]
    there = outputs[0].numel() // classes
    keep = max(1, max_rows // (classes * samples))
    if keep >= there or (there == 1):
        return reading
    positions = tuple(index * there // keep for index in range(keep))
    taken, targets = replace(reading.taken, positions=positions), reading.targets
    if targets.shape == outputs.shape and axis is not None:  # probabilities
        targets = taken(targets) if reading.taken.key is None else replace(taken, key=None)(targets)
    else:
        targets = targets.flatten(1)[:, list(positions)]
    return replace(reading, taken=taken, targets=targets)
