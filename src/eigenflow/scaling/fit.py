"""Fit a scaling law to a table of final losses: approach 3 exactly as published, or our law with priors.

Both minimise an objective with analytic gradients by BFGS from many starts; the certificate says whether the starts
agree, how large the gradient is at the optimum, and which parameters the table itself identifies.

Source of approach 3: [@hoffmann2022training].
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import stats
from scipy.optimize import minimize

from eigenflow.core.display import AbstractPrinted, Card, figure, interval
from eigenflow.core.errors import ArgumentError
from eigenflow.core.resampling import LEVEL
from eigenflow.scaling.laws import ALPHA, BETA, D0, GAMMA, LAWS, NAMES, R, ScalingLaw, evaluate
from eigenflow.scaling.laws import A as LEVEL_OF_SIZE
from eigenflow.scaling.laws import B as LEVEL_OF_TOKENS
from eigenflow.scaling.laws import E as FLOOR
from eigenflow.scaling.objective import Huber, StudentT, excess_of
from eigenflow.scaling.priors import LEARNED, ScalingPriors
from eigenflow.scaling.table import ScalingTable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["FitStatus", "ScalingFit", "fit_approach3", "fit_scaling"]

APPROACH_3_DELTA = 1e-3
AGREE = 1e-6
SMALL_GRADIENT = 1e-3
OUTLIER = 6.0
BFGS = {"gtol": 1e-7}
# Logarithms of parameters of centred tables are of order one to ten.
RUN_AWAY = 300.0
# A law is fitted to the slopes of at least two sizes and two token counts.
MIN_DISTINCT = 2


class FitStatus(StrEnum):
    """How a fit ended."""

    CONVERGED = "converged"
    NOT_UNIQUE = "starts disagree"
    LIMIT = "gradient not small"


@dataclass(frozen=True, repr=False)
class ScalingFit(AbstractPrinted):
    """A fitted scaling law.

    Attributes:
        law: Which one.
        parameters: All of the family, in the order of `laws.NAMES`, for centred logarithms.
        centre: Means of ln N and ln D of the table.
        covariance: Of the fitted parameters, in the order of `law.free`.
        scatter: Relative scatter of a run on the compute-efficient line.
        priors: Behind the fit and its intervals; None for a fit without (approach 3).
        table: What was fitted.
        residuals: ln(measured / fitted) of each run.
        objective: Its minimum.
        status: See `FitStatus`.
        gradient: Largest component of the gradient at the optimum over the objective's curvature scale.
        agreeing_starts: Share of the starts that ended there.
        identified: For each fitted parameter, whether the table narrowed its prior to less than half (with priors),
            or fixes it to better than a factor e (without).
        outliers: Rows of the table further than six scatters from the law.
    """

    law: ScalingLaw
    parameters: Float[np.ndarray, " parameter"]
    centre: tuple[float, float]
    covariance: Float[np.ndarray, "free free"]
    scatter: float
    priors: ScalingPriors | None
    table: ScalingTable
    residuals: Float[np.ndarray, " run"]
    objective: float
    status: FitStatus
    gradient: float
    agreeing_starts: float
    identified: dict[str, bool]
    outliers: tuple[int, ...]

    def _card(self) -> Card:
        unknown = [name.removeprefix("ln_") for name, is_known in self.identified.items() if not is_known]
        rows = [
            ("law", f"L = {self.law.formula}"),
            ("status", f"{self.status.value}; {self.agreeing_starts:.0%} of the starts agree"),
            ("scatter", f"{figure(100 * self.scatter, 3)} % of the loss, run to run"),
        ]
        if unknown:
            decided = "their priors decide" if self.priors is not None else "wide"
            rows.append(("not identified", f"{', '.join(unknown)} ({decided})"))
        if self.outliers:
            rows.append(("outliers", f"rows {', '.join(map(str, self.outliers))} of the table, from 0"))
        table = self.to_dataframe()
        rows += [
            (str(row["name"]), interval(float(row["value"]), float(row["lower"]), float(row["upper"])))
            for row in table.to_dict("records")
        ]
        return Card(f"Scaling fit of {self.law.name}: {len(self.table)} runs from {self.table.source}", rows)

    def to_dataframe(self) -> pd.DataFrame:
        """One row a fitted parameter: name, value, lower, upper (90 %, Laplace's approximation), is_identified.

        Values are those of `constants`, in the units of the table.
        """
        half = float(stats.norm.ppf((1 + LEVEL) / 2))
        rows = []
        for index in self.law.free:
            name, shift = NAMES[index].removeprefix("ln_"), half * self._sd(index)
            if NAMES[index].startswith("ln_"):
                value = self.constants.get(name, float(np.exp(self.parameters[index])))
                lower, upper = value * float(np.exp(-shift)), value * float(np.exp(shift))
            else:
                value = float(self.parameters[index])
                lower, upper = value - shift, value + shift
            ends = {"value": value, "lower": lower, "upper": upper}
            rows.append({"name": name, **ends, "is_identified": self.identified[NAMES[index]]})
        return pd.DataFrame(rows)

    def _sd(self, index: int) -> float:
        """Of one of the family's parameters; A and B move with their exponents, as the table's centre is not 1."""
        weights = np.zeros(len(NAMES))
        weights[index] = 1.0
        for level, exponent, centre in ((LEVEL_OF_SIZE, ALPHA, 0), (LEVEL_OF_TOKENS, BETA, 1)):
            if index == level:
                weights[exponent] = np.exp(self.parameters[exponent]) * self.centre[centre]
        along = self.law.contract(weights[None, :])[0]
        return float(np.sqrt(max(along @ self.covariance @ along, 0.0)))

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw what the law leaves unexplained over compute; into new axes if none are given."""
        from eigenflow.plots import axes_or_new, plot_scaling_residuals

        ax = axes_or_new(ax)
        return plot_scaling_residuals(self.table.flops, self.residuals, self.scatter, ax=ax, outliers=self.outliers)

    def log_loss(self, size, tokens, epochs=None) -> tuple[np.ndarray, np.ndarray]:
        """ln L of the law, and its derivatives by the fitted parameters."""
        size, tokens = np.broadcast_arrays(np.asarray(size, np.float64), np.asarray(tokens, np.float64))
        value, jacobian = evaluate(
            self.parameters,
            np.log(size) - self.centre[0],
            np.log(tokens) - self.centre[1],
            epochs,
            self.centre[0] - self.centre[1],
        )
        return value, self.law.contract(jacobian)

    @property
    def constants(self) -> dict[str, float]:
        """E, A, alpha, B, beta, gamma, D0 in the units of the table, as papers print them."""
        p, (size, tokens) = self.parameters, self.centre
        alpha, beta = np.exp(p[ALPHA]), np.exp(p[BETA])
        return {
            "E": float(np.exp(p[FLOOR])),
            "A": float(np.exp(p[LEVEL_OF_SIZE] + alpha * size)),
            "alpha": float(alpha),
            "B": float(np.exp(p[LEVEL_OF_TOKENS] + beta * tokens)),
            "beta": float(beta),
            "gamma": float(np.exp(p[GAMMA])),
            "D0": float(np.exp(p[D0] + tokens)),
        }


def fit_approach3(table: ScalingTable, *, delta: float = APPROACH_3_DELTA, starts: int = 24, seed: int = 0):
    """Fit E + A N^-alpha + B D^-beta as published: the sum of Huber losses of ln L, no weights, no priors.

    Args:
        table: At least six runs.
        delta: Where the Huber loss turns linear, in ln L; the publication's 1e-3.
        starts: Random starts.
        seed: Of the starts.

    Returns:
        The fit; its covariance is the sandwich estimate for the Huber loss.
    """
    return _fit(table, LAWS["chinchilla"], Huber(delta), None, starts, seed)


def fit_scaling(
    table: ScalingTable,
    law: str = "frontier",
    *,
    priors: ScalingPriors | None = LEARNED,
    starts: int = 6,
    seed: int = 0,
) -> ScalingFit:
    """Fit a law by maximum posterior with Student-t residuals, whose scale is fitted too.

    Runs far from the compute-efficient line (far too large or far too small for their compute) count less:
    there every such law is wrong first.

    Args:
        table: More runs than fitted parameters where `priors` is None, at least 3 else.
        law: "frontier", "chinchilla", "tied", "kaplan", "repeats", "muennighoff".
        priors: Learned from other tables; None for none.
        starts: Random starts.
        seed: Of the starts.

    Returns:
        The fit.

    Raises:
        ArgumentError: If the law is unknown, or the table cannot identify it (one size, one token count, too few).
    """
    if law not in LAWS:
        raise ArgumentError(f"Unknown law '{law}'. Available: {', '.join(LAWS)}.")
    return _fit(table, LAWS[law], StudentT(excess_of(table, priors)), priors, starts, seed)


def _fit(table: ScalingTable, law: ScalingLaw, objective, priors, starts: int, seed: int) -> ScalingFit:
    _check_identifiable(table, law, priors)
    n, d, y = np.log(table.size), np.log(table.tokens), np.log(table.loss)
    centre = (float(n.mean()), float(d.mean()))
    free = list(law.free)
    mean, precision = _prior(law, priors, float(y.min()))

    def cost(values: np.ndarray) -> tuple[float, np.ndarray]:
        value, jacobian = evaluate(
            law.expand(values[: len(free)]), n - centre[0], d - centre[1], table.epochs, centre[0] - centre[1]
        )
        total, by_value, by_scale = objective(y - value, values[len(free) :])
        offset = values[: len(free)] - mean
        gradient = -law.contract(jacobian).T @ by_value + precision * offset
        return total + 0.5 * float(precision @ offset**2), np.concatenate([gradient, by_scale])

    ends = []
    for start in _starts(law, y, starts, np.random.default_rng(seed)):
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # a start that runs away is dropped
            end = minimize(cost, np.concatenate([start, objective.start]), jac=True, method="BFGS", options=BFGS)
            end = minimize(cost, end.x, jac=True, method="BFGS", options=BFGS)  # a fresh Hessian
            is_usable = np.isfinite(end.fun) and np.isfinite(cost(end.x)[1]).all() and np.abs(end.x).max() < RUN_AWAY
        ends += [end] if is_usable else []
    if not ends:
        raise ArgumentError(
            f"{table.source}: '{law.name}' has no optimum on these {len(table)} runs (every start ran away to infinite "
            f"parameters). Use 'frontier', whose priors keep it in place, or add runs."
        )
    best = min(ends, key=lambda end: end.fun)
    parameters = law.expand(best.x[: len(free)])
    value, jacobian = evaluate(parameters, n - centre[0], d - centre[1], table.epochs, centre[0] - centre[1])
    residuals = y - value
    contracted = law.contract(jacobian)
    scatter = objective.scatter(residuals, best.x[len(free) :])
    covariance = objective.covariance(contracted, residuals, scatter, np.diag(precision))
    agreeing = float(np.mean([end.fun - best.fun <= AGREE * (1 + abs(best.fun)) for end in ends])) * len(ends) / starts
    gradient = float(np.abs(cost(best.x)[1]).max() / objective.unit(scatter))
    status = FitStatus.LIMIT if gradient > SMALL_GRADIENT else FitStatus.CONVERGED
    status = FitStatus.NOT_UNIQUE if status is FitStatus.CONVERGED and agreeing * starts < min(2, starts) else status
    width = np.sqrt(np.diag(covariance))
    limit = np.where(precision > 0, 0.5 / np.sqrt(np.maximum(precision, 1e-12)), 1.0)
    scale = objective.scales(len(y)) * scatter
    return ScalingFit(
        law, parameters, centre, covariance, scatter, priors, table, residuals, float(best.fun), status, gradient,
        agreeing, {NAMES[i]: bool(w < m) for i, w, m in zip(free, width, limit, strict=True)},
        tuple(int(i) for i in np.flatnonzero(np.abs(residuals) > OUTLIER * scale)),
    )  # fmt: skip


def _check_identifiable(table: ScalingTable, law: ScalingLaw, priors: ScalingPriors | None) -> None:
    for name, values in (("size", table.size), ("tokens", table.tokens)):
        distinct = len(np.unique(np.round(np.log(values), 3)))
        if distinct < MIN_DISTINCT:
            raise ArgumentError(
                f"{table.source}: all {len(table)} runs have {name} = {values[0]:g}, so the exponent of {name} is not "
                f"identified. Add runs of another {name}, or forecast the curve alone (`eigenflow forecast fit`)."
            )
    needed = len(law.free) + 1
    if priors is None and len(table) < needed:
        raise ArgumentError(
            f"{table.source}: {len(table)} runs cannot identify the {needed - 1} parameters of '{law.name}' "
            f"({law.formula}); it needs {needed}. Add runs, or fit with priors."
        )
    if R in law.free and table.unique_tokens is None:
        raise ArgumentError(f"{table.source}: law '{law.name}' needs a column of unique tokens. Use 'frontier'.")


def _prior(law: ScalingLaw, priors: ScalingPriors | None, smallest: float) -> tuple[np.ndarray, np.ndarray]:
    """Means and precisions of the fitted parameters; precision 0 where there is no prior."""
    mean, precision = np.zeros(len(law.free)), np.zeros(len(law.free))
    if priors is not None:
        for place, index in enumerate(law.free):
            if index in priors.normal:
                centre, width = priors.normal[index]
                mean[place] = centre + (smallest if index == FLOOR else 0.0)
                precision[place] = width**-2
    return mean, precision


def _starts(law: ScalingLaw, y: np.ndarray, count: int, rng: np.random.Generator):
    """Scaled starts: a share of the smallest loss as the floor, the rest halved between size and tokens."""
    for _ in range(count):
        share = rng.uniform(0.2, 0.95)
        floor = y.min() + np.log(share) if FLOOR in law.free else -np.inf
        level = np.log(max(0.5 * (np.exp(np.median(y)) - np.exp(floor)), 1e-3))
        exponents = np.log(rng.uniform(0.15, 0.6, 2) if FLOOR in law.free else rng.uniform(0.04, 0.2, 2))
        full = np.array([floor, level + rng.normal(0, 0.4), exponents[0], level + rng.normal(0, 0.4), exponents[1],
                         rng.normal(-0.5, 0.3), rng.uniform(-5, -1), rng.uniform(1, 4), -6.0, 1.0, 1.0])  # fmt: skip
        yield full[list(law.free)]
