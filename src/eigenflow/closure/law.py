"""From shells to the equation: the signed drift law v = -c(t) lambda^b that a run shows.

The velocity of a shell is the mean lambda-dot of its eigenvalues, Tr(P Mdot) / n, at their mean eigenvalue,
Tr(P M) / n; neither depends on the choice of eigenvectors. The law is fitted to the logarithmic velocity
v / lambda, signed, so no sign is imposed and shells that stand still count as such. Every measured time is
scaled by its own root mean square, so that the late, slow ones count as much as the early ones.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from scipy.special import stdtrit

from eigenflow.closure.of_run import run_velocities
from eigenflow.closure.velocities import Velocities, shell_velocities
from eigenflow.core.checks import check_kind
from eigenflow.core.display import AbstractPrinted, Card, FieldsPrinted, interval, span
from eigenflow.core.resampling import (
    LEVEL,
    block_indices,
    correlated_interval,
    correlated_quantiles,
    drawn_counts,
)
from eigenflow.core.rounding import EXACT
from eigenflow.shells import ShellBudget
from eigenflow.store import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Closure", "HeldOut", "Scaled", "fit_closure", "quantiles"]

EXPONENTS = np.linspace(-1.0, 4.0, 1001)  # the exponents b that are searched


@dataclass(frozen=True, repr=False)
class HeldOut(FieldsPrinted):
    """How well the power form, with b from the earlier half of the measured times, fits the later half.

    The claim leaves c(t) free, so it is fitted at every time, in the law and in its alternatives alike.

    Attributes:
        skill: 1 - (squared error of the law) / (squared error of the best alternative), in scaled
            logarithmic velocity; 1 is perfect, 0 no better, negative worse.
        interval: 90 % interval of `skill`, block bootstrap over the held-out times.
        best_alternative: "zero" (v = 0), or "constant" (the same v in all shells).
        b: Exponent from the earlier half.
        times: Number of held-out times.
    """

    skill: float
    interval: tuple[float, float]
    best_alternative: str
    b: float
    times: int


@dataclass(frozen=True, repr=False)
class Closure(AbstractPrinted):
    """The drift law v = -c(t) lambda^b of one run.

    Attributes:
        b: Exponent, common to all times and shells.
        b_interval: Its 90 % interval, block bootstrap over times.
        reference: lambda_ref, the geometric mean of the centres of all shells used, 1 / time.
        times: Measured times used.
        strength: Signed kappa(t) = c(t) lambda_ref^(b - 1), 1 / time: the rate at which ln(lambda) falls at the
            reference. Negative: eigenvalues grow.
        strength_low: Lower ends of its 90 % intervals, from the scatter over shells.
        strength_high: Upper ends.
        gamma: Median over times of t kappa(t), the law's sign and size without unit.
        gamma_interval: Its 90 % interval, block bootstrap over times.
        decay: p in |kappa| ~ t^-p, over the times of the majority sign.
        decay_interval: Its 90 % interval.
        explained: Share of the squared scaled logarithmic velocity that the law explains.
        sign_share: Share of shells and times whose velocity has the majority sign.
        held_out: The same law on times that it was not fitted to.
        points: Shells times measured times behind the fit.
        velocities: What the law was fitted to.
        self_similar_gap: b + p - 2, zero for self-similar drift: a power of lambda that is scale-free in time has
            c(t) ~ t^(b - 2) (theory: dimension of v).
        self_similar_interval: Its 90 % interval.
    """

    b: float
    b_interval: tuple[float, float]
    reference: float
    times: Float[np.ndarray, " time"]
    strength: Float[np.ndarray, " time"]
    strength_low: Float[np.ndarray, " time"]
    strength_high: Float[np.ndarray, " time"]
    gamma: float
    gamma_interval: tuple[float, float]
    decay: float
    decay_interval: tuple[float, float]
    explained: float
    sign_share: float
    held_out: HeldOut
    points: int
    velocities: Velocities
    self_similar_gap: float
    self_similar_interval: tuple[float, float]

    def c(self) -> Float[np.ndarray, " time"]:
        """c(t) itself, in eigenvalue^(1 - b) / time; positive moves modes down."""
        return self.strength * self.reference ** (1.0 - self.b)

    def _card(self) -> Card:
        low, high = self.gamma_interval
        sign = "eigenvalues grow" if high < 0 else "eigenvalues sink" if low > 0 else "no clear direction"
        ahead = f"{interval(self.held_out.skill, *self.held_out.interval)} against {self.held_out.best_alternative!r}"
        rows = [
            ("b", interval(self.b, *self.b_interval)),
            ("gamma", f"{interval(self.gamma, *self.gamma_interval)}, median of t kappa(t): {sign}"),
            ("sign", f"{self.sign_share:.0%} of the velocities have the majority's"),
            ("decay p", f"{interval(self.decay, *self.decay_interval)} in |kappa| ~ t^-p"),
            ("b + p - 2", f"{interval(self.self_similar_gap, *self.self_similar_interval)}; 0 if self-similar"),
            ("explained", f"{self.explained:.1%} of the squared scaled velocity"),
            ("held out", f"skill {ahead}, {self.held_out.times} later times"),
            ("from", f"{self.points} velocities at {len(self.times)} times, t = {span(self.times)}"),
        ]
        return Card("Closure: v = -c(t) lambda^b, 90 % intervals", rows)

    def to_dataframe(self) -> pd.DataFrame:
        """One row a measured time: the strength kappa(t) with its interval, and c(t)."""
        columns = {"time": self.times, "strength": self.strength}
        columns |= {"strength_low": self.strength_low, "strength_high": self.strength_high, "c": self.c()}
        return pd.DataFrame(columns)

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw t kappa(t) with its 90 % interval; into new axes if none are given."""
        from eigenflow.plots.axes import axes_or_new
        from eigenflow.plots.measured import plot_drift_strength

        return plot_drift_strength(self.times, self.strength, self.strength_low, self.strength_high, ax=axes_or_new(ax))


@dataclass(frozen=True)
class Scaled:
    """Velocities, every time scaled by its own root mean square, so that late, slow times count like early ones."""

    times: Float[np.ndarray, " time"]
    position: Float[np.ndarray, "time place"]  # ln(mean lambda / reference); 0 where not used
    scaled: Float[np.ndarray, "time place"]  # (v / lambda) / scale; 0 where not used
    is_used: Bool[np.ndarray, "time place"]
    scale: Float[np.ndarray, " time"]

    @classmethod
    def of(cls, velocities: Velocities) -> "Scaled":
        """Scale measured velocities."""
        v, scale = velocities, velocities.scale
        return cls(v.times, v.position, v.value / scale[:, None], v.is_used, scale)

    def shape_terms(self, b: float) -> tuple[np.ndarray, np.ndarray]:
        """The law's shape at exponent b and the best factor at every time."""
        shape = np.where(self.is_used, np.exp((b - 1.0) * self.position), 0.0)
        return shape, (self.scaled * shape).sum(1) / (shape**2).sum(1)

    def errors(self, b: float) -> Float[np.ndarray, " time"]:
        """Squared error per time at exponent b, with the best factor at each."""
        shape, factor = self.shape_terms(b)
        return ((self.scaled - factor[:, None] * shape) ** 2).sum(1)


def fit_closure(budget: Run | ShellBudget | Velocities, *, seed: int = 0) -> Closure:
    """Fit v = -c(t) lambda^b, signed, to the velocities of a run's shells.

    Args:
        budget: A run, whose velocities are then those that its claims use (`run_velocities`); shells as from
            `shell_budget`, of which the velocities along single updates are used, minibatches or not; or any
            `Velocities`.
        seed: Of the bootstrap.

    Returns:
        The law with intervals, and its score on held-out time.

    Raises:
        ArgumentError: If fewer than 6 measured times have 3 shells of at least 3 moving eigenvalues.
    """
    wanted = "a run, a budget, as from `shell_budget(run)`, or `Velocities`"
    check_kind("budget", budget, (Run, ShellBudget, Velocities), wanted)
    velocities = _velocities(budget)
    data = Scaled.of(velocities)
    rng = np.random.default_rng(seed)
    errors = np.stack([data.errors(b) for b in EXPONENTS], axis=1)
    draws = block_indices(len(data.times), rng)
    best = int(errors.sum(0).argmin())
    b, b_draws = float(EXPONENTS[best]), EXPONENTS[(drawn_counts(draws) @ errors).argmin(1)]
    # What a time adds to b is the slope of its error there.
    around = np.clip([best - 1, best + 1], 0, len(EXPONENTS) - 1)
    b_parts = errors[:, around[0]] - errors[:, around[1]]

    shape, factor = data.shape_terms(b)
    kappa = -factor * data.scale
    count = data.is_used.sum(1)
    error = np.sqrt(data.errors(b) / np.maximum(count - 1, 1) / (shape**2).sum(1)) * data.scale
    half_width = stdtrit(np.maximum(count - 1, 1), (1 + LEVEL) / 2) * error

    gammas = data.times * kappa
    sign = np.sign(np.median(kappa))
    decay, decay_draws, decay_parts = _decay(data.times, kappa, sign, draws)
    gap = b + decay - 2.0
    return Closure(
        b=b,
        b_interval=correlated_quantiles(b, b_draws, b_parts, draws),
        reference=velocities.reference,
        times=data.times,
        strength=kappa,
        strength_low=kappa - half_width,
        strength_high=kappa + half_width,
        gamma=float(np.median(gammas)),
        gamma_interval=correlated_interval(gammas, lambda v: float(np.median(v)), rng, is_inside=True),
        decay=decay,
        decay_interval=correlated_quantiles(decay, decay_draws, decay_parts, draws),
        explained=float(1.0 - data.errors(b).sum() / (data.scaled**2).sum()),
        sign_share=float((np.sign(-data.scaled[data.is_used]) == sign).mean()),
        held_out=_held_out(data, errors, rng),
        points=int(data.is_used.sum()),
        velocities=velocities,
        self_similar_gap=gap,
        self_similar_interval=correlated_quantiles(gap, b_draws + decay_draws - 2.0, decay_parts, draws),
    )


def _velocities(source: Run | ShellBudget | Velocities) -> Velocities:
    if isinstance(source, Velocities):
        return source
    return run_velocities(source) if isinstance(source, Run) else shell_velocities(source)


def _decay(
    times: np.ndarray, kappa: np.ndarray, sign: float, draws: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """Slope p of |kappa| ~ t^-p over the times that have the majority sign, of draws, and what each time adds."""
    kept = np.sign(kappa) == sign
    x, y = np.log(times), np.log(np.abs(kappa), where=kept, out=np.zeros_like(kappa))

    def slope(index: np.ndarray) -> float:
        index = index[kept[index]]
        if len(index) < 2 or np.ptp(x[index]) == 0:
            return 0.0
        return -float(np.polyfit(x[index], y[index], 1)[0])

    decay = slope(np.arange(len(times)))
    centred = np.where(kept, x - x[kept].mean(), 0.0)
    level = float((y + decay * x)[kept].mean())
    parts = -centred * (y - level + decay * x)
    return decay, np.array([slope(index) for index in draws]), parts


def _held_out(data: Scaled, errors: np.ndarray, rng: np.random.Generator) -> HeldOut:
    """Fit b to the earlier half of the measured times; score the form on the later half, c(t) free in all forms."""
    half = len(data.times) // 2
    b = float(EXPONENTS[errors[:half].sum(0).argmin()])
    law = np.maximum(data.errors(b)[half:], EXACT**2)
    others = {"zero": (data.scaled**2).sum(1)[half:], "constant": np.maximum(data.errors(0.0)[half:], EXACT**2)}
    best = min(others, key=lambda name: others[name].sum())

    def skill(index: np.ndarray) -> float:
        return float(1.0 - law[index].sum() / others[best][index].sum())

    draws = block_indices(len(law), rng)
    whole = skill(np.arange(len(law)))
    parts = (1.0 - whole) * others[best] - law
    interval = correlated_quantiles(whole, np.array([skill(index) for index in draws]), parts, draws)
    return HeldOut(whole, interval, best, b, len(law))


def quantiles(values: np.ndarray) -> tuple[float, float]:
    """Ends of the 90 % interval of bootstrap draws."""
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
