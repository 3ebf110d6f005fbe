r"""Draws from the posterior of the learning-curve prior, by adaptive importance sampling over its shapes.

Given the shapes and the three weights, the six amounts are uniform in a box. If they were normal with the same means
and variances, they could be integrated out in closed form, for every noise at once:

    y ~ N(F m, F S F' + sigma^2),   F the four features, m and S the coefficients' moments

So the six places that are left (logarithms of the shapes, normal scores of the weights) are drawn from the prior,
weighed by this evidence, and drawn again from a mixture of normals around the best of them and an eighth of the prior,
until enough of them count [@cappe2004population]. Amounts follow from their normal conditional; the last weight puts
the box back for the normal, and drops what the prior excludes. Every step is exact in the limit of many draws.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.special import ndtr

from eigenflow.forecast.laws.learning_curves.prior import (
    AMOUNT_LOWER,
    AMOUNT_UPPER,
    AMOUNTS_TO_COEFFICIENTS,
    NOISE_LOG_MEAN,
    NOISE_LOG_SD,
    SHAPE_LOG_MEANS,
    SHAPE_LOG_SDS,
    WEIGHT_OF_AMOUNT,
    allowed,
    features,
)

__all__ = ["Posterior", "effective_size", "sample_posterior"]

PLACES = 6
PLACE_MEANS = np.concatenate([SHAPE_LOG_MEANS, np.zeros(3)])
PLACE_SDS = np.concatenate([SHAPE_LOG_SDS, np.ones(3)])
# Logarithm of the noise, finer than the sd of its posterior, 1 / sqrt(2 n), for up to some hundred points.
LOG_NOISES = np.arange(-10.0, -0.4, 0.125)
# Rounds end when so many places count, and draws of amounts when so many of them do.
ENOUGH_PLACES, ENOUGH = 400.0, 800.0
MOST_ROUNDS, MOST_REPEATS = 6, 6
KERNELS = 256
PRIOR_SHARE = 0.125

Draws = Float[np.ndarray, " draw"]
Places = Float[np.ndarray, "draw 6"]


@dataclass(frozen=True)
class Posterior:
    """Equally weighted draws.

    Attributes:
        log_shapes: ln(alpha), ln(k), ln(delta).
        weights: Of the three curves.
        amounts: c1, a1, c2, a2, a3, b3, each times its curve's weight.
        noises: Standard deviations of the noise.
        effective: Independent draws that these are worth.
        rounds: Rounds of adaptation.
        is_inside: Whether the prior holds any of them; if not, these are the tenth that breaks its bounds the least.
    """

    log_shapes: Float[np.ndarray, "draw 3"]
    weights: Float[np.ndarray, "draw 3"]
    amounts: Float[np.ndarray, "draw 6"]
    noises: Draws
    effective: float
    rounds: int
    is_inside: bool

    def curves(self, positions: Float[np.ndarray, " position"]) -> Float[np.ndarray, "draw position"]:
        """Evaluate every draw, without noise."""
        coefficients = self.amounts @ AMOUNTS_TO_COEFFICIENTS.T
        return (features(positions, self.log_shapes) @ coefficients[:, :, None])[:, :, 0]


def sample_posterior(
    positions: Float[np.ndarray, " point"],
    values: Float[np.ndarray, " point"],
    whole: Float[np.ndarray, " position"],
    rng: np.random.Generator,
    draws: int = 4096,
    kept: int = 2000,
) -> Posterior:
    """Draw curves given points.

    Args:
        positions: Of the points, at least 1.
        values: In [0, 1], of a quantity that grows.
        whole: Positions at which a curve must stay in [0, 1], first to last.
        rng: Draws everything.
        draws: Places in each round.
        kept: Draws that are given back.
    """
    places = PLACE_MEANS + PLACE_SDS * rng.standard_normal((draws, PLACES))
    conditional = _Conditional.of(positions, values, places)
    log_weights, rounds = conditional.log_evidence, 1
    while rounds < MOST_ROUNDS and (rounds == 1 or effective_size(log_weights) < ENOUGH_PLACES):
        proposal = _Mixture.around(places, log_weights)
        places = proposal.draw(draws, rng)
        conditional = _Conditional.of(positions, values, places)
        log_weights = conditional.log_evidence + _log_prior(places) - proposal.log_density(places)
        rounds += 1
    found = _Found.empty()
    for _ in range(MOST_REPEATS):
        found = found.joined(_draw_amounts(conditional, log_weights, whole, rng))
        if effective_size(found.log_weights) >= ENOUGH:
            break
    is_inside = bool(np.isfinite(found.log_weights).any())
    weights = found.log_weights if is_inside else _least_outside(found, whole)
    at = _resample(weights, kept, rng)
    effective = min(effective_size(weights), effective_size(log_weights)) if is_inside else 0.0
    shapes, scores = np.split(found.places[at], 2, axis=1)
    return Posterior(
        shapes, ndtr(scores), found.amounts[at], np.exp(found.log_noises[at]), effective, rounds, is_inside
    )


def effective_size(log_weights: Draws) -> float:
    """Kish's count of independent draws: (sum w)^2 / sum w^2; 0 if none has a weight."""
    if not np.isfinite(log_weights).any():
        return 0.0
    weights = np.exp(log_weights - log_weights.max())
    return float(weights.sum() ** 2 / (weights @ weights))


@dataclass(frozen=True)
class _Conditional:
    """The normal law of the coefficients given points, at many places and all noises.

    In the coordinates in which both the prior's and the points' information are diagonal: `root` maps them to
    coefficients, `information` is that of the points times sigma^2, `pull` its product with their estimate.
    """

    places: Places
    amount_means: Float[np.ndarray, "draw 6"]
    amount_variances: Float[np.ndarray, "draw 6"]
    root: Float[np.ndarray, "draw 4 4"]
    information: Float[np.ndarray, "draw 4"]
    pull: Float[np.ndarray, "draw 4"]
    log_noise_weights: Float[np.ndarray, "draw noise"]
    log_evidence: Draws

    @classmethod
    def of(cls, positions: np.ndarray, values: np.ndarray, places: Places) -> "_Conditional":
        weights = ndtr(places[:, 3:])[:, WEIGHT_OF_AMOUNT]
        means = 0.5 * (AMOUNT_LOWER + AMOUNT_UPPER) * weights
        variances = (AMOUNT_UPPER - AMOUNT_LOWER) ** 2 / 12.0 * weights**2 + 1e-12
        seen = AMOUNTS_TO_COEFFICIENTS
        spread = np.linalg.cholesky((seen * variances[:, None, :]) @ seen.T)
        found = features(positions, places[:, :3])
        residual = values - (found @ (means @ seen.T)[:, :, None])[:, :, 0]
        scaled = found @ spread
        information, turn = np.linalg.eigh(np.swapaxes(scaled, 1, 2) @ scaled)
        information = np.maximum(information, 0.0)
        root = spread @ turn
        pull = (np.swapaxes(scaled @ turn, 1, 2) @ residual[:, :, None])[:, :, 0]
        variance = np.exp(2.0 * LOG_NOISES)
        explained = ((pull**2)[:, :, None] / (information[:, :, None] + variance)).sum(axis=1)
        square = np.maximum((residual**2).sum(axis=1)[:, None] - explained, 0.0)
        volume = np.log((1.0 + information[:, :, None] / variance).prod(axis=1))
        log_prior = -0.5 * ((LOG_NOISES - NOISE_LOG_MEAN) / NOISE_LOG_SD) ** 2
        each = log_prior - 0.5 * (2.0 * len(values) * LOG_NOISES + volume + square / variance)
        top = each.max(axis=1)
        total = top + np.log(np.exp(each - top[:, None]).sum(axis=1))
        return cls(places, means, variances, root, information, pull, each, total)


@dataclass(frozen=True)
class _Found:
    """Draws of everything, with logarithms of weights; minus infinity for what the prior excludes."""

    places: Places
    amounts: Float[np.ndarray, "draw 6"]
    log_noises: Draws
    log_weights: Draws

    @classmethod
    def empty(cls) -> "_Found":
        return cls(np.zeros((0, PLACES)), np.zeros((0, 6)), np.zeros(0), np.zeros(0))

    def joined(self, other: "_Found") -> "_Found":
        pairs = (
            (self.places, other.places),
            (self.amounts, other.amounts),
            (self.log_noises, other.log_noises),
            (self.log_weights, other.log_weights),
        )
        return _Found(*(np.concatenate(pair) for pair in pairs))


def _draw_amounts(conditional: _Conditional, log_weights: Draws, whole: np.ndarray, rng: np.random.Generator) -> _Found:
    """Draw places by their weights, then noise and amounts; weigh them by the prior over its normal stand-in."""
    count = len(log_weights)
    at = _resample(log_weights, count, rng)
    cumulated = np.exp(conditional.log_noise_weights[at] - conditional.log_noise_weights[at].max(axis=1)[:, None])
    cumulated = np.cumsum(cumulated, axis=1)
    cell = (cumulated < (rng.random(count) * cumulated[:, -1])[:, None]).sum(axis=1)
    log_noises = LOG_NOISES[cell]
    variance = np.exp(2.0 * log_noises)[:, None]
    precise = conditional.information[at] + variance
    local = conditional.pull[at] / precise + np.sqrt(variance / precise) * rng.standard_normal((count, 4))
    means, variances = conditional.amount_means[at], conditional.amount_variances[at]
    seen = AMOUNTS_TO_COEFFICIENTS
    coefficients = means @ seen.T + (conditional.root[at] @ local[:, :, None])[:, :, 0]
    # Amounts given the coefficients: a draw from before the points, moved to where it has these coefficients.
    amounts = means + np.sqrt(variances) * rng.standard_normal((count, 6))
    missing = coefficients - amounts @ seen.T
    moved = np.linalg.solve((seen * variances[:, None, :]) @ seen.T, missing[:, :, None])[:, :, 0]
    amounts = amounts + variances * (moved @ seen)
    places = conditional.places[at]
    weights = ndtr(places[:, 3:])[:, WEIGHT_OF_AMOUNT]
    inside = ((amounts >= AMOUNT_LOWER * weights) & (amounts <= AMOUNT_UPPER * weights)).all(axis=1)
    held = np.flatnonzero(inside)
    curves = (features(whole, places[held, :3]) @ coefficients[held][:, :, None])[:, :, 0]
    inside[held] = allowed(curves)
    ratio = 0.5 * ((amounts - means) ** 2 / variances).sum(axis=1)
    return _Found(places, amounts, log_noises, np.where(inside, ratio, -np.inf))


def _least_outside(found: _Found, whole: np.ndarray) -> Draws:
    """Weigh the tenth of the curves that leaves [0, 1], or falls, by the least."""
    coefficients = found.amounts @ AMOUNTS_TO_COEFFICIENTS.T
    curves = (features(whole, found.places[:, :3]) @ coefficients[:, :, None])[:, :, 0]
    outside = np.maximum(-curves.min(axis=1), 0.0) + np.maximum(curves.max(axis=1) - 1.0, 0.0)
    outside += np.maximum(curves[:, 0] - curves[:, -1], 0.0)
    return np.where(outside <= np.quantile(outside, 0.1), 0.0, -np.inf)


@dataclass(frozen=True)
class _Mixture:
    """Normals of one covariance around places that count, and a share of the prior."""

    centres: Places
    shares: Draws
    root: Float[np.ndarray, "6 6"]

    @classmethod
    def around(cls, places: Places, log_weights: Draws) -> "_Mixture":
        weights = np.exp(log_weights - log_weights.max())
        weights /= weights.sum()
        effective = effective_size(log_weights)
        centred = places - weights @ places
        covariance = centred.T @ (centred * weights[:, None])
        # Of few places the covariance is too small by chance; part of the prior's keeps the next round wide.
        covariance += np.diag(PLACE_SDS**2) * max(0.3 / max(effective, 1.0), 1e-4)
        bandwidth = max(effective, 10.0) ** (-1.0 / (PLACES + 4))
        best = np.argsort(-weights)[:KERNELS]
        root = bandwidth * np.linalg.cholesky(covariance)
        return cls(places[best], weights[best] / weights[best].sum(), root)

    def draw(self, count: int, rng: np.random.Generator) -> Places:
        from_prior = int(PRIOR_SHARE * count)
        at = rng.choice(len(self.centres), count - from_prior, p=self.shares)
        near = self.centres[at] + rng.standard_normal((count - from_prior, PLACES)) @ self.root.T
        return np.concatenate([near, PLACE_MEANS + PLACE_SDS * rng.standard_normal((from_prior, PLACES))])

    def log_density(self, places: Places) -> Draws:
        """Up to the constant that `_log_prior` leaves out too."""
        inverse = np.linalg.inv(self.root)
        here, there = places @ inverse.T, self.centres @ inverse.T
        apart = (here**2).sum(axis=1)[:, None] + (there**2).sum(axis=1) - 2.0 * here @ there.T
        near = np.log(np.exp(-0.5 * np.maximum(apart, 0.0)) @ self.shares + 1e-300)
        near -= np.log(np.diag(self.root)).sum()
        return np.logaddexp(near + np.log(1.0 - PRIOR_SHARE), _log_prior(places) + np.log(PRIOR_SHARE))


def _log_prior(places: Places) -> Draws:
    return -0.5 * (((places - PLACE_MEANS) / PLACE_SDS) ** 2).sum(axis=1) - np.log(PLACE_SDS).sum()


def _resample(log_weights: Draws, count: int, rng: np.random.Generator) -> Int[np.ndarray, " kept"]:
    """Choose indices by weight, evenly (systematic resampling)."""
    reached = np.cumsum(np.exp(log_weights - log_weights.max()))
    wanted = (np.arange(count) + rng.random()) / count * reached[-1]
    return np.minimum(np.searchsorted(reached, wanted), len(reached) - 1)
