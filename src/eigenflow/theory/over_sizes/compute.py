"""The best loss at every compute, from the curves of runs of several widths."""

import numpy as np
import pandas as pd
from jaxtyping import Float

from eigenflow.core.checks import check_number, check_whole
from eigenflow.core.errors import ArgumentError
from eigenflow.theory.over_sizes.sweep import SizeSweep

__all__ = ["compute_frontier"]

COLUMNS = ("width", "time", "loss")


def compute_frontier(table: pd.DataFrame, *, power: float | int = 1.0, places: int = 8) -> SizeSweep:
    """Take the least loss over widths at each of several budgets C = width^power times time.

    A curve is read between its measurements, in logarithms. Only budgets count at which the next smaller and the next
    larger width were measured and are worse: beyond them the frontier is that of what was tried.

    Args:
        table: Columns `width`, `time` (> 0) and `loss` (> 0), and `repeat` if runs were repeated; a row a measurement.
        power: Of the width in the work of one unit of time: 1 for the theory's features, 2 for parameters of a deep
            network.
        places: Budgets, evenly spaced in their logarithm.

    Returns:
        A sweep over compute, each repeat with a frontier of its own.

    Raises:
        ArgumentError: If a column is missing, or fewer than 4 budgets have a best width between the others.
    """
    missing = [name for name in COLUMNS if name not in table.columns]
    if missing:
        raise ArgumentError(f"`table` must have columns {', '.join(COLUMNS)}, but has no {missing[0]!r}.")
    check_number("power", power, 0.0, 4.0)
    check_whole("places", places, 4, 1000, what="number of budgets")
    repeats = np.zeros(len(table))
    if "repeat" in table.columns:
        repeats = np.unique(table["repeat"].to_numpy(), return_inverse=True)[1].astype(np.float64)
    curves = {}
    for repeat in np.unique(repeats):
        own = np.array(table.loc[(repeats == repeat) & (table["time"] > 0), list(COLUMNS)], dtype=np.float64)
        for width in np.unique(own[:, 0]):
            curve = own[own[:, 0] == width]
            curve = curve[np.argsort(curve[:, 1])]
            work = np.log(curve[:, 1]) + power * np.log(width)
            curves[float(repeat), float(width)] = work, np.log(curve[:, 2])
    widths = sorted({width for _, width in curves})
    if len(widths) < 3:
        raise ArgumentError(f"`table` must have 3 widths or more, of which one can be best, but has {len(widths)}.")
    rows = [
        (budget, loss, repeat)
        for repeat in np.unique(repeats).tolist()
        for budget, loss in _frontier(curves, repeat, widths)
    ]
    grid = _grid(rows, places)
    sizes, losses, numbers = [], [], []
    for repeat in np.unique(repeats):
        mine = np.array([(c, loss) for c, loss, r in rows if r == repeat])
        for place in grid:
            if len(mine) and mine[0, 0] <= place <= mine[-1, 0]:
                sizes.append(np.exp(place))
                losses.append(np.exp(np.interp(place, mine[:, 0], mine[:, 1])))
                numbers.append(repeat)
    return SizeSweep(
        "compute",
        np.array(sizes),
        np.array(losses),
        np.array(numbers, dtype=np.int64),
        f"curves of {len(widths)} widths",
    )


def _frontier(curves: dict, repeat: float, widths: list[float]) -> list[tuple[float, float]]:
    """Budgets at which a width between the others is best, with their least loss, both as logarithms."""
    own = {width: curves[repeat, width] for width in widths if (repeat, width) in curves}
    fine = np.linspace(min(w[0] for w, _ in own.values()), max(w[-1] for w, _ in own.values()), 400)
    losses = np.array([np.interp(fine, w, loss, left=np.inf, right=np.inf) for w, loss in own.values()])
    best, columns = losses.argmin(0), np.arange(len(fine))
    inner = (best > 0) & (best < len(own) - 1)
    beside = [losses[np.clip(best + side, 0, len(own) - 1), columns] for side in (-1, 1)]
    inner &= np.isfinite(beside).all(0)
    if not inner.any():
        return []
    first, last = np.flatnonzero(inner)[[0, -1]]
    return [(float(fine[i]), float(losses[best[i], i])) for i in range(first, last + 1)]


def _grid(rows: list[tuple[float, float, float]], places: int) -> Float[np.ndarray, " budget"]:
    budgets = np.array([row[0] for row in rows])
    if len(budgets) < 2 or not budgets.max() > budgets.min():
        raise ArgumentError(
            "`table` has no range of compute in which the best width lies between the smallest and the largest. Train "
            "longer, measure earlier, or add widths."
        )
    return np.linspace(budgets.min(), budgets.max(), places)
