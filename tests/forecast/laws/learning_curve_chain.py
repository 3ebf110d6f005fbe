"""The learning-curve prior as it is printed, with all its parameters, and an ensemble sampler that knows nothing of it.

This is the published way: every parameter is sampled, by walkers that stretch and differ [@goodman2010ensemble].
Parameters in order: w1, w2, w3, c1, a1, ln(alpha), c2, a2, a3, b3, ln(k), ln(delta), ln(sigma).
"""

from collections.abc import Callable

import numpy as np

PARAMETERS = 13
LOWER = np.array([0, 0, 0, 0, -0.6, -np.inf, 0, -0.5, 0, 0, -np.inf, -np.inf, -np.inf])
UPPER = np.array([1, 1, 1, 1.25, 0.6, np.inf, 1, 0.5, 1, 2, np.inf, np.inf, np.inf])
NORMAL = {5: (0.0, 2.0), 10: (-2.0, 1.0), 11: (0.0, 0.5), 12: (-4.0, 1.0)}


def curves(parameters: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Every curve at every position, without noise."""
    w1, w2, w3, c1, a1, log_alpha, c2, a2, a3, b3, log_k, log_delta, _ = parameters.T[:, :, None]
    pow3 = c1 - a1 * x ** -np.exp(log_alpha)
    ilog2 = c2 - a2 / np.log(x + 1)
    with np.errstate(over="ignore"):
        janoschek = a3 - (a3 - b3) * np.exp(-np.exp(log_k) * x ** np.exp(log_delta))
    return w1 * pow3 + w2 * ilog2 + w3 * janoschek


def draw_prior(count: int, rng: np.random.Generator) -> np.ndarray:
    """Before curves are excluded."""
    found = np.empty((count, PARAMETERS))
    for index in range(PARAMETERS):
        if index in NORMAL:
            found[:, index] = rng.normal(*NORMAL[index], count)
        else:
            found[:, index] = rng.uniform(LOWER[index], UPPER[index], count)
    return found


def is_allowed(parameters: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """In [0, 1] everywhere, and higher at the end than at the beginning."""
    y = curves(parameters, whole)
    return (y >= 0).all(axis=1) & (y <= 1).all(axis=1) & (y[:, -1] > y[:, 0])


def log_likelihood(parameters: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Of independent normal noise."""
    log_sigma = parameters[:, 12]
    square = ((y - curves(parameters, x)) ** 2).sum(axis=1)
    return -len(x) * log_sigma - 0.5 * square * np.exp(-2.0 * log_sigma)


def log_posterior(x: np.ndarray, y: np.ndarray, whole: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Up to a constant; minus infinity outside of the prior."""

    def at(parameters: np.ndarray) -> np.ndarray:
        inside = ((parameters > LOWER) & (parameters < UPPER)).all(axis=1)
        found = np.full(len(parameters), -np.inf)
        inside = np.flatnonzero(inside)
        inside = inside[is_allowed(parameters[inside], whole)]
        held = parameters[inside]
        prior = sum(-0.5 * ((held[:, i] - mean) / sd) ** 2 for i, (mean, sd) in NORMAL.items())
        found[inside] = log_likelihood(held, x, y) + prior
        return found

    return at


def ensemble(
    target: Callable[[np.ndarray], np.ndarray], walkers: np.ndarray, steps: int, every: int, rng: np.random.Generator
) -> np.ndarray:
    """Move each half of the walkers by the other half: stretches, and differences of two. Gives (kept, walker, ...)."""
    position, value = walkers.copy(), target(walkers)
    half, dimension = len(walkers) // 2, walkers.shape[1]
    kept = []
    for step in range(steps):
        for own, other in ((slice(0, half), slice(half, None)), (slice(half, None), slice(0, half))):
            partners = position[other]
            first = partners[rng.integers(len(partners), size=half)]
            if rng.random() < 0.3:
                stretch = (1.0 + rng.random(half)) ** 2 / 2.0
                proposal = first + stretch[:, None] * (position[own] - first)
                log_volume = (dimension - 1) * np.log(stretch)
            else:
                second = partners[rng.integers(len(partners), size=half)]
                scale = 1.0 if rng.random() < 0.1 else 2.38 / np.sqrt(2 * dimension) * np.exp(0.5 * rng.normal())
                proposal = position[own] + scale * (first - second) + 1e-5 * rng.standard_normal((half, dimension))
                log_volume = 0.0
            proposed = target(proposal)
            accepted = np.log(rng.random(half)) < proposed - value[own] + log_volume
            position[own] = np.where(accepted[:, None], proposal, position[own])
            value[own] = np.where(accepted, proposed, value[own])
        if step % every == every - 1:
            kept.append(position.copy())
    return np.array(kept)
