"""Where a network uses its parameters, and the signals that the rules need.

One forward pass is watched operation by operation. A parameter is covered if every operation that takes it has a rule:
linear maps and convolutions of any module or function, embeddings, norms, attention through its linear maps, parameters
that are added or multiplied. A parameter may be used many times (tied weights, many positions): its row of J is the
sum. What meets any other operation is left to explicit Jacobians.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.func import vjp, vmap
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from eigenflow.core.errors import EigenflowError
from eigenflow.tangent.model.failures import explained
from eigenflow.tangent.model.network import Network, Parameters
from eigenflow.tangent.model.samples import Inputs, extended
from eigenflow.tangent.rules.attention import attention_by_linear_maps
from eigenflow.tangent.rules.operations import OPERATIONS, SYMMETRIC, OperationCall
from eigenflow.tangent.rules.uses import AbstractRule

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

    def without(self, others: Mapping[str, str]) -> "Structure":
        """The structure with these parameters left to explicit Jacobians, and why."""
        uses = [
            replace(use, weight=_unless(use.weight, others), bias=_unless(use.bias, others))
            for use in self.uses
            if _unless(use.weight, others) or _unless(use.bias, others)
        ]
        return replace(self, uses=tuple(uses), others={**self.others, **others})


@torch.no_grad()
def find_structure(
    network: Network, parameters: Parameters, rest: Parameters, inputs: Inputs
) -> tuple[Structure | None, str]:
    """Find out where the parameters are used, by watching two forward passes of different length.

    Returns:
        The structure, or None and the reason: the network does not run, or does something else, on another number of
        samples, or a sample's outputs depend on the others.
    """
    few = inputs[:2]
    sizes = len(few), len(few) + 1
    others: dict[str, str] = {}
    try:
        (shorter, made, outputs), (longer, _, more) = (
            _watched(network, parameters, rest, batch, others) for batch in (few, extended(few))
        )
    except EigenflowError:
        raise
    except Exception as error:  # whatever it is, the model does not run on other numbers of samples
        return None, f"the network cannot be watched on {sizes[1]} samples ({explained(error, network.model)})"
    if more.shape != (sizes[1], *outputs.shape[1:]) or not _agree(outputs, more[: sizes[0]]):
        layer = mixing_layer(network, parameters, rest, (few, extended(few)))
        return None, f"outputs of a sample depend on its batch{f', from layer {layer} on' if layer else ''}"
    if [(u.rule, u.weight, u.bias) for u in shorter] != [(u.rule, u.weight, u.bias) for u in longer]:
        return None, "the network does something else on another number of samples"
    uses = []
    for use, other in zip(shorter, longer, strict=True):
        rows = _rows(use.shape, other.shape, sizes)
        if rows is None:
            reason = "a result that does not keep the samples on its first axis"
            others.update({name: reason for name in (use.weight, use.bias) if name is not None})
        uses.append(replace(use, rows=rows or 0, shape=use.shape[1:]))
    seen = {name for use in uses for name in (use.weight, use.bias)} | set(others)
    others.update({name: "no use in the forward pass" for name in parameters if name not in seen})
    structure = Structure(tuple(uses), others, *(-(-count // len(few)) for count in made))
    return structure.without(others), ""


def _agree(first: Tensor, second: Tensor) -> bool:
    """Whether outputs are the same up to rounding."""
    allowed = 1e-5 * torch.finfo(first.dtype).eps ** 0.5
    return bool((first - second).norm() <= allowed * first.norm())


@torch.no_grad()
def mixing_layer(network: Network, parameters: Parameters, rest: Parameters, batches: tuple[Inputs, Inputs]) -> str:
    """The first layer whose results for the same samples differ between two batches; "" if none can be told."""
    passes: list[list[tuple[str, Tensor]]] = []
    names = {id(module): name for name, module in network.model.named_modules()}
    for batch in batches:
        results: list[tuple[str, Tensor]] = []

        def note(module: Any, args: Any, result: Any, results: list[tuple[str, Tensor]] = results) -> None:
            if id(module) in names and not any(module.children()) and isinstance(result, Tensor):
                results.append((f"'{names[id(module)]}' ({type(module).__name__})", result.detach()))

        hook = torch.nn.modules.module.register_module_forward_hook(note)
        try:
            network.apply(parameters, rest, batch)
        except Exception:
            return ""
        finally:
            hook.remove()
        passes.append(results)
    for (layer, result), (_, other) in zip(*passes, strict=False):
        same = result.shape[1:] == other.shape[1:] and len(result) <= len(other) if result.ndim else False
        if same and result.is_floating_point() and not _agree(result, other[: len(result)]):
            return layer
    return ""


def _unless(name: str | None, others: Mapping[str, str]) -> str | None:
    return None if name in others else name


def _watched(
    network: Network, parameters: Parameters, rest: Parameters, inputs: Inputs, others: dict[str, str]
) -> tuple[list[Use], tuple[int, int], Tensor]:
    """All uses of one forward pass, with whole shapes; how many numbers it makes, in all and at most; the outputs."""
    uses: list[Use] = []

    def note(call: OperationCall, result: Tensor) -> Tensor:
        uses.append(Use(call.rule, mode.name(call.weight), mode.name(call.bias), 0, result.shape, call.x.shape[1:]))
        return result

    mode = _Watch(parameters, note, others)
    outputs = network.apply(parameters, rest, inputs, mode)
    return uses, (mode.made, mode.largest), outputs


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
    inputs: Inputs,
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
    offsets = [
        torch.zeros(samples * max(1, u.rows), *u.shape, dtype=network.dtype, device=inputs.device)
        for u in structure.uses
    ]

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


_functorch: Any = getattr(torch._C, "_functorch")  # noqa: B009 - the type stubs lack it

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
        # Inside vmap or grad in the forward pass, shapes are not what they seem. The rules' own passes are inside both.
        self.depth = _functorch.maybe_current_level() or 0

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
        if call is None or _functorch.maybe_get_level(call.x) > self.depth:
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
