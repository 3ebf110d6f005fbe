"""Products with M where the parameters themselves are spread over processes, as DTensors without a wrapper.

For models of which no process can hold the parameters. The forward pass runs by DTensor's own rules, J^T v is one
backward pass, and J a is the derivative of v -> <J^T v, a>: plain reverse mode, twice. Forward mode and batched
transforms are wrong for DTensors in silence (pytorch#182641), and are not used. Rows of M, which are over samples and
outputs, are whole on every process; what is large stays spread out.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from eigenflow.core.errors import ModelError, NonFiniteError
from eigenflow.linalg import RowSpace, SymmetricOperator
from eigenflow.tangent.loss.names import LossLike, make_loss

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

__all__ = ["SpreadJacobian", "spread_parameters"]


def spread_parameters(model: nn.Module, mesh: "DeviceMesh") -> nn.Module:
    """Spread a model's parameters over a mesh in place, each along its longest axis; short ones stay whole. Collective.

    Args:
        model: The same on every process.
        mesh: Of one dimension.

    Returns:
        The model, whose parameters and buffers are DTensors.
    """
    from torch.distributed.tensor import Replicate, Shard, distribute_module

    count = mesh.size()

    def place(name: str, module: nn.Module, mesh: "DeviceMesh") -> None:
        from torch.distributed.tensor import distribute_tensor

        del name
        for key, tensor in list(module._parameters.items()):
            if tensor is None or hasattr(tensor, "full_tensor"):
                continue
            shape = tuple(tensor.shape)
            longest = shape.index(max(shape)) if shape else 0
            is_long = len(shape) > 1 and shape[longest] >= count
            where = [Shard(longest) if is_long else Replicate()]
            module._parameters[key] = nn.Parameter(
                distribute_tensor(tensor.detach(), mesh, where), tensor.requires_grad
            )

    return distribute_module(model, mesh, place)


class SpreadJacobian:
    """J of a model whose parameters are DTensors, at one instant, ready for products.

    Args:
        model: Its parameters are DTensors on one mesh, as from `spread_parameters`.
        inputs: The probe's samples, the same on every process.
        targets: Their targets.
        loss: As for `Probe`.

    Raises:
        ModelError: If no parameter is a DTensor.
    """

    def __init__(self, model: nn.Module, inputs: Tensor, targets: Tensor, loss: LossLike = "mse"):
        from torch.distributed.tensor import DTensor, Replicate

        spread = [p for p in model.parameters() if isinstance(p, DTensor)]
        if not spread:
            raise ModelError(
                "`model` has no parameters that are DTensors. Spread them with spread_parameters(model, mesh), or use "
                "a Probe."
            )
        self.mesh, self.model = spread[0].device_mesh, model
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        given = inputs if isinstance(inputs, DTensor) else DTensor.from_local(inputs, self.mesh, [Replicate()])
        with torch.enable_grad():
            outputs = model(given)
        self._outputs = outputs.reshape(len(inputs), -1)
        whole = self._whole(self._outputs.detach())
        self.loss, self.targets = make_loss(loss).bind(targets, outputs.shape, whole.dtype, "targets")
        self.outputs = whole
        self.error = self.loss.error(whole, self.targets).reshape(-1)

    @property
    def size(self) -> int:
        """Rows of M."""
        return self.error.numel()

    def pull(self, row: Tensor) -> dict[str, Tensor]:
        """J^T times a row, spread as the parameters are."""
        cotangent = self.loss.spread(self.outputs, self.targets, row.reshape(1, *self.outputs.shape))[0]
        return {name: g.detach() for name, g in self._gradients(self._replicated(cotangent), keeps=False).items()}

    def push(self, direction: Mapping[str, Tensor]) -> Tensor:
        """J times a direction that is spread as the parameters are, as a row."""
        with torch.enable_grad():
            cotangent = self._replicated(torch.zeros_like(self.outputs)).requires_grad_()
            gradients = self._gradients(cotangent, keeps=True)
            total: Any = sum((g * direction[name]).sum() for name, g in gradients.items())
            (change,) = torch.autograd.grad(total, cotangent, retain_graph=True, materialize_grads=True)
        weighed = self.loss.weigh(self.outputs, self.targets, self._whole(change.detach())[None])[0]
        return weighed.reshape(-1)

    def product(self, rows: Tensor) -> Tensor:
        """M times each row."""
        found = torch.stack([self.push(self.pull(row.to(self.error))) for row in rows])
        if not bool(torch.isfinite(found).all()):
            raise NonFiniteError("A product with the operator M is NaN or infinite: look at the weights.")
        return found.to(rows.dtype)

    def gradient(self) -> dict[str, Tensor]:
        """The gradient of the loss, J^T e, spread as the parameters are."""
        return self.pull(self.error)

    def operator(self) -> SymmetricOperator:
        """M as the solvers and the tracker take it."""
        roundoff = 0.5 * torch.finfo(self.error.dtype).eps
        return SymmetricOperator(self.product, RowSpace(self.size, self.error.device), roundoff)

    def _gradients(self, cotangent: Tensor, *, keeps: bool) -> dict[str, Tensor]:
        found = torch.autograd.grad(
            self._outputs,
            list(self.parameters.values()),
            cotangent,
            retain_graph=True,
            create_graph=keeps,
            materialize_grads=True,
        )
        return dict(zip(self.parameters, found, strict=True))

    def _replicated(self, tensor: Tensor) -> Tensor:
        from torch.distributed.tensor import DTensor, Replicate

        return DTensor.from_local(tensor, self.mesh, [Replicate()])

    def _whole(self, tensor: Tensor) -> Tensor:
        from torch.distributed.tensor import DTensor

        return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
