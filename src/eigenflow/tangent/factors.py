"""The factors of J at a point, and their derivatives along a direction, for products that are made many times."""

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from eigenflow.tangent.cost import physical_bytes
from eigenflow.tangent.model.network import Parameters
from eigenflow.tangent.rules.groups import find_groups, first_axis, group_size, record_factors
from eigenflow.tangent.rules.uses import Factors

if TYPE_CHECKING:
    from eigenflow.tangent.point import TangentPoint

__all__ = ["FactorSum", "point_factors"]

# Part of the memory that factors may take: recording them holds about as much again, and once more for rounded copies.
SHARE = 0.25
# Factors of one group of parameters (their sum is its part of J), their derivatives, the parameter's first axis, and
# the names of the group.
FactorSum = tuple[list[Factors], list[Factors] | None, int, tuple[str, ...]]


@torch.no_grad()
def point_factors(
    point: "TangentPoint", direction: Parameters | None, dtype: torch.dtype
) -> tuple[list[FactorSum], tuple[str, ...]]:
    """Record factors by one forward and one backward pass per column of the loss's root.

    Args:
        point: The linearised network.
        direction: dtheta/dt of the derivatives, or None.
        dtype: Type that floating-point factors are rounded to.

    Returns:
        The factors, group by group, and the parameters that are left to automatic differentiation: those that no rule
        covers, and all of them if the factors would take too much memory.
    """
    # A diagonal P^(-1) does not respect the outer products of the factors.
    structure = point.structure if point.preconditioner is None else None
    groups = [] if structure is None else find_groups(structure)[0]
    covered = {name for group in groups for name in group.names}
    others = tuple(name for name in point.parameters if name not in covered)
    if structure is None or not groups:
        return [], others
    width = point.size // len(point.inputs)
    elements = sum(size.elements(width) for group in groups for size in group_size(group, structure, point.parameters))
    needed = elements * len(point.inputs) * point.network.dtype.itemsize * (1 if direction is None else 2)
    if needed > SHARE * (point.memory_budget or physical_bytes()):
        return [], tuple(point.parameters)
    recorded = record_factors(
        point.network, structure, point.parameters, point.rest, point.inputs, point.spread, width, direction
    )
    found: list[FactorSum] = []
    for one in recorded:
        factors, dots = ([_rounded(f, dtype) for f in side] if side else None for side in (one.factors, one.dots))
        assert factors is not None
        found.append((factors, dots, first_axis(point.parameters[one.group.names[0]]), one.group.names))
    return found, others


def _rounded(factors: Factors, dtype: torch.dtype) -> Factors:
    inputs = factors.inputs if factors.inputs is None or factors.is_token else factors.inputs.to(dtype)
    return replace(factors, inputs=inputs, signals=factors.signals.to(dtype))
