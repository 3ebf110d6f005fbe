"""The two effective ridges of regression on random features, by one equation in one unknown.

With z(gamma) = sum_i lambda_i / (lambda_i + gamma), samples n, features k and ridge delta, the coupled equations

    n = z + delta / kappa,      k = z + k kappa / gamma

are, with epsilon = n - z and eta = k - z, the same as gamma epsilon eta = delta k. As the difference of eta and epsilon
is k - n, a quadratic gives both from gamma alone, without cancellation. With x the smaller of them, what is left is
z(gamma) + x(gamma) = min(n, k): one equation, monotone in gamma. Newton's method solves it within a bracket, in the
logarithms of gamma and of two sides that are both sums of positive terms.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from eigenflow.theory.double_descent.mode_sums import DirectSums, ModeSums, TabulatedSums
from eigenflow.theory.task_spectrum import TaskSpectrum

__all__ = ["EffectiveRidge", "solve_effective_ridge"]

ITERATIONS = 100
CLOSE = 1e-7  # Newton's last step; what is left is of the order of its square
ROUNDING = 8.0 * np.finfo(np.float64).eps


class EffectiveRidge(NamedTuple):
    """The solution at each point.

    Attributes:
        log_gamma: ln of the ridge that the population's modes feel; -inf where every mode is learned.
        smaller: The smaller of n - z and k - z.
        sums: At that gamma.
        error: Of ln gamma: what is left of the equation, with the rounding of its terms, over its slope.
    """

    log_gamma: np.ndarray
    smaller: np.ndarray
    sums: ModeSums
    error: np.ndarray


@dataclass(frozen=True)
class Equation:
    """z(gamma) + x(gamma) = min(n, k) at some points.

    Attributes:
        modes: Number of modes.
        small: min(n, k).
        big: max(n, k), perhaps infinite.
        log_strength: ln of delta k / max(n, k), -inf without ridge.
    """

    modes: float
    small: np.ndarray
    big: np.ndarray
    log_strength: np.ndarray

    @classmethod
    def of(cls, modes: float, samples: np.ndarray, features: np.ndarray, ridge: np.ndarray) -> "Equation":
        """Set it up; with infinitely many samples any ridge is none."""
        small, big = np.minimum(samples, features), np.maximum(samples, features)
        share = np.ones(len(small))
        np.divide(features, big, out=share, where=np.isfinite(features))
        with np.errstate(divide="ignore"):
            return cls(modes, small, big, np.log(ridge) + np.log(share))

    def __getitem__(self, which: np.ndarray) -> "Equation":
        return Equation(self.modes, self.small[which], self.big[which], self.log_strength[which])

    @property
    def is_open(self) -> np.ndarray:
        """Where a mode is left to learn: as many samples and features as modes, without ridge, learn them all."""
        return np.isfinite(self.log_strength) | (self.small < self.modes)

    @property
    def gap(self) -> np.ndarray:
        """1 - small / big, without cancellation."""
        gap = np.ones(len(self.small))
        return np.divide(self.big - self.small, self.big, out=gap, where=np.isfinite(self.big))

    def smaller(self, log_gamma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Give x, from x (x + big - small) = delta k / gamma, and its derivative in ln gamma."""
        strength = np.exp(np.minimum(self.log_strength - log_gamma, 700.0))
        gap = self.gap
        root = np.sqrt(gap**2 + 4.0 * strength / self.big)
        x = np.divide(2.0 * strength, gap + root, out=np.zeros_like(root), where=strength > 0.0)
        slope = np.divide(x * (x / self.big + gap), 2.0 * x / self.big + gap, out=np.zeros_like(x), where=x > 0.0)
        return x, -slope

    def sides(self, log_gamma: np.ndarray, sums: ModeSums) -> tuple[np.ndarray, np.ndarray]:
        """Give ln of left over right side, and its slope in ln gamma, which is negative.

        Three arrangements, for few and for many of the modes learned, and for more of samples and features than modes.
        """
        x, slope = self.smaller(log_gamma)
        few, within = self.small <= 0.5 * self.modes, self.small <= self.modes
        lacking, beyond = np.maximum(self.modes - self.small, 0.0), np.maximum(self.small - self.modes, 0.0)
        left = np.where(few, sums.learned, np.where(within, lacking, 0.0)) + x
        right = np.where(few, self.small, beyond + sums.unlearned)
        slopes = np.where(few, (slope - sums.spread) / left, slope / left - sums.spread / right)
        return np.log(left) - np.log(right), slopes

    def bracket(self, task: TaskSpectrum) -> tuple[np.ndarray, np.ndarray]:
        """Give ln gamma below and above the root, as z >= modes - gamma sum 1/lambda and z <= trace / gamma."""
        log_small, half = np.log(self.small), 0.5 * self.small / self.big
        first = float(task.eigenvalues[0])
        log_trace = np.log(first) + np.log(task.sizes @ (task.eigenvalues / first))
        last = float(task.eigenvalues[-1])
        log_reciprocals = np.log(task.sizes @ (last / task.eigenvalues)) - np.log(last)
        with np.errstate(divide="ignore"):
            lacking = np.log(np.maximum(self.modes - self.small, 0.0)) - log_reciprocals
        # x is all of small, or half of it.
        low = np.maximum(self.log_strength - log_small, lacking)
        high = np.maximum(self.log_strength - log_small - np.log1p(-half), log_trace - log_small) + np.log(2.0)
        return low - 1e-6, high + 1e-6


def solve_effective_ridge(
    sums: DirectSums | TabulatedSums,
    samples: Float[np.ndarray, " point"],
    features: Float[np.ndarray, " point"],
    ridge: Float[np.ndarray, " point"],
) -> EffectiveRidge:
    """Solve for gamma at each point.

    Args:
        sums: Over the modes of a task.
        samples: n > 0; `features`: k > 0; either may be infinite, but not both at one point.
        ridge: delta >= 0.
    """
    task = sums.task
    equation = Equation.of(task.modes, samples, features, ridge)
    is_open = equation.is_open
    log_gamma = np.full(len(samples), -np.inf)
    if is_open.any():
        solved = equation[is_open]
        log_gamma[is_open] = _newton(solved, sums, *solved.bracket(task))
    return _checked(equation, log_gamma, is_open, sums)


def _newton(equation: Equation, sums: DirectSums | TabulatedSums, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Find the roots, by Newton's steps where they stay inside the bracket and by halves where they do not."""
    found = 0.5 * (low + high)
    active = np.arange(len(found))
    for _ in range(ITERATIONS):
        here, part = found[active], equation[active]
        value, slope = part.sides(here, sums(here))
        low[active] = np.where(value > 0.0, here, low[active])
        high[active] = np.where(value > 0.0, high[active], here)
        with np.errstate(divide="ignore", invalid="ignore"):
            step = -value / slope
        is_inside = (here + step >= low[active]) & (here + step <= high[active])
        found[active] = np.where(is_inside, here + step, 0.5 * (low[active] + high[active]))
        active = active[~(is_inside & (np.abs(step) <= CLOSE))]
        if not len(active):
            break
    return found


def _checked(
    equation: Equation,
    log_gamma: np.ndarray,
    is_open: np.ndarray,
    sums: DirectSums | TabulatedSums,
) -> EffectiveRidge:
    """Evaluate all at the roots, and say how far they may be off."""
    # Values where every mode is learned.
    smaller, error = np.maximum(equation.small - equation.modes, 0.0), np.zeros(len(log_gamma))
    held = np.zeros((6, len(log_gamma)))
    held[0] = held[2] = equation.modes
    if is_open.any():
        solved, roots = equation[is_open], log_gamma[is_open]
        there = sums(roots)
        held[:, is_open] = there
        smaller[is_open] = solved.smaller(roots)[0]
        value, slope = solved.sides(roots, there)
        with np.errstate(divide="ignore", invalid="ignore"):
            error[is_open] = (np.abs(value) + ROUNDING + sums.error) / np.abs(slope) + sums.error
    return EffectiveRidge(log_gamma, smaller, ModeSums(*held), np.where(np.isnan(error), np.inf, error))
