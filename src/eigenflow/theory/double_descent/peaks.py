"""Peaks of a risk along an axis: where, how high, how wide, and how sure.

A curve is looked at over the logarithm of the axis. A peak is a maximum inside it. With the lowest risk on either side
before the curve rises above the peak, or ends, its base is the higher of the two; its prominence is height minus base,
and its width is ln(right / left) between the places where the risk is half of the prominence above the base. A surface
that knows its formula is evaluated again at ever closer points, so that none of this is limited by the grid; of a table
it is.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from eigenflow.core.checks import check_choice, check_kind, check_number
from eigenflow.core.display import AbstractPrinted, Card, figure
from eigenflow.core.errors import ArgumentError
from eigenflow.theory.double_descent.curves import curves
from eigenflow.theory.double_descent.surface import AXES, RiskSurface

__all__ = ["RiskPeaks", "risk_peaks"]

PEAK = [
    "position",
    "position_error",
    "height",
    "base",
    "prominence",
    "left",
    "right",
    "width",
    "is_base_at_end",
]


@dataclass(frozen=True, repr=False)
class RiskPeaks(AbstractPrinted):
    """Peaks along one axis, a row each, and the minima beside them.

    Attributes:
        axis: Along which.
        table: Columns are the surface's other axes, and `position`; `position_error`; `height`, infinite at a threshold
            without ridge; `base`; `prominence`; `left` and `right`, where half of it is left; `width`,
            ln(right / left), 0 for an infinite peak; `is_base_at_end`, whether the base is where the axis ends, so that
            a longer axis could lower it.
        minima: The other axes, `position`, `position_error` and `risk` of every minimum inside.
        is_refined: Whether places were found by the formula, and not between points of a table.
    """

    axis: str
    table: pd.DataFrame
    minima: pd.DataFrame
    is_refined: bool

    def __len__(self) -> int:
        return len(self.table)

    def _card(self) -> Card:
        rows: list[tuple[str, str]] = []
        for row in self.table.to_dict("records"):
            others = ", ".join(f"{name} {figure(row[name])}" for name in AXES if name in row)
            rows.append(
                (
                    f"{self.axis} {figure(row['position'], 5)} ± {figure(row['position_error'], 1)}",
                    f"risk {figure(row['height'], 5)} over {figure(row['base'])}, width {figure(row['width'])} e-folds"
                    + (f" at {others}" if others else ""),
                )
            )
        how = "refined by the formula" if self.is_refined else "between points of a table"
        return Card(f"RiskPeaks along {self.axis}: {len(self.table)}, {how}", rows)


def risk_peaks(surface: RiskSurface, axis: str | None = None, *, least: float | int = 1e-6) -> RiskPeaks:
    """Find the peaks of the excess risk along an axis, for each point of the others.

    Args:
        surface: Any; points that did not converge are left out.
        axis: A row of the surface; it may be left out where there is one only. Places 0 and infinity are left out.
        least: Prominence, as a share of the height, from which on a maximum counts.

    Raises:
        ArgumentError: If the axis is not a row of the surface, or has fewer than three places.
    """
    check_kind("surface", surface, RiskSurface, "a RiskSurface, such as `random_features_risk` gives")
    share = check_number("least", least, 0.0, 1.0)
    axis = _chosen(surface, axis)
    peaks: list[dict[str, float]] = []
    minima: list[dict[str, float]] = []
    for others, curve in curves(surface, axis):
        for found in curve.peaks():
            if found["prominence"] > share * found["height"] or np.isinf(found["height"]):
                peaks.append({**others, **found})
        minima += [{**others, **found} for found in curve.minima()]
    names = [name for name in surface.axes if name != axis]
    return RiskPeaks(
        axis,
        pd.DataFrame(peaks, columns=[*names, *PEAK]),
        pd.DataFrame(minima, columns=[*names, "position", "position_error", "risk"]),
        surface.evaluate is not None,
    )


def _chosen(surface: RiskSurface, axis: str | None) -> str:
    if axis is None:
        if len(surface.axes) != 1:
            raise ArgumentError(
                f"`axis` must be one of {', '.join(surface.axes)}: this surface has {len(surface.axes)}."
            )
        axis = surface.axes[0]
    check_choice("axis", axis, surface.axes)
    if surface.data.sizes[axis] < 3:
        raise ArgumentError(f"`axis` must have at least three places, but {axis} has {surface.data.sizes[axis]}.")
    return axis
