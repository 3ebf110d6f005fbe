"""The loss law of the spectral transport equation (equations/loss_law.md#loss-law).

A run has an age X: the sum of (learning rate / peak)^p over its updates, offset by s0 and divided by its value at a
reference run, so that X = 1 there. Two things happen as it grows:

    bias   L_inf (1 + A X^-a)                       what has not been learned yet, at a frontier that moves with X
    noise  B sum_j (w_j - w_(j-1)) H(u_j) / H_ref   what learning rates bring in and lose again, w = (rate / peak)^q

The sum is over changes of the learning rate; u_j is the effective time since the change,
u = (X^alpha - X_j^alpha) / alpha, and H(u) = 1 - (1 + b r u)^(-1/b) the share of its effect that has come about.
alpha = 1 is the lazy limit (noise relaxes at fixed rates), alpha = 0 the self-similar case (it relaxes at the moving
frontier, at a rate proportional to 1 / X).

The equation itself has noise beside bias (`feedback=False`) and p = 1; then the law is the exact solution of a
`TransportProblem`, which the tests solve. Beyond it go (and earn their place on held-out schedules):
noise in proportion to the bias (`feedback=True`: gradient noise is proportional to the loss,
equations/identities.md#eq-s1 with E taken now, not then), and the clock exponent p (adaptive optimizers do not move in
proportion to the rate).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float, Int

from eigenflow.forecast.laws.protocol import History, Parameter
from eigenflow.forecast.laws.rate_path import Clock, RatePath, rate_path
from eigenflow.forecast.laws.relaxation import power_age, relaxed_area, relaxed_share

__all__ = ["PreparedCurve", "TransportLaw"]

Points = Float[np.ndarray, " point"]
Gradient = Float[np.ndarray, "point parameter"]

PARAMETERS = (
    Parameter("L_inf", "nats", "loss that no training removes", "log", 1e-6, 1e4),
    Parameter("A", "", "bias at the reference age, in units of L_inf", "log", 1e-3, 1e2),
    Parameter("a", "", "exponent of the bias in the age", "log", 0.02, 4.5, moves_with_size=False),
    Parameter("s0", "", "offset of the age, as a share of the reference", "log", 1e-4, 5.0, moves_with_size=False),
    Parameter(
        "B",
        "",
        "noise at the peak rate and the reference age, in units of the bias loss",
        "log",
        1e-5,
        50.0,
        is_followed=True,
    ),
    Parameter("q", "", "exponent of the learning rate in the noise", "linear", 0.02, 2.5, moves_with_size=False),
    Parameter("r", "", "relaxation rate of noise per unit of effective time", "log", 0.02, 1e5, moves_with_size=False),
    Parameter("b", "", "breadth of the relaxation spectrum (0: one rate)", "log", 0.02, 20.0, moves_with_size=False),
    Parameter("alpha", "", "0: relaxation at the moving frontier, 1: lazy", "linear", -2.0, 3.0, moves_with_size=False),
    Parameter("p", "", "exponent of the learning rate in the age", "linear", 0.1, 1.8, moves_with_size=False),
)
NAMES = tuple(parameter.name for parameter in PARAMETERS)
FLOOR, BIAS, EXPONENT, OFFSET, NOISE, POWER, RELAXATION, BREADTH, ALPHA, CLOCK = range(len(PARAMETERS))
# What noise depends on but for its level.
OF_NOISE = [OFFSET, POWER, RELAXATION, BREADTH, ALPHA, CLOCK]
# Where no prior is: the middle of what is found on language models.
TYPICAL = {"A": 0.08, "a": 0.5, "s0": 0.01, "B": 0.08, "q": 0.65, "r": 200.0, "b": 2.0, "alpha": 0.3, "p": 1.0}
SPREAD = np.array([0.05, 0.7, 0.4, 1.5, 0.7, 0.15, 1.0, 1.0, 0.3, 0.15])


@dataclass(frozen=True)
class PreparedCurve:
    """What of a curve does not depend on parameters.

    Attributes:
        path: Its learning rate in units of the peak; with a batch that changes, times first batch / batch.
        clock: Along the knots of the path and the observations.
        knots: Positions of the knots in the clock.
        observed: Positions of the observations in the clock.
        is_past: Whether a knot lies before an observation.
        memory: Ages and noise for the last parameters that they depend on; curves that share a schedule share this.
    """

    path: RatePath
    clock: Clock
    knots: Int[np.ndarray, " knot"]
    observed: Int[np.ndarray, " point"]
    is_past: np.ndarray
    memory: dict[tuple[float, bytes], tuple["_Age", "_Noise"]] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class _Age:
    """ln X with its derivatives with respect to ln(s0) and p; its power (effective time) likewise."""

    log: np.ndarray
    by_offset: np.ndarray
    by_clock: np.ndarray

    @classmethod
    def of(cls, clock: np.ndarray, slope: np.ndarray, offset: float, reference: float) -> "_Age":
        return cls(
            np.log((offset + clock) / (offset + reference)),
            offset / (offset + clock) - offset / (offset + reference),
            slope / (offset + clock),
        )


@dataclass(frozen=True)
class _Noise:
    """B sum_j (w_j - w_(j-1)) H(u_j) / H_ref, but for B.

    Attributes:
        value: The sum.
        gradient: Derivatives of the quotient, times H_ref.
        full: H_ref.
    """

    value: Points
    gradient: Gradient
    full: float

    def scaled(self, log_level: float) -> tuple[Points, Gradient]:
        """Give the noise at a level, and its derivatives with respect to all parameters."""
        scale = float(np.exp(log_level)) / self.full
        noise, gradient = scale * self.value, scale * self.gradient
        gradient[:, NOISE] = noise
        return noise, gradient


@dataclass(frozen=True)
class TransportLaw:
    """The transport law, in units of one reference run.

    Attributes:
        reference: Updates at the peak rate (sum of learning rates / peak) of the run whose age is 1; a fit takes
            its longest curve.
        feedback: Whether noise is proportional to the bias.
        tolerance: Of the path that a schedule is followed by, in (rate / peak)^0.66 (see `rate_path`): ln(loss) is
            off by B times as much at most.
    """

    reference: float = 1.0
    feedback: bool = True
    tolerance: float = 1e-4

    name = "transport"
    parameters = PARAMETERS

    def scaled_to(self, histories: Sequence[History]) -> "TransportLaw":
        """Take the longest history, in updates at its peak rate, as the reference."""
        return replace(self, reference=max(float(h.times[-1] / h.rates.max()) for h in histories))

    def prepare(self, history: History) -> PreparedCurve:
        """Follow the schedule by a few straight pieces, and place the observations in it."""
        rates = history.rates / history.rates.max()
        noisy = rates if history.batch is None else rates * (history.batch[0] / history.batch)
        path = rate_path(noisy, self.tolerance)
        steps = history.steps.astype(np.float64)
        grid = np.unique(np.concatenate([path.positions, steps]))
        knots, observed = np.searchsorted(grid, path.positions), np.searchsorted(grid, steps)
        is_past = path.positions[None, :] < steps[:, None]
        return PreparedCurve(path, Clock.at(rates, grid), knots, observed, is_past)

    def evaluate(self, theta: Float[np.ndarray, " parameter"], prepared: PreparedCurve) -> tuple[Points, Gradient]:
        """Give ln(loss) at each observation, and its derivatives with respect to `theta`."""
        age, unit = self._shared(theta, prepared)
        log_bias, by_bias = _bias(theta, age)
        noise, by_noise = unit.scaled(float(theta[NOISE]))
        if self.feedback:
            return log_bias + np.log1p(noise), by_bias + by_noise / (1.0 + noise)[:, None]
        # Noise in units of L_inf (1 + A) (the bias at the reference), added.
        log_unit = theta[FLOOR] + np.log1p(np.exp(theta[BIAS]))
        ratio = np.exp(log_unit - log_bias) * noise
        by_unit = np.zeros_like(by_bias)
        by_unit[:, FLOOR], by_unit[:, BIAS] = 1.0, 1.0 / (1.0 + np.exp(-theta[BIAS]))
        gradient = by_bias + ratio[:, None] * (by_unit + by_noise / np.maximum(noise, 1e-300)[:, None])
        return log_bias + np.log1p(ratio), gradient / (1.0 + ratio)[:, None]

    def _shared(self, theta: Float[np.ndarray, " parameter"], prepared: PreparedCurve) -> tuple["_Age", "_Noise"]:
        """Ages and noise: the same for all sizes under one schedule, whose floors, biases and noise levels differ."""
        key = (self.reference, theta[OF_NOISE].tobytes())
        if key not in prepared.memory:
            offset = float(np.exp(theta[OFFSET])) * self.reference
            clock, slope = prepared.clock.power_sums(float(theta[CLOCK]))
            age, knot_age = (
                _Age.of(clock[at], slope[at], offset, self.reference) for at in (prepared.observed, prepared.knots)
            )
            prepared.memory.clear()
            prepared.memory[key] = age, _noise(theta, prepared, age, knot_age, offset / (offset + self.reference))
        return prepared.memory[key]

    def start(
        self,
        prepared: Sequence[PreparedCurve],
        log_losses: Sequence[Float[np.ndarray, " _"]],
        rng: np.random.Generator | None,
    ) -> Float[np.ndarray, " parameter"]:
        """Give what is typical of language models, or a draw around it."""
        lowest = float(min(np.min(values) for values in log_losses))
        theta = np.array([lowest - 0.15] + [float(p.to_theta(TYPICAL[p.name])) for p in PARAMETERS[1:]])
        if rng is not None:
            theta = theta + SPREAD * rng.standard_normal(len(theta))
        return theta


def _bias(theta: Float[np.ndarray, " parameter"], age: _Age) -> tuple[Points, Gradient]:
    """ln(L_inf (1 + A X^-a)) and its derivatives."""
    exponent = float(np.exp(theta[EXPONENT]))
    excess = np.exp(theta[BIAS] - exponent * age.log)
    share = excess / (1.0 + excess)
    gradient = np.zeros((len(age.log), len(PARAMETERS)))
    gradient[:, FLOOR] = 1.0
    gradient[:, BIAS] = share
    gradient[:, EXPONENT] = -share * exponent * age.log
    gradient[:, OFFSET] = -share * exponent * age.by_offset
    gradient[:, CLOCK] = -share * exponent * age.by_clock
    return theta[FLOOR] + np.log1p(excess), gradient


def _noise(
    theta: Float[np.ndarray, " parameter"], prepared: PreparedCurve, age: _Age, knot_age: _Age, start_age: float
) -> _Noise:
    """The noise but for its level, and its derivatives; `start_age` is X before the first update.

    Along a straight piece the sum over updates is an integral, the slope times G(u_begin) - G(u_end), G that of H.
    """
    alpha = float(theta[ALPHA])
    rate, breadth = float(np.exp(theta[RELAXATION])), float(np.exp(theta[BREADTH]))
    time, by_theta = _effective_time(age, alpha)
    knot_time, knot_by_theta = _effective_time(knot_age, alpha)
    path = _Weights.of(prepared.path, float(theta[POWER]), knot_time, knot_by_theta)

    elapsed = np.where(prepared.is_past, time[:, None] - knot_time, 0.0)
    (share, slope, share_by_breadth), (area, area_by_breadth) = relaxed_area(elapsed, rate, breadth)
    value = share @ path.jumps + area @ path.bends
    # How the value moves with the distance of each knot in effective time.
    pull = np.where(prepared.is_past, slope * path.jumps + share * path.bends, 0.0)
    pulled = pull.sum(axis=1)

    gradient = np.zeros((len(value), len(PARAMETERS)))
    gradient[:, POWER] = share @ path.jumps_by_power + area @ path.bends_by_power
    gradient[:, RELAXATION] = (elapsed * pull).sum(axis=1) - area @ path.bends
    gradient[:, BREADTH] = share_by_breadth @ path.jumps + area_by_breadth @ path.bends
    for k in (ALPHA, OFFSET, CLOCK):
        gradient[:, k] = by_theta[k] * pulled - pull @ knot_by_theta[k] + area @ path.bends_by_time[k]

    # The reference: the peak rate from the beginning to X = 1.
    start = np.array([np.log(start_age)])
    start_time, start_by_alpha = power_age(start, alpha)
    full, full_by_time, full_by_rate, full_by_breadth = (float(x[0]) for x in relaxed_share(-start_time, rate, breadth))
    of_full = np.zeros(len(PARAMETERS))
    of_full[RELAXATION], of_full[BREADTH] = full_by_rate, full_by_breadth
    of_full[ALPHA] = -full_by_time * float(start_by_alpha[0])
    of_full[OFFSET] = -full_by_time * float(np.exp(alpha * start[0])) * (1.0 - start_age)

    return _Noise(value, gradient - value[:, None] * of_full / full, full)


def _effective_time(age: _Age, alpha: float) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """The effective time u(X) and its derivatives with respect to alpha, ln(s0) and p."""
    time, by_alpha = power_age(age.log, alpha)
    speed = np.exp(alpha * age.log)
    return time, {ALPHA: by_alpha, OFFSET: speed * age.by_offset, CLOCK: speed * age.by_clock}


@dataclass(frozen=True)
class _Weights:
    """w = rate^q along a path, straight in effective time between its knots: jumps and changes of slope.

    Attributes:
        jumps: Of w at each knot.
        bends: Change of dw/du at each knot.
        jumps_by_power: Derivatives of `jumps` with respect to q.
        bends_by_power: Derivatives of `bends` with respect to q.
        bends_by_time: Derivatives of `bends` with respect to what moves the knots' times.
    """

    jumps: Float[np.ndarray, " knot"]
    bends: Float[np.ndarray, " knot"]
    jumps_by_power: Float[np.ndarray, " knot"]
    bends_by_power: Float[np.ndarray, " knot"]
    bends_by_time: dict[int, Float[np.ndarray, " knot"]]

    @classmethod
    def of(cls, path: RatePath, power: float, times: np.ndarray, by_theta: dict[int, np.ndarray]) -> "_Weights":
        (before, before_slope), (after, after_slope) = path.powers(power)
        apart = np.diff(times)
        per_time = np.where(apart > 0, 1.0 / np.where(apart > 0, apart, 1.0), 0.0)
        slopes = (before[1:] - after[:-1]) * per_time
        by_power = (before_slope[1:] - after_slope[:-1]) * per_time
        return cls(
            after - before,
            _changes(slopes),
            after_slope - before_slope,
            _changes(by_power),
            {k: _changes(-slopes * np.diff(moved) * per_time) for k, moved in by_theta.items()},
        )


def _changes(slopes: Float[np.ndarray, " piece"]) -> Float[np.ndarray, " knot"]:
    """Change of slope at every knot; the rate is constant after the last one."""
    return np.diff(np.concatenate([[0.0], slopes, [0.0]]))
