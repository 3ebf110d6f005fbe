"""The mean of the risk over samples, for any spectrum of the task: a deterministic equivalent as a quadratic form.

With h = kappa / -z and G = sum_i w_i^2 / (lambda_i + kappa), the mean over Gaussian samples of the product of two
resolvents that the risk is made of is

    h_1 h_2 (G_2 - G_1) / (z_2 - z_1)     up to 1 / n,

so that on real eigenvalues l, with H = Im h / pi and U = Im (h G) / pi,

    T(l, l') = |h|^2 Im G / pi delta(l - l') + (H U' - U H') / (l' - l),       v(l) = H / l.

Derivation, and what it is exact in: equations/double_descent.md#finite-time.
"""

import numpy as np

from eigenflow.theory.double_descent.risk_form import RiskForm
from eigenflow.theory.double_descent.sample_spectrum import SampleSpectrum, sample_spectrum
from eigenflow.theory.double_descent.spectral_curve import resolvent_sums, sample_rates
from eigenflow.theory.task_spectrum import TaskSpectrum

__all__ = ["mean_forms", "null_ridge", "population_form"]

BISECTIONS = 200


def mean_forms(task: TaskSpectrum, samples: float, widest: float = 2.5) -> tuple[RiskForm, RiskForm]:
    """Give the form of the mean over samples, and one of lower order; their difference bounds the numerical error.

    Args:
        task: Spectrum and target.
        samples: n >= 1; infinite is the population.
        widest: E-folds of the eigenvalue in which attenuations are smooth.
    """
    if np.isinf(samples):
        form = population_form(task)
        return form, form
    fine, coarse = sample_spectrum(task, samples, widest)
    return _form(task, fine), _form(task, coarse)


def population_form(task: TaskSpectrum) -> RiskForm:
    """Infinitely many samples: every mode is seen for itself, and noise averages out."""
    return RiskForm(
        task.eigenvalues,
        np.diag(task.target),
        np.zeros(len(task.target)),
        0.0,
        np.zeros(len(task.target)),
        task.target,
        np.zeros(len(task.target)),
        1.0,
    )


def null_ridge(task: TaskSpectrum, samples: float) -> float:
    """kappa at z = 0, where fewer samples than modes are learned: the sum of lambda / (lambda + kappa) is n."""
    low = np.log(task.eigenvalues[-1]) - 40.0
    high = np.log(task.trace / samples) + 1.0
    low = min(low, high - 1.0)
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        if high - low <= 4e-16 * max(1.0, abs(middle)):
            break
        rate = sample_rates(task.eigenvalues, task.sizes, samples, np.array([np.exp(middle) + 0j]))[0].real
        low, high = (low, middle) if rate > 0 else (middle, high)
    return float(np.exp(0.5 * (low + high)))


def _form(task: TaskSpectrum, spectrum: SampleSpectrum) -> RiskForm:
    n, rates, weights, kappa = spectrum.samples, spectrum.eigenvalues, spectrum.weights, spectrum.kappa
    columns = np.stack([task.target, task.sizes * task.eigenvalues**2], axis=1)
    first, second = resolvent_sums(task.eigenvalues, columns, kappa)
    G, slope = first[:, 0], 1.0 - second[:, 1] / n  # slope: d(-z) / d kappa
    h = -kappa / rates
    # Along z, where d kappa = -dz / slope.
    h_slope = (1.0 / slope - h) / rates
    U_slope = h_slope * G + h * second[:, 0] / slope
    H, U = h.imag / np.pi, (h * G).imag / np.pi
    cross, unseen = _of_unseen(task, n, H, U, rates)
    return RiskForm(
        rates,
        _target(rates, weights, H, U, h_slope.imag / np.pi, U_slope.imag / np.pi, np.abs(h) ** 2 * G.imag / np.pi),
        weights * cross,
        unseen,
        weights * H / rates,
        weights * G.imag / np.pi,
        weights * (1.0 / kappa).imag / np.pi,
        max(0.0, 1.0 - task.modes / n),
    )


def _target(
    rates: np.ndarray,
    weights: np.ndarray,
    H: np.ndarray,
    U: np.ndarray,
    H_slope: np.ndarray,
    U_slope: np.ndarray,
    local: np.ndarray,
) -> np.ndarray:
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


def _of_unseen(
    task: TaskSpectrum, samples: float, H: np.ndarray, U: np.ndarray, rates: np.ndarray
) -> tuple[np.ndarray, float]:
    """Give what directions that no sample shows do, together with the others and alone."""
    if task.modes <= samples:
        return np.zeros(len(rates)), 0.0
    kappa = null_ridge(task, samples)
    left = 1.0 / (task.eigenvalues + kappa)
    kept = 1.0 - float((task.sizes * (task.eigenvalues * left) ** 2).sum()) / samples
    alone = kappa**2 * float((task.target * left**2).sum()) / kept
    return kappa * (U - float((task.target * left).sum()) * H) / rates, alone
