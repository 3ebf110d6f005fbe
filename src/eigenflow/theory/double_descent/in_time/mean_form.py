"""The mean of the risk over samples, for any spectrum of the task: a deterministic equivalent as a quadratic form.

With h and G of `ridge_curve`, the mean over Gaussian samples and features of the product of two resolvents that the
risk is made of is

    h_1 h_2 (G_2 - G_1) / (z_2 - z_1)     up to 1 / n,

so that on real eigenvalues l, with H = Im h / pi and U = Im (h G) / pi,

    T(l, l') = |h|^2 Im G / pi delta(l - l') + (H U' - U H') / (l' - l),       v(l) = H / l.

Directions of eigenvalue 0 are a pole: of h = kappa_0 / -z where samples are fewer than features and modes, and of
G = g / -z, the part of the target that no feature has, where features are.

Derivation, and what it is exact in: equations/double_descent.md#finite-time.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from eigenflow.theory.double_descent.in_time.ridge_curve import RidgeCurve
from eigenflow.theory.double_descent.in_time.risk_form import RiskForm
from eigenflow.theory.double_descent.in_time.sample_spectrum import SampleSpectrum, sample_spectrum
from eigenflow.theory.double_descent.in_time.spectral_curve import resolvent_sums, sample_rates
from eigenflow.theory.task_spectrum import TaskSpectrum

__all__ = ["mean_forms", "null_ridge", "population_form"]

BISECTIONS = 200
# Features as many as samples, and no more than modes, have a hard edge that no float resolves: they are looked at from
# either side, by this share.
BESIDE = 1e-3


def mean_forms(
    task: TaskSpectrum, samples: float | int, features: float | int = np.inf, *, widest: float = 2.5
) -> tuple[tuple[RiskForm, ...], tuple[RiskForm, ...]]:
    """Give the form of the mean over samples, and one of lower order; their difference bounds the numerical error.

    Args:
        task: Spectrum and target.
        samples: n >= 1; infinite is the population.
        features: k >= 1; infinite is the kernel itself.
        widest: E-folds of the eigenvalue in which attenuations are smooth.

    Returns:
        Forms of which the mean is meant: one, or two beside a number of features that is that of samples.
    """
    if np.isinf(samples) and np.isinf(features):
        form = population_form(task)
        return (form,), (form,)
    beside = [features]
    if features == samples and features <= task.modes:
        beside = [features * (1.0 - BESIDE), features * (1.0 + BESIDE)]
    pairs = [sample_spectrum(RidgeCurve(task, samples, k), widest) for k in beside]
    return tuple(_form(fine) for fine, _ in pairs), tuple(_form(coarse) for _, coarse in pairs)


def population_form(task: TaskSpectrum) -> RiskForm:
    """Infinitely many samples and features: every mode is seen for itself, and noise averages out."""
    nothing = np.zeros(len(task.target))
    return RiskForm(task.eigenvalues, np.diag(task.target), nothing, 0.0, nothing, task.target, nothing, 0.0, 1.0)


def null_ridge(task: TaskSpectrum, count: float | int) -> float:
    """Give gamma at z = 0: there the sum of lambda / (lambda + gamma) is the number of samples or features."""
    high = np.log(task.trace / count) + 1.0
    low = min(np.log(task.eigenvalues[-1]) - 40.0, high - 1.0)
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        if high - low <= 4e-16 * max(1.0, abs(middle)):
            break
        rate = np.real(sample_rates(task.eigenvalues, task.sizes, count, np.array([np.exp(middle) + 0j])))[0]
        low, high = (low, middle) if rate > 0 else (middle, high)
    return float(np.exp(0.5 * (low + high)))


def _form(spectrum: SampleSpectrum) -> RiskForm:
    curve, rates, weights, gamma = spectrum.curve, spectrum.eigenvalues, spectrum.weights, spectrum.gamma
    first, second = resolvent_sums(curve.task.eigenvalues, curve.task.target[:, None], gamma)
    by_samples, by_features = curve.lacks(gamma)
    samples_slope, features_slope = curve.slopes(gamma)
    h, G = 1.0 / by_samples, first[:, 0] / by_features
    along_z = -1.0 / curve.rate_slopes(gamma)
    h_slope = -samples_slope * h**2 * along_z
    G_slope = -(second[:, 0] + G * features_slope) / by_features * along_z
    H, U, local = (np.imag(part) / np.pi for part in (h, h * G, G))
    H_slope, U_slope = np.imag(h_slope) / np.pi, np.imag(h_slope * G + h * G_slope) / np.pi
    unseen = _unseen(curve, H, U, rates)
    modes, n = curve.task.modes, curve.samples
    fitted = np.imag(1.0 / (gamma * by_features)) / np.pi if np.isfinite(n) else np.zeros(len(rates))
    return RiskForm(
        rates,
        _target(rates, weights, (H, U), (H_slope, U_slope), np.abs(h) ** 2 * local),
        weights * unseen.cross,
        unseen.alone,
        weights * H / rates,
        weights * local,
        weights * fitted,
        unseen.train,
        max(0.0, 1.0 - min(modes, curve.features) / n),
    )


def _target(
    rates: np.ndarray,
    weights: np.ndarray,
    values: tuple[np.ndarray, np.ndarray],
    slopes: tuple[np.ndarray, np.ndarray],
    local: np.ndarray,
) -> Float[np.ndarray, "node node"]:
    (H, U), (H_slope, U_slope) = values, slopes
    distance = rates[None, :] - rates[:, None]
    np.fill_diagonal(distance, 1.0)
    table = H[:, None] * U
    table -= table.T.copy()
    table /= distance
    np.fill_diagonal(table, H * U_slope - U * H_slope)
    table *= weights[:, None]
    table *= weights
    np.fill_diagonal(table, table.diagonal() + weights * local)
    return table


@dataclass(frozen=True)
class _Unseen:
    """What directions of eigenvalue 0 do together with the others, alone, and on the sample."""

    cross: np.ndarray
    alone: float
    train: float


def _unseen(curve: RidgeCurve, H: np.ndarray, U: np.ndarray, rates: np.ndarray) -> _Unseen:
    task = curve.task
    if task.modes <= curve.fewer:
        return _Unseen(np.zeros(len(rates)), 0.0, 0.0)
    gamma = null_ridge(task, curve.fewer)
    left = 1.0 / (task.eigenvalues + gamma)
    total, bent = float(task.target @ left), float(task.target @ left**2)
    spread = float(task.sizes @ (task.eigenvalues * left**2))
    if curve.features < curve.samples:
        h = 1.0 / (1.0 - curve.features / curve.samples)
        missing = total * gamma / h
        return _Unseen(-missing * h * H / rates, missing * h**2, missing)
    by_features = 1.0 - curve.samples / curve.features
    slope = gamma * by_features * spread / curve.samples
    G, G_slope = total / by_features, -(bent + total / by_features * spread / curve.features) / by_features
    kappa = gamma * by_features
    return _Unseen(kappa * (U - G * H) / rates, -(kappa**2) * G_slope / slope, 0.0)
