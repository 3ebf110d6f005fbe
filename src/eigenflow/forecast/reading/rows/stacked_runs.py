"""Whole runs one below the other, in a table that says nowhere which is which: their steps begin anew and end alike.

A run that was started anew after a failure reaches further than before. Runs that all reach the same last step, with
other losses, are different ones.
"""

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from eigenflow.forecast.reading.columns.recognise import Columns
from eigenflow.forecast.reading.rows.hidden_runs import begins_anew, tells_apart
from eigenflow.forecast.reading.rows.repeated_steps import is_rank

__all__ = ["stacked"]

LEAST = 3


def stacked(
    frame: pd.DataFrame,
    columns: Columns,
    numbers: Int[np.ndarray, " row"],
    used: Bool[np.ndarray, " row"],
    order: Float[np.ndarray, " row"],
    losses: Float[np.ndarray, " row"],
) -> Int[np.ndarray, " row"]:
    """Number of each row's run within its group, from 1; 0 where the group is one run.

    Args:
        frame: The table.
        columns: What is what in it.
        numbers: Of the group of each row, as far as columns tell.
        used: Rows with a loss and a step.
        order: Rises along each run.
        losses: Of the rows.
    """
    within = np.zeros(len(frame), dtype=np.int64)
    if any(is_rank(frame, str(name)) and frame[name].nunique() > 1 for name in frame.columns):
        return within
    falls = np.diff(order[used]) < 0
    if not falls.any():
        return within
    for number in np.unique(numbers[used][1:][falls]):
        rows = np.flatnonzero(numbers == number)
        points = rows[used[rows]]
        edges = _edges(order[points])
        if len(edges) > 2 and _are_runs(order[points], losses[points], edges):
            anew = list(range(1, len(edges) - 1))
            names = columns.unused(frame)
            if not any(tells_apart(frame[name].iloc[points], edges, anew) for name in names):
                within[rows] = 1 + np.searchsorted(points[edges[1:-1]], rows, side="right")
    return within


def _edges(order: Float[np.ndarray, " point"]) -> list[int]:
    return [0, *(np.flatnonzero(np.diff(order) < 0) + 1).tolist(), len(order)]


def _are_runs(order: Any, losses: Any, edges: list[int]) -> bool:
    """Whether all pieces begin anew, end at one step, and are not one and the same run again."""
    first = slice(edges[0], edges[1])
    for begin, end in pairwise(edges):
        if end - begin < LEAST or order[end - 1] != order[edges[1] - 1] or np.any(np.diff(order[begin:end]) <= 0):
            return False
        if begin and (not begins_anew(order[first], float(order[begin])) or _is_same(order, losses, first, begin, end)):
            return False
    return True


def _is_same(order: Any, losses: Any, first: slice, begin: int, end: int) -> bool:
    _, here, there = np.intersect1d(order[first], order[begin:end], return_indices=True)
    return bool(np.all(losses[first][here] == losses[begin:end][there]))
