"""The operator M = J J^T as a dense matrix, and its exact derivative, by layer rules where there are any.

J J^T is a sum over parameters, so every layer adds its own part. The parts are formed block by block
over pairs of samples, the upper triangle only, straight into the result.
"""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import jvp, vjp, vmap

from eigenflow.tangent.layers import CoveredLayer, Spread, capture_signals
from eigenflow.tangent.network import Network, Parameters
from eigenflow.tangent.parts import OuterPart, Part, RowPart, make_part
from eigenflow.tangent.rules import Factors

__all__ = ["dense_kernel", "dense_kernel_and_rate"]

# What may be held beside the result: explicit Jacobian rows of one group of parameters, in bytes.
JACOBIAN_BYTES = 512 * 2**20
# Sides of the blocks; large enough for the matrix product to be efficient, small beside the result.
BLOCK_ROWS = 640


@torch.no_grad()
def dense_kernel(
    network: Network,
    layers: tuple[CoveredLayer, ...],
    parameters: Parameters,
    rest: Parameters,
    inputs: Tensor,
    spread: Spread,
) -> Float[Tensor, "size size"]:
    """Form J J^T with J = B^T J_net, sample-major (index = sample * outputs + output).

    Parameters of `layers` go through their rules, which suppose that no output depends on another sample's
    input; all others through their explicit Jacobian, group by group under a memory limit.
    """
    kernel, _ = _assemble(network, layers, parameters, rest, inputs, None, spread)
    return kernel


@torch.no_grad()
def dense_kernel_and_rate(
    network: Network,
    layers: tuple[CoveredLayer, ...],
    parameters: Parameters,
    rest: Parameters,
    inputs: Tensor,
    direction: Parameters,
    spread: Spread,
) -> tuple[Float[Tensor, "size size"], Float[Tensor, "size size"]]:
    """Form J J^T and its exact derivative along a direction, by one forward-mode pass.

    Args:
        direction: How the parameters move.
        spread: B times rows, at given outputs; its motion is part of the derivative.
    """
    kernel, rate = _assemble(network, layers, parameters, rest, inputs, direction, spread)
    assert rate is not None
    return kernel, rate


def _assemble(
    network: Network,
    layers: tuple[CoveredLayer, ...],
    parameters: Parameters,
    rest: Parameters,
    inputs: Tensor,
    direction: Parameters | None,
    spread: Spread,
) -> tuple[Tensor, Tensor | None]:
    with torch.no_grad():
        samples, classes = network.apply(parameters, rest, inputs).shape
    size = samples * classes
    kernel = inputs.new_zeros(size, size, dtype=network.dtype)
    rate = None if direction is None else torch.zeros_like(kernel)
    together: list[Part] = []  # factored parts are small: their sum is formed block by block
    for part in _layer_parts(network, layers, parameters, rest, inputs, direction, spread) if layers else ():
        if isinstance(part, OuterPart):
            together.append(part)
        else:
            _add(kernel, rate, [part], samples, classes)
    _add(kernel, rate, together, samples, classes)
    covered = {name for layer in layers for name in layer.parameters}
    others = {name: tensor for name, tensor in parameters.items() if name not in covered}
    for group in _groups(others, size, JACOBIAN_BYTES // (2 if direction is None else 4)):
        part = _jacobian_part(network, group, parameters, rest, inputs, direction, spread)
        _add(kernel, rate, [part], samples, classes)
    return kernel, rate


def _layer_parts(
    network: Network,
    layers: tuple[CoveredLayer, ...],
    parameters: Parameters,
    rest: Parameters,
    inputs: Tensor,
    direction: Parameters | None,
    spread: Spread,
) -> Iterator[Part]:
    """One part per factor of every layer, in turn, so that explicit rows are held for one layer at a time."""
    has_inputs: list[bool] = []

    def tensors(p: Parameters) -> list[Tensor]:
        layer_inputs, signals = capture_signals(network, layers, p, rest, inputs, spread)
        factors = [f for layer in layers for f in _factors(layer, layer_inputs, signals, {**rest, **p})]
        has_inputs[:] = [factor.inputs is not None for factor in factors]
        return [t for f in factors for t in (f.inputs, f.signals) if t is not None]

    dots: list[Tensor] = []
    if direction is None:
        values = tensors(parameters)
    else:
        values, dots, *_ = jvp(tensors, (dict(parameters),), (dict(direction),))
    # Taken from the end, so that what is used up is released.
    for has_input in reversed(has_inputs):
        value = _pop(values, has_input)
        yield make_part(value, None if direction is None else _pop(dots, has_input))


def _pop(tensors: list[Tensor], has_input: bool) -> Factors:
    signals = tensors.pop()
    return Factors(tensors.pop() if has_input else None, signals)


def _factors(
    layer: CoveredLayer, layer_inputs: dict[str, list[Tensor]], signals: dict[str, list[Tensor]], tensors: Parameters
) -> list[Factors]:
    own = _own_tensors(layer, tensors)
    trainable = frozenset(name.rpartition(".")[2] for name in layer.parameters)
    calls = zip(layer_inputs[layer.name], signals[layer.name], strict=True)
    return _joined([layer.rule.factors(a, g, trainable, own) for a, g in calls])


def _joined(calls: list[list[Factors]]) -> list[Factors]:
    """Calls of one layer are positions of one sum."""
    joined = []
    for same in zip(*calls, strict=True):
        if len(same) == 1:
            joined.append(same[0])
            continue
        inputs = [factor.inputs for factor in same if factor.inputs is not None]
        signals = torch.cat([factor.signals for factor in same], dim=2)
        joined.append(Factors(torch.cat(inputs, dim=1) if inputs else None, signals))
    return joined


def _own_tensors(layer: CoveredLayer, tensors: Parameters) -> dict[str, Tensor]:
    prefix = f"{layer.name}." if layer.name else ""
    return {
        name[len(prefix) :]: tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix) and "." not in name[len(prefix) :]
    }


def _groups(others: Parameters, size: int, budget: int) -> list[dict[str, Tensor]]:
    """Split uncovered parameters into groups whose Jacobian rows fit the budget (at least one tensor each)."""
    groups: list[dict[str, Tensor]] = []
    used = 0
    for name, tensor in others.items():
        needed = size * tensor.numel() * tensor.element_size()
        if not groups or used + needed > budget:
            groups.append({})
            used = 0
        groups[-1][name] = tensor
        used += needed
    return groups


def _jacobian_part(
    network: Network,
    group: Parameters,
    parameters: Parameters,
    rest: Parameters,
    inputs: Tensor,
    direction: Parameters | None,
    spread: Spread,
) -> Part:
    names = list(group)

    def rows(p: Parameters) -> Tensor:
        fixed = {name: tensor for name, tensor in p.items() if name not in group}
        outputs, pull_back, *_ = vjp(
            lambda some: network.apply({**fixed, **some}, rest, inputs), {name: p[name] for name in names}
        )
        size = outputs.numel()
        basis = torch.eye(size, dtype=outputs.dtype, device=outputs.device).reshape(size, *outputs.shape)
        (gradients,) = vmap(pull_back, chunk_size=_rows_at_once(group, size))(spread(outputs, basis))
        return torch.cat([gradients[name].flatten(1) for name in names], dim=1)

    if direction is None:
        return RowPart(rows(parameters), None)
    values, dots, *_ = jvp(rows, (dict(parameters),), (dict(direction),))
    return RowPart(values, dots)


def _rows_at_once(parameters: Parameters, size: int) -> int:
    """Backward passes per vmap chunk."""
    row_bytes = sum(p.numel() * p.element_size() for p in parameters.values())
    return max(1, min(size, JACOBIAN_BYTES // (4 * row_bytes)))


def _add(kernel: Tensor, rate: Tensor | None, parts: Sequence[Part], samples: int, classes: int) -> None:
    """Add a sum of parts to the result, block by block over the upper triangle, and mirror it."""
    step = max(1, BLOCK_ROWS // classes)
    slices = [slice(start, min(start + step, samples)) for start in range(0, samples, step)]
    for index, first in enumerate(slices if parts else ()):
        rows = slice(first.start * classes, first.stop * classes)
        for second in slices[index:]:
            columns = slice(second.start * classes, second.stop * classes)
            block = kernel[rows, columns]
            block_rate = None if rate is None else rate[rows, columns]
            for part in parts:
                part.add_block(block, block_rate, first, second, classes)
            if rows != columns:
                kernel[columns, rows] = block.T
                if rate is not None and block_rate is not None:
                    rate[columns, rows] = block_rate.T
