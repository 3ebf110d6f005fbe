"""What curves say of the exponent nu of the size: the cost of their joint fit while nu is held."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.curves import Curve
from eigenflow.forecast.fitting.fit import Fit
from eigenflow.forecast.fitting.objective import FitSettings
from eigenflow.forecast.fitting.priors import learned_prior
from eigenflow.forecast.fitting.search import build_objective, measured_noise

__all__ = ["size_profile"]

EVALUATIONS = 100


def size_profile(
    fit: Fit, curves: Sequence[Curve], exponents: Float[np.ndarray, " exponent"]
) -> Float[np.ndarray, " exponent"]:
    """Give the cost of the fit (minus ln of likelihood and prior) for each value of nu, without the prior of nu.

    Args:
        fit: Of these curves, of two sizes or more.
        curves: The same curves.
        exponents: Values to hold nu at.

    Raises:
        ArgumentError: If the curves have one size.
    """
    if not fit.covariates.has_size_exponent:
        raise ArgumentError("`fit` must be of two sizes or more: curves of one size say nothing of nu.")
    prior = None if fit.prior is None else learned_prior(fit.prior)
    objective = build_objective(curves, fit.covariates.law, prior, FitSettings())
    objective = objective.with_noise(measured_noise(objective, fit.theta))
    costs, theta, last = [], fit.theta, fit.covariates.count - 1
    for value in exponents:
        found = objective.minimise(theta, EVALUATIONS, fixed={last: float(value)})
        theta = found.x
        of_nu = 0.5 * (objective.root[:, last] * (found.x[last] - objective.mean[last])) ** 2
        costs.append(float(found.cost) - float(of_nu.sum()))
    return np.array(costs)
