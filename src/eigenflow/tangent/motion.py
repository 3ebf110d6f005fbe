"""How fast, and how, the whole operator moves: distances and velocities that see scale and that do not.

The kernel distance S(K, K') = 1 - <K, K'> / (||K|| ||K'||) and the velocity S / dt of [@fort2020deep]
are blind to scale: an operator that only grows has S = 0. So beside them stand the relative change ||K' - K|| / ||K||
and the logarithmic rate of the trace. All norms are Frobenius norms.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from eigenflow.core.display import FieldsPrinted
from eigenflow.core.errors import ArgumentError
from eigenflow.linalg import Estimate, SymmetricOperator, frobenius_products
from eigenflow.tangent.products import CachedJacobian

__all__ = ["KernelChange", "KernelMotion", "kernel_change", "kernel_motion"]


@dataclass(frozen=True, repr=False)
class KernelChange(FieldsPrinted):
    """From one instant to another.

    Attributes:
        alignment: <M, M'> / (||M|| ||M'||).
        distance: S = 1 - alignment.
        velocity: S / dt, in 1 / time.
        relative_change: ||M' - M|| / ||M||, which sees scale.
        log_norm_rate: (ln ||M'|| - ln ||M||) / dt, in 1 / time.
        log_trace_rate: (ln Tr M' - ln Tr M) / dt, in 1 / time; None where the trace is not known exactly, or zero.
    """

    alignment: Estimate
    distance: Estimate
    velocity: Estimate
    relative_change: Estimate
    log_norm_rate: Estimate
    log_trace_rate: float | None


@dataclass(frozen=True, repr=False)
class KernelMotion(FieldsPrinted):
    """At one instant, along a direction.

    Attributes:
        relative_rate: ||Mdot|| / ||M||, in 1 / time.
        log_norm_rate: <M, Mdot> / ||M||^2 = d ln ||M|| / dt: the part that only scales.
        turning_rate: Speed at which M / ||M|| moves, so that S = (turning_rate dt)^2 / 2 after a short time.
        log_trace_rate: Tr Mdot / Tr M = d ln Tr M / dt; None where the trace is not known exactly, or zero.
    """

    relative_rate: Estimate
    log_norm_rate: Estimate
    turning_rate: Estimate
    log_trace_rate: float | None


def kernel_change(
    first: CachedJacobian,
    second: CachedJacobian,
    step_size: float,
    *,
    known: Float[Tensor, "rows size"] | None = None,
    samples: int = 16,
    generator: torch.Generator | None = None,
) -> KernelChange:
    """Compare the operators of two instants.

    Args:
        first: Of the first instant.
        second: Of the second, on the same probe set.
        step_size: Time between them, > 0.
        known: Orthonormal rows on which products are exact, such as leading eigenvectors of either; None: none.
        samples: Random vectors for the rest.
        generator: Of the vectors.

    Returns:
        Estimates with standard errors; zeros if the first operator is zero.
    """
    if not step_size > 0:
        raise ArgumentError(f"`step_size` must be a time > 0, but is {step_size}.")
    found = frobenius_products(_operators(first, second), known, samples=samples, generator=generator)

    def alignment(gram: Tensor) -> Tensor:
        return _ratio(gram[0, 1], (gram[0, 0] * gram[1, 1]).clamp(min=0).sqrt())

    def change(gram: Tensor) -> Tensor:
        return _ratio((gram[0, 0] - 2 * gram[0, 1] + gram[1, 1]).clamp(min=0).sqrt(), gram[0, 0].clamp(min=0).sqrt())

    def growth(gram: Tensor) -> Tensor:
        return torch.log(_ratio(gram[1, 1], gram[0, 0]).clamp(min=1e-300)) / (2.0 * step_size)

    distance = found.estimate(lambda gram: 1.0 - alignment(gram))
    traces = first.trace(), second.trace()
    log_trace_rate = None
    if traces[0] and traces[1]:
        log_trace_rate = math.log(traces[1] / traces[0]) / step_size
    return KernelChange(
        alignment=found.estimate(alignment),
        distance=distance,
        velocity=Estimate(distance.value / step_size, distance.standard_error / step_size),
        relative_change=found.estimate(change),
        log_norm_rate=found.estimate(growth),
        log_trace_rate=log_trace_rate,
    )


def kernel_motion(
    jacobian: CachedJacobian,
    *,
    known: Float[Tensor, "rows size"] | None = None,
    samples: int = 16,
    generator: torch.Generator | None = None,
) -> KernelMotion:
    """Measure how the operator moves at one instant, along the direction that `jacobian` was made with.

    Args:
        jacobian: J with its derivative.
        known: Orthonormal rows on which products are exact, such as leading eigenvectors; None: none.
        samples: Random vectors for the rest.
        generator: Of the vectors.
    """
    space = jacobian.operator().space
    rate = SymmetricOperator(jacobian.rate_product, space)
    found = frobenius_products([jacobian.operator(), rate], known, samples=samples, generator=generator)

    def turning(gram: Tensor) -> Tensor:
        squares = _ratio(gram[1, 1], gram[0, 0]) - _ratio(gram[0, 1], gram[0, 0]).square()
        return squares.clamp(min=0).sqrt()

    trace, trace_rate = jacobian.trace(), jacobian.trace_rate()
    return KernelMotion(
        relative_rate=found.estimate(lambda gram: _ratio(gram[1, 1], gram[0, 0]).clamp(min=0).sqrt()),
        log_norm_rate=found.estimate(lambda gram: _ratio(gram[0, 1], gram[0, 0])),
        turning_rate=found.estimate(turning),
        log_trace_rate=trace_rate / trace if trace and trace_rate is not None else None,
    )


def _operators(first: CachedJacobian, second: CachedJacobian) -> Sequence[SymmetricOperator]:
    if first.point.size != second.point.size:
        raise ArgumentError(
            f"`second` must be of the same probe set as `first`, with {first.point.size} rows, but has "
            f"{second.point.size}."
        )
    return first.operator(), second.operator()


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    return torch.where(whole > 0, part / whole.clamp(min=1e-300), 0.0)
