"""Products with M and with Mdot whose rows are spread over processes."""

import copy
from collections.abc import Callable
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import jvp, vjp, vmap

from eigenflow.core.errors import EigenflowError, NonFiniteError
from eigenflow.linalg import SymmetricOperator
from eigenflow.tangent.measuring import audit_products
from eigenflow.tangent.model.failures import require_memory_left
from eigenflow.tangent.model.network import Parameters
from eigenflow.tangent.point import TangentPoint
from eigenflow.tangent.products import CachedJacobian
from eigenflow.tangent.rules.norms import PlainNorms
from eigenflow.tangent.sharded.space import ShardedSpace

__all__ = ["ShardedJacobian"]

# Gradients of a group of vectors that are held at once, in bytes.
GROUP_BYTES = 256 * 2**20


class ShardedJacobian:
    """Products with M and Mdot over all processes, by automatic differentiation on each.

    Args:
        point: This process's samples.
        space: The rows' space.
        direction: dtheta/dt along which Mdot is taken, or None.
        product_dtype: Arithmetic of J_net in products with M, and what travels between the processes; None: the
            probe's. The loss's root, and Mdot, stay in the probe's.
    """

    def __init__(
        self,
        point: TangentPoint,
        space: ShardedSpace,
        direction: Parameters | None = None,
        product_dtype: torch.dtype | None = None,
    ):
        self.point, self.space, self.direction = point, space, direction
        self.dtype = point.network.dtype if product_dtype is None else product_dtype

    @property
    def method(self) -> str:
        """How products are made, in words."""
        way = "plain reverse mode" if self.point.reverse_only else "automatic differentiation"
        return f"products in {str(self.dtype).removeprefix('torch.')}, {way} on {self.space.processes.count} processes"

    @torch.no_grad()
    def product(self, rows: Float[Tensor, "block local"]) -> Float[Tensor, "block local"]:
        """M times each row."""
        at = self._rounded

        def images(part: Tensor) -> Tensor:
            cotangents = self.point.spread(self.point.outputs, part.reshape(len(part), len(self.point.inputs), -1))
            gradients = self.space.sums(_pulled(at, cotangents.to(self.dtype)))
            changes = _pushed(at, self._scaled(gradients))
            weighed = self.point.objective.weigh(self.point.outputs, self.point.targets, changes.to(cotangents))
            return weighed.reshape(len(part), -1)

        found = self._in_groups(rows, images)
        if self.space.is_any(not bool(torch.isfinite(found).all())):
            raise NonFiniteError(
                "A product with the operator M is NaN or infinite on at least one process. The network has diverged "
                "or holds bad weights: look at the step before."
            )
        return found

    def rate_product(self, rows: Float[Tensor, "block local"]) -> Float[Tensor, "block local"]:
        """Mdot times each row: J and J^T are differentiated along the direction, with the sums between them."""
        assert self.direction is not None
        direction, point = dict(self.direction), self.point

        def pull(parameters: Parameters, part: Tensor) -> dict[str, Tensor]:
            outputs, pull_back, *_ = vjp(_forward(point), dict(parameters))
            cotangents = point.objective.spread(outputs, point.targets, part.reshape(len(part), *outputs.shape))
            return vmap(pull_back)(cotangents)[0]

        def push(parameters: Parameters, gradients: Parameters) -> Tensor:
            changes, outputs = _transposed(_forward(point), parameters, gradients)
            weighed = point.objective.weigh(outputs, point.targets, changes)
            return weighed.reshape(weighed.shape[0], -1)

        def images(part: Tensor) -> Tensor:
            parameters = dict(point.parameters)
            gradients, moved, *_ = jvp(lambda p: pull(p, part), (parameters,), (direction,))
            summed, summed_dots = (
                self._scaled(self.space.sums({n: g.detach().clone() for n, g in both.items()}))
                for both in (gradients, moved)
            )
            return jvp(push, (parameters, summed), (direction, summed_dots))[1].detach()

        with PlainNorms(), torch.enable_grad():
            if not point.reverse_only:
                try:
                    return self._in_groups(rows, images)
                except EigenflowError:
                    raise
                except Exception as error:  # whatever torch.func cannot follow
                    require_memory_left(error)
                    point.structure, point.reverse_only = None, True
            return self._in_groups(rows, self._rate_images_by_tape)

    @torch.no_grad()
    def _rate_images_by_tape(self, part: Tensor) -> Tensor:
        assert self.direction is not None
        tape, direction = self.point.tape, self.direction
        change = tape.push_outputs(direction)
        both = [tape.pull(row) for row in part], [tape.moving_pull(row, direction, change) for row in part]
        stacked = ({name: torch.stack([one[name] for one in side]) for name in tape.names} for side in both)
        pulled, moved = (self._scaled(self.space.sums(side)) for side in stacked)
        found = []
        for index in range(len(part)):
            one, dot = ({name: side[name][index] for name in tape.names} for side in (pulled, moved))
            image, moved_image = tape.push_outputs(one), tape.push_outputs_rate(one, direction)
            found.append(tape.weigh(moved_image + tape.push_outputs(dot)) + tape.weigh_rate(image, change))
        return torch.stack(found)

    def operator(self) -> SymmetricOperator:
        """M as the solvers take it."""
        return SymmetricOperator(self.product, self.space, 0.5 * torch.finfo(self.dtype).eps)

    def trace(self) -> float | None:
        """Tr M, exactly, from each process's own rows; None if some parameters have no layer rule."""
        return self._traces[0]

    def trace_rate(self) -> float | None:
        """Tr Mdot, exactly; None if some parameters have no layer rule."""
        return self._traces[1]

    @cached_property
    def _traces(self) -> tuple[float | None, float | None]:
        def own() -> tuple[float | None, float | None]:
            jacobian = CachedJacobian(self.point, self.direction)
            if jacobian.uncovered or not audit_products(jacobian)[0].holds:
                return None, None
            return jacobian.trace(), None if self.direction is None else jacobian.trace_rate()

        processes = self.space.processes
        traces, rates = zip(*processes.gathered(processes.each(own)), strict=True)
        return tuple(None if None in some else sum(some) for some in (traces, rates))  # pyright: ignore

    @cached_property
    def _rounded(self) -> TangentPoint:
        """The point in the arithmetic of the products."""
        point, dtype = self.point, self.dtype
        if dtype == point.network.dtype:
            return point
        network = copy.copy(point.network)
        network.dtype = dtype

        def converted(tensor: Tensor) -> Tensor:
            return tensor.to(dtype) if tensor.is_floating_point() else tensor

        inputs = converted(point.inputs) if isinstance(point.inputs, Tensor) else point.inputs.mapped(converted)
        parameters, rest = ({n: converted(t) for n, t in side.items()} for side in (point.parameters, point.rest))
        targets, objective, by_tape = point.targets, point.objective, point.reverse_only
        return TangentPoint(network, None, parameters, rest, inputs, targets, objective, reverse_only=by_tape)

    def _scaled(self, gradients: Parameters) -> dict[str, Tensor]:
        scales = self.point.preconditioner
        return dict(gradients) if scales is None else {n: scales[n].to(g) * g for n, g in gradients.items()}

    def _in_groups(self, rows: Tensor, images: Callable[[Tensor], Tensor]) -> Tensor:
        row_bytes = sum(p.numel() * p.element_size() for p in self.point.parameters.values())
        parts = rows.to(self.point.network.dtype).split(max(1, GROUP_BYTES // (4 * row_bytes)))
        return torch.cat([images(part) for part in parts]).to(rows.dtype)


def _forward(point: TangentPoint) -> Callable[[Parameters], Tensor]:
    return lambda parameters: point.network.apply(parameters, point.rest, point.inputs)


def _pulled(point: TangentPoint, cotangents: Float[Tensor, "block samples outputs"]) -> dict[str, Tensor]:
    """J_net^T times each of them."""
    if not point.reverse_only:
        try:
            _, pull_back, *_ = vjp(_forward(point), point.parameters)
            return vmap(pull_back)(cotangents)[0]
        except EigenflowError:
            raise
        except Exception as error:  # whatever torch.func cannot follow
            require_memory_left(error)
            point.structure, point.reverse_only = None, True
    found = [point.tape.pull_outputs(cotangent) for cotangent in cotangents]
    return {name: torch.stack([one[name] for one in found]) for name in point.parameters}


def _pushed(point: TangentPoint, gradients: Parameters) -> Float[Tensor, "block samples outputs"]:
    """J_net times each of them."""
    if not point.reverse_only:
        try:
            return _transposed(_forward(point), point.parameters, gradients)[0]
        except EigenflowError:
            raise
        except Exception as error:  # whatever torch.func cannot follow
            require_memory_left(error)
            point.structure, point.reverse_only = None, True
    count = len(next(iter(gradients.values())))
    return torch.stack([point.tape.push_outputs({n: g[i] for n, g in gradients.items()}) for i in range(count)])


def _transposed(
    forward: Callable[[Parameters], Tensor], parameters: Parameters, gradients: Parameters
) -> tuple[Tensor, Tensor]:
    """J_net times each gradient as the transpose of J_net^T (forward over forward is wrong for some operations)."""
    outputs, pull_back, *_ = vjp(forward, dict(parameters))
    _, push, *_ = vjp(lambda cotangent: pull_back(cotangent)[0], torch.zeros_like(outputs))
    return vmap(lambda tangent: push(tangent)[0])(dict(gradients)), outputs
