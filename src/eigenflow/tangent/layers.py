"""Where a network uses its parameters, and the signals that the rules need.

One forward pass is watched operation by operation. A parameter is covered if every operation that takes it has a rule:
linear maps and convolutions of any module or function, embeddings, norms, attention through its linear maps, parameters
that are added or multiplied. A parameter may be used many times (tied weights, many positions): its row of J is the
sum. What meets any other operation is left to explicit Jacobians.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.func import vjp, vmap
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from eigenflow.tangent.attention import attention_by_linear_maps
from eigenflow.tangent.network import Network, Parameters
from eigenflow.tangent.operations import OPERATIONS, SYMMETRIC, OperationCall
from eigenflow.tangent.rules import AbstractRule

__all__ = ["Spread", "Structure", "Use", "capture_signals", "find_structure"]

# B times rows (block, samples, width of the error), at given outputs.
Spread = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Use:
    """One use of covered parameters in the forward pass.

    Attributes:
        rule: How they enter J.
        weight: Name of the parameter used as weight, if it is covered.
        bias: The same for the bias.
        rows: Rows of the result's first axis per sample; 0 if one row serves all samples.
        shape: Of the result without its first axis.
        met: Shape of what the weight meets, without its first axis.
    """

    rule: AbstractRule
    weight: str | None
    bias: str | None
    rows: int
    shape: torch.Size
    met: torch.Size


@dataclass(frozen=True)
class Structure:
    """All uses that rules hold for, in the order of the forward pass.

    Attributes:
        uses: Empty where no rule holds.
        others: Why parameters are not covered: the operation that has no rule, by parameter.
        activations: Numbers that one sample's forward pass makes.
        largest: The largest number of them that one operation makes.
    """

    uses: tuple[Use, ...]
    others: dict[str, str]
    activations: int
    largest: int

    @property
    def covered(self) -> frozenset[str]:
        """Names of the parameters that rules cover."""
        return frozenset(name for use in self.uses for name in (use.weight, use.bias) if name is not None)


@torch.no_grad()
def find_structure(network: Network, parameters: Parameters, rest: Parameters, inputs: Tensor) -> Structure | None:
    """Find out where the parameters are used, by watching two forward passes of different length.

    Returns:
        None if the network does not run, or does something else, on another number of samples.
    """
    few = inputs[:2]
    sizes = len(few), len(few) + 1
    others: dict[str, str] = {}
    try:
        (shorter, made), (longer, _) = (
            _watched(network, parameters, rest, batch, others) for batch in (few, torch.cat([few, few[:1]]))
        )
    except (RuntimeError, ValueError, IndexError, TypeError, AssertionError):
        return None
    if [(u.rule, u.weight, u.bias) for u in shorter] != [(u.rule, u.weight, u.bias) for u in longer]:
        return None
    uses = []
    for use, other in zip(shorter, longer, strict=True):
        rows = _rows(use.shape, other.shape, sizes)
        if rows is None:
            reason = "a result that does not keep the samples on its first axis"
            others.update({name: reason for name in (use.weight, use.bias) if name is not None})
        uses.append(replace(use, rows=rows or 0, shape=use.shape[1:]))
    seen = {name for use in uses for name in (use.weight, use.bias)} | set(others)
    others.update({name: "no use in the forward pass" for name in parameters if name not in seen})
    uses = [
        replace(use, weight=_unless(use.weight, others), bias=_unless(use.bias, others))
        for use in uses
        if _unless(use.weight, others) or _unless(use.bias, others)
    ]
    return Structure(tuple(uses), others, *(-(-count // len(few)) for count in made))


def _unless(name: str | None, others: dict[str, str]) -> str | None:
    return None if name in others else name


def _watched(
    network: Network, parameters: Parameters, rest: Parameters, inputs: Tensor, others: dict[str, str]
) -> tuple[list[Use], tuple[int, int]]:
    """All uses of one forward pass, with whole shapes; how many numbers it makes, and the largest operation of it."""
    uses: list[Use] = []

    def note(call: OperationCall, result: Tensor) -> Tensor:
        uses.append(Use(call.rule, mode.name(call.weight), mode.name(call.bias), 0, result.shape, call.x.shape[1:]))
        return result

    mode = _Watch(parameters, note, others)
    network.apply(parameters, rest, inputs, mode)
    return uses, (mode.made, mode.largest)


def _rows(shape: torch.Size, longer: torch.Size, sizes: tuple[int, int]) -> int | None:
    """Rows per sample, by comparing the first axes of two passes."""
    if not shape or shape[1:] != longer[1:]:
        return None
    if shape[0] == longer[0] == 1:
        return 0
    rows, left = divmod(shape[0], sizes[0])
    return rows if left == 0 and longer[0] == rows * sizes[1] else None


def capture_signals(
    network: Network,
    structure: Structure,
    parameters: Parameters,
    rest: Parameters,
    inputs: Tensor,
    spread: Spread,
    width: int,
) -> tuple[list[Tensor], list[Tensor]]:
    """Run one forward pass, and one backward pass per column of the loss's root.

    Args:
        width: Entries of the error per sample.

    Returns:
        For each use, what the weight met, first axis sample-major, and its signals: derivatives of the error by the
        result, (width, first axis, ...).
    """
    samples = len(inputs)
    covered = {name: parameters[name] for name in structure.covered}
    offsets = [inputs.new_zeros(samples * max(1, u.rows), *u.shape, dtype=network.dtype) for u in structure.uses]

    def forward(offsets: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        met: list[Tensor] = []

        def shift(call: OperationCall, result: Tensor) -> Tensor:
            index = len(met)
            x = call.x
            if structure.uses[index].rows == 0:
                x, result = (t.expand(samples, *t.shape[1:]) for t in (x, result))
            met.append(x)
            return result + offsets[index]

        return network.apply(parameters, rest, inputs, _Watch(covered, shift, {})), met

    outputs, pull_back, *aux = vjp(forward, offsets, has_aux=True)
    (met,) = aux
    basis = torch.eye(width, dtype=outputs.dtype, device=outputs.device)
    rows = spread(outputs, basis[:, None, :].expand(width, samples, width))
    (signals,) = vmap(pull_back)(rows)
    return met, signals


# Results that share memory with their argument, or that a later operation makes anyway.
_FREE = frozenset({Tensor.view, Tensor.reshape, Tensor.expand, Tensor.transpose, Tensor.permute, Tensor.unsqueeze})


class _Watch(TorchFunctionMode):
    """Calls `action(call, result)` for every operation on a parameter that has a rule, and returns what it returns.

    Operations on parameters without a rule are noted in `others`, with their names.
    """

    def __init__(
        self, parameters: Parameters, action: Callable[[OperationCall, Tensor], Tensor], others: dict[str, str]
    ):
        super().__init__()
        self.names = {id(tensor): name for name, tensor in parameters.items()}
        self.action = action
        self.others = others
        self.made = self.largest = 0

    def name(self, tensor: Tensor | None) -> str | None:
        """Name of a parameter, None for any other tensor."""
        return None if tensor is None else self.names.get(id(tensor))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = self._handle(func, args, kwargs)
        for leaf in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(leaf, Tensor) and func not in _FREE:
                self.made += leaf.numel()
                self.largest = max(self.largest, leaf.numel())
        return result

    def _handle(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        taken = {name for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor) and (name := self.name(leaf))}
        if not taken:
            return func(*args, **kwargs)
        if func is functional.multi_head_attention_forward:
            result = attention_by_linear_maps(self._linear, *args, **kwargs)
            if result is not None:
                return result
        call = _operation_call(func, args, kwargs, self.names)
        result = func(*args, **kwargs)
        if call is None:
            return self._note(taken, func, result)
        used = {name for t in (call.weight, call.bias) if (name := self.name(t))}
        if used != taken or self.name(call.x) is not None or call.weight is call.bias:
            return self._note(taken, func, result)
        return self.action(call, result)

    def _linear(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return self.__torch_function__(functional.linear, (), (x, weight, bias), {})

    def _note(self, taken: Iterable[str], func: Any, result: Any) -> Any:
        if any(isinstance(leaf, Tensor) for leaf in tree_leaves(result)):
            self.others.update(dict.fromkeys(taken, getattr(func, "__name__", str(func))))
        return result


def _operation_call(
    func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], names: dict[int, str]
) -> OperationCall | None:
    operation = OPERATIONS.get(func)
    if operation is None:
        return None
    if func in SYMMETRIC:
        if len(args) != 2 or not all(isinstance(a, Tensor) for a in args):
            return None
        if id(args[0]) in names:
            args = args[::-1]
    return operation(*args, **kwargs)
