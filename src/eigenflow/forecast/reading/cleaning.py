"""From the rows of one run to a curve: pieces of restarts, doubled rows, spikes, divergence."""

import warnings
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float, Int

from eigenflow.core.errors import ArgumentError, NonFiniteError
from eigenflow.forecast.reading.hidden_runs import HiddenRunWarning, begins_anew

__all__ = ["Points", "refuse_divergence", "remove_spikes", "require_points", "stitch"]

MIN_POINTS = 3
SPIKE_WINDOW = 9
SPIKE_SIGMAS = 8.0
SPIKE_LEAST = 0.05
DIVERGED = np.log(1.5)


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


def remove_spikes(points: Points) -> Points:
    """Leave out single points, or two in a row, far above their neighbours' median; says which.

    Far is 8 times the robust spread about the running median of nine points, as it is there, and at least 5 %.
    """
    count = len(points.steps)
    if count < 3 * SPIKE_WINDOW:
        return points
    log_losses = np.log(points.losses)
    excess = log_losses - _running_median(log_losses, SPIKE_WINDOW)
    spread = 1.4826 * _running_median(np.abs(excess), 3 * SPIKE_WINDOW)
    is_spike = excess > np.maximum(SPIKE_SIGMAS * spread, SPIKE_LEAST)
    is_spike[: SPIKE_WINDOW // 2] = False  # there the window is cut off, and the loss falls fast
    edges = np.flatnonzero(np.diff(is_spike, prepend=False, append=False))
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        is_spike[begin:end] = end - begin <= 2  # a rise that lasts is no spike
    if not is_spike.any():
        return points
    where = np.flatnonzero(is_spike)
    listed = ", ".join(f"step {points.steps[i]} (row {points.rows[i]}, loss {points.losses[i]:.4g})" for i in where[:5])
    more = f" and {len(where) - 5} more" if len(where) > 5 else ""
    return points.keep(~is_spike, f"{len(where)} {'spike' if len(where) == 1 else 'spikes'} left out: {listed}{more}")


def refuse_divergence(points: Points, place: str) -> None:
    """Refuse a curve that ends at more than 1.5 times its lowest loss, both as running medians."""
    width = max(min(len(points.steps) // 10, 25), 1) | 1
    log_losses = np.log(points.losses)
    if len(log_losses) < width:
        return
    smooth = np.median(np.lib.stride_tricks.sliding_window_view(log_losses, width), axis=1)
    lowest = int(smooth.argmin())
    if smooth[-1] - smooth[lowest] <= DIVERGED:
        return
    at = lowest + width // 2
    raise NonFiniteError(
        f"{place}: the run diverges: its loss falls to {points.losses[at]:.4g} at step {points.steps[at]} (row "
        f"{points.rows[at]}) and ends at {points.losses[-1]:.4g} at step {points.steps[-1]} (row {points.rows[-1]}). "
        "No law "
        f"of learning describes that. Cut the table at row {points.rows[at]}, or leave the run out (`exclude`, "
        "--exclude)."
    )


def require_points(points: Points, place: str) -> None:
    """Refuse a curve of fewer than three points."""
    if len(points.steps) < MIN_POINTS:
        raise ArgumentError(
            f"{place}: the curve has only {len(points.steps)} points (rows {', '.join(map(str, points.rows))}); "
            f"{MIN_POINTS} are the least that can be read, and a law needs more than it has parameters. Log more "
            "often, "
            f"or leave the run out (`exclude`, --exclude)."
        )


def _running_median(values: Float[np.ndarray, " point"], width: int) -> Float[np.ndarray, " point"]:
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(values, width // 2, mode="reflect"), width)
    return np.median(windows, axis=1)


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
