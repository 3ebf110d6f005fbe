"""Which parameters have a layer rule, and the signals that the rules need.

For a linear layer z = W a + b that is applied once per sample, the Jacobian of output c of sample i
is (g_ic a_i^T, g_ic) with g the derivative of that output by z. Its part of J J^T is therefore
(A A^T + 1) o (G G^T): two small products instead of a contraction over all weights.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import vjp, vmap

from eigenflow.tangent.network import Network, Parameters

__all__ = ["LinearLayer", "capture_signals", "find_linear_layers"]


@dataclass(frozen=True)
class LinearLayer:
    """A linear layer whose trainable parameters the structured rule covers."""

    name: str
    has_weight: bool
    has_bias: bool

    @property
    def parameters(self) -> tuple[str, ...]:
        """Full names of the trainable parameters that the rule covers."""
        prefix = f"{self.name}." if self.name else ""
        return (f"{prefix}weight",) * self.has_weight + (f"{prefix}bias",) * self.has_bias


def find_linear_layers(
    network: Network, parameters: Parameters, rest: Parameters, inputs: Tensor
) -> tuple[LinearLayer, ...]:
    """Find the layers that the rule holds for, by watching one forward pass.

    A layer qualifies if it is exactly `torch.nn.Linear`, is called once, on one vector per sample, and
    shares no parameter with another layer.
    """
    owners: dict[int, int] = {}
    for module in network.model.modules():
        for parameter in module.parameters(recurse=False):
            owners[id(parameter)] = owners.get(id(parameter), 0) + 1
    candidates = {
        name: module
        for name, module in network.model.named_modules()
        if type(module) is nn.Linear and all(owners[id(p)] == 1 for p in module.parameters(recurse=False))
    }
    calls: dict[str, list[torch.Size]] = {name: [] for name in candidates}

    def watch(name: str, layer_input: Tensor, output: Tensor) -> Tensor:
        calls[name].append(layer_input.shape)
        return output

    with _hooked(candidates, watch):
        network.apply(parameters, rest, inputs)
    found = []
    for name, module in candidates.items():
        seen = calls[name]
        if len(seen) == 1 and len(seen[0]) == 2 and seen[0][0] == len(inputs):
            has_bias = module.bias is not None and module.bias.requires_grad
            found.append(LinearLayer(name, module.weight.requires_grad, has_bias))
    return tuple(layer for layer in found if layer.parameters)


def capture_signals(
    network: Network,
    layers: tuple[LinearLayer, ...],
    parameters: Parameters,
    rest: Parameters,
    inputs: Tensor,
) -> list[tuple[Tensor, Tensor]]:
    """Run one forward pass and one backward pass per output.

    Returns:
        For each layer its inputs A, shape (samples, in), and its signals G, the derivatives of the
        network's outputs by the layer's outputs, shape (samples, outputs, out).
    """
    modules = {layer.name: cast(nn.Linear, network.model.get_submodule(layer.name)) for layer in layers}

    def forward(offsets: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        layer_inputs: dict[str, Tensor] = {}

        def shift(name: str, layer_input: Tensor, output: Tensor) -> Tensor:
            layer_inputs[name] = layer_input
            return output + offsets[name]

        with _hooked(modules, shift):
            return network.apply(parameters, rest, inputs), layer_inputs

    offsets = {
        name: inputs.new_zeros(len(inputs), module.out_features, dtype=network.dtype)
        for name, module in modules.items()
    }
    outputs, pull_back, *aux = vjp(forward, offsets, has_aux=True)
    (layer_inputs,) = aux
    samples, classes = outputs.shape
    basis = torch.eye(classes, dtype=outputs.dtype, device=outputs.device)
    one_hot = basis[:, None, :].expand(classes, samples, classes)
    (signals,) = vmap(pull_back)(one_hot)
    return [(layer_inputs[layer.name], signals[layer.name].transpose(0, 1)) for layer in layers]


@contextmanager
def _hooked(modules, action) -> Iterator[None]:
    """Call `action(name, input, output)` after each module, and use what it returns as the output."""
    handles = [
        module.register_forward_hook(lambda _, args, output, name=name: action(name, args[0], output))
        for name, module in modules.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
