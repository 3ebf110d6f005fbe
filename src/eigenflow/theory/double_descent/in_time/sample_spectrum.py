"""The density of eigenvalues of a sample covariance as nodes and weights: panels along its curve.

The logarithm of the modulus of kappa runs over the bands of `spectral_curve`. With s = s_0 + (s_1 - s_0) sin^2(a / 2)
the square roots at a band's ends are smooth in a. Panels of Gauss's rule are halved until the angle of kappa and the
logarithm of the eigenvalue are resolved: where single modes stand out the curve has bumps as narrow as their bands.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Complex, Float

from eigenflow.core.limits import within
from eigenflow.theory.double_descent.in_time.ridge_curve import RidgeCurve

__all__ = ["SampleSpectrum", "sample_spectrum"]

Array = Float[np.ndarray, "..."]

NODES, COARSE_NODES = 12, 9
# Size of the last two coefficients, in Legendre's polynomials, of what a panel must resolve; Gauss's rule squares it.
RESOLVED = 1e-6
HALVINGS = 14


@dataclass(frozen=True)
class SampleSpectrum:
    """Nodes of the density of eigenvalues of a sample covariance, with the effective ridge there.

    Attributes:
        curve: Of which samples and features.
        eigenvalues: l of the nodes, increasing.
        weights: Of the integral over l.
        gamma: The ridge that the task's modes feel as z comes down to l from the upper half-plane.
        bands: Number of intervals of the density.
    """

    curve: RidgeCurve
    eigenvalues: Float[np.ndarray, " node"]
    weights: Float[np.ndarray, " node"]
    gamma: Complex[np.ndarray, " node"]
    bands: int


def sample_spectrum(curve: RidgeCurve, widest: float) -> tuple[SampleSpectrum, SampleSpectrum]:
    """Find the density of eigenvalues that samples of a task, or of random features of it, have.

    Args:
        curve: The task and how it is looked at.
        widest: E-folds of the eigenvalue in a panel.

    Returns:
        The spectrum, and one of lower order on the same panels: their difference in any integral bounds the error.
    """
    solver = _Solver(curve, curve.log_bands(), widest)
    panels, angles = solver.refine()
    fine = solver.place(panels, NODES, angles)
    at = np.polynomial.legendre.leggauss(COARSE_NODES)[0]
    values = angles @ _coefficients(NODES).T @ np.polynomial.legendre.legvander(at, NODES - 1).T
    coarse = solver.place(panels, COARSE_NODES, None, np.clip(values, 1e-8, np.pi))
    return fine, coarse


def _coefficients(nodes: int) -> Array:
    """From values at Gauss's nodes to coefficients in Legendre's polynomials."""
    at, weights = np.polynomial.legendre.leggauss(nodes)
    table = np.polynomial.legendre.legvander(at, nodes - 1)
    return table.T * weights * (np.arange(nodes)[:, None] + 0.5)


def _halves(nodes: int) -> Float[np.ndarray, "half node order"]:
    """Legendre's polynomials at the nodes of the first and the second half of a panel."""
    at = np.polynomial.legendre.leggauss(nodes)[0]
    return np.stack([np.polynomial.legendre.legvander(0.5 * (at + side), nodes - 1) for side in (-1.0, 1.0)])


@dataclass(frozen=True)
class _Solver:
    """Panels on one curve."""

    curve: RidgeCurve
    bands: Float[np.ndarray, "band 2"]
    widest: float

    def refine(self) -> tuple[Float[np.ndarray, "panel 3"], Array]:
        """Halve panels (band, first and last alpha) until they resolve; give them with the angles at their nodes."""
        count = len(self.bands)
        waiting = np.stack([np.arange(count), np.zeros(count), np.full(count, np.pi)], axis=1)
        largest = np.zeros(count)
        kept, angles, start = [], [], None
        coefficients = _coefficients(NODES)
        check, halves = coefficients[-2:].T, _halves(NODES) @ coefficients
        for turn in range(HALVINGS):
            nodes = NODES * (len(waiting) + sum(map(len, kept)))
            within("entries", nodes**2, f"The density of {count} bands of eigenvalues")
            modulus, _ = self._nodes(waiting, NODES)
            defect = self._defects(modulus, start)
            rates = np.log(self._rates(modulus, defect))
            angle = np.arctan2(np.sqrt(defect * (2.0 - defect)), 1.0 - defect)
            band = waiting[:, 0].astype(int)
            np.maximum.at(largest, band, angle.max(1))
            rough = np.abs(angle @ check).max(1) > RESOLVED * largest[band]
            rough |= (np.abs(rates @ check).max(1) > RESOLVED) | (np.ptp(rates, axis=1) > self.widest)
            rough &= turn < HALVINGS - 1
            kept.append(waiting[~rough])
            angles.append(angle[~rough])
            if not rough.any():
                break
            guess = np.clip(np.concatenate([angle[rough] @ half.T for half in halves]), 1e-8, np.pi)
            start = 2.0 * np.sin(0.5 * guess) ** 2
            band, first, last = waiting[rough].T
            middle = 0.5 * (first + last)
            waiting = np.concatenate([np.stack([band, first, middle], axis=1), np.stack([band, middle, last], axis=1)])
        panels, held = np.concatenate(kept), np.concatenate(angles)
        order = np.lexsort((panels[:, 1], panels[:, 0]))
        return panels[order], held[order]

    def place(self, panels: Array, nodes: int, angles: Array | None, start: Array | None = None) -> SampleSpectrum:
        """Put nodes on panels: at angles that are known, or found from a start."""
        modulus, step = self._nodes(panels, nodes)
        if angles is None:
            assert start is not None
            defect = self._defects(modulus, 2.0 * np.sin(0.5 * start) ** 2)
        else:
            defect = 2.0 * np.sin(0.5 * angles) ** 2
        gamma = _on_curve(modulus, defect).ravel()
        rates = self._rates(modulus, defect).ravel()
        slope = gamma * self.curve.rate_slopes(gamma)
        # Along the curve the change of -z is real, which says how the angle changes with the modulus.
        weights = step.ravel() * np.abs(slope) ** 2 / -np.real(slope)
        return SampleSpectrum(self.curve, rates, weights, gamma, len(self.bands))

    def _nodes(self, panels: Array, nodes: int) -> tuple[Array, Array]:
        at, weights = np.polynomial.legendre.leggauss(nodes)
        ends = self.bands[panels[:, 0].astype(int)]
        half = 0.5 * (panels[:, 2] - panels[:, 1])[:, None]
        alpha = panels[:, 1, None] + half * (1.0 + at)
        length = (ends[:, 1] - ends[:, 0])[:, None]
        modulus = np.exp(ends[:, :1] + length * np.sin(0.5 * alpha) ** 2)
        return modulus, half * weights * length * 0.5 * np.sin(alpha)

    def _defects(self, modulus: Array, start: Array | None = None) -> Array:
        begin = None if start is None else start.ravel()
        return self.curve.defects(modulus.ravel(), begin).reshape(modulus.shape)

    def _rates(self, modulus: Array, defect: Array) -> Array:
        rates = -np.real(self.curve.rates(_on_curve(modulus, defect).ravel()))
        return np.maximum(rates.reshape(modulus.shape), np.finfo(float).tiny)


def _on_curve(modulus: Array, defect: Array) -> np.ndarray:
    return -modulus * ((1.0 - defect) + 1j * np.sqrt(defect * (2.0 - defect)))
