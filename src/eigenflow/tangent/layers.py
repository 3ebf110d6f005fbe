"""Layers whose parameters enter J by a rule, and the signals that the rules need.

One forward pass records every layer's inputs, one backward pass per output its signals: the
derivatives of the network's outputs by the layer's outputs. A layer that is called more than once, or
on many positions of a sample (tokens, pixels), contributes the sum over calls and positions.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import vjp, vmap

from eigenflow.tangent.network import Network, Parameters
from eigenflow.tangent.rules import AbstractLayerRule, rule_of

__all__ = ["CoveredLayer", "Spread", "capture_signals", "find_layers"]

# B times rows (block, samples, outputs), at given outputs.
Spread = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class CoveredLayer:
    """A layer whose trainable parameters a rule covers.

    Attributes:
        name: Of the module in the network.
        rule: How its parameters enter J.
        parameters: Full names of the parameters covered.
        shapes: Shape of the layer's output at each of its calls, sample axis first.
    """

    name: str
    rule: AbstractLayerRule
    parameters: tuple[str, ...]
    shapes: tuple[torch.Size, ...]


def find_layers(network: Network, parameters: Parameters, rest: Parameters, inputs: Tensor) -> tuple[CoveredLayer, ...]:
    """Find the layers that a rule holds for, by watching one forward pass.

    A layer qualifies if there is a rule for exactly its type, every call keeps the samples on the first
    axis, and it shares no parameter with another layer.
    """
    owners: dict[int, int] = {}
    for module in network.model.modules():
        for parameter in module.parameters(recurse=False):
            owners[id(parameter)] = owners.get(id(parameter), 0) + 1
    candidates: dict[str, tuple[nn.Module, AbstractLayerRule]] = {}
    for name, module in network.model.named_modules():
        rule = rule_of(module, network.modes.get(name, module.training))
        if rule is not None and all(owners[id(p)] == 1 for p in module.parameters(recurse=False)):
            candidates[name] = (module, rule)
    shapes: dict[str, list[torch.Size]] = {name: [] for name in candidates}
    foreign: set[str] = set()

    def watch(name: str, layer_input: Tensor, output: Tensor) -> Tensor:
        shapes[name].append(output.shape)
        if not isinstance(layer_input, Tensor) or len(layer_input) != len(inputs) or len(output) != len(inputs):
            foreign.add(name)
        return output

    with _hooked({name: module for name, (module, _) in candidates.items()}, watch):
        network.apply(parameters, rest, inputs)
    trainable, found = set(network.trainable), []
    for name, (module, rule) in candidates.items():
        covered = tuple(
            full
            for own, _ in module.named_parameters(recurse=False)
            if (full := f"{name}.{own}" if name else own) in trainable
        )
        if covered and shapes[name] and name not in foreign:
            found.append(CoveredLayer(name, rule, covered, tuple(shapes[name])))
    return tuple(found)


def capture_signals(
    network: Network,
    layers: tuple[CoveredLayer, ...],
    parameters: Parameters,
    rest: Parameters,
    inputs: Tensor,
    spread: Spread,
) -> tuple[dict[str, list[Tensor]], dict[str, list[Tensor]]]:
    """Run one forward pass and one backward pass per output, each weighted by the loss's root.

    Returns:
        For each layer, by name, one entry per call: its inputs, shape (samples, ...), and its signals, shape
        (outputs, samples, *output shape).
    """
    modules = {layer.name: network.model.get_submodule(layer.name) for layer in layers}
    offsets = {layer.name: [inputs.new_zeros(shape, dtype=network.dtype) for shape in layer.shapes] for layer in layers}

    def forward(offsets: dict[str, list[Tensor]]) -> tuple[Tensor, dict[str, list[Tensor]]]:
        layer_inputs: dict[str, list[Tensor]] = {name: [] for name in modules}

        def shift(name: str, layer_input: Tensor, output: Tensor) -> Tensor:
            call = len(layer_inputs[name])
            layer_inputs[name].append(layer_input)
            return output + offsets[name][call]

        with _hooked(modules, shift):
            return network.apply(parameters, rest, inputs), layer_inputs

    outputs, pull_back, *aux = vjp(forward, offsets, has_aux=True)
    (layer_inputs,) = aux
    samples, classes = outputs.shape
    basis = torch.eye(classes, dtype=outputs.dtype, device=outputs.device)
    (signals,) = vmap(pull_back)(spread(outputs, basis[:, None, :].expand(classes, samples, classes)))
    return layer_inputs, signals


@contextmanager
def _hooked(modules: Mapping[str, nn.Module], action: Callable[[str, Any, Any], Any]) -> Iterator[None]:
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
