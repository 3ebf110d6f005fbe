"""Ridgeless regression on random features of one activation, with inputs on a sphere: a closed formula.

For inputs x in d dimensions with |x|^2 = d and features sigma(<theta, x>), |theta| = 1, an activation matters through
two numbers: mu_1 = E[sigma(z) z] of its linear part, and `mu_*^2` = E[sigma(z)^2] - mu_0^2 - mu_1^2 of the rest, over
z ~ N(0, 1). The same risk follows from `random_features_risk` of the two eigenvalues that `sphere_task` holds, with any
ridge.

Source: [@mei2019generalization]; equations/double_descent.md#mei-montanari.
"""

from typing import Any

import numpy as np

from eigenflow.core.checks import check_number
from eigenflow.core.errors import ArgumentError
from eigenflow.theory.double_descent.surface import PointStatus, RiskSurface, coordinate
from eigenflow.theory.task_spectrum import TaskSpectrum

__all__ = ["RELU", "mei_montanari_risk", "sphere_task"]

# mu_1 and mu_*^2 of max(z, 0): E[max(z, 0)^2] = 1/2, mu_0 = 1 / sqrt(2 pi), mu_1 = 1/2.
RELU = (0.5, 0.25 - 0.5 / np.pi)
# So many modes share the part that is not linear; what their finite number changes is of the order of n / this.
HIGH_MODES = 1e15
ACCEPTED = 1e-6  # relative error, which grows as 1e-16 over the distance to the threshold


def mei_montanari_risk(
    samples_per_input: Any,
    features_per_input: Any,
    *,
    noise: float | int,
    linear: float | int = 1.0,
    nonlinear: float | int = 0.0,
    activation: tuple[float, float] = RELU,
) -> RiskSurface:
    """Give the excess risk of ridgeless random features, in the limit of many inputs, samples and features.

    Args:
        samples_per_input: psi_2 = n / d > 0, a number or an increasing row.
        features_per_input: psi_1 = N / d > 0, likewise.
        noise: tau^2, variance of the labels.
        linear: F_1^2, variance of the target's linear part.
        nonlinear: `F_*^2`, variance of the rest, of which samples in a number of the order of d teach nothing.
        activation: `mu_1` and `mu_*^2`, both > 0; of ReLU by default.

    Returns:
        A surface with samples and features in units of the input's dimension. The risk is infinite at psi_1 = psi_2;
        within 1e-9 of it rounding leaves too few digits, which the status says.

    Raises:
        ArgumentError: If an argument is not allowed; with `mu_*` = 0 the formula has no limit.
    """
    slope, rest = _activation(activation)
    psi1, psi2 = _ratios(samples_per_input, features_per_input)
    variance, F1, rest_of_target = (
        check_number(name, value, 0.0)
        for name, value in (("noise", noise), ("linear", linear), ("nonlinear", nonlinear))
    )
    bias, gain, error = _bias_and_gain(psi1, psi2, slope**2 / rest)
    with np.errstate(invalid="ignore"):
        as_noise = np.where(rest_of_target > 0.0, rest_of_target * (1.0 + gain), 0.0)
        from_target = np.where(F1 > 0.0, F1 * bias, 0.0) + as_noise
        from_noise = np.where(variance > 0.0, variance * gain, 0.0)

    def evaluate(*, samples: Any, features: Any, noise: float = variance) -> RiskSurface:
        options = {"linear": linear, "nonlinear": nonlinear, "activation": activation}
        return mei_montanari_risk(samples, features, noise=noise, **options)

    known = np.where(np.isinf(from_target + from_noise), PointStatus.INFINITE, PointStatus.CONVERGED)
    return RiskSurface.over(
        {"samples": samples_per_input, "features": features_per_input},
        from_target=from_target,
        from_noise=from_noise,
        noise=variance,
        error=error,
        status=np.where(error <= ACCEPTED, known, PointStatus.NOT_CONVERGED),
        formula="ridgeless random features on a sphere; samples and features per input",
        evaluate=evaluate,
    )


def sphere_task(
    dimension: float | int,
    *,
    noise: float | int,
    linear: float | int = 1.0,
    nonlinear: float | int = 0.0,
    activation: tuple[float, float] = RELU,
) -> TaskSpectrum:
    """Give the same problem as two groups of modes: d that are linear, and very many that are not.

    With it `random_features_risk` gives what `mei_montanari_risk` gives, in counts of samples and features rather than
    per input, and with any ridge.

    Args:
        dimension: d > 0, number of inputs.
        noise: And `linear`, `nonlinear`, `activation`: as in `mei_montanari_risk`.
    """
    slope, rest = _activation(activation)
    d = check_number("dimension", dimension, 1e-6, 1e12)
    target = np.array([check_number("linear", linear, 0.0), check_number("nonlinear", nonlinear, 0.0)])
    values, counts = np.array([slope**2 / d, rest / HIGH_MODES]), np.array([d, HIGH_MODES])
    return TaskSpectrum(values, target, float(noise), counts)


def _ratios(samples_per_input: Any, features_per_input: Any) -> tuple[np.ndarray, np.ndarray]:
    """psi_1 and psi_2 on the grid of those that are rows."""
    psi2 = coordinate("samples_per_input", samples_per_input, is_counted=True)
    psi1 = coordinate("features_per_input", features_per_input, is_counted=True)
    if not (np.isfinite(psi1).all() and np.isfinite(psi2).all()):
        raise ArgumentError("`features_per_input` and `samples_per_input` must be finite here; see `sphere_task`.")
    return psi1, psi2[:, None] if psi1.ndim and psi2.ndim else psi2


def _activation(activation: tuple[float, float]) -> tuple[float, float]:
    """mu_1 and mu_*^2, checked."""
    if not isinstance(activation, tuple | list) or len(activation) != 2:
        raise ArgumentError(f"`activation` must be the two numbers mu_1 and mu_*^2, but is {activation!r}.")
    slope, rest = (check_number(f"activation[{place}]", value) for place, value in enumerate(activation))
    if not (slope != 0.0 and rest > 0.0):
        raise ArgumentError(
            f"`activation` must have mu_1 other than 0 and mu_*^2 > 0, but is ({slope:g}, {rest:g}). A linear "
            f"activation has mu_*^2 = 0: its features span the inputs, and `isotropic_risk` is the formula."
        )
    return slope, rest


def _bias_and_gain(psi1: np.ndarray, psi2: np.ndarray, zeta2: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give E1 / E0 and E2 / E0, infinite at psi1 = psi2, and their relative error from cancellation in the sums."""
    psi = np.minimum(psi1, psi2)
    half, product = psi * zeta2 - zeta2 - 1.0, 4.0 * zeta2 * psi
    root = np.sqrt(half**2 + product)
    chi = -np.where(half > 0.0, root + half, product / np.where(half > 0.0, 1.0, root - half)) / (2.0 * zeta2)
    c, z = [chi**power for power in range(6)], [zeta2**power for power in range(4)]
    both = psi1 * psi2
    sums = [
        [
            -c[5] * z[3],
            3.0 * c[4] * z[2],
            (both - psi2 - psi1 + 1.0) * c[3] * z[3],
            -2.0 * c[3] * z[2],
            -3.0 * c[3] * z[1],
            (psi1 + psi2 - 3.0 * both + 1.0) * c[2] * z[2],
            2.0 * c[2] * z[1],
            c[2],
            3.0 * both * c[1] * z[1],
            -both,
        ],
        [psi2 * c[3] * z[2], -psi2 * c[2] * z[1], both * c[1] * z[1], -both],
        [
            c[5] * z[3],
            -3.0 * c[4] * z[2],
            (psi1 - 1.0) * c[3] * z[3],
            2.0 * c[3] * z[2],
            3.0 * c[3] * z[1],
            (-psi1 - 1.0) * c[2] * z[2],
            -2.0 * c[2] * z[1],
            -c[2],
        ],
    ]
    totals = [np.sum(np.broadcast_arrays(*terms), axis=0) for terms in sums]
    sizes = [np.sum(np.abs(np.broadcast_arrays(*terms)), axis=0) for terms in sums]
    with np.errstate(divide="ignore", invalid="ignore"):
        error = (
            8.0
            * np.finfo(np.float64).eps
            * sum(size / np.abs(total) for size, total in zip(sizes, totals, strict=True))
        )
        is_threshold = psi1 == psi2
        bias, gain = (np.where(is_threshold, np.inf, total / totals[0]) for total in totals[1:])
    return bias, gain, np.where(is_threshold, 0.0, error)
