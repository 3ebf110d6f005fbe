"""Checks over the curves of a set: one unit of loss, one unit of steps, and which points are shared."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from hashlib import blake2b
from itertools import combinations

import numpy as np

from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.curves import Curve
from eigenflow.forecast.reading.rows.drafts import Draft

__all__ = ["refuse_mixed_units", "shared_history"]

BITS = float(np.log(1 / np.log(2)))
MIN_COMMON = 5
# Curves of one size of which every pair is compared; of more, each with so many.
FEW, PARTNERS = 64, 8


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
    by_size: dict[float | None, list[Draft]] = {}
    for draft in drafts:
        by_size.setdefault(draft.size, []).append(draft)
    for group in by_size.values():
        for first, second in _pairs(group):
            _refuse_losses(first, second)
        _refuse_steps(group)


def shared_history(curves: Sequence[Curve]) -> list[Curve]:
    """Mark the points that a curve shares with one before it: the same losses at the same first steps."""
    made: list[Curve] = []
    starts = Counter(_start(curve) for curve in curves)
    # Of every beginning of a curve that may be shared: the first curve that has it.
    owners: dict[object, str] = {}
    for curve in curves:
        if len(curve) < MIN_COMMON or starts[_start(curve)] == 1:
            made.append(curve)
            continue
        beginnings = _beginnings(curve)
        length = bisect_left(range(len(beginnings)), True, key=lambda k: beginnings[k] not in owners)
        if length >= MIN_COMMON and int(curve.steps[length - 1]) > curve.branch:
            shared, name = int(curve.steps[length - 1]), owners[beginnings[length - 1]]
            line = f"its points up to step {shared} are those of {name!r}: the runs share their history"
            curve = replace(curve, branch=shared, changes=(*curve.changes, line))
        for beginning in beginnings:
            owners.setdefault(beginning, curve.name)
        made.append(curve)
    return made


def _start(curve: Curve) -> object:
    return curve.size, curve.steps[:MIN_COMMON].tobytes(), curve.losses[:MIN_COMMON].tobytes()


def _beginnings(curve: Curve) -> list[bytes]:
    """A digest of the first point, of the first two, and so on; one length from the next."""
    digest = blake2b(repr(curve.size).encode(), digest_size=16)
    found = []
    for step, loss in zip(curve.steps, curve.losses, strict=True):
        digest.update(step.tobytes() + loss.tobytes())
        found.append(digest.digest())
    return found


def _pairs(group: Sequence[Draft]) -> Iterator[tuple[Draft, Draft]]:
    """All pairs of a few curves; of many, each with the few whose losses are the nearest to 1.443 times its own.

    If units are mixed, a curve has such a partner among those.
    """
    if len(group) <= FEW:
        yield from combinations(group, 2)
        return
    levels = np.array([np.median(np.log(draft.points.losses)) for draft in group])
    order = np.argsort(levels, kind="stable")
    wanted = np.searchsorted(levels[order], levels + BITS)
    for draft, at in zip(group, wanted, strict=True):
        for other in order[max(at - PARTNERS // 2, 0) : at + PARTNERS // 2]:
            if group[other] is not draft:
                yield draft, group[other]


def _refuse_losses(first: Draft, second: Draft) -> None:
    common = here = there = np.arange(len(first.points.steps))
    if not np.array_equal(first.points.steps, second.points.steps):
        common, here, there = np.intersect1d(first.points.steps, second.points.steps, return_indices=True)
    if len(common) < MIN_COMMON:
        return
    ratio = np.log(first.points.losses[here] / second.points.losses[there])
    if np.ptp(ratio) < 0.12 and abs(abs(np.median(ratio)) - BITS) < 0.03:
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


def _refuse_steps(group: Sequence[Draft]) -> None:
    spacing = np.array([float(np.median(np.diff(draft.points.steps))) for draft in group])
    last = np.array([float(draft.points.steps[-1]) for draft in group])
    order = np.argsort(spacing, kind="stable")
    # Of all curves up to one in this order, the one that ends first.
    earliest = np.minimum.accumulate(last[order])
    for k in range(len(group)):
        shorter = int(np.searchsorted(np.maximum(spacing[order], 1.0), spacing[k] / 1000, side="right"))
        if shorter == 0 or last[k] < 1000 * earliest[shorter - 1]:
            continue
        long, short = group[k], group[order[int(np.argmin(last[order][:shorter]))]]
        raise ArgumentError(
            f"{long.place} counts steps up to {long.points.steps[-1]} (row {long.points.rows[-1]}), {short.place} up "
            f"to {short.points.steps[-1]}: the units of the steps are mixed; the first look like tokens. Divide them "
            f"by the tokens per update, or, if they are right, pass `check_units=False` (--no-check-units)."
        )


def _refuse_jump(draft: Draft) -> None:
    change = np.diff(np.log(draft.points.losses))
    for at in np.flatnonzero(np.abs(np.abs(change) - BITS) < 0.03):
        size = change[at]
        near = np.concatenate([change[max(at - 5, 0) : at], change[at + 1 : at + 6]])
        if at >= MIN_COMMON and len(near) >= MIN_COMMON and np.abs(near).max() < 0.15 * BITS:
            before, after = draft.points.losses[at], draft.points.losses[at + 1]
            raise ArgumentError(
                f"{draft.place}, row {draft.points.rows[at + 1]}: the loss jumps from {before:.4g} to {after:.4g} "
                "and stays "
                f"there, a factor of {np.exp(abs(size)):.3f}, as between nats and bits (1.443): the units seem to "
                "change within "
                f"the curve. Convert one part, or, if the units are right, pass `check_units=False` (--no-check-units)."
            )
