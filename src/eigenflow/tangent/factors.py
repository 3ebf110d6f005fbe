"""The factors of J at a point, and their derivatives along a direction, for products that are made many times."""

import torch
from torch import Tensor
from torch.func import jvp

from eigenflow.tangent.groups import find_groups, group_factors
from eigenflow.tangent.layers import capture_signals
from eigenflow.tangent.network import Parameters
from eigenflow.tangent.point import TangentPoint
from eigenflow.tangent.rules import Factors

__all__ = ["FactorSum", "point_factors"]

# Factors of one group of parameters (their sum is its part of J), their derivatives, and the parameter's first axis.
FactorSum = tuple[list[Factors], list[Factors] | None, int]


@torch.no_grad()
def point_factors(
    point: TangentPoint, direction: Parameters | None, dtype: torch.dtype
) -> tuple[list[FactorSum], tuple[str, ...]]:
    """Record factors by one forward and one backward pass per column of the loss's root.

    Args:
        point: The linearised network.
        direction: dtheta/dt of the derivatives, or None.
        dtype: Type that floating-point factors are rounded to.

    Returns:
        The factors, group by group, and the parameters that no rule covers.
    """
    structure = point.structure
    groups, left = ([], {}) if structure is None else find_groups(structure)
    covered = {name for group in groups for name in group.names} - set(left)
    others = tuple(name for name in point.parameters if name not in covered)
    if structure is None or not groups:
        return [], others
    samples = len(point.inputs)
    shapes: list[tuple[list[Factors], int]] = []

    def tensors(p: Parameters) -> list[Tensor]:
        met, signals = capture_signals(
            point.network, structure, p, point.rest, point.inputs, point.spread, point.size // samples
        )
        shapes[:] = [
            (factors, len(p[group.names[0]]))
            for group in groups
            for factors in group_factors(group, structure, met, signals, samples)
        ]
        return [t for factors, _ in shapes for f in factors for t in _floats(f)]

    if direction is None:
        values, dots = iter(tensors(point.parameters)), None
    else:
        primal, tangent, *_ = jvp(tensors, (dict(point.parameters),), (dict(direction),))
        values, dots = iter(primal), iter(tangent)
    found: list[FactorSum] = []
    for factors, length in shapes:
        own = [_rebuilt(f, [next(values).to(dtype) for _ in _floats(f)]) for f in factors]
        moved = None if dots is None else [_rebuilt(f, [next(dots).to(dtype) for _ in _floats(f)]) for f in factors]
        found.append((own, moved, length))
    return found, others


def _floats(factors: Factors) -> list[Tensor]:
    inputs = factors.inputs
    return [factors.signals] if inputs is None or factors.is_token else [inputs, factors.signals]


def _rebuilt(shape: Factors, tensors: list[Tensor]) -> Factors:
    return Factors(shape.inputs if len(tensors) == 1 else tensors[0], tensors[-1])
