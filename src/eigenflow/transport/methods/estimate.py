"""The error of methods on cells, by solving once more on half as many."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from jaxtyping import Float
from scipy.interpolate import PchipInterpolator

from eigenflow.transport.initial import Initial, cell_masses
from eigenflow.transport.methods.method import Evolved

__all__ = ["apart", "with_estimate"]

_FEWEST = 4


def with_estimate(
    run: Callable[[np.ndarray, np.ndarray, bool], Evolved],
    initial: Initial,
    log_edges: Float[np.ndarray, " edge"],
    share: float,
) -> Evolved:
    """Run a method on cells, and on half as many to tell the error.

    Args:
        run: Takes edges in ln(lambda), the masses of the cells at t = 0, and whether this is the rough run.
        initial: As in `TransportProblem`.
        log_edges: Evenly spaced.
        share: Of the difference, which the finer run leaves: at order p and without haste 1 / (2^p - 1).

    Returns:
        The finer run with its estimated error; a failure of either.
    """
    count = len(log_edges) - 1
    half = max(_FEWEST, count // 2)
    halved = np.linspace(log_edges[0], log_edges[-1], half + 1)
    start, averaging = cell_masses(initial, log_edges)
    fine = run(log_edges, start, False)
    paired = start.reshape(half, 2).sum(axis=1) if count == 2 * half else cell_masses(initial, halved)[0]
    rough = run(halved, paired, True)
    error = share * apart(fine.mass, rough.mass) + fine.error + averaging
    return replace(fine, error=error, failure=fine.failure or rough.failure)


def apart(fine: Float[np.ndarray, "time cell"], rough: Float[np.ndarray, "time half"]) -> Float[np.ndarray, " time"]:
    """Sum over the rough cells how much two sets of masses on one domain differ, at each time."""
    count, half = fine.shape[1], rough.shape[1]
    if count == 2 * half:
        return np.abs(fine.reshape(len(fine), half, 2).sum(axis=2) - rough).sum(axis=1)
    cumulative = np.concatenate([np.zeros((len(fine), 1)), np.cumsum(fine, axis=1)], axis=1)
    between = PchipInterpolator(np.linspace(0, 1, count + 1), cumulative, axis=1)(np.linspace(0, 1, half + 1))
    return np.abs(np.diff(between, axis=1) - rough).sum(axis=1)
