"""Spectra and targets of known exponents, and such that have none; drawn, whole or through samples."""

import numpy as np

SHOWN = 3000  # modes of a population that are drawn one by one; what lies beyond acts as its mean


def drawn_energies(means: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Squares of Gaussian coefficients."""
    return means * rng.standard_normal(len(means)) ** 2


def power(capacity: float, source: float, modes: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A population's modes with a random target."""
    ranks = np.arange(1.0, modes + 1.0)
    return ranks**-capacity, drawn_energies(ranks ** -(capacity * source + 1.0), rng)


def seen_by_samples(
    eigenvalues: np.ndarray,
    means: np.ndarray,
    samples: int,
    rng: np.random.Generator,
    *,
    trace_beyond: float = 0.0,
    energy_beyond: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Modes and energies of the Gram matrix of Gaussian features, over n."""
    features = rng.standard_normal((samples, len(eigenvalues)))
    gram = (features * eigenvalues) @ features.T / samples + trace_beyond / samples * np.eye(samples)
    values, vectors = np.linalg.eigh(gram)
    labels = features @ (np.sqrt(means) * rng.standard_normal(len(means)))
    labels += np.sqrt(energy_beyond) * rng.standard_normal(samples)
    return values[::-1], (vectors.T @ labels)[::-1] ** 2 / samples


def sampled_power(
    capacity: float, source: float, samples: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The same of a power law with its tail."""
    ranks, decay = np.arange(1.0, SHOWN + 1.0), capacity * source + 1.0
    end = SHOWN + 0.5
    return seen_by_samples(
        ranks**-capacity,
        ranks**-decay,
        samples,
        rng,
        trace_beyond=end ** (1.0 - capacity) / (capacity - 1.0),
        energy_beyond=end ** (1.0 - decay) / (decay - 1.0),
    )


def broken(ranks: np.ndarray, kink: float, first: float, second: float) -> np.ndarray:
    """A power that turns into another."""
    return np.where(ranks < kink, ranks**-first, kink ** (second - first) * ranks**-second)
