"""Several runs in one table whose column of runs was not recognised: they look like one run with restarts.

A restart from a checkpoint begins late and replaces a part of what was logged. A step that goes back to the very
beginning is far more often the next run.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int, Real

from eigenflow.core.errors import ArgumentError

__all__ = ["HiddenRunWarning", "begins_anew", "refuse_hidden_runs", "tells_apart"]

# Share of the points before it that a restart must replace to look like another run.
NEARLY_ALL = 0.9


class HiddenRunWarning(UserWarning):
    """What was read as a restart replaces nearly everything before it, and may be another run."""


MOST_NAMED = 5


def begins_anew(before: Real[np.ndarray, " before"], first: float | int) -> bool:
    """Whether a piece whose first step is `first` would replace nearly all of the steps before it."""
    return len(before) > 0 and float(np.mean(before >= first)) >= NEARLY_ALL


def refuse_hidden_runs(
    frame: pd.DataFrame,
    rows: Int[np.ndarray, " point"],
    steps: Int[np.ndarray, " point"],
    unused: list[str],
    place: str,
    *,
    has_curves: bool,
) -> None:
    """Refuse a curve whose pieces begin anew where an unused column says that they are different runs.

    Args:
        frame: Rows with a loss.
        rows: Where a person finds them.
        steps: Their steps.
        unused: Columns that may tell runs apart.
        place: File and curve, for messages.
        has_curves: Whether the table's runs are told apart by a column already.

    Raises:
        ArgumentError: If a column is constant within each piece, and differs between two of which the later one
            replaces nearly all of the earlier one.
    """
    edges = [0, *(np.flatnonzero(np.diff(steps) < 0) + 1).tolist(), len(steps)]
    if len(edges) == 2:
        return
    anew = list(_beginnings(steps, edges))
    if not anew:
        return
    telling = [name for name in unused if tells_apart(frame[name], edges, anew)]
    if not telling:
        return
    first, name = edges[anew[0]], telling[0]
    text = frame[name].astype(str).str.strip()
    also = f" (as do {', '.join(map(repr, telling[1:MOST_NAMED]))})" if telling[1:] else ""
    remedy = (
        "make one column of both and map it (`columns={'curve': NAME}`, --column curve=NAME)"
        if has_curves
        else f"say so: `columns={{'curve': {name!r}}}` (--column curve={name})"
    )
    raise ArgumentError(
        f"{place}, row {rows[first]}: the step goes back from {steps[first - 1]} to {steps[first]} and replaces nearly "
        f"all that was logged before, and column {name!r} changes there from {_short(text, first - 1)} to "
        f"{_short(text, first)}{also}. If it tells runs apart, {remedy}. If the run was started again, remove the rows "
        f"of the attempts before."
    )


def _beginnings(steps: np.ndarray, edges: list[int]) -> Iterator[int]:
    """Pieces, by number, that replace nearly all of what stands before them."""
    kept = np.zeros(0, dtype=np.int64)
    for number, (begin, end) in enumerate(pairwise(edges)):
        if begins_anew(kept, int(steps[begin])):
            yield number
        kept = np.concatenate([kept[kept < steps[begin]], steps[begin:end]])


def tells_apart(cells: Any, edges: list[int], anew: list[int]) -> bool:
    """Whether a column has one value in each piece, and another one where a piece begins anew.

    Args:
        cells: Of the points.
        edges: Where each piece begins, and where the last one ends.
        anew: Pieces that begin anew, by number.
    """
    text = cells.astype(str).str.strip().where(cells.notna(), "").to_numpy()
    said: list[str] = []
    for begin, end in pairwise(edges):
        values = {value for value in text[begin:end].tolist() if value}
        if len(values) != 1:
            return False
        said += values
    return any(said[number] != said[number - 1] for number in anew)


def _short(text: Any, row: int) -> str:
    return repr(str(text.iloc[row])[:40])
