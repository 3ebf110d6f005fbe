"""Least squares with known test risk: isotropic features, p of D features, and any covariance.

`isotropic_risk` and `feature_subset_risk` are exact for Gaussian inputs of any number, or their limits.
`linear_regression_risk` takes any covariance and any ridge; it is an equivalent for many samples, and contains the
limit of `isotropic_risk`, which is the case of p equal eigenvalues. It is itself `random_features_risk` of a finite
spectrum with infinitely many features.

Source: [@hastie2019surprises], [@belkin2019two]; equations/double_descent.md#ridgeless-isotropic, #chosen-features.
"""

from typing import Any

import numpy as np
from jaxtyping import Float

from eigenflow.core.checks import check_number, real_array
from eigenflow.core.errors import ArgumentError, NonFiniteError, ShapeError
from eigenflow.theory.double_descent.random_features import random_features_risk
from eigenflow.theory.double_descent.surface import RiskSurface, coordinate
from eigenflow.theory.task_spectrum import TaskSpectrum

__all__ = ["feature_subset_risk", "isotropic_risk", "linear_regression_risk", "linear_task"]


def isotropic_risk(
    samples: Any,
    features: Any,
    *,
    noise: float | int,
    signal: float | int = 1.0,
    exact: bool = True,
) -> RiskSurface:
    """Give the risk of least squares (of least norm) on p features of equal variance over samples x features.

    Args:
        samples: n > 0, a number or an increasing row; `features`: p > 0, likewise. Both finite.
        noise: Variance of the labels about the target.
        signal: Squared norm of the coefficients, whatever p is.
        exact: For Gaussian features, the mean over draws of n of them; else the limit of many at fixed p / n.

    Returns:
        Without noise it is 0 for p <= n and signal (1 - n / p) beyond. Noise adds p / (n - p - 1) or n / (p - n - 1) of
        its variance, infinite for p from n - 1 to n + 1; in the limit the - 1 is left out, and it is infinite at p = n.

    Raises:
        ArgumentError: If an argument is not allowed.
    """
    axes = {"samples": samples, "features": features}
    energy, variance = check_number("signal", signal, 0.0), check_number("noise", noise, 0.0)
    n, p = _grid(axes)
    from_noise = variance * _noise_gain(n, p, exact) if variance > 0.0 else np.zeros(n.shape)

    def evaluate(*, samples: Any, features: Any, noise: float = variance) -> RiskSurface:
        return isotropic_risk(samples, features, noise=noise, signal=energy, exact=exact)

    return RiskSurface.over(
        axes,
        from_target=energy * np.maximum(1.0 - n / p, 0.0),
        from_noise=from_noise,
        noise=variance,
        error=4.0 * np.finfo(np.float64).eps,
        formula="isotropic least squares, " + ("exact for Gaussian features" if exact else "limit of many"),
        evaluate=evaluate,
    )


def feature_subset_risk(
    coefficients: Float[np.ndarray, " feature"],
    samples: Any,
    features: Any,
    *,
    noise: float | int,
) -> RiskSurface:
    """Give the risk of least squares (of least norm) on the first p of D Gaussian features, exactly.

    Args:
        coefficients: Of the target in all D features, which are independent and of unit variance, in the order in which
            features are taken. Only sums of squares matter: for features chosen by chance give equal coefficients.
        samples: n, whole numbers, one or an increasing row.
        features: p from 1 to D, likewise.
        noise: Variance of the labels.

    Returns:
        What the target has in features left out acts as noise, and is part of `from_target`. Infinite for p from n - 1
        to n + 1, unless there is neither.

    Raises:
        ArgumentError: If an argument is not allowed.
    """
    held = _checked_coefficients(coefficients)
    axes = {"samples": samples, "features": features}
    variance = check_number("noise", noise, 0.0)
    n, p = _grid(axes)
    for name, found in (("samples", n), ("features", p)):
        if (found % 1.0 != 0.0).any():
            raise ArgumentError(f"`{name}` must be whole here. `isotropic_risk` has no such bound.")
    if p.max() > held.size:
        raise ArgumentError(f"`features` must be at most the {held.size} of `coefficients`, but reaches {p.max():g}.")
    squares = np.append(0.0, np.cumsum(held**2))
    taken = squares[p.astype(np.int64)]
    left = np.maximum(squares[-1] - taken, 0.0) * (p < held.size)
    gain = _noise_gain(n, p, exact=True)
    with np.errstate(invalid="ignore"):
        as_noise = np.where(left > 0.0, left * (1.0 + gain), 0.0)

    def evaluate(*, samples: Any, features: Any, noise: float = variance) -> RiskSurface:
        return feature_subset_risk(held, samples, features, noise=noise)

    return RiskSurface.over(
        axes,
        from_target=taken * np.maximum(1.0 - n / p, 0.0) + as_noise,
        from_noise=variance * gain if variance > 0.0 else 0.0,
        noise=variance,
        error=held.size * np.finfo(np.float64).eps,
        formula=f"least squares on p of {held.size} Gaussian features, exact",
        evaluate=evaluate,
    )


def linear_regression_risk(task: TaskSpectrum, samples: Any, ridge: Any = 0.0) -> RiskSurface:
    """Give the risk of linear regression on inputs of any covariance over samples x ridge.

    Args:
        task: Eigenvalues are those of the inputs' covariance, and `target` the squares of the coefficients times them;
            `linear_task` makes one of coefficients.
        samples: n > 0, a number or an increasing row.
        ridge: Beside the sum over samples of squares, in the unit of a covariance; 0 is least squares of least norm.

    Returns:
        The equivalent for many samples: relative deviations of the order of 1 / n, above all near n = p without ridge,
        where it is infinite. The axis of features is there as the fixed number infinity: all modes are inputs.

    Raises:
        ArgumentError: If an argument is not allowed.
    """
    return random_features_risk(task, samples, np.inf, ridge)


def linear_task(
    covariance: Float[np.ndarray, " input"],
    coefficients: Float[np.ndarray, " input"],
    *,
    noise: float | int = 0.0,
) -> TaskSpectrum:
    """Make the task of a linear target: f*(x) = sum_i coefficients_i x_i with independent x_i of variance covariance_i.

    Args:
        covariance: Variances, >= 0, in any order; inputs of variance 0 are left out, as nothing depends on them.
        coefficients: Of the target, in the same order.
        noise: Variance of the labels.

    Raises:
        ArgumentError: If a variance is negative, or all are zero.
    """
    variances, weights = real_array("covariance", covariance), real_array("coefficients", coefficients)
    if variances.ndim != 1 or variances.shape != weights.shape:
        raise ShapeError(
            f"`coefficients` must have one value for each input, but have shape {weights.shape} where `covariance` has "
            f"{variances.shape}. A covariance matrix is given by its eigenvalues, and the target by its coefficients "
            f"in the eigenvectors."
        )
    if not (variances >= 0.0).all() or not (variances > 0.0).any():
        raise ArgumentError("`covariance` must be >= 0, and > 0 somewhere: it holds variances of the inputs.")
    order = np.argsort(-variances, kind="stable")[: int((variances > 0.0).sum())]
    return TaskSpectrum(variances[order], variances[order] * weights[order] ** 2, noise=float(noise))


def _checked_coefficients(coefficients: Float[np.ndarray, " feature"]) -> np.ndarray:
    held = real_array("coefficients", coefficients)
    if held.ndim != 1 or held.size == 0:
        raise ShapeError(f"`coefficients` must be one row of at least one number, but has shape {held.shape}.")
    if not np.isfinite(held).all():
        raise NonFiniteError("`coefficients` must be finite.")
    return held


def _grid(axes: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """n and p on the grid of those that are rows; finite."""
    n, p = (coordinate(name, values) for name, values in axes.items())
    for name, found in (("samples", n), ("features", p)):
        if np.isinf(found).any():
            raise ArgumentError(
                f"`{name}` must be finite here. `random_features_risk` has infinite ones, for kernel and population."
            )
    return (n[:, None], p) if n.ndim and p.ndim else (n, p)


def _noise_gain(n: np.ndarray, p: np.ndarray, exact: bool) -> np.ndarray:
    """Give what noise of unit variance adds: p / (n - p - 1), n / (p - n - 1), or their limit; infinite between."""
    room = np.abs(n - p) - (1.0 if exact else 0.0)
    gain = np.full(np.broadcast_shapes(n.shape, p.shape), np.inf)
    return np.divide(np.minimum(n, p), room, out=gain, where=room > 0.0)
