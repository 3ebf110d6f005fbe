"""An oracle for jumps under a constant drift: global Chebyshev collocation in ln(lambda), scipy's matrix exponential.

It shares nothing with the package: point values on one polynomial over the whole domain, Clenshaw-Curtis
quadrature of the kernel, no cells and no fluxes (Trefethen 2000, Spectral Methods in MATLAB, programs 13 and 30).
"""

from collections.abc import Callable

import numpy as np
from numpy.polynomial import chebyshev
from scipy.linalg import expm
from scipy.special import ndtr

__all__ = ["jump_masses"]


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
    z, differentiate, weights = _collocation(degree)
    x, weights = low + 0.5 * (high - low) * (1 + z), 0.5 * (high - low) * weights
    eigenvalues = np.exp(x)
    inside = ndtr((high - x) / width) - ndtr((low - x) / width)
    kernel = np.exp(-0.5 * ((x[:, None] - x) / width) ** 2) / (np.sqrt(2 * np.pi) * width) / inside
    matrix = differentiate * (2 / (high - low) * c * np.exp((b - 1) * x))
    matrix += kernel * (rate * eigenvalues * weights) - np.diag((dissipation + rate) * eigenvalues)
    # Nothing flows in: the value is zero where paths enter (nodes run from the upper end to the lower).
    free = slice(1, None) if c > 0 else slice(None, -1) if c < 0 else slice(None)
    state = (start(eigenvalues) * eigenvalues)[free]
    values, before = np.zeros((len(times), degree + 1)), 0.0
    for row, now in enumerate(times):
        state = expm(matrix[free, free] * (now - before)) @ state
        values[row, free], before = state, now
    series = chebyshev.chebint(np.linalg.solve(chebyshev.chebvander(z, degree), values.T), lbnd=-1, axis=0)
    cumulative = chebyshev.chebval(np.linspace(-1, 1, cells + 1), series) * 0.5 * (high - low)
    return np.diff(cumulative, axis=1)


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
