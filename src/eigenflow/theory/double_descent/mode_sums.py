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
    """The sums, term by term; called with ln gamma, at a cost of two exponentials a point and group of modes."""

    task: TaskSpectrum

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
    """The same sums between two values of ln gamma, by a table; called with ln gamma.

    Attributes:
        error: Largest relative error, seen between the nodes.
    """

    def __init__(self, direct: DirectSums, low: float, high: float) -> None:
        self.low = low - 1e-6
        self.pieces = int(high + 1e-6 - self.low) + 1
        starts = self.low + np.arange(self.pieces)
        nodes = chebyshev.chebpts1(NODES)
        values = np.array(direct((starts[:, None] + 0.5 + 0.5 * nodes).ravel())).reshape(6, self.pieces, NODES)
        # Discrete orthogonality at Chebyshev points of the first kind turns values into coefficients.
        transform = chebyshev.chebvander(nodes, NODES - 1) * (2.0 / NODES)
        transform[:, 0] *= 0.5
        self.coefficients = np.ascontiguousarray((values @ transform).transpose(2, 0, 1))
        between = (starts[:, None] + np.array([0.011, 0.31, 0.77])).ravel()
        exact, held = np.array(direct(between)), np.array(self(between))
        self.error = float((np.abs(held - exact) / np.maximum(np.abs(exact), np.finfo(np.float64).tiny)).max())

    def __call__(self, log_gamma: Float[np.ndarray, " point"]) -> ModeSums:
        place = np.clip((log_gamma - self.low).astype(np.int64), 0, self.pieces - 1)
        x = 2.0 * (log_gamma - self.low - place) - 1.0
        here = np.take(self.coefficients, place, axis=2)
        first, second = here[-1], np.zeros_like(here[-1])
        for order in range(NODES - 2, 0, -1):
            first, second = here[order] + 2.0 * x * first - second, first
        return ModeSums(*(here[0] + x * first - second))
