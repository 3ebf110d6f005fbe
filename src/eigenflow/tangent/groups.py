"""Uses of the same parameters, joined: a tied weight is one block of J, whatever uses it."""

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from eigenflow.tangent.layers import Structure, Use
from eigenflow.tangent.rules import EmbeddingRule, EntryRule, Factors, LinearRule

__all__ = ["Group", "describe_structure", "find_groups", "group_factors"]


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


def describe_structure(structure: Structure | None, parameters: Collection[str]) -> str:
    """How the dense operator is formed, in words; names what no rule covers, and the operation that was in the way."""
    if structure is None:
        return "dense, explicit Jacobian of whole batches: outputs depend on other samples' inputs"
    _, left = find_groups(structure)
    left = {**structure.others, **left}
    if not left:
        return "dense, layer rules for all parameters"
    names = ", ".join(f"{name} ({reason})" for name, reason in left.items())
    return f"dense, explicit Jacobian for {names}" + (
        "; layer rules for the rest" if len(left) < len(parameters) else ""
    )


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


def group_factors(
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
