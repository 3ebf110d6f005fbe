"""An oracle for sources under a constant drift: global Chebyshev collocation in ln(lambda), scipy's matrix exponential.

It shares nothing with the package: point values on one polynomial over the whole domain, Clenshaw-Curtis
quadrature of the kernel, no cells and no fluxes ([@trefethen2000spectral], programs 13 and 30).
"""

from collections.abc import Callable

import numpy as np
from numpy.polynomial import chebyshev
from scipy.linalg import expm
from scipy.special import ndtr

__all__ = ["fed_masses", "jump_masses"]


def jump_masses(
    start: Callable,
    domain: tuple[float, float],
    times: np.ndarray,
    cells: int,
    *,
    c: float,
    b: float,
    rate: float,
    width: float,
    dissipation: float,
    degree: int = 320,
) -> np.ndarray:
    """Solve for v = -c lambda^b with jumps at `rate` lambda by a log-normal kernel cut to the domain.

    Returns:
        Cell masses, shape (time, cell).
    """
    low, high = np.log(domain)
    x, differentiate, weights = _on_domain(domain, degree)
    eigenvalues = np.exp(x)
    inside = ndtr((high - x) / width) - ndtr((low - x) / width)
    kernel = np.exp(-0.5 * ((x[:, None] - x) / width) ** 2) / (np.sqrt(2 * np.pi) * width) / inside
    matrix = differentiate * (c * np.exp((b - 1) * x))
    matrix += kernel * (rate * eigenvalues * weights) - np.diag((dissipation + rate) * eigenvalues)
    return _carried(matrix, start(eigenvalues) * eigenvalues, domain, times, cells, c)


def fed_masses(
    start: Callable,
    domain: tuple[float, float],
    times: np.ndarray,
    cells: int,
    *,
    c: float,
    b: float,
    gain: Callable,
    degree: int = 240,
) -> tuple[np.ndarray, np.ndarray]:
    """Solve for v = -c lambda^b, dissipation 2 lambda and S = E(t) sigma, with E the total energy.

    Args:
        gain: Function of ln(lambda); sigma, per unit ln(lambda), is what is left of it without its mean.

    Returns:
        Cell masses, shape (time, cell), and the integral of sigma over each cell.
    """
    x, differentiate, weights = _on_domain(domain, degree)
    eigenvalues = np.exp(x)
    sigma = gain(x) - gain(x) @ weights / weights.sum()
    matrix = differentiate * (c * np.exp((b - 1) * x)) - np.diag(2 * eigenvalues) + np.outer(sigma, weights)
    masses = _carried(matrix, start(eigenvalues) * eigenvalues, domain, times, cells, c)
    return masses, _integrated(sigma[None], domain, cells)[0]


def _on_domain(domain: tuple[float, float], degree: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    low, high = np.log(domain)
    z, differentiate, weights = _collocation(degree)
    return low + 0.5 * (high - low) * (1 + z), differentiate * 2 / (high - low), 0.5 * (high - low) * weights


def _carried(
    matrix: np.ndarray, state: np.ndarray, domain: tuple[float, float], times: np.ndarray, cells: int, c: float
) -> np.ndarray:
    # Nothing flows in: the value is zero where paths enter (nodes run from the upper end to the lower).
    free = slice(1, None) if c > 0 else slice(None, -1) if c < 0 else slice(None)
    values, before, state = np.zeros((len(times), len(matrix))), 0.0, state[free]
    for row, now in enumerate(times):
        state = expm(matrix[free, free] * (now - before)) @ state
        values[row, free], before = state, now
    return _integrated(values, domain, cells)


def _integrated(values: np.ndarray, domain: tuple[float, float], cells: int) -> np.ndarray:
    degree = values.shape[1] - 1
    points = np.cos(np.pi * np.arange(degree + 1) / degree)
    series = chebyshev.chebint(np.linalg.solve(chebyshev.chebvander(points, degree), values.T), lbnd=-1, axis=0)
    cumulative = chebyshev.chebval(np.linspace(-1, 1, cells + 1), series)
    return np.diff(cumulative, axis=1) * 0.5 * np.diff(np.log(domain))


def _collocation(degree: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points from 1 to -1, the matrix that differentiates, and Clenshaw-Curtis weights (degree even)."""
    angle = np.pi * np.arange(degree + 1) / degree
    points = np.cos(angle)
    ends = np.where((angle == 0) | (np.arange(degree + 1) == degree), 2.0, 1.0)
    signs = ends * (-1.0) ** np.arange(degree + 1)
    gaps = points[:, None] - points + np.eye(degree + 1)
    differentiate = np.outer(signs, 1 / signs) / gaps
    differentiate -= np.diag(differentiate.sum(axis=1))
    inner = np.ones(degree - 1)
    for k in range(1, degree // 2):
        inner -= 2 * np.cos(2 * k * angle[1:-1]) / (4 * k * k - 1)
    inner -= np.cos(degree * angle[1:-1]) / (degree**2 - 1)
    weights = np.full(degree + 1, 1 / (degree**2 - 1))
    weights[1:-1] = 2 * inner / degree
    return points, differentiate, weights
