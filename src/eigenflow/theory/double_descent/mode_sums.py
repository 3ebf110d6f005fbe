"""Sums over a task's modes as functions of an effective ridge gamma, term by term or from a table.

They are analytic functions of ln gamma in a strip of half width pi, as their poles stand at gamma = -lambda. On pieces
of one e-fold Chebyshev polynomials of degree 13 therefore hold them to rounding, and a map of 40,000 points needs no
more terms than a few hundred points do.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.polynomial import chebyshev
from scipy.special import expit

from eigenflow.theory.task_spectrum import TaskSpectrum

__all__ = ["DirectSums", "ModeSums", "TabulatedSums"]

NODES = 14
CHUNK = 2_000_000  # exponentials at once, 16 MB


class ModeSums(NamedTuple):
    """Sums over modes, with L = lambda / (lambda + gamma). All are positive, so that nothing cancels in what uses them.

    Attributes:
        learned: z = sum L, modes that are learned.
        unlearned: sum (1 - L).
        squared: q = sum L^2.
        spread: z - q = sum L (1 - L), which is -dz / d ln gamma.
        target_spread: sum L (1 - L) w^2.
        target_left: sum (1 - L)^2 w^2.
    """

    learned: np.ndarray
    unlearned: np.ndarray
    squared: np.ndarray
    spread: np.ndarray
    target_spread: np.ndarray
    target_left: np.ndarray


@dataclass(frozen=True)
class DirectSums:
    """The sums, term by term; called with ln gamma, at a cost of two exponentials a point and group of modes.

    Attributes:
        task: Whose modes.
        error: Relative, of rounding.
    """

    task: TaskSpectrum
    error: float = 4.0 * float(np.finfo(np.float64).eps)

    def __call__(self, log_gamma: Float[np.ndarray, " point"]) -> ModeSums:
        logs, counts, target = np.log(self.task.eigenvalues), self.task.sizes, self.task.target
        found = np.empty((6, len(log_gamma)))
        step = max(1, CHUNK // len(logs))
        for start in range(0, len(log_gamma), step):
            here = slice(start, start + step)
            distance = logs - log_gamma[here, None]
            learned, unlearned = expit(distance), expit(-distance)
            spread = learned * unlearned
            found[:, here] = (
                learned @ counts,
                unlearned @ counts,
                learned**2 @ counts,
                spread @ counts,
                spread @ target,
                unlearned**2 @ target,
            )
        return ModeSums(*found)


class TabulatedSums:
    """The same sums by a table that grows to the values of ln gamma it is asked for; called with ln gamma.

    Attributes:
        direct: What it is filled with, at a cost of 17 points an e-fold; `task`: its task.
        error: Largest relative error so far, seen between the nodes.
    """

    def __init__(self, direct: DirectSums) -> None:
        self.direct = direct
        self.task = direct.task
        self.error = direct.error
        self.first = 0
        self.coefficients = np.empty((NODES, 6, 0))

    def __call__(self, log_gamma: Float[np.ndarray, " point"]) -> ModeSums:
        piece = np.floor(log_gamma).astype(np.int64)
        self._reach(int(piece.min()), int(piece.max()))
        return self._held(log_gamma, piece)

    def _held(self, log_gamma: np.ndarray, piece: np.ndarray) -> ModeSums:
        """Clenshaw's sum of the polynomials of each point's piece."""
        x = 2.0 * (log_gamma - piece) - 1.0
        here = np.take(self.coefficients, piece - self.first, axis=2)
        first, second = here[-1], np.zeros_like(here[-1])
        for order in range(NODES - 2, 0, -1):
            first, second = here[order] + 2.0 * x * first - second, first
        return ModeSums(*(here[0] + x * first - second))

    def _reach(self, low: int, high: int) -> None:
        """Add the pieces that are missing; those held have no gap."""
        held = self.coefficients.shape[2]
        if held == 0:
            self.first = low
        before, after = np.arange(low, self.first), np.arange(self.first + held, high + 1)
        if not len(before) + len(after):
            return
        parts = [self._pieces(before), self.coefficients, self._pieces(after)]
        self.coefficients, self.first = np.concatenate(parts, axis=2), min(low, self.first)
        for new in (before, after):
            self._compare(new)

    def _pieces(self, starts: np.ndarray) -> np.ndarray:
        """Coefficients, shape (order, sum, piece)."""
        nodes = chebyshev.chebpts1(NODES)
        values = np.array(self.direct((starts[:, None] + 0.5 + 0.5 * nodes).ravel())).reshape(6, len(starts), NODES)
        # Discrete orthogonality at Chebyshev points of the first kind turns values into coefficients.
        transform = chebyshev.chebvander(nodes, NODES - 1) * (2.0 / NODES)
        transform[:, 0] *= 0.5
        return (values @ transform).transpose(2, 0, 1)

    def _compare(self, starts: np.ndarray) -> None:
        """Note the error of new pieces."""
        if not len(starts):
            return
        piece = np.repeat(starts, 3)
        between = piece + np.tile([0.011, 0.31, 0.77], len(starts))
        exact, held = np.array(self.direct(between)), np.array(self._held(between, piece))
        error = np.abs(held - exact) / np.maximum(np.abs(exact), np.finfo(np.float64).tiny)
        self.error = max(self.error, float(error.max()))
