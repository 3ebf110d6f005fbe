"""What curves leave open, as a mixture of Gaussians where one Gaussian says too little.

Laplace's approximation follows every direction from the optimum in a straight line. Two things are not like that. What
a constant rate cannot tell is how much noise the learning rate holds: its logarithm may be off by one or two, and a
decay to zero then takes off a fifth of the loss instead of a twentieth, while the level moves along so that the known
points are met. So the posterior is followed along that parameter (`Parameter.is_followed`): at one and two standard
deviations to either side all others are fitted again. And several priors may serve: each counts by its evidence.
"""

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from eigenflow.forecast.fitting.objective import Objective
from eigenflow.forecast.fitting.priors import conflict_with_prior

__all__ = ["Candidate", "Component", "curvature", "log_evidence", "mixture"]

# A followed parameter that is known better than this (in internal units) is Gaussian enough.
KNOWN = 0.4
# Standard deviations from the optimum at which the others are fitted again, from a start that is near.
NODES, EVALUATIONS = (1.0, 2.0), 25
# Components that count less are left out.
LEAST_WEIGHT = 0.01

Theta = Float[np.ndarray, " parameter"]


@dataclass(frozen=True)
class Component:
    """One Gaussian of a posterior.

    Attributes:
        weight: Its share; the weights add up to 1.
        theta: Its middle.
        covariance: Of `theta`; 0 along a parameter that is followed.
        conflict: As `Fit.conflict`: how much wider its forecasts are than the covariance says.
    """

    weight: float
    theta: Theta
    covariance: Float[np.ndarray, "parameter parameter"]
    conflict: float


@dataclass(frozen=True)
class Candidate:
    """The fit under one prior.

    Attributes:
        objective: Curves, prior and noise.
        theta: The optimum.
        log_weight: Logarithm of how likely it is among all, up to a constant.
    """

    objective: Objective
    theta: Theta
    log_weight: float


def curvature(objective: Objective, theta: Theta, held: Set[int]) -> tuple[np.ndarray, np.ndarray]:
    """Precision of the free parameters at the optimum, and their indices."""
    free = np.array([k for k in range(objective.covariates.count) if k not in held])
    _, gradient = objective.scaled(theta)
    # A direction that neither data nor prior knows gets a standard deviation of 100.
    return gradient[:, free].T @ gradient[:, free] + 1e-4 * np.eye(len(free)), free


def log_evidence(objective: Objective, theta: Theta, held: Set[int]) -> float:
    """Laplace's approximation of the logarithm of the marginal likelihood, to choose between priors."""
    precision, free = curvature(objective, theta, held)
    own = objective.root.T @ objective.root
    known = [k for k in free if own[k, k] > 0]
    prior_volume = np.linalg.slogdet(own[np.ix_(known, known)])[1] if known else 0.0
    volume = np.linalg.slogdet(precision)[1]
    cost = 0.5 * float((objective.scaled(theta)[0] ** 2).sum())
    return float(-cost - objective.log_scale() + 0.5 * (prior_volume - volume))


def mixture(candidates: Sequence[Candidate], held: dict[int, float]) -> tuple[tuple[Component, ...], int]:
    """Give the posterior's components, and how many evaluations they took; none if one Gaussian will do.

    Args:
        candidates: The chosen fit first. Those with other parameters than it has are left out.
        held: Parameters that are not free.
    """
    chosen = candidates[0].objective.covariates
    alike = [one for one in candidates if one.objective.covariates.names == chosen.names]
    shares = _shares([one.log_weight for one in alike])
    found: list[Component] = []
    spent = 0
    for share, one in zip(shares, alike, strict=True):
        if share >= LEAST_WEIGHT:
            parts, evaluations = _components(one, held)
            found += [replace(part, weight=share * part.weight) for part in parts]
            spent += evaluations
    kept = [one for one in found if one.weight >= LEAST_WEIGHT]
    total = sum(one.weight for one in kept)
    return tuple(replace(one, weight=one.weight / total) for one in kept) if len(found) > 1 else (), spent


def _components(candidate: Candidate, held: dict[int, float]) -> tuple[list[Component], int]:
    """A candidate's own Gaussian, or several along a parameter that it hardly knows; weights add up to 1."""
    objective, theta = candidate.objective, candidate.theta
    whole, _ = _gaussian(objective, theta, held)
    conflict = conflict_with_prior(objective.mean, objective.root.T @ objective.root, theta, whole)
    own = enumerate(objective.covariates.law.parameters)
    followed = [k for k, parameter in own if parameter.is_followed and k not in held and whole[k, k] > KNOWN**2]
    if not followed:
        return [Component(1.0, theta, whole, conflict)], 0
    nodes = list(_followed(objective, theta, whole, followed[0], held))
    shares = _shares([log_weight for _, _, log_weight, _ in nodes])
    spent = sum(evaluations for *_, evaluations in nodes)
    return [Component(w, at, c, conflict) for w, (at, c, _, _) in zip(shares, nodes, strict=True)], spent


def _followed(
    objective: Objective, theta: Theta, covariance: np.ndarray, k: int, held: dict[int, float]
) -> Iterator[tuple[Theta, np.ndarray, float, int]]:
    """Optimum, covariance, log weight and evaluations at the nodes along parameter k, all others fitted again."""
    lower, upper = objective.bounds()
    along, sd = covariance[:, k] / covariance[k, k], float(np.sqrt(covariance[k, k]))
    yield (theta, *_gaussian(objective, theta, {**held, k: theta[k]}), 0)
    for sign in (-1.0, 1.0):
        at = theta
        for node in NODES:
            value = theta[k] + sign * node * sd
            if not lower[k] < value < upper[k]:
                break
            there = {**held, k: float(value)}
            found = objective.minimise(at + along * (value - at[k]), EVALUATIONS, fixed=there)
            at = found.x
            yield (at, *_gaussian(objective, at, there), int(found.nfev))


def _gaussian(objective: Objective, theta: Theta, held: dict[int, float]) -> tuple[np.ndarray, float]:
    """Covariance at an optimum, 0 for what is held, and the logarithm of the posterior's volume there."""
    precision, free = curvature(objective, theta, held.keys())
    covariance = np.zeros((objective.covariates.count, objective.covariates.count))
    covariance[np.ix_(free, free)] = np.linalg.inv(precision)
    cost = 0.5 * float((objective.scaled(theta)[0] ** 2).sum())
    return covariance, -cost - 0.5 * float(np.linalg.slogdet(precision)[1])


def _shares(log_weights: Sequence[float]) -> list[float]:
    """Weights that add up to 1."""
    weights = np.exp(np.array(log_weights) - max(log_weights))
    return [float(weight) for weight in weights / weights.sum()]
