"""From the rows of one run to its points: pieces of restarts, doubled rows."""

import warnings
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float, Int

from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.reading.rows.hidden_runs import HiddenRunWarning, begins_anew

__all__ = ["Points", "require_points", "stitch"]

MIN_POINTS = 3


@dataclass(frozen=True)
class Points:
    """Rows of one run, and what has been done to them."""

    rows: Int[np.ndarray, " point"]
    steps: Int[np.ndarray, " point"]
    losses: Float[np.ndarray, " point"]
    changes: tuple[str, ...] = ()

    def keep(self, kept: Bool[np.ndarray, " point"] | Int[np.ndarray, " point"], *changes: str) -> "Points":
        """Some of the points, with a line for what was done."""
        return Points(self.rows[kept], self.steps[kept], self.losses[kept], (*self.changes, *changes))


def stitch(points: Points, place: str) -> Points:
    """Join the pieces of a run that was restarted from a checkpoint; of an overlap the later piece stays.

    A step that goes back begins a new piece if that piece logs again what it goes back over. Doubled rows with
    one loss are dropped.

    Raises:
        ArgumentError: If a step occurs twice in one piece with two losses, or steps are not sorted.
    """
    points = _drop_doubles(points, place)
    starts = np.flatnonzero(np.diff(points.steps) < 0) + 1
    if len(starts) == 0:
        return points
    edges = [0, *starts.tolist(), len(points.steps)]
    kept = np.zeros(0, dtype=np.int64)
    lines: list[str] = []
    for begin, end in pairwise(edges):
        piece = np.arange(begin, end)
        first = points.steps[begin]
        over = kept[points.steps[kept] >= first]
        if len(kept) and not _is_restart(points.steps[over], points.steps[piece]):
            raise ArgumentError(
                f"{place}, row {points.rows[begin]}: the step goes back from {points.steps[kept[-1]]} (row "
                f"{points.rows[kept[-1]]}) to {first}, and the rows that follow do not log again what came before, as "
                f"a restarted run would. Sort the rows by run and step, or name the column that tells runs apart "
                f"(`columns={{'curve': NAME}}`)."
            )
        if begins_anew(points.steps[kept], int(first)):
            warnings.warn(
                f"{place}, row {points.rows[begin]}: the step goes back to {first}, and the rows from there on replace "
                f"{len(over)} of the {len(kept)} points before them. If they are another run, name the column that "
                f"tells runs apart (`columns={{'curve': NAME}}`, --column curve=NAME).",
                HiddenRunWarning,
                stacklevel=4,
            )
        if len(over):
            lines.append(
                f"restarted at step {first} (row {points.rows[begin]}): {len(over)} points of the earlier piece, steps "
                f"{points.steps[over[0]]} to {points.steps[over[-1]]}, replaced by the later one"
            )
        kept = np.concatenate([kept[points.steps[kept] < first], piece])
    return points.keep(kept, *lines)


def require_points(points: Points, place: str) -> None:
    """Refuse a curve of fewer than three points."""
    if len(points.steps) < MIN_POINTS:
        raise ArgumentError(
            f"{place}: the curve has only {len(points.steps)} points (rows {', '.join(map(str, points.rows))}); "
            f"{MIN_POINTS} are the least that can be read, and a law needs more than it has parameters. Log more "
            "often, "
            f"or leave the run out (`exclude`, --exclude)."
        )


def _is_restart(before: Int[np.ndarray, " over"], piece: Int[np.ndarray, " point"]) -> bool:
    """Whether a piece logs again the steps it goes back over: most of them exactly, or as densely."""
    again = piece[piece <= before[-1]]
    same = np.isin(before, again).sum()
    if len(piece) < len(before):  # the log ends in the overlap
        before = before[before <= piece[-1]]
    return bool(2 * same >= len(before)) or bool(len(before) >= 4 and 2 * len(again) >= len(before))


def _drop_doubles(points: Points, place: str) -> Points:
    doubled = np.flatnonzero(np.diff(points.steps) == 0)
    if len(doubled) == 0:
        return points
    differ = doubled[points.losses[doubled] != points.losses[doubled + 1]]
    if len(differ):
        at = differ[0]
        raise ArgumentError(
            f"{place}, rows {points.rows[at]} and {points.rows[at + 1]}: step {points.steps[at]} occurs twice, with "
            "losses "
            f"{points.losses[at]:.6g} and {points.losses[at + 1]:.6g}. Keep one of them, or name the column that tells "
            f"runs apart (`columns={{'curve': NAME}}`)."
        )
    kept = np.ones(len(points.steps), dtype=bool)
    kept[doubled + 1] = False
    rows = ", ".join(str(points.rows[at + 1]) for at in doubled[:5])
    return points.keep(kept, f"{len(doubled)} rows that repeat the one before left out (row {rows})")
