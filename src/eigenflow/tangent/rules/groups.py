"""Uses of the same parameters, joined: a tied weight is one block of J, whatever uses it."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.func import jvp

from eigenflow.tangent.model.network import Network, Parameters
from eigenflow.tangent.model.samples import Inputs
from eigenflow.tangent.rules.layers import Spread, Structure, Use, capture_signals
from eigenflow.tangent.rules.uses import EmbeddingRule, EntryRule, Factors, FactorSize, LinearRule

__all__ = ["Group", "GroupFactors", "describe_structure", "find_groups", "first_axis", "group_size", "record_factors"]


@dataclass(frozen=True)
class Group:
    """Parameters that enter J together, through the same uses.

    Attributes:
        names: One parameter, or a weight and its bias.
        uses: Indices into the structure's uses.
        roles: For each use "weight", "bias" or "both".
    """

    names: tuple[str, ...]
    uses: tuple[int, ...]
    roles: tuple[str, ...]


def find_groups(structure: Structure) -> tuple[list[Group], dict[str, str]]:
    """Group the covered parameters.

    Returns:
        The groups, and the parameters whose uses cannot be joined, with the reason.
    """
    uses = structure.uses
    roles: dict[str, list[tuple[int, str]]] = {}
    for index, use in enumerate(uses):
        for name, role in ((use.weight, "weight"), (use.bias, "bias")):
            if name is not None:
                roles.setdefault(name, []).append((index, role))
    groups, left, done = [], {}, set()
    for name, found in roles.items():
        if name in done:
            continue
        indices = tuple(index for index, _ in found)
        biases = {uses[index].bias for index in indices}
        bias = next(iter(biases)) if len(biases) == 1 and all(role == "weight" for _, role in found) else None
        if bias is not None and roles[bias] == [(index, "bias") for index in indices] and _takes_ones(uses[indices[0]]):
            group = Group((name, bias), indices, ("both",) * len(indices))
        else:
            group = Group((name,), indices, tuple(role for _, role in found))
        if _is_joinable(group, uses):
            groups.append(group)
            done.update(group.names)
        else:
            left.update(dict.fromkeys(group.names, "uses of different kinds"))
            done.update(group.names)
    return groups, left


def describe_structure(structure: Structure | None, parameters: Collection[str], reason: str, *, by_rows: bool) -> str:
    """How the dense operator is formed, in words; names what no rule covers, and the operation that was in the way.

    Args:
        structure: Where rules hold.
        parameters: All trainable ones.
        reason: Why there is no structure.
        by_rows: Whether plain reverse mode makes J row by row.
    """
    if by_rows:
        return f"dense, Jacobian row by row in plain reverse mode: {reason}"
    if structure is None:
        return f"dense, explicit Jacobian of whole batches: {reason}"
    _, left = find_groups(structure)
    left = {**structure.others, **left}
    reason = f"; {reason}" if reason else ""
    if not left:
        return f"dense, layer rules for all parameters{reason}"
    names = ", ".join(f"{name} ({why})" for name, why in left.items())
    rest = "; layer rules for the rest" if len(left) < len(parameters) else ""
    return f"dense, explicit Jacobian for {names}{rest}{reason}"


def _takes_ones(use: Use) -> bool:
    return not isinstance(use.rule, (EntryRule, EmbeddingRule))


def _is_joinable(group: Group, uses: tuple[Use, ...]) -> bool:
    """Uses of one rule and role are; so are a linear map and an embedding over one table (tied tokens)."""
    if len(group.uses) == 1:
        return True
    rules = [uses[i].rule for i in group.uses]
    if all(role == "bias" or isinstance(rule, EntryRule) for rule, role in zip(rules, group.roles, strict=True)):
        return True
    if len(set(group.roles)) == 1 and (group.roles[0] == "bias" or len(set(rules)) == 1):
        return True
    is_table = [isinstance(r, EmbeddingRule) or (isinstance(r, LinearRule) and not r.is_transposed) for r in rules]
    return set(group.roles) == {"weight"} and all(is_table)


def _group_factors(
    group: Group, structure: Structure, met: list[Tensor], signals: list[Tensor], samples: int
) -> list[list[Factors]]:
    """Factors of a group: independent blocks of J, each a sum over the factors in its list."""
    calls = []
    for index, role in zip(group.uses, group.roles, strict=True):
        rule, x, signal = structure.uses[index].rule, met[index], signals[index]
        if role == "both":
            calls.append(rule.with_bias(x, signal, samples))
        elif role == "weight":
            calls.append(rule.weight_factors(x, signal, samples))
        else:
            calls.append([rule.bias_factors(signal, samples)])
    return [_joined(list(same)) for same in zip(*calls, strict=True)]


def _joined(same: list[Factors]) -> list[Factors]:
    """Calls are positions of one sum, where their factors are of one kind."""
    if len(same) == 1:
        return same
    if all(f.inputs is None for f in same):
        return [Factors(None, torch.stack([f.signals for f in same]).sum(0))]
    if any(f.is_token != same[0].is_token for f in same):
        tokens, maps = ([f for f in same if f.is_token is kind] for kind in (True, False))
        return [*_joined(tokens), *_joined(maps)]
    inputs = torch.cat([f.inputs for f in same if f.inputs is not None], dim=1)
    return [Factors(inputs, torch.cat([f.signals for f in same], dim=2), same[0].is_transposed)]


@dataclass(frozen=True)
class GroupFactors:
    """One independent block of J: a sum of factors over the same parameters.

    Attributes:
        group: Whose block it is.
        block: Its number among the group's (groups of a convolution).
        factors: What is summed.
        dots: Their derivatives along a direction, or None.
    """

    group: Group
    block: int
    factors: list[Factors]
    dots: list[Factors] | None


def record_factors(
    network: Network,
    structure: Structure,
    parameters: Parameters,
    rest: Parameters,
    inputs: Inputs,
    spread: Spread,
    width: int,
    direction: Parameters | None = None,
) -> list[GroupFactors]:
    """Run the network once forward and once backward per column of the loss's root, and make all factors.

    Args:
        network: The module as a pure function.
        structure: Its uses of parameters.
        parameters: Trainable parameters.
        rest: Everything else.
        inputs: Samples; any number of them.
        spread: B times rows, for these samples.
        width: Entries of the error per sample.
        direction: dtheta/dt, for the derivatives of the factors.
    """
    groups, _ = find_groups(structure)
    shapes: list[tuple[Group, int, list[Factors]]] = []

    def tensors(p: Parameters) -> list[Tensor]:
        met, signals = capture_signals(network, structure, p, rest, inputs, spread, width)
        shapes[:] = [
            (group, block, factors)
            for group in groups
            for block, factors in enumerate(_group_factors(group, structure, met, signals, len(inputs)))
        ]
        return [t for *_, factors in shapes for f in factors for t in _floats(f)]

    if not groups:
        return []
    if direction is None:
        values, dots = iter(tensors(parameters)), None
    else:
        # PyTorch skips terms of second derivatives, or lacks them, where gradients are switched off.
        with torch.enable_grad():
            primal, tangent, *_ = jvp(tensors, (dict(parameters),), (dict(direction),))
        primal, tangent = ([t.detach() for t in side] for side in (primal, tangent))
        values, dots = iter(primal), iter(tangent)
    return [
        GroupFactors(
            group,
            block,
            [_rebuilt(f, values) for f in factors],
            None if dots is None else [_rebuilt(f, dots) for f in factors],
        )
        for group, block, factors in shapes
    ]


def first_axis(parameter: Tensor) -> int:
    """Length of the first axis; 1 for a single number."""
    return len(parameter) if parameter.ndim else 1


def group_size(group: Group, structure: Structure, parameters: Parameters) -> list[FactorSize]:
    """Sizes of a group's factors, summed over calls of one kind."""
    sizes: list[FactorSize] = []
    for index, role in zip(group.uses, group.roles, strict=True):
        use = structure.uses[index]
        if role == "bias":
            size = FactorSize(0, 0, parameters[group.names[0]].numel())
        else:
            size = use.rule.weight_size(use.met, use.shape, max(1, use.rows), first_axis(parameters[group.names[0]]))
        if role == "both":
            size = replace(size, ins=size.ins + 1)
        if sizes and sizes[-1].is_token == size.is_token:
            sizes[-1] = replace(sizes[-1], positions=sizes[-1].positions + size.positions)
        else:
            sizes.append(size)
    return sizes


def _floats(factors: Factors) -> list[Tensor]:
    return [factors.signals] if factors.inputs is None or factors.is_token else [factors.inputs, factors.signals]


def _rebuilt(shape: Factors, values: Iterator[Tensor]) -> Factors:
    if shape.inputs is None:
        return Factors(None, next(values))
    if shape.is_token:
        return Factors(shape.inputs, next(values))
    return Factors(next(values), next(values), shape.is_transposed)
