"""Rows of C6 about the geometry of double descent: does the test risk peak where, and as high as, transport says?

The transport prediction takes the kernels of the untouched network and its measured eigenvalues, and no rotation: the
"drift" of `beside`. So these rows say whether the equation, with its v and without its rotation, holds the peaks of
networks. A row each for the existence of peaks, their place and their height, over all curves of a measurement.

Bands were fixed before a measurement was judged. Two of three curves is what five that all agree can tell. A fifth in
place is half the spacing of the default widths; a fifth in height is what a mean over six seeds can tell.
"""

from collections.abc import Sequence

import numpy as np
from scipy.special import betaincinv, stdtrit

from eigenflow.core.checks import check_choice, check_kind
from eigenflow.core.resampling import LEVEL
from eigenflow.theory.double_descent.measured.comparison import DoubleDescentComparison, NetworksRow
from eigenflow.theory.double_descent.measured.peaks_over_seeds import PeakMoves, Ranged
from eigenflow.theory.verdicts import Claim, Verdict, judge, what_would_change

__all__ = ["FEWEST", "peak_rows"]

FEWEST = 3  # curves; of fewer no scatter is known
BANDS: dict[str, tuple[float | None, float | None]] = {
    "peaks": (2.0 / 3.0, None),
    "peak_place": (-0.2, 0.2),
    "peak_height": (-0.2, 0.2),
}
STATEMENTS = {
    "peaks": "the test risk has a peak where transport without rotation has one, and none where it has none",
    "peak_place": "peaks lie where transport without rotation has them",
    "peak_height": "at its peak the test risk is as high as transport without rotation says",
}
MORE = "a measurement with more curves that have a peak: more noise in the labels, more numbers of samples"
# What of a ratio measured / prediction the prediction leaves out, as named by `PeakMoves`.
LEFT = {"lazy": ("drift", "rotation", "quadrature"), "drift": ("rotation", "quadrature"), "full": ("quadrature",)}


def peak_rows(comparison: DoubleDescentComparison, *, prediction: str = "drift") -> list[Claim]:
    """Judge the peaks of networks by a prediction.

    Args:
        comparison: As from `compare_measured`.
        prediction: "drift" for transport (its eigenvalues, no rotation), "lazy" for v = 0, or "full", which must be
            supported, being the measured kernels.

    Returns:
        Rows `C6.peaks`, `C6.peak_place` and `C6.peak_height`; the last two over curves on which both have a peak.
        Undecided with fewer than three curves.

    Raises:
        ArgumentError: If the prediction is unknown.
    """
    check_kind("comparison", comparison, DoubleDescentComparison, "a comparison, as from `compare_measured`")
    check_choice("prediction", prediction, tuple(LEFT))
    moves = [(row, row.moves) for row in comparison.networks if row.moves is not None]
    both = [(row, one) for row, one in moves if _have_peaks(one, prediction)]
    return [
        _existence(moves, prediction),
        _ratio("peak_place", [(row, _position(one, prediction)) for row, one in both]),
        _ratio("peak_height", [(row, _height(one, prediction)) for row, one in both]),
    ]


def _have_peaks(moves: PeakMoves, prediction: str) -> bool:
    return all(
        moves.curves[name].position is not None and moves.curves[name].verdict == "present"
        for name in ("measured", prediction)
    )


def _existence(moves: Sequence[tuple[NetworksRow, PeakMoves]], prediction: str) -> Claim:
    """The share with both of the curves of which one surely has a peak and the other is sure, with Jeffreys' interval.

    Curves on which there is no peak to be had would make any prediction look good, and count for nothing.
    """
    verdicts = [(row, one.curves["measured"].verdict, one.curves[prediction].verdict) for row, one in moves]
    decided = [(row, first, second) for row, first, second in verdicts if "undecided" not in (first, second)]
    sure = [(row, first, second) for row, first, second in decided if "present" in (first, second)]
    agree = sum(first == second for _, first, second in sure)
    told = (
        f"{agree} of {len(sure)} curves with a sure peak have it both measured and predicted; on "
        f"{len(decided) - len(sure)} both are sure that there is none, on {len(verdicts) - len(decided)} one is unsure"
    )
    against = [row.name for row, first, second in sure if first != second]
    told += f"; not on {', '.join(against[:3])}" + (" and others" if len(against) > 3 else "") if against else ""
    if len(sure) < FEWEST:
        return _row("peaks", None, None, told)
    ends = [float(betaincinv(agree + 0.5, len(sure) - agree + 0.5, q)) for q in (0.5 - LEVEL / 2, 0.5 + LEVEL / 2)]
    low = ends[0] if agree else 0.0
    high = ends[1] if agree < len(sure) else 1.0
    return _row("peaks", agree / len(sure), (low, high), told)


def _height(moves: PeakMoves, prediction: str) -> Ranged:
    """ln(measured / predicted) of the risk at the measured peak; parts that add up, their half-widths in squares."""
    return _summed([moves.height[name] for name in LEFT[prediction]])


def _position(moves: PeakMoves, prediction: str) -> Ranged:
    """ln(measured / predicted) of the places of both peaks."""
    first, second = moves.curves["measured"].position, moves.curves[prediction].position
    assert first is not None and second is not None
    logs = [tuple(float(np.log(end)) for end in ranged) for ranged in (first, second)]
    return _summed([(logs[0][0], logs[0][1], logs[0][2]), (-logs[1][0], -logs[1][2], -logs[1][1])])


def _summed(parts: Sequence[Ranged]) -> Ranged:
    middle = sum(part[0] for part in parts)
    below, above = (float(np.sqrt(sum((part[0] - part[end]) ** 2 for part in parts))) for end in (1, 2))
    return middle, middle - below, middle + above


def _ratio(key: str, found: Sequence[tuple[NetworksRow, Ranged]]) -> Claim:
    """The mean over curves, with Student's interval of their scatter, and no narrower than curves are known.

    Curves of one measurement share their networks, so what each is known to does not average out.
    """
    if len(found) < FEWEST:
        told = f"{len(found)} curves have a peak, measured and predicted"
        return _row(key, None, None, told)
    values = np.array([ranged[0] for _, ranged in found])
    own = float(np.median([0.5 * (ranged[2] - ranged[1]) for _, ranged in found]))
    count = len(values)
    scatter = float(stdtrit(count - 1, 0.5 + LEVEL / 2) * values.std(ddof=1) / np.sqrt(count))
    half = float(np.hypot(scatter, own))
    estimate = float(values.mean())
    worst = int(np.abs(values).argmax())
    told = (
        f"mean of ln(measured / predicted) over {count} curves, from {values.min():+.2f} to {values.max():+.2f}; the "
        f"largest on {found[worst][0].name}; a curve is known to +-{own:.2f}"
    )
    return _row(key, estimate, (estimate - half, estimate + half), told)


def _row(key: str, estimate: float | None, interval: tuple[float, float] | None, reason: str) -> Claim:
    band = BANDS[key]
    change = MORE if interval is None else what_would_change(interval, band)
    verdict = Verdict.UNDECIDED if interval is None else judge(interval, band)
    return Claim(f"C6.{key}", STATEMENTS[key], estimate, interval, band, verdict, reason, change)
