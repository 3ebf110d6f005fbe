"""The clock of a run of checkpoints: sums of learning rates where they are known closely enough, else updates.

Rates are those of a log that is named, or that Trainer left beside the checkpoints, or of the optimizers that lie in
the checkpoints.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.reading import read_curves

__all__ = ["RunClock", "clock_of_checkpoints", "clock_of_file", "clock_of_log", "losses_of_log"]

# Relative difference of a sum of rates from one with every second rate left out, up to which the log is close enough.
CLOSE = 0.01
FEWEST = 8


@dataclass(frozen=True)
class RunClock:
    """Times of checkpoints.

    Attributes:
        times: Sum of the learning rates up to a step; empty where it is not known.
        told: What the clock is, and why.
    """

    times: dict[int, float]
    told: str


def clock_of_log(log: Sequence[Mapping[str, Any]], steps: Sequence[int]) -> RunClock:
    """Sum learning rates up to steps.

    A rate that the Trainer of Hugging Face logs at a step is that of the update that ended there. Between two of them
    the rate goes straight, as it does before the first.

    Args:
        log: Rows with `step` and `learning_rate`.
        steps: Of the checkpoints.
    """
    pairs = {
        int(row["step"]): float(row["learning_rate"])
        for row in log
        if _is_number(row.get("step")) and _is_number(row.get("learning_rate")) and row["learning_rate"] >= 0
    }
    if len(pairs) < FEWEST:
        return RunClock({}, f"updates (the log has {len(pairs)} learning rates)")
    at = np.array(sorted(pairs), dtype=np.int64)
    rates = np.array([pairs[int(step)] for step in at])
    last = max(steps)
    if last > at[-1] + np.diff(at).max():
        return RunClock({}, f"updates (the log ends at step {at[-1]}, the checkpoints at {last})")
    half = np.unique(np.append(np.arange(0, len(at), 2), len(at) - 1))
    summed, coarse = _sums(at, rates, last), _sums(at[half], rates[half], last)
    if not summed[-1] > 0 or np.abs(summed - coarse).max() > CLOSE * summed[-1]:
        return RunClock({}, f"updates (the {len(pairs)} logged learning rates lie too far apart to be summed to 1 %)")
    return RunClock({int(step): float(summed[step]) for step in steps}, f"sum of {len(pairs)} logged learning rates")


def clock_of_checkpoints(rates: Mapping[int, float], steps: Sequence[int]) -> RunClock:
    """Sum the rates that optimizers have in checkpoints.

    Such a rate may be that of the last update or of the next one, and nothing tells those before the first checkpoint.
    Both have to be too little to matter.

    Args:
        rates: By the step of the checkpoint.
        steps: Of all checkpoints.
    """
    if len(rates) < FEWEST:
        return RunClock({}, f"updates (no log, and {len(rates)} checkpoints hold learning rates)")
    at, last = np.array(sorted(rates)), max(steps)
    values = np.array([rates[int(step)] for step in at])
    clock = clock_of_log([{"step": int(step), "learning_rate": rates[int(step)]} for step in at], steps)
    if not clock.times:
        return RunClock({}, f"updates (no log; {len(at)} checkpoints hold rates that cannot be summed to 1 %)")
    unknown = at[0] * values.max() + values.max() - values.min()
    if unknown > CLOSE * clock.times[last]:
        return RunClock({}, f"updates (no log; of rates before the checkpoint of step {at[0]} nothing is known)")
    return RunClock(clock.times, f"sum of the learning rates that {len(at)} checkpoints hold")


def clock_of_file(log: str | Path, steps: Sequence[int]) -> tuple[RunClock, dict[int, float]]:
    """Sum the rates of a log, and take its losses; any that `read_curves` reads.

    Args:
        log: Of one run, with steps that count updates.
        steps: Of the checkpoints.

    Raises:
        ArgumentError: If it cannot be read, holds several runs, counts no updates, or ends before the checkpoints do.
    """
    curves = read_curves(log)
    if len(curves.names) != 1:
        raise ArgumentError(
            f"`log` must hold one run, but '{log}' holds {len(curves.names)}: {', '.join(curves.names[:5])}. Give a "
            f"file with the run of the checkpoints alone."
        )
    curve, last = curves[curves.names[0]], max(steps)
    if curve.step_unit != "update":
        raise ArgumentError(f"`log` must count updates, but '{log}' counts {curve.step_unit}s. Give steps in updates.")
    if curve.schedule.total < last:
        raise ArgumentError(
            f"`log` must reach the last checkpoint, step {last}, but '{log}' ends at step {curve.schedule.total}. Name "
            f"the checkpoints up to there, or give the whole log."
        )
    times = {int(step): float(curve.schedule.times[step]) for step in steps}
    losses = dict(zip(curve.steps.tolist(), curve.losses.tolist(), strict=True))
    return RunClock(times, f"sum of the learning rates of '{Path(log).name}'"), losses


def _sums(at: np.ndarray, rates: np.ndarray, last: int) -> np.ndarray:
    """Sums up to 0, 1, ..., last."""
    every = np.arange(1, last + 1)
    before = np.maximum(0.0, rates[0] + (every - at[0]) * (rates[1] - rates[0]) / (at[1] - at[0]))
    found = np.where(every < at[0], before, np.interp(every, at, rates))
    return np.concatenate([[0.0], np.cumsum(found)])


def losses_of_log(log: Sequence[Mapping[str, Any]]) -> dict[int, float]:
    """Training losses by step."""
    return {
        int(row["step"]): float(row["loss"])
        for row in log
        if _is_number(row.get("step")) and _is_number(row.get("loss"))
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**53
