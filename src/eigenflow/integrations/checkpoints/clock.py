"""The clock of a run of checkpoints: sums of learning rates where a log shows rates closely enough, else updates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["RunClock", "clock_of_log", "losses_of_log"]

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
