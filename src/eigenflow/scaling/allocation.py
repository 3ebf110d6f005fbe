"""What to train with a compute budget: the size and tokens of smallest predicted loss, and approach 2 beside it.

Source of approach 2: [@hoffmann2022training].
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import stats

from eigenflow.core.display import AbstractPrinted, Card, figure, interval
from eigenflow.core.errors import ArgumentError
from eigenflow.core.resampling import LEVEL
from eigenflow.forecast.curves import format_size
from eigenflow.scaling.counts import FLOPS_PER_PARAMETER_TOKEN
from eigenflow.scaling.fit import ScalingFit
from eigenflow.scaling.laws import evaluate
from eigenflow.scaling.optimum import optimal_log_size
from eigenflow.scaling.prediction import predict_losses
from eigenflow.scaling.table import ScalingTable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Allocation", "IsoFlop", "allocate", "isoflop_minima"]

SAME_BUDGET = 0.05
MIN_POINTS = 5
DRAWS = 400
FLAT = 1e-3


@dataclass(frozen=True, repr=False)
class Allocation(AbstractPrinted):
    """Compute-optimal size and tokens, with 90 % intervals over the fit's parameters.

    Attributes:
        flops: Budgets, C = 6 N D.
        size: Optimal parameters (in the convention of the fitted table).
        size_lower: Lower end of its interval.
        size_upper: Upper end.
        tokens: C / (6 size).
        loss: Predicted loss there.
        loss_lower: Lower end of the 90 % interval of the loss of one new run.
        loss_upper: Upper end.
        exponent: d ln N / d ln C at each budget.
        within: Ratio of sizes over which the predicted loss stays within 0.1 % of the optimum, as (lower, upper).
    """

    flops: Float[np.ndarray, " budget"]
    size: Float[np.ndarray, " budget"]
    size_lower: Float[np.ndarray, " budget"]
    size_upper: Float[np.ndarray, " budget"]
    tokens: Float[np.ndarray, " budget"]
    loss: Float[np.ndarray, " budget"]
    loss_lower: Float[np.ndarray, " budget"]
    loss_upper: Float[np.ndarray, " budget"]
    exponent: Float[np.ndarray, " budget"]
    within: Float[np.ndarray, "budget 2"]

    def __len__(self) -> int:
        return len(self.flops)

    def _card(self) -> Card:
        rows = [
            (
                f"{figure(float(self.flops[k]), 3)} FLOP",
                f"{_short(self.size[k])} [{_short(self.size_lower[k])}, {_short(self.size_upper[k])}] parameters, "
                f"{_short(self.tokens[k])} tokens, loss {interval(*self._loss_at(k), digits=4)}",
            )
            for k in range(len(self))
        ]
        budgets = f"{len(self)} budget{'s' * (len(self) != 1)}"
        return Card(f"Compute-optimal runs for {budgets}; 90 % intervals of the size and of the loss", rows)

    def _loss_at(self, k: int) -> tuple[float, float, float]:
        return float(self.loss[k]), float(self.loss_lower[k]), float(self.loss_upper[k])

    def to_dataframe(self) -> pd.DataFrame:
        """One row a budget: flops, size with its ends, tokens, loss with its ends, exponent, factors of `within`."""
        return pd.DataFrame(
            {
                "flops": self.flops,
                "size": self.size,
                "size_lower": self.size_lower,
                "size_upper": self.size_upper,
                "tokens": self.tokens,
                "loss": self.loss,
                "loss_lower": self.loss_lower,
                "loss_upper": self.loss_upper,
                "exponent": self.exponent,
                "within_lower": self.within[:, 0],
                "within_upper": self.within[:, 1],
            }
        )

    def plot(self, ax: "Axes | None" = None, *, table: ScalingTable | None = None) -> "Axes":
        """Draw the best size over compute, above the runs of a table; into new axes if none are given."""
        from eigenflow.plots import axes_or_new, plot_plan

        runs = None if table is None else (table.flops, table.size)
        ends = self.size_lower, self.size_upper
        return plot_plan(self.flops, self.size, *ends, ax=axes_or_new(ax), within=self.within, runs=runs)


@dataclass(frozen=True, repr=False)
class IsoFlop(AbstractPrinted):
    """Approach 2: minima of parabolas in ln N, one a budget, and the power law through them.

    Attributes:
        flops: Budgets that had at least five runs and a minimum inside them.
        size: Sizes at the minima.
        loss: Losses there.
        exponent: Slope of ln size over ln C.
        exponent_bias: What the same parabolas and the same runs give for exact losses of `reference`, minus its own
            exponent: approach 2 is biased where runs do not lie evenly about the optimum, noise or not.
        left_out: Budgets without a minimum inside their runs.
    """

    flops: Float[np.ndarray, " budget"]
    size: Float[np.ndarray, " budget"]
    loss: Float[np.ndarray, " budget"]
    exponent: float
    exponent_bias: float
    left_out: tuple[float, ...]

    def _card(self) -> Card:
        rows = [("exponent", f"{figure(self.exponent)}; approach 2 is off by {figure(self.exponent_bias, 2)} here")]
        rows += [
            (f"{figure(budget, 3)} FLOP", f"{_short(size)} parameters, loss {figure(float(loss))}")
            for budget, size, loss in zip(self.flops.tolist(), self.size, self.loss, strict=True)
        ]
        return Card(f"Minima of {len(self.flops)} budgets, {len(self.left_out)} left out", rows)

    def to_dataframe(self) -> pd.DataFrame:
        """One row a budget: flops, size, loss."""
        return pd.DataFrame({"flops": self.flops, "size": self.size, "loss": self.loss})


def _short(count: float | np.floating) -> str:
    """A count for people, to three figures: 400M, 1.3B."""
    return format_size(float(f"{count:.3g}"))


def allocate(fit: ScalingFit, flops: Float[np.ndarray, " budget"], *, seed: int = 0) -> Allocation:
    """Give the size and tokens of smallest predicted loss for each budget.

    Args:
        fit: Any law in which both size and data matter, for runs whose tokens are seen once.
        flops: Budgets, C = 6 N D in the table's count of parameters.
        seed: Of the draws of parameters.

    Raises:
        ArgumentError: If a budget is not positive and finite.
    """
    flops = np.atleast_1d(np.asarray(flops, dtype=np.float64))
    if not np.all(np.isfinite(flops) & (flops > 0)):
        raise ArgumentError(f"`flops` must be positive and finite, but is {flops.tolist()}.")
    offset = np.log(flops / FLOPS_PER_PARAMETER_TOKEN) - sum(fit.centre)
    best = optimal_log_size(fit.parameters, offset)
    step = 1e-3
    slope = (optimal_log_size(fit.parameters, offset + step) - optimal_log_size(fit.parameters, offset - step)) / (
        2 * step
    )
    drawn = np.array([optimal_log_size(p, offset) for p in draw_parameters(fit, DRAWS, np.random.default_rng(seed))])
    tail = (1 - LEVEL) / 2
    lower, upper = np.quantile(drawn, [tail, 1 - tail], axis=0)
    size, size_lower, size_upper = (np.exp(v + fit.centre[0]) for v in (best, lower, upper))
    loss = np.exp(evaluate(fit.parameters, best, offset - best)[0])
    tokens = flops / FLOPS_PER_PARAMETER_TOKEN / size
    ahead = predict_losses(fit, size, tokens)
    return Allocation(
        flops, size, size_lower, size_upper, tokens, loss, ahead.lower, ahead.upper, slope,
        _flat_range(fit.parameters, best, offset),
    )  # fmt: skip


def draw_parameters(fit: ScalingFit, count: int, rng: np.random.Generator) -> np.ndarray:
    """Parameters of the whole family, drawn from a Student-t (4 degrees) with the fit's covariance."""
    free = list(fit.law.free)
    values, vectors = np.linalg.eigh(fit.covariance)
    normal = rng.normal(size=(count, len(free))) * np.sqrt(np.maximum(values, 0))
    heavy = np.sqrt(4.0 / stats.chi2.rvs(4, size=(count, 1), random_state=rng))
    return np.array([fit.law.expand(fit.parameters[free] + v) for v in heavy * normal @ vectors.T])


def _flat_range(parameters: np.ndarray, best: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Factors of the size at which the loss is 0.1 % above its minimum, from 400 points to either side."""
    steps = np.linspace(0.0, 4.0, 400)
    found = np.empty((len(best), 2))
    for place, sign in enumerate((-1.0, 1.0)):
        for row, (size, product) in enumerate(zip(best, offset, strict=True)):
            line = size + sign * steps
            value = evaluate(parameters, line, product - line)[0]
            beyond = max(int(np.argmax(value > value[0] + FLAT)), 1)
            step = np.interp(value[0] + FLAT, value[beyond - 1 : beyond + 1], steps[beyond - 1 : beyond + 1])
            found[row, place] = np.exp(sign * step)
    return found


def isoflop_minima(table: ScalingTable, reference: ScalingFit) -> IsoFlop:
    """Approach 2 on runs that come in groups of equal compute, with its bias on this very design.

    Raises:
        ArgumentError: If fewer than two budgets have five runs around a minimum.
    """
    exact = np.exp(reference.log_loss(table.size, table.tokens)[0])
    budgets = _budgets(table)
    found = {budget: _parabola(table, table.loss, rows) for budget, rows in budgets.items()}
    minima = {budget: minimum for budget, minimum in found.items() if minimum is not None}
    kept = list(minima)
    if len(kept) < 2:
        raise ArgumentError(
            f"{table.source}: approach 2 needs two budgets with at least {MIN_POINTS} runs around a minimum, but "
            f"{len(kept)} of {len(budgets)} have. Use a law of size and tokens, which needs no groups."
        )
    size = np.array([minima[b][0] for b in kept])
    flops = np.array(kept)
    slope = float(np.polyfit(np.log(flops), size, 1)[0])
    clean = [_parabola(table, exact, budgets[b]) for b in kept]
    own = optimal_log_size(reference.parameters, np.log(flops / FLOPS_PER_PARAMETER_TOKEN) - sum(reference.centre))
    has_clean = np.array([c is not None for c in clean])
    clean_sizes = [c[0] for c in clean if c is not None]
    bias = float("nan")
    if has_clean.sum() >= 2:
        log_flops = np.log(flops[has_clean])
        biased = np.polyfit(log_flops, clean_sizes, 1)[0]
        bias = float(biased - np.polyfit(log_flops, own[has_clean], 1)[0])
    return IsoFlop(
        flops, np.exp(size), np.array([minima[b][1] for b in kept]), slope, bias,
        tuple(b for b, minimum in found.items() if minimum is None),
    )  # fmt: skip


def _budgets(table: ScalingTable) -> dict[float, np.ndarray]:
    """Rows by compute: neighbours within 5 % are one budget."""
    order = np.argsort(table.flops)
    groups = np.split(order, np.flatnonzero(np.diff(np.log(table.flops[order])) > SAME_BUDGET) + 1)
    return {float(np.median(table.flops[rows])): rows for rows in groups}


def _parabola(table: ScalingTable, loss: np.ndarray, rows: np.ndarray) -> tuple[float, float] | None:
    """Minimum (ln N, loss) of a parabola through one budget's runs, or None if it has none inside them."""
    if len(rows) < MIN_POINTS:
        return None
    x, y = np.log(table.size[rows]), loss[rows]
    square, slope, level = np.polyfit(x - x.mean(), y, 2)
    place = -0.5 * slope / square if square > 0 else np.inf
    if not x.min() <= place + x.mean() <= x.max():
        return None
    return float(place + x.mean()), float(level + 0.5 * slope * place)
