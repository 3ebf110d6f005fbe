"""Inputs of a probe as models take them: one tensor, several by position, or several by name; sample axis first.

Tensors with at least one axis hold samples and are taken apart along the first one; everything else (flags, None,
numbers, tensors without axes) is the same for all samples and is passed on as it is.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import TreeSpec, register_pytree_node, tree_flatten, tree_unflatten

from eigenflow.core.errors import ArgumentError, NonFiniteError, ShapeError

__all__ = [
    "Inputs",
    "Samples",
    "call_arguments",
    "checked_inputs",
    "count_samples",
    "extended",
    "in_dtype",
    "named_tensors",
]


@dataclass(frozen=True)
class Samples:
    """Several tensors that belong together, sample by sample.

    Attributes:
        tensors: Sample axis first.
        names: What each is called in messages.
        constants: What all samples share, in its place among the leaves; None where a tensor stands.
        spec: How the leaves lie in the structure.
        by_name: Whether the structure is a mapping to the forward pass's arguments, else their sequence.
    """

    tensors: tuple[Tensor, ...]
    names: tuple[str, ...]
    constants: tuple[tuple[bool, Any], ...]
    spec: TreeSpec
    by_name: bool

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, part: Any) -> "Samples":
        return self.mapped(lambda tensor: tensor[part])

    @property
    def device(self) -> torch.device:
        """Of the first tensor."""
        return self.tensors[0].device

    def mapped(self, change: Any) -> "Samples":
        """The same with every tensor changed."""
        return replace(self, tensors=tuple(change(tensor) for tensor in self.tensors))

    def structure(self) -> Any:
        """As the user gave them."""
        found = iter(self.tensors)
        leaves = [next(found) if is_samples else value for is_samples, value in self.constants]
        return tree_unflatten(leaves, self.spec)


# Registered so that `vmap` takes the samples apart; names and constants are no leaves.
register_pytree_node(
    Samples,
    lambda s: (list(s.tensors), (s.names, s.constants, s.spec, s.by_name)),
    lambda tensors, rest: Samples(tuple(tensors), *rest),
)

Inputs = Tensor | Samples


def call_arguments(inputs: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and named arguments of the forward pass."""
    if isinstance(inputs, Tensor):
        return (inputs,), {}
    whole = inputs.structure()
    return ((), dict(whole)) if inputs.by_name else (tuple(whole), {})


def extended(inputs: Inputs) -> Inputs:
    """With the first sample once more at the end."""
    if isinstance(inputs, Tensor):
        return torch.cat([inputs, inputs[:1]])
    return inputs.mapped(lambda tensor: torch.cat([tensor, tensor[:1]]))


def in_dtype(inputs: Inputs, dtype: torch.dtype) -> Inputs:
    """With floating-point tensors in this type."""

    def converted(tensor: Tensor) -> Tensor:
        return tensor.to(dtype) if tensor.is_floating_point() else tensor

    return converted(inputs) if isinstance(inputs, Tensor) else inputs.mapped(converted)


def named_tensors(inputs: Inputs, name: str) -> Iterator[tuple[str, Tensor]]:
    """Every tensor that holds samples, with what to call it in messages."""
    if isinstance(inputs, Tensor):
        yield name, inputs
    else:
        for path, tensor in zip(inputs.names, inputs.tensors, strict=True):
            yield f"{name}{path}", tensor


def count_samples(inputs: Any, name: str) -> int:
    """How many samples inputs hold, none allowed; whether they can be used is told by `checked_inputs`.

    Raises:
        ArgumentError: If they hold no tensor of samples.
    """
    leaves = [inputs] if isinstance(inputs, Tensor) else _gathered(inputs, name).tensors
    if leaves[0].ndim == 0:
        raise ShapeError(f"`{name}` must have samples on its first axis, but has shape ().")
    return len(leaves[0])


def checked_inputs(inputs: Any, name: str, dtype: torch.dtype) -> Inputs:
    """Check inputs as the user gave them, and convert floating-point tensors to `dtype`.

    Raises:
        ArgumentError, ShapeError, NonFiniteError: If they cannot be taken apart into samples.
    """
    found = inputs if isinstance(inputs, Tensor) else _gathered(inputs, name)
    lengths = {}
    for path, tensor in named_tensors(found, name):
        require_samples(tensor, path)
        lengths[path] = len(tensor)
    if len(set(lengths.values())) > 1:
        raise ShapeError(
            f"`{name}` must have the same number of samples on the first axis of every tensor, but has "
            f"{', '.join(f'{n} in {path}' for path, n in lengths.items())}. Expand what all samples share "
            f"(x.expand(samples, ...)), or keep it in the module."
        )

    def settled(tensor: Tensor) -> Tensor:
        return tensor.clone() if tensor.is_inference() else tensor

    return in_dtype(settled(found) if isinstance(found, Tensor) else found.mapped(settled), dtype)


def require_samples(tensor: Any, name: str) -> None:
    """Refuse what is no dense, finite tensor with samples on its first axis."""
    if not isinstance(tensor, Tensor):
        raise ArgumentError(f"`{name}` must be a torch.Tensor, but is {type(tensor).__name__}. {_remedy(tensor)}")
    if tensor.is_nested or tensor.layout != torch.strided:
        raise ArgumentError(
            f"`{name}` must be a dense tensor, but has layout {tensor.layout}{' (nested)' * tensor.is_nested}. "
            f"Pad it: torch.nested.to_padded_tensor(x, 0.0), or x.to_dense()."
        )
    if tensor.ndim == 0 or len(tensor) == 0:
        raise ShapeError(
            f"`{name}` must have at least one sample on its first axis, but has shape {tuple(tensor.shape)}."
        )
    if tensor.is_floating_point() and not torch.isfinite(tensor).all():
        bad = int((~torch.isfinite(tensor)).sum())
        raise NonFiniteError(
            f"`{name}` must be finite, but has {bad} NaN or infinite value(s). Remove or repair those samples."
        )


def _gathered(inputs: Any, name: str) -> Samples:
    by_name = isinstance(inputs, Mapping)
    if not by_name and not (isinstance(inputs, Sequence) and not isinstance(inputs, str | bytes)):
        raise ArgumentError(
            f"`{name}` must be a tensor, a tuple of tensors (forward(*inputs)) or a mapping of them "
            f"(forward(**inputs)), but is {type(inputs).__name__}. {_remedy(inputs)}"
        )
    if type(inputs).__name__ == "PackedSequence":
        raise ArgumentError(
            f"`{name}` is a PackedSequence, whose first axis holds no samples. Pass padded sequences and lengths, "
            f"({name}, lengths), and pack them in forward: torch.nn.utils.rnn.pad_packed_sequence(x, batch_first=True)."
        )
    whole = {str(key): value for key, value in inputs.items()} if by_name else tuple(inputs)
    leaves, spec = tree_flatten(whole)
    paths = list(_paths(whole, ""))
    is_samples = [isinstance(leaf, Tensor) and leaf.ndim > 0 for leaf in leaves]
    if not any(is_samples):
        raise ArgumentError(
            f"`{name}` must hold at least one tensor of samples, but holds "
            f"{', '.join(sorted({type(leaf).__name__ for leaf in leaves})) or 'nothing'}. "
            f"{_remedy(leaves[0] if leaves else inputs)}"
        )
    if isinstance(inputs, list) and len({len(x) for x, is_one in zip(leaves, is_samples, strict=True) if is_one}) > 1:
        raise ArgumentError(
            f"`{name}` is a list of tensors of different lengths. Samples of one shape: torch.stack(inputs). Of "
            f"different lengths: torch.nn.utils.rnn.pad_sequence(inputs, batch_first=True), with a mask. Several "
            f"arguments of forward: one tensor each, with the same number of samples."
        )
    tensors = tuple(leaf for leaf, is_one in zip(leaves, is_samples, strict=True) if is_one)
    names = tuple(path for path, is_one in zip(paths, is_samples, strict=True) if is_one)
    constants = tuple((s, None if s else leaf) for s, leaf in zip(is_samples, leaves, strict=True))
    return Samples(tensors, names, constants, spec, by_name)


def _paths(value: Any, path: str) -> Iterator[str]:
    """What each leaf is called, in the order of `tree_flatten`."""
    if isinstance(value, dict):
        for key, entry in value.items():
            yield from _paths(entry, f"{path}[{key!r}]")
    elif isinstance(value, list | tuple):
        for index, entry in enumerate(value):
            yield from _paths(entry, f"{path}[{index}]")
    else:
        leaves, _ = tree_flatten(value)
        yield from (path for _ in leaves)


def _remedy(value: Any) -> str:
    kind = type(value).__name__
    if hasattr(value, "__iter__") and hasattr(value, "dataset"):
        return "It is a loader: pass one batch, next(iter(loader)), or torch.cat of several."
    if kind in ("ndarray", "DataFrame", "Series", "int", "float"):
        return "Convert it with torch.as_tensor."
    return "Take the tensors out of it, with samples on the first axis."
