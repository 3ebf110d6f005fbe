"""Central differences of sixth order along a direction, for what no mode of differentiation gives.

The gradient that trains a network is not always the derivative of what the network computes: padding rows of
embeddings, straight-through estimators, `detach()` and custom functions leave parts out of J, although these parts move
with the parameters. Mdot is the rate of the M that trains along the path of the parameters, and where such a part hides
from forward and reverse mode, only differences see it.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from eigenflow.tangent.model.network import Parameters

if TYPE_CHECKING:
    from eigenflow.tangent.point import TangentPoint

__all__ = ["STEPS", "difference", "difference_step", "path_length", "sides"]

# Relative to the size of the parameters. Errors are about step^6 and rounding / step: 1e-3 is best where all is smooth,
# less where kinks are near.
STEPS = (1e-3, 1e-4, 1e-2, 1e-5, 1e-6, 1e-7)
_WEIGHTS = ((1, 45 / 60), (2, -9 / 60), (3, 1 / 60))


def path_length(parameters: Parameters, direction: Parameters) -> float:
    """Time in which the parameters move by their own length; 0 if they do not move."""
    sizes = [float(sum(p.double().square().sum() for p in side.values()) ** 0.5) for side in (parameters, direction)]
    return sizes[0] / sizes[1] if sizes[1] > 0 else 0.0


def difference(
    values: Callable[[Parameters], Tensor], parameters: Parameters, direction: Parameters, step: float
) -> Tensor:
    """d/dt of a function of the parameters along dtheta/dt = direction.

    Args:
        values: The function.
        parameters: Where.
        direction: dtheta/dt.
        step: Relative to the size of the parameters.
    """
    length = path_length(parameters, direction) * step
    total = None
    for times, weight in _WEIGHTS:
        for sign in (1.0, -1.0):
            at = {name: p + sign * times * length * direction[name] for name, p in parameters.items()}
            term = values(at) * (sign * weight / length if length > 0 else 0.0)
            total = term if total is None else total + term
    assert total is not None
    return total


def sides(
    values: Callable[[Parameters], Tensor], parameters: Parameters, direction: Parameters, step: float
) -> tuple[Tensor, Tensor]:
    """d/dt ahead and behind, by one-sided differences of second order; they agree where there is one derivative."""
    length = path_length(parameters, direction) * step
    found = []
    for sign in (1.0, -1.0):
        here, near, far = (
            values({name: p + sign * times * length * direction[name] for name, p in parameters.items()})
            for times in (0, 1, 2)
        )
        found.append((4 * near - 3 * here - far) * (sign / (2 * length) if length > 0 else 0.0))
    return found[0], found[1]


def difference_step(point: "TangentPoint", direction: Parameters) -> float:
    """The step from whose neighbour the rate of one product changes least."""
    row = torch.randn(1, point.size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    row = row.to(point.error)
    steps = sorted(STEPS, reverse=True)
    rates = [difference(lambda p: point.moved(p).product(row), point.parameters, direction, step) for step in steps]
    changes = [float((a - b).norm()) for a, b in pairwise(rates)]
    return steps[changes.index(min(changes)) + 1]
