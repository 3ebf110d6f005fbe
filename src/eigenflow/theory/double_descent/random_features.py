"""Test risk of ridge regression on random features of a kernel with any spectrum: the formula that contains the others.

With gamma and kappa of `effective_ridge`, epsilon = n - z, eta = k - z, s = z - q and the sums B = sum L (1 - L) w^2,
C = sum (1 - L)^2 w^2 of `mode_sums`, the published test error becomes

    from target:  n ((s + eta) C + s B) / D            D = s (epsilon + eta) + epsilon eta
    from noise:   sigma^2 (z s + q eta) / D

in which every term is positive. It contains kernel ridge regression (infinitely many features), linear regression with
any covariance (a finite spectrum and infinitely many features), and random features on a sphere (two eigenvalues).

Source: [@simon2023better]; equations/double_descent.md#random-features. The forms above are derived from it here.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from eigenflow.core.checks import check_kind
from eigenflow.theory.double_descent.effective_ridge import EffectiveRidge, solve_effective_ridge
from eigenflow.theory.double_descent.mode_sums import DirectSums, TabulatedSums
from eigenflow.theory.double_descent.surface import PointStatus, RiskSurface, coordinate
from eigenflow.theory.task_spectrum import TaskSpectrum

__all__ = ["random_features_risk", "risk_parts"]

# The logarithm of the risk changes at most five times as fast as that of gamma: it has products of powers from 0 to 3
# in its numerator, and from 0 to 2 in its denominator.
SENSITIVITY = 5.0
FEW = 30  # points for which a table does not pay
ACCEPTED = 1e-6


def random_features_risk(
    task: TaskSpectrum,
    samples: Any,
    features: Any = np.inf,
    ridge: Any = 0.0,
) -> RiskSurface:
    """Give the test risk of regression on random features over samples x features x ridge.

    The features are k Gaussian combinations of the modes, so that their kernel (1/k) sum_j h_j(x) h_j(x') has the
    task's kernel as its mean; the estimate minimises sum_i (y_i - f(x_i))^2 + ridge ||f||^2 in that kernel, and with
    ridge 0 is the limit, which interpolates where it can. The formula is an equivalent for many samples and features:
    means over draws were higher by some 0.7 / min(n, k) of it at n = 2 k and k = 2 n, and by more within a few of n = k
    (docs/validation/predictions.md).

    Args:
        task: Spectrum, target and noise.
        samples: n > 0, a number or an increasing row; infinite is allowed.
        features: k > 0, likewise; infinite is the kernel itself.
        ridge: delta >= 0, in the unit of an eigenvalue. It is n times a ridge that stands beside a mean over samples.

    Returns:
        A surface over those arguments that are rows. `train` is (epsilon / n)^2 times the test error,
        `resolved` is z over the least of n, k and the number of modes. Without ridge the
        risk is infinite where n = k, and where n is the number of modes and k is not less. `error` is a certificate of
        the numbers: what is left of both equations at the solution, carried over to the risk. It does not hold the
        formula's own deviation from a finite task.

    Raises:
        ArgumentError: If an argument is not allowed; see `TaskSpectrum` for spectra.
    """
    check_kind("task", task, TaskSpectrum, "a TaskSpectrum, such as `TaskSpectrum.power_law(1.5, 2.0)`")
    direct = DirectSums(task)
    points = np.size(samples) * np.size(features) * np.size(ridge)
    return _surface(task, direct if points <= FEW else TabulatedSums(direct), samples, features, ridge)


def _surface(
    task: TaskSpectrum, sums: DirectSums | TabulatedSums, samples: Any, features: Any, ridge: Any
) -> RiskSurface:
    """Do it with sums that may be a table; the surface keeps one, so that it is quickly evaluated elsewhere."""
    axes = {"samples": samples, "features": features, "ridge": ridge}
    places = [coordinate(name, values) for name, values in axes.items()]
    grids = [grid.ravel() for grid in np.meshgrid(*places, indexing="ij")]
    shape = tuple(place.size for place in places if place.ndim)
    parts = risk_parts(task, sums, *grids)
    kept = TabulatedSums(sums) if isinstance(sums, DirectSums) else sums

    def evaluate(*, samples: Any, features: Any, ridge: Any, noise: float = task.noise) -> RiskSurface:
        return _surface(replace(task, noise=noise), kept, samples, features, ridge)

    return RiskSurface.over(
        axes,
        noise=task.noise,
        formula=f"random features of a spectrum of {task.modes:.6g} modes",
        evaluate=evaluate,
        modes=task.modes,
        **{name: values.reshape(shape) for name, values in parts.items()},
    )


def risk_parts(
    task: TaskSpectrum, sums: DirectSums | TabulatedSums, n: np.ndarray, k: np.ndarray, ridge: np.ndarray
) -> dict[str, np.ndarray]:
    """Both parts of the risk, the training error, the error estimate and the status at each point."""
    is_exact = np.isinf(n) & np.isinf(k)  # the whole population and the whole kernel: nothing is left
    solved = solve_effective_ridge(sums, np.where(is_exact, 1.0, n), k, ridge)
    target, gain, unfitted = _from_sums(solved, n, k)
    is_open = np.isfinite(solved.log_gamma) & ~is_exact
    target = np.where(is_open, target, 0.0)
    # Where every mode is learned this is least squares in as many dimensions as there are modes.
    with np.errstate(divide="ignore", invalid="ignore"):
        complete = np.where(is_exact, 0.0, task.modes / np.maximum(n - task.modes, 0.0))
    noise = task.noise * np.where(is_open, gain, complete) if task.noise > 0.0 else np.zeros(len(n))
    risk = target + noise
    is_infinite = np.isinf(risk)
    error = np.where(is_infinite | ~is_open, 0.0, SENSITIVITY * solved.error)
    status = np.where(error > ACCEPTED, PointStatus.NOT_CONVERGED, PointStatus.CONVERGED)
    with np.errstate(invalid="ignore"):
        train = np.where(unfitted > 0.0, unfitted**2 * (risk + task.noise), 0.0)
    with np.errstate(invalid="ignore"):
        limit = np.minimum(np.minimum(n, k), task.modes)
        resolved = np.where(is_exact, 1.0, np.minimum(solved.sums.learned / limit, 1.0))
    return {
        "from_target": target,
        "from_noise": noise,
        "train": train,
        "resolved": resolved,
        "error": error,
        "status": np.where(is_infinite, PointStatus.INFINITE, status),
    }


def _from_sums(solved: EffectiveRidge, n: np.ndarray, k: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give the part of the target, what one unit of noise adds, and epsilon / n.

    Numerators and D are divided by the larger of epsilon and eta, which may be infinite.
    """
    z, _, q, s, bent, left = solved.sums
    smaller, is_wide = solved.smaller, k >= n
    with np.errstate(invalid="ignore", divide="ignore"):
        larger = smaller + np.abs(k - n)
        ratio = smaller / larger
        n_per_larger = np.where(np.isinf(n), 1.0, n / larger)
        D = s * (1.0 + ratio) + smaller
        target = (np.where(is_wide, n, n_per_larger * smaller) * left + n_per_larger * s * (left + bent)) / D
        gain = (z * s / larger + q * np.where(is_wide, 1.0, ratio)) / D
        unfitted = np.where(np.isinf(n), 1.0, np.where(is_wide, smaller, larger) / n)
    is_threshold = larger == 0.0
    target = np.where(is_threshold, np.where(bent > 0.0, np.inf, 0.0), target)
    return target, np.where(is_threshold, np.inf, gain), unfitted
