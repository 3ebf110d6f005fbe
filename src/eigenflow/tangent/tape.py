"""J, M and their derivatives by plain reverse mode on PyTorch's own tape, one vector at a time.

It needs nothing but `torch.autograd.grad`, so it works for every model that can be trained: operations without
forward mode or batching rules, control flow by values, custom functions, `torch.autograd.grad` inside the forward pass.
It is also what everything else is held against (`audit`), because it shares no layer rule and no forward mode with it.

With z the outputs, B the root of the loss's curvature, and c, u, a, d vectors,

    J_net^T c               a backward pass
    J_net u                 the derivative of c -> J_net^T c, transposed (double reverse mode)
    (J_net^T c) dot         the gradient of <J_net^T c, d>, c fixed (second derivatives of the outputs are symmetric)
    d/dt J_net a            the derivative of c -> <(J_net^T c) dot, a>, transposed

along d = dtheta/dt. For a preconditioned operator J^T v is multiplied by P^(-1), which is held fixed.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from eigenflow.core.errors import ModelError
from eigenflow.tangent.model.network import Parameters

if TYPE_CHECKING:
    from eigenflow.tangent.point import TangentPoint

__all__ = ["Tape", "batches", "tape_kernel"]


class Tape:
    """One forward pass of a point's network, recorded once, and what follows from it by reverse mode.

    Args:
        point: The linearised network.
        parameters: Where to evaluate instead of at the point's own parameters; None: there.
        elementary: Whether operations are replaced as for the other ways; without, PyTorch's own are differentiated.
    """

    def __init__(self, point: "TangentPoint", parameters: Parameters | None = None, *, elementary: bool = True):
        self.point = point
        at = point.parameters if parameters is None else parameters
        self.leaves = {name: p.detach().clone().requires_grad_() for name, p in at.items()}
        self.names = tuple(self.leaves)
        with torch.enable_grad():
            # A leaf must not be written into in place; what an operation like that sees is a copy.
            copies = {name: leaf.clone() for name, leaf in self.leaves.items()}
            self.outputs = point.network.apply(copies, point.rest, point.inputs, elementary=elementary)
        if not self.outputs.requires_grad:
            raise ModelError(
                "`model` returns outputs that no trainable parameter receives a gradient from: they are cut off by "
                "detach(), no_grad(), argmax or rounding. Return the scores before that operation."
            )
        self._fixed = self.outputs.detach()
        self._require_own_leaves()

    def _require_own_leaves(self) -> None:
        """Refuse a forward pass that uses a trainable tensor which the module does not hold where it looks for it."""
        own = {id(leaf) for leaf in self.leaves.values()}
        names = {id(tensor): name for name, tensor in self.point.network.slots.tensors().items()}
        for node in _nodes(self.outputs.grad_fn):
            leaf = getattr(node, "variable", None)
            if isinstance(leaf, Tensor) and id(leaf) not in own and isinstance(leaf, torch.nn.Parameter):
                raise ModelError(
                    f"`model` uses a trainable parameter {names.get(id(leaf), f'of shape {tuple(leaf.shape)}')} by a "
                    f"reference of its own (a closure, a plain list, functools.partial), so its part of J would be "
                    f"missing. Register it where it is used: self.name = nn.Parameter(...), nn.ParameterList."
                )

    def pull_outputs(self, cotangent: Tensor) -> dict[str, Tensor]:
        """J_net^T c, for c of the outputs' shape."""
        return {name: g.detach() for name, g in zip(self.names, self._gradients(cotangent, False), strict=True)}

    def pull(self, row: Tensor) -> dict[str, Tensor]:
        """J^T times a row over the error."""
        return self.pull_outputs(self.spread(row))

    def push_outputs(self, direction: Parameters) -> Tensor:
        """J_net times a direction, in the outputs' shape."""
        with torch.enable_grad():
            cotangent = torch.zeros_like(self._fixed).requires_grad_()
            gradients = self._gradients(cotangent, True)
            return self._transposed(gradients, cotangent, direction)

    def pull_outputs_rate(self, cotangent: Tensor, direction: Parameters) -> dict[str, Tensor]:
        """How J_net^T c moves along a direction, c fixed."""
        with torch.enable_grad():
            slope = self._along(self._gradients(cotangent, True), direction)
            if not slope.requires_grad:
                return {name: torch.zeros_like(leaf) for name, leaf in self.leaves.items()}
            found = torch.autograd.grad(slope, list(self.leaves.values()), retain_graph=True, materialize_grads=True)
        return dict(zip(self.names, (g.detach() for g in found), strict=True))

    def push_outputs_rate(self, vector: Parameters, direction: Parameters) -> Tensor:
        """How J_net a moves along a direction, a fixed: the second derivative of the outputs along both."""
        with torch.enable_grad():
            cotangent = torch.zeros_like(self._fixed).requires_grad_()
            slope = self._along(self._gradients(cotangent, True), direction)
            if not slope.requires_grad:
                return torch.zeros_like(self._fixed)
            rates = torch.autograd.grad(slope, list(self.leaves.values()), create_graph=True, materialize_grads=True)
            return self._transposed(rates, cotangent, vector)

    def spread(self, row: Tensor) -> Tensor:
        """B times a row over the error, in the outputs' shape."""
        return self._spread(row, self._fixed).detach()

    def spread_rate(self, row: Tensor, change: Tensor) -> Tensor:
        """How B times a row moves when the outputs do."""
        return _along_outputs(lambda z: self._spread(row, z), self._fixed, change)

    def weigh(self, change: Tensor) -> Tensor:
        """B^T times a change of the outputs, as a row over the error."""
        return self._weigh(change, self._fixed).detach()

    def weigh_rate(self, vector: Tensor, change: Tensor) -> Tensor:
        """How B^T times a vector moves when the outputs do."""
        return _along_outputs(lambda z: self._weigh(vector, z), self._fixed, change)

    def product(self, row: Tensor) -> Tensor:
        """M times a row over the error."""
        return self.weigh(self.push_outputs(self._scaled(self.pull(row))))

    def moving_pull(self, row: Tensor, direction: Parameters, change: Tensor) -> dict[str, Tensor]:
        """How J^T times a row moves along a direction, along which the outputs change by `change`."""
        moved = self.pull_outputs_rate(self.spread(row), direction)
        turned = self.pull_outputs(self.spread_rate(row, change))
        return {name: moved[name] + turned[name] for name in self.names}

    def rate_product(self, row: Tensor, direction: Parameters) -> Tensor:
        """Mdot times a row over the error."""
        change = self.push_outputs(direction)
        pulled = self._scaled(self.pull(row))
        moved = self._scaled(self.moving_pull(row, direction, change))
        image = self.push_outputs(pulled)
        moved_image = self.push_outputs_rate(pulled, direction) + self.push_outputs(moved)
        return self.weigh(moved_image) + self.weigh_rate(image, change)

    @cached_property
    def gradient(self) -> dict[str, Tensor]:
        """The gradient of the loss, through the loss's own value.

        Where this pass and the point's outputs differ by rounding alone, it is the one at the point's: late in training
        errors are small differences of outputs and targets, of which rounding is a large part.
        """
        objective, targets = self.point.objective, self.point.targets
        size, miss = (torch.linalg.vector_norm(x) for x in (self._fixed, self._fixed - self.point.outputs))
        is_same = bool(miss <= 100 * torch.finfo(size.dtype).eps * size)
        with torch.enable_grad():
            outputs = (self.point.outputs if is_same else self._fixed).clone().requires_grad_()
            (by_outputs,) = torch.autograd.grad(
                objective.value(outputs, targets), outputs, allow_unused=True, materialize_grads=True
            )
        return self.pull_outputs(by_outputs)

    def _gradients(self, cotangent: Tensor, keeps_graph: bool) -> tuple[Tensor, ...]:
        found = torch.autograd.grad(
            self.outputs,
            list(self.leaves.values()),
            cotangent.reshape(self.outputs.shape),
            retain_graph=True,
            create_graph=keeps_graph,
            materialize_grads=True,
        )
        return tuple(g.to_dense() if g.layout != torch.strided else g for g in found)

    def _along(self, gradients: tuple[Tensor, ...], direction: Parameters) -> Tensor:
        terms = [(g * direction[name].to(g)).sum() for name, g in zip(self.names, gradients, strict=True)]
        return torch.stack(terms).sum()

    def _transposed(self, images: tuple[Tensor, ...], cotangent: Tensor, vector: Parameters) -> Tensor:
        """From the linear map cotangent -> images to the product of its transpose with a vector."""
        total = self._along(images, vector)
        if not total.requires_grad:
            return torch.zeros_like(self._fixed)
        (found,) = torch.autograd.grad(total, cotangent, retain_graph=True, materialize_grads=True)
        return found.detach()

    def _spread(self, row: Tensor, outputs: Tensor) -> Tensor:
        objective = self.point.objective
        return objective.spread(outputs, self.point.targets, row.reshape(1, len(outputs), -1).to(outputs))[0]

    def _weigh(self, change: Tensor, outputs: Tensor) -> Tensor:
        return self.point.objective.weigh(outputs, self.point.targets, change[None])[0].reshape(-1)

    def _scaled(self, gradients: Mapping[str, Tensor]) -> dict[str, Tensor]:
        scales = self.point.preconditioner
        return dict(gradients) if scales is None else {name: scales[name] * g for name, g in gradients.items()}


def tape_kernel(point: "TangentPoint", direction: Parameters | None) -> tuple[Tensor, Tensor | None]:
    """M, and Mdot along a direction, from rows of J that are made one by one.

    Returns:
        Both (size, size); the second None without a direction.
    """
    tape = Tape(point)
    change = None if direction is None else tape.push_outputs(direction)
    kernel = torch.zeros(point.size, point.size, dtype=tape.outputs.dtype, device=tape.outputs.device)
    rate = None if direction is None else torch.zeros_like(kernel)
    copies = (1 if direction is None else 2) * kernel.element_size()
    columns = max(1, point.dense_plan(drift=direction is not None).row_bytes // (copies * point.size))
    basis = torch.eye(point.size, dtype=kernel.dtype, device=kernel.device)
    for names in batches(tape.leaves, columns):
        scale = None if point.preconditioner is None else _flat(point.preconditioner, names).sqrt()
        rows, dots = [], []
        for row in basis:
            rows.append(_flat(tape.pull(row), names))
            if direction is not None and change is not None:
                dots.append(_flat(tape.moving_pull(row, direction, change), names))
        J = torch.stack(rows) if scale is None else torch.stack(rows) * scale
        kernel.addmm_(J, J.T)
        if rate is not None:
            half = torch.stack(dots) @ (J if scale is None else J * scale).T
            rate += half + half.T
    return kernel, rate


def batches(parameters: Parameters, columns: int) -> Iterator[list[str]]:
    """Names of parameters that are taken together, up to a number of entries (at least one name each)."""
    batch: list[str] = []
    used = 0
    for name, parameter in parameters.items():
        if batch and used + parameter.numel() > columns:
            yield batch
            batch, used = [], 0
        batch.append(name)
        used += parameter.numel()
    if batch:
        yield batch


def _flat(tensors: Parameters, names: list[str]) -> Tensor:
    return torch.cat([tensors[name].reshape(-1) for name in names])


def _along_outputs(function: Callable[[Tensor], Tensor], outputs: Tensor, change: Tensor) -> Tensor:
    """The derivative of a function of the outputs along a change of them."""
    with torch.enable_grad():
        return torch.func.jvp(function, (outputs,), (change.to(outputs),))[1].detach()


def _nodes(root: object) -> list[object]:
    """All nodes of a recorded graph."""
    seen, waiting = {}, [root]
    while waiting:
        node = waiting.pop()
        if node is not None and id(node) not in seen:
            seen[id(node)] = node
            waiting.extend(parent for parent, _ in node.next_functions)  # pyright: ignore[reportAttributeAccessIssue]
    return list(seen.values())
