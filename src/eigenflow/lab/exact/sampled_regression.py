"""Regression on drawn samples, by the kernel or by random features: what formulas of test risks are held against.

The population is a `TaskSpectrum` whose modes phi_i(x) are independent standard Gaussians, as every deterministic
equivalent assumes. Test risks are exact given the draw (a sum over all modes, no test set), so only the draw of
inputs, features and noise is random. A group of many modes is never drawn one by one: what a sample sees of it is a
Wishart matrix, and that of any real number of modes is drawn by Bartlett's decomposition.

Conventions: the ridge is added to the Gram matrix K, or H H' / features; time is the sum of learning rates of
gradient flow on half the mean square over samples, plus ridge / (2 samples) times the squared norm, from 0.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from eigenflow.core.checks import check_kind, check_number, check_whole, real_array
from eigenflow.core.display import AbstractPrinted, Card, figure
from eigenflow.core.errors import ArgumentError
from eigenflow.core.limits import within
from eigenflow.theory.task_spectrum import TaskSpectrum

__all__ = ["SimulatedRisk", "simulate_kernel_regression", "simulate_random_features"]

ROUNDING = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, repr=False)
class SimulatedRisk(AbstractPrinted):
    """Risks of independent draws.

    Attributes:
        test: Mean square error over the population, with the noise of labels in it.
        train: Mean square of the residual on the samples.
        times: Of training; infinity is its end.
        samples: Drawn for each.
        features: Drawn for each, or None for the kernel itself.
        ridge: Added to the Gram matrix.
        unresolved: Largest number of directions of a draw's Gram matrix that were rounding and were left out; what the
            samples say along them is then not fitted.
    """

    test: Float[np.ndarray, "draw time"]
    train: Float[np.ndarray, "draw time"]
    times: Float[np.ndarray, " time"]
    samples: int
    features: int | None
    ridge: float
    unresolved: int = 0

    @property
    def mean(self) -> Float[np.ndarray, " time"]:
        """Of the test risk over draws."""
        return self.test.mean(axis=0)

    @property
    def standard_error(self) -> Float[np.ndarray, " time"]:
        """Of `mean`. At an interpolation threshold the draws have no variance, and this means little: see `median`."""
        return self.test.std(axis=0, ddof=1) / np.sqrt(len(self.test))

    @property
    def median(self) -> Float[np.ndarray, " time"]:
        """Of the test risk over draws: it stays finite where the mean does not."""
        return np.median(self.test, axis=0)

    @property
    def train_mean(self) -> Float[np.ndarray, " time"]:
        """Of the train risk over draws."""
        return self.train.mean(axis=0)

    @property
    def train_error(self) -> Float[np.ndarray, " time"]:
        """Standard error of `train_mean`."""
        return self.train.std(axis=0, ddof=1) / np.sqrt(len(self.train))

    def _card(self) -> Card:
        size = f"{self.samples} samples" + ("" if self.features is None else f", {self.features} features")
        rows = [
            (f"test at {figure(time)}", f"{figure(mean)} +- {figure(error, 2)}, median {figure(median)}")
            for time, mean, error, median in zip(self.times, self.mean, self.standard_error, self.median, strict=True)
        ]
        if self.unresolved:
            rows.append(("unresolved", f"{self.unresolved} directions below rounding"))
        return Card(f"SimulatedRisk of {len(self.test)} draws of {size}, ridge {figure(self.ridge)}", rows)


def simulate_kernel_regression(
    task: TaskSpectrum,
    samples: int,
    ridge: float,
    draws: int,
    rng: np.random.Generator,
    *,
    times: Any = np.inf,
) -> SimulatedRisk:
    """Draw training sets and solve kernel regression on each.

    Args:
        task: The kernel's modes over the population, target and noise. A group of fewer modes than samples that is not
            whole is drawn as the nearest whole number of modes, with their trace kept.
        samples: Of each training set, >= 1.
        ridge: Added to the Gram matrix; 0 is the solution of least norm.
        draws: Independent training sets, >= 2.
        rng: Of inputs and noise.
        times: When to look at gradient flow; infinity is ridge regression itself.

    Returns:
        The risks of every draw. One draw costs about samples^2 times the number of groups.

    Raises:
        ArgumentError: If an argument lies outside its region.
        LimitError: If a draw would need more matrix entries than `limits` allows.
    """
    samples, ridge, draws, times = _checked(task, samples, ridge, draws, rng, times)
    population = _split(task, samples + 1)
    within("entries", samples * (len(population.eigenvalues) + samples), "A draw of kernel regression")
    found = [_kernel_draw(population, samples, ridge, times, rng) for _ in range(draws)]
    return _gathered(found, times, samples, None, ridge)


def simulate_random_features(
    task: TaskSpectrum,
    samples: int,
    features: int,
    ridge: float,
    draws: int,
    rng: np.random.Generator,
    *,
    times: Any = np.inf,
) -> SimulatedRisk:
    """Draw training sets and random features, and solve regression on each.

    A feature is h_j(x) = sum_i sqrt(lambda_i) G_ij phi_i(x) with Gaussian G, and the kernel sum_j h_j h_j / features:
    with many features it is that of the task [@simon2023better].

    Args:
        task: The kernel's modes over the population, target and noise. A group of fewer modes than samples and
            features together that is not whole is drawn as the nearest whole number, with their trace kept.
        samples: Of each training set, >= 1.
        features: Of each model, >= 1.
        ridge: Added to the Gram matrix; 0 is the solution of least norm.
        draws: Independent training sets with features of their own, >= 2.
        rng: Of inputs, features and noise.
        times: When to look at gradient flow; infinity is ridge regression itself.

    Returns:
        The risks of every draw.

    Raises:
        ArgumentError: If an argument lies outside its region.
        LimitError: If a draw would need more matrix entries than `limits` allows.
    """
    features = check_whole("features", features, 1, what="number of features")
    samples, ridge, draws, times = _checked(task, samples, ridge, draws, rng, times)
    population = _split(task, samples + features)
    within("entries", (samples + features) * len(population.eigenvalues) + features**2, "A draw of random features")
    found = [_features_draw(population, samples, features, ridge, times, rng) for _ in range(draws)]
    return _gathered(found, times, samples, features, ridge)


@dataclass(frozen=True)
class _Population:
    """Modes that are drawn one by one, and groups of so many that only their Wishart matrices are."""

    eigenvalues: np.ndarray
    target: np.ndarray
    crowds: list[tuple[float, float]]  # eigenvalue and number of modes
    noise: float

    @property
    def modes(self) -> float:
        """Number of all."""
        return len(self.eigenvalues) + sum(size for _, size in self.crowds)


@dataclass(frozen=True)
class _Draw:
    """Risks at every time, and directions lost to rounding."""

    test: np.ndarray
    train: np.ndarray
    unresolved: int


def _split(task: TaskSpectrum, most: int) -> _Population:
    """The target of a group lies in its first mode: Gaussian modes of one eigenvalue can be turned so."""
    values, target, crowds = [], [], []
    for value, energy, size in zip(task.eigenvalues, task.target, task.sizes, strict=True):
        if size > most:
            values.append([value])
            crowds.append((float(value), float(size) - 1.0))
        else:
            whole = max(1, round(float(size)))
            values.append(np.full(whole, value * (size / whole)))
        target.append(np.concatenate([[np.sqrt(energy)], np.zeros(len(values[-1]) - 1)]))
    return _Population(np.concatenate(values), np.concatenate(target), crowds, task.noise)


def _kernel_draw(population: _Population, samples: int, ridge: float, times: np.ndarray, rng: Any) -> _Draw:
    lam, target = population.eigenvalues, population.target
    phi = rng.standard_normal((samples, len(lam)))
    gram, square = (phi * lam) @ phi.T, np.zeros((samples, samples))
    for value, size in population.crowds:
        root = _wishart_root(samples, size, rng)
        wishart = root @ root.T
        gram += value * wishart
        square += value**2 * wishart
    labels = phi @ target + np.sqrt(population.noise) * rng.standard_normal(samples)
    values, vectors = np.linalg.eigh(gram)
    rank = int(min(samples, population.modes))
    values, vectors = values[samples - rank :], vectors[:, samples - rank :]
    filters, lost = _filters(values, ridge, times, samples)
    weights = filters * (vectors.T @ labels)  # of the representers, in the Gram matrix's eigenvectors
    duals = vectors @ weights.T
    missing = target[:, None] - lam[:, None] * (phi.T @ duals)
    test = (missing**2).sum(axis=0) + np.einsum("at,ab,bt->t", duals, square, duals) + population.noise
    train = ((labels[:, None] - vectors @ (values * weights).T) ** 2).mean(axis=0)
    return _Draw(test, train, lost)


def _features_draw(
    population: _Population, samples: int, features: int, ridge: float, times: np.ndarray, rng: Any
) -> _Draw:
    lam, target = population.eigenvalues, population.target
    phi = rng.standard_normal((samples, len(lam)))
    maps = np.sqrt(lam / features)[:, None] * rng.standard_normal((len(lam), features))
    seen, square = phi @ maps, np.zeros((features, features))
    for value, size in population.crowds:
        # Z G with Z = root Q' : Q' G is Gaussian, and the rest of G' G a Wishart matrix of its own.
        inside = rng.standard_normal((samples, features))
        outside = _wishart_root(features, size - samples, rng)
        seen += np.sqrt(value / features) * (_wishart_root(samples, size, rng) @ inside)
        square += value / features * (inside.T @ inside + outside @ outside.T)
    labels = phi @ target + np.sqrt(population.noise) * rng.standard_normal(samples)
    left, roots, right = np.linalg.svd(seen, full_matrices=False)
    rank = int(min(samples, features, population.modes))
    left, roots, right = left[:, :rank], roots[:rank], right[:rank]
    filters, lost = _filters(roots**2, ridge, times, samples)
    weights = filters * roots * (left.T @ labels)
    theta = right.T @ weights.T
    missing = target[:, None] - maps @ theta
    test = (missing**2).sum(axis=0) + np.einsum("at,ab,bt->t", theta, square, theta) + population.noise
    train = ((labels[:, None] - left @ (roots * weights).T) ** 2).mean(axis=0)
    return _Draw(test, train, lost)


def _filters(values: np.ndarray, ridge: float, times: np.ndarray, samples: int) -> tuple[np.ndarray, int]:
    """(1 - exp(-(mu + ridge) t / n)) / (mu + ridge), a row a time; 0 for eigenvalues that are rounding and no more."""
    is_sound = values > samples * ROUNDING * values.max(initial=0.0)
    if ridge > 0:
        is_sound |= True
    shifted = np.where(is_sound, np.maximum(values, 0.0) + ridge, 1.0)
    reached = -np.expm1(-np.multiply.outer(times, shifted) / samples) / shifted
    return np.where(is_sound, reached, 0.0), int((~is_sound).sum())


def _wishart_root(size: int, freedom: float, rng: Any) -> np.ndarray:
    """Lower-triangular root of a Wishart matrix of any real number of degrees of freedom >= size (Bartlett)."""
    root = np.tril(rng.standard_normal((size, size)), -1)
    root[np.diag_indices(size)] = np.sqrt(rng.chisquare(freedom - np.arange(size)))
    return root


def _gathered(found: list[_Draw], times: np.ndarray, samples: int, features: int | None, ridge: float) -> SimulatedRisk:
    test, train = (np.array([getattr(draw, name) for draw in found]) for name in ("test", "train"))
    return SimulatedRisk(test, train, times, samples, features, ridge, max(draw.unresolved for draw in found))


def _checked(
    task: Any, samples: Any, ridge: Any, draws: Any, rng: Any, times: Any
) -> tuple[int, float, int, np.ndarray]:
    check_kind("task", task, TaskSpectrum, "a TaskSpectrum, as of `TaskSpectrum.power_law(1.5, 2.0)`")
    check_kind("rng", rng, np.random.Generator, "a NumPy generator, as of `numpy.random.default_rng(0)`")
    moments = np.atleast_1d(real_array("times", times))
    if moments.ndim != 1 or len(moments) == 0 or not (moments >= 0).all():
        raise ArgumentError(f"`times` must be a row of times >= 0 (infinity is allowed), but is {times!r}.")
    return (
        check_whole("samples", samples, 1, what="number of samples"),
        check_number("ridge", ridge, 0.0),
        check_whole("draws", draws, 2, what="number of draws (one has no standard error)"),
        moments,
    )
