"""What was measured, held against plain reverse mode before it is believed.

Layer rules, batched passes and forward mode give M, Mdot and the gradient; the audit finds the same numbers by a path
that shares none of them: PyTorch's own tape on PyTorch's own operations. With random rows v_i and the error e,

    v_i . (M v_j)     is  <J^T v_i, P^(-1) J^T v_j>                       two backward passes, and J^T e the gradient of
                                                                          the loss's own value
    v_i . (Mdot v_j)  is  <(J^T v_i) dot, P^(-1) J^T v_j> + the same with i and j exchanged   reverse over reverse

Where reverse over reverse does not exist or was used to measure, and where the gradient is not the derivative of what
the network computes (`differences`), the second line is a central difference of the first, of sixth order. Its step is
the one of a ladder that agrees best: a wrong number agrees with none, and a network with kinks agrees where no kink is
passed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from eigenflow.core.errors import EigenflowError
from eigenflow.linalg import AbstractRowSpace, RowSpace
from eigenflow.tangent.differences import STEPS, difference, path_length, sides
from eigenflow.tangent.model.network import Parameters
from eigenflow.tangent.point import TangentPoint
from eigenflow.tangent.tape import Tape

__all__ = ["OPERATOR_TOLERANCE", "Audit", "allowed_error", "audit", "audit_rows"]

# What differs more than this from plain reverse mode, relative to its size, was formed by a rule that does not hold for
# the network. Rounding alone gives about 1e-15; central differences agree to about 1e-9.
OPERATOR_TOLERANCE = 1e-9
DIFFERENCE_TOLERANCE = 1e-6
# What rounding leaves of central differences, in units of it: their best steps are about 1e-2 and 1e-3.
DIFFERENCE_ROUNDING = 1e4
# And of differences of two points, in units of it over the step; deep networks round more than once.
TWO_POINT_ROUNDING = 30.0
# One-sided differences agree to about the square of their step where a derivative exists; at a bound that parameters
# are held to they differ by as much as the rate itself.
SIDES_TOLERANCE = 1e-6
# What a recorded pass holds for every number of the forward pass, and the share of the memory budget that it may take.
TAPE_COPIES = 8
TAPE_SHARE = 0.5
# Cancellation in v . (Mdot v) beyond this share of its terms is not resolved.
SMALLEST_SHARE = 1e-3

DIFFERENCES = "central differences"


@dataclass(frozen=True)
class Audit:
    """Relative differences to plain reverse mode.

    Attributes:
        product_error: Of M times random rows and times the error, J^T e being the gradient of the loss's value.
        rate_error: Of Mdot times random rows; None if no rate was measured.
        way: How the rate was held against it, in words; "" if no rate was measured.
        allowed: Largest differences that are let pass, of the product and of the rate.
        sizes: Norms of M and of Mdot times a row of unit variance, which are about their Frobenius norms.
        rounding: Relative difference that rounding alone explains.
        has_two_sides: Whether Mdot ahead and behind differ, so that there is no rate.
    """

    product_error: float
    rate_error: float | None
    way: str
    allowed: tuple[float, float]
    sizes: tuple[float, float]
    rounding: float
    has_two_sides: bool = False

    @property
    def error(self) -> float:
        """The larger of both."""
        return max(self.product_error, self.rate_error or 0.0)

    @property
    def unexplained(self) -> tuple[float, float]:
        """What rounding does not explain of M and of Mdot, as norms: part of every bound."""
        errors = self.product_error, self.rate_error or 0.0
        product, rate = (max(0.0, e - self.rounding) * size for e, size in zip(errors, self.sizes, strict=True))
        return product, rate

    @property
    def summary(self) -> str:
        """What was held against what."""
        return "M and J^T e by reverse mode" + (f"; Mdot by {self.way}" if self.way else "")

    @property
    def holds(self) -> bool:
        """Whether nothing differs by more than rounding."""
        return self.product_error <= self.allowed[0] and (self.rate_error or 0.0) <= self.allowed[1]

    @property
    def reason(self) -> str:
        """What differs, in words."""
        what = "M" if self.product_error > self.allowed[0] else "Mdot"
        by = self.product_error if what == "M" else self.rate_error
        if what == "Mdot" and self.has_two_sides:
            return "Mdot is one ahead and another behind, as at a bound that the forward pass holds its parameters to"
        if by == torch.inf:
            return f"{what} is not finite here, or not where plain reverse mode finds it"
        return f"{what} differs from plain reverse mode by {by:.1e} of its size"


def allowed_error(dtype: torch.dtype) -> float:
    """Largest relative difference that rounding explains."""
    return max(OPERATOR_TOLERANCE, 100 * torch.finfo(dtype).eps)


def audit_rows(point: TangentPoint) -> Tensor:
    """Two random rows and the error, in float64: what products are asked for."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(2, point.size, generator=generator, dtype=torch.float64).to(point.error.device)
    return torch.cat([rows, point.error.to(rows)[None]])


def audit(
    point: TangentPoint,
    images: Tensor,
    rate_images: Tensor | None = None,
    direction: Parameters | None = None,
    *,
    dtype: torch.dtype | None = None,
    rows: Tensor | None = None,
    space: AbstractRowSpace | None = None,
) -> Audit:
    """Hold products with M and Mdot against plain reverse mode.

    Args:
        point: The linearised network.
        images: M times `audit_rows(point)`.
        rate_images: Mdot times the first two of these rows, or None.
        direction: dtheta/dt of the rate.
        dtype: Arithmetic of the products; None: the probe's.
        rows: This process's part of the rows, where they are spread over processes.
        space: The rows' space then; the point holds this process's samples, and all processes call together.

    Raises:
        ModelError: If no parameter receives a gradient.
    """
    dtype = dtype or point.network.dtype
    rows = audit_rows(point) if rows is None else rows
    space = RowSpace(point.size, point.error.device) if space is None else space
    along = None if point.reverse_only or point.rate_by_differences else direction
    pulled = _pulled(point, rows, along)
    expected = _gram(point, space, [*pulled.rows, pulled.gradient])
    found, sizes = space.inner(rows, images.to(rows)), _sizes(space, images.to(rows))
    whole = _relative((found - expected)[:2], sizes)
    limit, rounding = allowed_error(dtype), 100 * torch.finfo(dtype).eps
    size = float(sizes[:2].max())
    if rate_images is None or direction is None:
        return Audit(whole, None, "", (limit, 0.0), (size, 0.0), rounding)
    error, way, has_two_sides = _rate_error(point, space, rows[:2], pulled, rate_images.to(rows), direction)
    by_differences = max(limit, DIFFERENCE_TOLERANCE, DIFFERENCE_ROUNDING * torch.finfo(dtype).eps)
    limits = limit, by_differences if way == DIFFERENCES else 10 * limit
    rate_size = float(_sizes(space, rate_images.to(rows)).max())
    return Audit(whole, error, way, limits, (size, rate_size), rounding, has_two_sides)


@dataclass(frozen=True)
class _Pulled:
    """What plain reverse mode finds.

    Attributes:
        rows: J^T v_i of the random rows.
        gradient: J^T e.
        moving: (J^T v_i) dot, or None where there is no direction or no second derivative.
        change: How the outputs move by J along the direction, or None.
    """

    rows: list[Parameters]
    gradient: Parameters
    moving: list[Parameters] | None
    change: Tensor | None


def _pulled(point: TangentPoint, rows: Tensor, direction: Parameters | None) -> _Pulled:
    """Chunk by chunk of samples, so that the memory of a recorded pass stays within the budget."""
    total: list[dict[str, Tensor]] = []
    changes: list[Tensor] = []
    width = point.size // len(point.inputs)
    for samples in _chunks(point):
        tape = Tape(point.part(samples) if samples else point, elementary=False)
        own = rows if samples is None else rows[:, samples.start * width : samples.stop * width]
        own = own.to(point.network.dtype)
        found = [tape.pull(row) for row in own[:2]]
        found.append(tape.gradient if _has_whole_error(point) else tape.pull(own[2]))
        if direction is not None:
            try:
                change = tape.push_outputs(direction)
                found += [tape.moving_pull(row, direction, change) for row in own[:2]]
                changes.append(change)
            except EigenflowError:
                raise
            except Exception:  # an operation without second derivatives in reverse mode; differences need none
                direction = None
        total = found if not total else [_added(a, b) for a, b in zip(total, found, strict=False)]
    is_moving = direction is not None
    return _Pulled(
        list(total[:2]), total[2], list(total[3:]) if is_moving else None, torch.cat(changes) if is_moving else None
    )


def _added(total: dict[str, Tensor], more: Parameters) -> dict[str, Tensor]:
    return {name: tensor.add_(more[name]) for name, tensor in total.items()}


def _chunks(point: TangentPoint) -> list[slice | None]:
    """Samples that are recorded at once; None for all of them, where they may meet."""
    if point.structure is None or point.memory_budget is None:
        return [None]
    bytes_a_sample = TAPE_COPIES * max(1, point.structure.activations) * point.network.dtype.itemsize
    step = max(1, int(TAPE_SHARE * point.memory_budget) // bytes_a_sample)
    samples = len(point.inputs)
    return [None] if step >= samples else [slice(i, min(i + step, samples)) for i in range(0, samples, step)]


def _has_whole_error(point: TangentPoint) -> bool:
    """Whether J^T e is the gradient of the loss itself."""
    return point.objective.is_whole and getattr(point.objective, "defect", "raise") == "raise"


def _rate_error(
    point: TangentPoint,
    space: AbstractRowSpace,
    rows: Tensor,
    pulled: _Pulled,
    images: Tensor,
    direction: Parameters,
) -> tuple[float, str, bool]:
    found, sizes = space.inner(rows, images), _sizes(space, images)
    is_there = pulled.moving is not None and pulled.change is not None
    if space.is_all(is_there):
        assert pulled.moving is not None and pulled.change is not None
        half = _gram(point, space, pulled.moving, pulled.rows)
        if space.is_all(_follows(point, pulled.change, direction)):
            norms = [_gram(point, space, side).diagonal().clamp(min=0).sqrt() for side in (pulled.rows, pulled.moving)]
            scales = torch.maximum(sizes, SMALLEST_SHARE * 2.0 * norms[0] * norms[1])
            return _relative(found - (half + half.T), scales), "reverse over reverse", False
    error, has_two_sides = _difference_error(point, space, rows, found, sizes, direction)
    return error, DIFFERENCES, has_two_sides


def _difference_error(
    point: TangentPoint,
    space: AbstractRowSpace,
    rows: Tensor,
    found: Tensor,
    sizes: Tensor,
    direction: Parameters,
) -> tuple[float, bool]:
    """The smallest relative difference to central differences of <J^T v_i, P^(-1) J^T v_j> along the direction.

    Returns:
        It, infinite where the derivatives ahead and behind differ, and whether they do.
    """

    def gram(parameters: Parameters) -> Tensor:
        return _gram(point, space, _pulled(point.moved(parameters), torch.cat([rows, rows[:1]]), None).rows)

    best, largest = torch.inf, torch.zeros_like(sizes)
    for step in STEPS:
        moved = difference(gram, point.parameters, direction, step)
        largest = torch.maximum(largest, torch.linalg.vector_norm(moved, dim=0) * 2.0**-0.5)
        best = min(best, _relative(found - moved, torch.maximum(sizes, largest)))
        if best <= DIFFERENCE_TOLERANCE:
            break
    # A central difference of what has two derivatives is their mean, by whichever way it is made.
    allowed = max(SIDES_TOLERANCE, DIFFERENCE_ROUNDING * torch.finfo(point.network.dtype).eps)
    for step in STEPS:
        ahead, behind = sides(gram, point.parameters, direction, step)
        if _relative(ahead - behind, torch.maximum(sizes, largest)) <= allowed:
            return best, False
    return torch.inf, True


@torch.no_grad()
def _follows(point: TangentPoint, change: Tensor, direction: Parameters) -> bool:
    """Whether the outputs move as J says: whether the gradient is the derivative of what the network computes.

    Two-point differences with small steps pass few kinks; a part that the gradient leaves out shows in all of them.
    Small steps need float64: in float32 rounding hides the derivative before the last kink is left behind. What
    rounding leaves of a difference is no sign of such a part: late in training, updates that are small beside the
    parameters may change next to nothing of large outputs.
    """
    length = path_length(point.parameters, direction)
    if length == 0:
        return True
    ways = [(torch.float64, (1e-5, 1e-6, 1e-7), max(1e-7, 1e3 * torch.finfo(change.dtype).eps))]
    if change.dtype != torch.float64:  # for what has no float64: some devices, some operations
        ways.append((change.dtype, (1e-3, 1e-4, 1e-5), 1e-3))
    outputs = torch.linalg.vector_norm(point.outputs) / length
    size = torch.maximum(torch.linalg.vector_norm(change), SMALLEST_SHARE * outputs)
    for dtype, steps, allowed in ways:
        try:
            for step in steps:
                rounding = min(TWO_POINT_ROUNDING * torch.finfo(dtype).eps / step, allowed) * outputs
                if _miss(point, change, direction, step * length, dtype) <= allowed * size + rounding:
                    return True
        except (RuntimeError, TypeError):
            if dtype == change.dtype:
                raise
    return False


def _miss(point: TangentPoint, change: Tensor, direction: Parameters, step: float, dtype: torch.dtype) -> Tensor:
    """By how much outputs that are evaluated in some type move otherwise than J says, as a norm."""
    ends = []
    for sign in (1.0, -1.0):
        at = {n: p.to(dtype) + sign * step * direction[n].to(dtype) for n, p in point.parameters.items()}
        ends.append(point.network.apply_in(dtype, at, point.rest, point.inputs))
    return torch.linalg.vector_norm((ends[0] - ends[1]) / (2 * step) - change)


def _relative(differences: Tensor, sizes: Tensor) -> float:
    """Root mean square over random rows, relative to the size of each product; the worst of them.

    A component along a random row of unit variance is about as large as the whole vector.
    """
    errors = differences.square().mean(0).sqrt()
    if not bool(torch.isfinite(errors).all()):
        return torch.inf  # NaN agrees with nothing
    return float(torch.where(errors > 0, errors / sizes.clamp(min=torch.finfo(torch.float64).tiny), 0.0).max())


def _gram(
    point: TangentPoint,
    space: AbstractRowSpace,
    first: Sequence[Parameters],
    second: Sequence[Parameters] | None = None,
) -> Tensor:
    """<a_i, P^(-1) b_j>, with both summed over the processes that share the rows."""
    scales = point.preconditioner
    count = len(first) if second is None else len(second)
    total = torch.zeros(len(first), count, dtype=torch.float64, device=point.error.device)
    for name in point.parameters:
        sides = [
            space.sum(torch.stack([one[name].reshape(-1) for one in side]).double())
            for side in (first, second)
            if side is not None
        ]
        a, b = sides[0], sides[-1]
        total += a @ (b if scales is None else b * scales[name].reshape(-1).double()).T
    return total


def _sizes(space: AbstractRowSpace, rows: Tensor) -> Tensor:
    return space.inner(rows, rows).diagonal().clamp(min=0).sqrt()
