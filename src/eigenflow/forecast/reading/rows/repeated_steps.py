"""Steps that a run logs several times, with different losses: by several ranks, or by the micro-batches of an update.

The mean over them is the loss of the whole batch. Other repeats have no such meaning, and are refused.
"""

import numpy as np
import pandas as pd
from jaxtyping import Float

from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.reading.columns.names import step_rank, words_of
from eigenflow.forecast.reading.columns.recognise import usable_numbers
from eigenflow.forecast.reading.rows.cleaning import Points

__all__ = ["averaged", "is_rank"]

_RANKS = {"rank", "device", "gpu", "worker", "process", "proc", "shard"}
_BESIDE = {"local", "global", "dp", "id", "index", "idx", "data", "parallel", "num", "number", "ddp", "cuda", "name"}
_MICRO = {"micro", "accumulation", "accum", "microbatch", "substep", "microstep"}


def averaged(points: Points, frame: pd.DataFrame, step_column: str | None, place: str) -> Points:
    """Points with one loss a step, where a column says that several rows of a step are parts of one batch.

    Args:
        points: In the order of the log.
        frame: Their rows.
        step_column: That was taken for the step.
        place: File and curve, for messages.

    Raises:
        ArgumentError: If two rows that follow each other have one step and two losses, and nothing says why.
    """
    repeats = np.flatnonzero((np.diff(points.steps) == 0) & (np.diff(points.losses) != 0))
    if len(repeats) == 0 and not np.any(np.diff(points.steps) < 0):
        return points
    for name in map(str, frame.columns):
        if is_rank(frame, name) and _is_one_batch(points, frame, name):
            count = frame[name].nunique()
            return _means(points, f"every step is logged by {count} ranks (column {name!r}): their mean is taken")
    if len(repeats) == 0:
        return points
    for name in map(str, frame.columns):
        if name != step_column and _counts_parts(points, usable_numbers(frame[name], np.nan), name):
            number = int(np.median(np.unique(points.steps, return_counts=True)[1]))
            line = f"every step is logged {number} times, by its micro-batches (column {name!r}): their mean is taken"
            return _means(points, line)
    at = repeats[0]
    raise ArgumentError(
        f"{place}, rows {points.rows[at]} and {points.rows[at + 1]}: step {points.steps[at]} occurs twice, with losses "
        f"{points.losses[at]:.6g} and {points.losses[at + 1]:.6g} ({len(repeats)} such pairs). If two runs are in the "
        f"table, name the column that tells runs apart (`columns={{'curve': NAME}}`, --column curve=NAME). If one is a "
        f"validation loss, give it a column of its own, or add one that says train and val. If several ranks or "
        f"micro-batches log each step, add a column `rank` or `micro_step`. Else keep one of the rows."
    )


def is_rank(frame: pd.DataFrame, name: str) -> bool:
    """Whether a column numbers the processes of one run; a bare `rank` that does not begin at 0 is something else."""
    words = set(words_of(name))
    if not words & _RANKS or not words <= _RANKS | _BESIDE:
        return False
    return words != {"rank"} or float(np.nanmin(usable_numbers(frame[name], np.nan), initial=np.inf)) == 0


def _is_one_batch(points: Points, frame: pd.DataFrame, name: str) -> bool:
    """Whether each rank logs the same steps once, but for the last ones."""
    codes, ranks = pd.factorize(frame[name].astype(str).str.strip())
    if len(ranks) < 2:
        return False
    steps = [points.steps[codes == code] for code in range(len(ranks))]
    shared = set(steps[0].tolist())
    return all(
        len(own) > 0
        and np.all(np.diff(own) > 0)
        and len(shared & set(own.tolist())) >= 0.9 * max(len(own), len(shared))
        for own in steps
    )


def _counts_parts(points: Points, values: Float[np.ndarray, " point"], name: str) -> bool:
    """Whether a column counts the parts of a step, on over all steps or anew in each, and each step has as many."""
    if not np.isfinite(values).all() or np.any(np.diff(points.steps) < 0):
        return False
    starts = np.flatnonzero(np.diff(points.steps, prepend=points.steps[0] - 1) != 0)
    counts = np.diff(np.append(starts, len(values)))
    if len(counts) < 3 or counts[0] < 2 or np.any(counts[:-1] != counts[0]) or counts[-1] > counts[0]:
        return False
    within = np.delete(np.diff(values), starts[1:] - 1)
    is_through = step_rank(name) is not None and bool(np.all(np.diff(values) > 0))
    return is_through or (bool(set(words_of(name)) & _MICRO) and bool(np.all(within > 0)))


def _means(points: Points, line: str) -> Points:
    steps, first, number = np.unique(points.steps, return_index=True, return_inverse=True)
    losses = np.bincount(number, points.losses) / np.bincount(number)
    return Points(points.rows[first], steps, losses, (*points.changes, line))
