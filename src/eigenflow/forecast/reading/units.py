"""Checks over the curves of a set: one unit of loss, one unit of steps, and which points are shared."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.curves import Curve
from eigenflow.forecast.reading.drafts import Draft

__all__ = ["refuse_mixed_units", "shared_history"]

BITS = float(np.log(1 / np.log(2)))
MIN_COMMON = 5


def refuse_mixed_units(drafts: Sequence[Draft]) -> None:
    """Refuse a set in which curves of one size look as if they were counted in different units.

    Losses: the ratio of two curves at their common steps is 1 / ln 2 = 1.443 within 3 % all along, as that of bits to
    nats. Steps: one curve counts in steps a thousand times as long as another's. Within a curve: a single jump by that
    factor from one level to another.

    Raises:
        ArgumentError: Names both curves with their files, or the row of the jump.
    """
    for draft in drafts:
        _refuse_jump(draft)
    for index, first in enumerate(drafts):
        for second in drafts[index + 1 :]:
            if first.size == second.size:
                _refuse_losses(first, second)
                _refuse_steps(first, second)


def shared_history(curves: Sequence[Curve]) -> list[Curve]:
    """Mark the points that a curve shares with one before it: the same losses at the same first steps."""
    made: list[Curve] = []
    for curve in curves:
        shared, name = curve.branch, ""
        for other in made:
            if other.size != curve.size:
                continue
            length = _same_start(other, curve)
            if length >= MIN_COMMON and int(curve.steps[length - 1]) > shared:
                shared, name = int(curve.steps[length - 1]), other.name
        if name:
            line = f"its points up to step {shared} are those of {name!r}: the runs share their history"
            curve = replace(curve, branch=shared, changes=(*curve.changes, line))
        made.append(curve)
    return made


def _same_start(first: Curve, second: Curve) -> int:
    count = min(len(first), len(second))
    same = (first.steps[:count] == second.steps[:count]) & (first.losses[:count] == second.losses[:count])
    return count if same.all() else int(np.argmin(same))


def _refuse_losses(first: Draft, second: Draft) -> None:
    common, here, there = np.intersect1d(first.points.steps, second.points.steps, return_indices=True)
    if len(common) < MIN_COMMON:
        return
    ratio = np.log(first.points.losses[here] / second.points.losses[there])
    if abs(abs(np.median(ratio)) - BITS) < 0.03 and np.ptp(ratio) < 0.12:
        high, low = (first, second) if np.median(ratio) > 0 else (second, first)
        raise ArgumentError(
            f"{high.place} (row {high.points.rows[0]} on) and {low.place} (row {low.points.rows[0]} on) differ by a "
            "factor of "
            f"{np.exp(abs(np.median(ratio))):.3f} at all {len(common)} common steps, as bits and nats do (1.443): "
            "the units of "
            "the loss are mixed. Convert bits to nats (times 0.6931), or, if the units are right, pass "
            "`check_units=False` "
            f"(--no-check-units)."
        )


def _refuse_steps(first: Draft, second: Draft) -> None:
    spacing = [float(np.median(np.diff(draft.points.steps))) for draft in (first, second)]
    long, short = (first, second) if spacing[0] > spacing[1] else (second, first)
    factor = max(spacing) / max(min(spacing), 1.0)
    if factor >= 1000 and long.points.steps[-1] >= 1000 * short.points.steps[-1]:
        raise ArgumentError(
            f"{long.place} counts steps up to {long.points.steps[-1]} (row {long.points.rows[-1]}), {short.place} up "
            "to "
            f"{short.points.steps[-1]}: the units of the steps are mixed; the first look like tokens. Divide them by "
            "the "
            f"tokens per update, or, if they are right, pass `check_units=False` (--no-check-units)."
        )


def _refuse_jump(draft: Draft) -> None:
    change = np.diff(np.log(draft.points.losses))
    for at, size in enumerate(change):
        near = np.concatenate([change[max(at - 5, 0) : at], change[at + 1 : at + 6]])
        is_factor = abs(abs(size) - BITS) < 0.03
        if is_factor and at >= MIN_COMMON and len(near) >= MIN_COMMON and np.abs(near).max() < 0.15 * BITS:
            before, after = draft.points.losses[at], draft.points.losses[at + 1]
            raise ArgumentError(
                f"{draft.place}, row {draft.points.rows[at + 1]}: the loss jumps from {before:.4g} to {after:.4g} "
                "and stays "
                f"there, a factor of {np.exp(abs(size)):.3f}, as between nats and bits (1.443): the units seem to "
                "change within "
                f"the curve. Convert one part, or, if the units are right, pass `check_units=False` (--no-check-units)."
            )
