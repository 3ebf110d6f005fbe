"""The frontier where characteristics have no closed form: paths are followed numerically."""

from typing import Any

import numpy as np
from jaxtyping import Float

from eigenflow.transport.flows.flow import Dissipation
from eigenflow.transport.flows.path_maps import IntegratedPaths
from eigenflow.transport.methods.frontier import LOST_EXPONENT

__all__ = ["traced_frontier"]

# Paths per output time; ln(exponent) is close to straight between them.
PATHS = 129


def traced_frontier(
    drift: Any, dissipation: Dissipation, times: Float[np.ndarray, " time"], ends: tuple[float, float]
) -> Float[np.ndarray, " time"]:
    """Find the lowest instantaneous eigenvalue whose path has the attenuation exponent 1.

    Args:
        drift: Anything with `velocity(eigenvalues, times)`.
        dissipation: Factor of lambda, or a rate.
        times: Output times.
        ends: ln(lambda) at the ends of the domain; only paths that stay inside count.

    Returns:
        Eigenvalues, by interpolation between 129 paths (good to about 1e-3); inf where no path has lost that
        much or none is left, 0 where all have.
    """
    start = np.linspace(*ends, PATHS)
    shape = (len(times), PATHS)
    x = np.broadcast_to(start, shape).ravel()
    end = np.repeat(times, PATHS)
    carried = IntegratedPaths(drift, dissipation, ends).carry(x, np.zeros_like(end), end)
    arrival, exponent, side = (found.reshape(shape) for found in carried)
    result = np.full(len(times), np.inf)
    for row in range(len(times)):
        stays = side[row] == 0
        position, lost = arrival[row][stays], exponent[row][stays]
        over = np.flatnonzero(lost >= LOST_EXPONENT)
        if not len(over):
            continue
        first = over[0]
        if first == 0 or lost[first - 1] <= 0:
            result[row] = 0.0 if first == 0 else np.exp(position[first])
            continue
        share = np.log(LOST_EXPONENT / lost[first - 1]) / np.log(lost[first] / lost[first - 1])
        result[row] = np.exp(position[first - 1] + share * (position[first] - position[first - 1]))
    return result
