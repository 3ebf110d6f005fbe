"""A network and a probe set at one instant: the error, and products with J, J^T and M."""

from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import jvp, vjp, vmap

from eigenflow.core.errors import NonFiniteError, ShapeError
from eigenflow.tangent.dense import dense_kernel, dense_kernel_and_rate
from eigenflow.tangent.layers import CoveredLayer
from eigenflow.tangent.network import Network, Parameters

__all__ = ["TangentPoint"]


class TangentPoint:
    """The linearised network at fixed parameters, in units of the error e = sqrt(f) (network - targets).

    J is the Jacobian of e, so M = J J^T = f J_net J_net^T. Vectors over the outputs are rows of
    length samples * outputs, sample-major; vectors over the parameters are dicts of tensors.

    Args:
        network: The module as a pure function.
        layers: Layers that the structured rule covers.
        parameters: Trainable parameters, by name.
        rest: Frozen parameters and buffers, by name.
        inputs: Probe inputs, sample axis first.
        targets: Probe targets, shape (samples, outputs).
        factor: f, the loss's own normalisation.
    """

    def __init__(
        self,
        network: Network,
        layers: tuple[CoveredLayer, ...],
        parameters: Parameters,
        rest: Parameters,
        inputs: Tensor,
        targets: Float[Tensor, "samples outputs"],
        factor: float,
    ):
        self.network = network
        self.layers = layers
        self.parameters = dict(parameters)
        self.rest = dict(rest)
        self.inputs = inputs
        self.targets = targets
        self.factor = factor

    @property
    def size(self) -> int:
        """Number of stacked outputs: samples * outputs."""
        return self.targets.numel()

    @cached_property
    def error(self) -> Float[Tensor, " size"]:
        """e = sqrt(f) (network - targets)."""
        with torch.no_grad():
            outputs = self.network.apply(self.parameters, self.rest, self.inputs)
            error = self.factor**0.5 * (outputs - self.targets).reshape(-1)
        if not torch.isfinite(error).all():
            raise NonFiniteError(
                "The network's outputs on the probe set are NaN or infinite. The run has diverged, or the "
                "model holds bad weights: look at the step before, or lower the learning rate."
            )
        return error

    @property
    def loss(self) -> float:
        """||e||^2 / 2."""
        return 0.5 * float(self.error @ self.error)

    @torch.no_grad()
    def push(self, direction: Parameters) -> Float[Tensor, " size"]:
        """J times one parameter direction: how fast e changes along it."""
        _, change, *_ = jvp(self._outputs, (self.parameters,), (dict(direction),))
        return self.factor**0.5 * change.reshape(-1)

    @torch.no_grad()
    def pull(self, rows: Float[Tensor, "block size"]) -> dict[str, Tensor]:
        """J^T times each row; parameter tensors come back with a leading block axis."""
        self._require_rows(rows)
        _, pull_back, *_ = vjp(self._outputs, self.parameters)
        cotangents = (self.factor**0.5 * rows).reshape(len(rows), *self.targets.shape)
        (gradients,) = vmap(pull_back)(cotangents)
        return gradients

    @torch.no_grad()
    def product(self, rows: Float[Tensor, "block size"]) -> Float[Tensor, "block size"]:
        """M times each row, without forming M."""
        gradients = self.pull(rows)
        changes = vmap(lambda tangent: jvp(self._outputs, (self.parameters,), (tangent,))[1])(gradients)
        return self.factor**0.5 * changes.reshape(len(rows), -1)

    def gradient(self) -> dict[str, Tensor]:
        """J^T e, the gradient of the probe loss."""
        return {name: g[0] for name, g in self.pull(self.error[None]).items()}

    @torch.no_grad()
    def dense(self) -> Float[Tensor, "size size"]:
        """M as a matrix."""
        kernel = dense_kernel(self.network, self.layers, self.parameters, self.rest, self.inputs)
        return kernel.mul_(self.factor) if self.factor != 1.0 else kernel

    @torch.no_grad()
    def dense_and_rate(self, direction: Parameters) -> tuple[Float[Tensor, "size size"], Float[Tensor, "size size"]]:
        """M, and Mdot: its exact derivative when the parameters move along `direction`."""
        kernel, rate = dense_kernel_and_rate(
            self.network, self.layers, self.parameters, self.rest, self.inputs, direction
        )
        return kernel.mul_(self.factor), rate.mul_(self.factor)

    def _outputs(self, parameters: Parameters) -> Tensor:
        return self.network.apply(parameters, self.rest, self.inputs)

    def _require_rows(self, rows: Tensor) -> None:
        if rows.ndim != 2 or rows.shape[1] != self.size:
            raise ShapeError(
                f"`rows` must have shape (block, {self.size}): vectors as rows over the stacked outputs. "
                f"It has shape {tuple(rows.shape)}. For a single vector, pass vector[None]."
            )
