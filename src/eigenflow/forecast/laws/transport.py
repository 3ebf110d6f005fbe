"""The loss law of the spectral transport equation (theory.md section 7).

A run has an age X: the sum of (learning rate / peak)^p over its updates, offset by s0 and divided by its value at a
reference run, so that X = 1 there. Two things happen as it grows:

    bias   L_inf (1 + A X^-a)                       what has not been learned yet, at a frontier that moves with X
    noise  B sum_j (w_j - w_(j-1)) H(u_j) / H_ref   what learning rates bring in and lose again, w = (rate / peak)^q

The sum is over changes of the learning rate; u_j is the effective time since the change,
u = (X^alpha - X_j^alpha) / alpha, and H(u) = 1 - (1 + b r u)^(-1/b) the share of its effect that has come about.
alpha = 1 is the lazy limit (noise relaxes at fixed rates), alpha = 0 the self-similar case (it relaxes at the moving
frontier, at a rate proportional to 1 / X).

The equation itself has noise beside bias (`feedback=False`) and p = 1; then the law is the exact solution of a
`TransportProblem`, see `laws/pde.py`. Beyond it go (and earn their place on held-out schedules, docs/forecast.md):
noise in proportion to the bias (`feedback=True`: gradient noise is proportional to the loss, (S1) of theory.md with E
taken now, not then), and the clock exponent p (adaptive optimizers do not move in proportion to the rate).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from eigenflow.forecast.laws.blocks import RateBlocks, rate_blocks
from eigenflow.forecast.laws.protocol import History, Parameter
from eigenflow.forecast.laws.relaxation import power_age, relaxed_share

__all__ = ["PreparedCurve", "TransportLaw"]

Points = Float[np.ndarray, " point"]
Gradient = Float[np.ndarray, "point parameter"]

PARAMETERS = (
    Parameter("L_inf", "nats", "loss that no training removes", "log", 1e-6, 1e4),
    Parameter("A", "", "bias at the reference age, in units of L_inf", "log", 1e-3, 1e2),
    Parameter("a", "", "exponent of the bias in the age", "log", 0.02, 4.5, moves_with_size=False),
    Parameter("s0", "", "offset of the age, as a share of the reference", "log", 1e-4, 5.0, moves_with_size=False),
    Parameter("B", "", "noise at the peak rate and the reference age, in units of the bias loss", "log", 1e-5, 5.0),
    Parameter("q", "", "exponent of the learning rate in the noise", "linear", 0.02, 2.5, moves_with_size=False),
    Parameter("r", "", "relaxation rate of noise per unit of effective time", "log", 0.02, 1e5, moves_with_size=False),
    Parameter("b", "", "breadth of the relaxation spectrum (0: one rate)", "log", 0.02, 20.0, moves_with_size=False),
    Parameter("alpha", "", "0: relaxation at the moving frontier, 1: lazy", "linear", -2.0, 3.0, moves_with_size=False),
    Parameter("p", "", "exponent of the learning rate in the age", "linear", 0.1, 1.8, moves_with_size=False),
)
NAMES = tuple(parameter.name for parameter in PARAMETERS)
FLOOR, BIAS, EXPONENT, OFFSET, NOISE, POWER, RELAXATION, BREADTH, ALPHA, CLOCK = range(len(PARAMETERS))
# Where no prior is: the middle of what is found on language models.
TYPICAL = {"A": 0.08, "a": 0.5, "s0": 0.01, "B": 0.08, "q": 0.65, "r": 200.0, "b": 2.0, "alpha": 0.3, "p": 1.0}
SPREAD = np.array([0.05, 0.7, 0.4, 1.5, 0.7, 0.15, 1.0, 1.0, 0.3, 0.15])


@dataclass(frozen=True)
class PreparedCurve:
    """What of a curve does not depend on parameters.

    Attributes:
        blocks: Its schedule, in units of its peak rate.
        block: Block of the last update before each observation.
        done: Updates of that block that were done.
        is_past: Whether a block had begun before an observation.
        noise_scale: ln of (reference batch / batch) of each block; 0 where the batch does not change.
    """

    blocks: RateBlocks
    block: Int[np.ndarray, " point"]
    done: Points
    is_past: np.ndarray
    noise_scale: Float[np.ndarray, " block"]

    def clock(self, exponent: float) -> tuple[np.ndarray, Points, np.ndarray, Points]:
        """Give the age before each block and at each observation, in updates, and their derivatives by the exponent."""
        weights, slopes = self.blocks.powers(exponent)
        found = []
        for per_update in (weights, slopes):
            edge = np.concatenate([[0.0], np.cumsum(per_update * np.diff(self.blocks.edges))])
            found += [edge[:-1], edge[self.block] + per_update[self.block] * self.done]
        return found[0], found[1], found[2], found[3]


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
class TransportLaw:
    """The transport law, in units of one reference run.

    Attributes:
        reference: Updates at the peak rate (sum of learning rates / peak) of the run whose age is 1; a fit takes
            its longest curve.
        feedback: Whether noise is proportional to the bias.
        tolerance: Of the blocks that the schedule is compressed to (see `rate_blocks`).
    """

    reference: float = 1.0
    feedback: bool = True
    tolerance: float = 0.01

    name = "transport"
    parameters = PARAMETERS

    def scaled_to(self, histories: Sequence[History]) -> "TransportLaw":
        """Take the longest history, in updates at its peak rate, as the reference."""
        return replace(self, reference=max(float(h.times[-1] / h.rates.max()) for h in histories))

    def prepare(self, history: History) -> PreparedCurve:
        """Compress the schedule and place the observations in it."""
        rates = history.rates / history.rates.max()
        blocks = rate_blocks(rates, self.tolerance, int(history.steps[0]) // 2)
        scale = np.zeros(len(blocks.rates))
        if history.batch is not None:
            blocks, scale = _split_by_batch(blocks, rates, history.batch)
        block = np.clip(np.searchsorted(blocks.edges, history.steps, side="left") - 1, 0, len(blocks.rates) - 1)
        done = (history.steps - blocks.edges[block]).astype(np.float64)
        is_past = blocks.edges[:-1][None, :] < history.steps[:, None]
        return PreparedCurve(blocks, block, done, is_past, scale)

    def evaluate(self, theta: Float[np.ndarray, " parameter"], prepared: PreparedCurve) -> tuple[Points, Gradient]:
        """Give ln(loss) at each observation, and its derivatives with respect to `theta`."""
        offset = float(np.exp(theta[OFFSET])) * self.reference
        before, now, before_slope, now_slope = prepared.clock(float(theta[CLOCK]))
        edge_age = _Age.of(before, before_slope, offset, self.reference)
        age = _Age.of(now, now_slope, offset, self.reference)
        log_bias, by_bias = _bias(theta, age)
        noise, by_noise = _noise(theta, prepared, age, edge_age, offset / (offset + self.reference))
        if self.feedback:
            return log_bias + np.log1p(noise), by_bias + by_noise / (1.0 + noise)[:, None]
        # Noise in units of L_inf (1 + A) (the bias at the reference), added.
        log_unit = theta[FLOOR] + np.log1p(np.exp(theta[BIAS]))
        ratio = np.exp(log_unit - log_bias) * noise
        by_unit = np.zeros_like(by_bias)
        by_unit[:, FLOOR], by_unit[:, BIAS] = 1.0, 1.0 / (1.0 + np.exp(-theta[BIAS]))
        gradient = by_bias + ratio[:, None] * (by_unit + by_noise / np.maximum(noise, 1e-300)[:, None])
        return log_bias + np.log1p(ratio), gradient / (1.0 + ratio)[:, None]

    def start(
        self, prepared: Sequence[PreparedCurve], log_losses: Sequence[Points], rng: np.random.Generator | None
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
    theta: Float[np.ndarray, " parameter"], prepared: PreparedCurve, age: _Age, edge_age: _Age, start_age: float
) -> tuple[Points, Gradient]:
    """B sum_j (w_j - w_(j-1)) H(u_j) / H_ref and its derivatives; `start_age` is X before the first update."""
    alpha, power = float(theta[ALPHA]), float(theta[POWER])
    rate, breadth = float(np.exp(theta[RELAXATION])), float(np.exp(theta[BREADTH]))
    time, time_by_alpha = power_age(age.log, alpha)
    edge_time, edge_by_alpha = power_age(edge_age.log, alpha)
    speed, edge_speed = np.exp(alpha * age.log), np.exp(alpha * edge_age.log)

    log_weights = prepared.blocks.log_rates + prepared.noise_scale
    weights = np.where(prepared.blocks.is_on, np.exp(power * log_weights), 0.0)
    change = np.diff(weights, prepend=0.0)
    change_by_power = np.diff(weights * log_weights, prepend=0.0)

    elapsed = np.where(prepared.is_past, time[:, None] - edge_time, 0.0)
    share, by_time, by_rate, by_breadth = relaxed_share(elapsed, rate, breadth)
    pull = np.where(prepared.is_past, by_time * change, 0.0)
    pulled = pull.sum(axis=1)

    # The reference: the peak rate from the beginning to X = 1.
    log_start = np.log(start_age)
    start_time, start_by_alpha = power_age(np.array([log_start]), alpha)
    full, full_by_time, full_by_rate, full_by_breadth = (float(x[0]) for x in relaxed_share(-start_time, rate, breadth))
    start_by_offset = np.exp(alpha * log_start) * (1.0 - start_age)

    scale = float(np.exp(theta[NOISE])) / full
    noise = scale * (share @ change)
    gradient = np.zeros((len(noise), len(PARAMETERS)))
    gradient[:, NOISE] = noise
    gradient[:, POWER] = scale * (share @ change_by_power)
    gradient[:, RELAXATION] = scale * (by_rate @ change) - noise * full_by_rate / full
    gradient[:, BREADTH] = scale * (by_breadth @ change) - noise * full_by_breadth / full
    gradient[:, ALPHA] = scale * (time_by_alpha * pulled - pull @ edge_by_alpha)
    gradient[:, ALPHA] += noise * full_by_time * float(start_by_alpha[0]) / full
    gradient[:, OFFSET] = scale * (speed * age.by_offset * pulled - pull @ (edge_speed * edge_age.by_offset))
    gradient[:, OFFSET] += noise * full_by_time * start_by_offset / full
    gradient[:, CLOCK] = scale * (speed * age.by_clock * pulled - pull @ (edge_speed * edge_age.by_clock))
    return noise, gradient


def _split_by_batch(
    blocks: RateBlocks, rates: Float[np.ndarray, " update"], batch: Float[np.ndarray, " update"]
) -> tuple[RateBlocks, Float[np.ndarray, " block"]]:
    """Blocks in which the batch is constant too, and ln(first batch / batch) of each."""
    edges = np.union1d(blocks.edges, np.flatnonzero(np.diff(batch) != 0) + 1)
    means = np.add.reduceat(rates, edges[:-1]) / np.diff(edges)
    is_on = means > 0
    split = RateBlocks(edges, means, np.log(np.where(is_on, means, 1.0)), is_on)
    return split, np.log(batch[0] / batch[edges[:-1]])
