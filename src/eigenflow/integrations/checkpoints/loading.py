"""Tensors of a checkpoint put into a model, without losing a digit and without leaving anything out in silence."""

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from eigenflow.integrations.checkpoints.formats.weights import AbstractWeights, UnreadableError
from eigenflow.integrations.checkpoints.names import ModelNames, fit_names
from eigenflow.tangent.model.wrappers import unwrapped

__all__ = ["load_weights", "names_of"]


def names_of(model: nn.Module) -> ModelNames:
    """What a model can be given: its own names and shapes, and which of them are one tensor."""
    model = unwrapped(model)
    held = {name: value for name, value in model.state_dict(keep_vars=True).items() if isinstance(value, Tensor)}
    groups: dict[int, set[str]] = defaultdict(set)
    for name, tensor in held.items():
        groups[id(tensor)].add(name)
    buffers = {name for name, _ in model.named_buffers(remove_duplicate=False)}
    return ModelNames(
        {name: tuple(tensor.shape) for name, tensor in held.items()},
        {name: frozenset(groups[id(tensor)]) for name, tensor in held.items()},
        frozenset(buffers - held.keys()),
        tuple(getattr(model, "_keys_to_ignore_on_load_unexpected", None) or ()),
    )


@torch.no_grad()
def load_weights(model: nn.Module, weights: AbstractWeights, entry: str | None = None) -> tuple[str, ...]:
    """Put a checkpoint's tensors into a model; returns notes on what was done.

    The model takes the type of the checkpoint where that is the wider one. It is changed only after all tensors have
    been read and have been found to fit.

    Args:
        model: Any module.
        weights: From a reader.
        entry: Which part of the checkpoint to take, if several would fit.

    Raises:
        UnreadableError: If it does not fit, or cannot be read.
    """
    model = unwrapped(model)
    fit = fit_names(weights.entries, names_of(model), entry)
    places = model.state_dict(keep_vars=True)
    found = {name: weights.tensor(source) for name, source in fit.sources.items()}
    for name, tensor in found.items():
        _require_numbers(name, tensor, places[name])
    _require_same_ties(found, names_of(model))
    types = _types_told(found.values(), places.values())
    for name, tensor in found.items():
        place = places[name]
        wide = torch.promote_types(place.dtype, tensor.dtype)
        if wide == place.dtype:
            place.data.copy_(tensor)
        else:
            place.data = tensor.to(device=place.device, dtype=wide, copy=True)
    return (*weights.notes, *fit.notes, *types)


def _require_numbers(name: str, tensor: Tensor, place: Tensor) -> None:
    if tensor.is_quantized or tensor.layout != torch.strided or tensor.is_floating_point() != place.is_floating_point():
        raise UnreadableError(
            f"'{name}' is stored as {tensor.dtype} ({tensor.layout}), the model has {place.dtype}: quantised or sparse "
            f"weights are not the ones that were trained"
        )
    if tensor.is_floating_point() and not bool(torch.isfinite(tensor.to(torch.float32)).all()):
        raise UnreadableError(f"'{name}' holds NaN or infinite numbers: the run had diverged, or the file is damaged")


def _require_same_ties(found: dict[str, Tensor], names: ModelNames) -> None:
    for name, tensor in found.items():
        for other in names.ties[name] - {name}:
            if other in found and not torch.equal(found[other], tensor):
                raise UnreadableError(
                    f"'{name}' and '{other}' are one tensor in the model, but differ in the checkpoint. Untie them in "
                    f"the factory"
                )


def _types_told(found: Iterable[Tensor], places: Iterable[Tensor]) -> tuple[str, ...]:
    stored = sorted({str(t.dtype).removeprefix("torch.") for t in found if t.is_floating_point()})
    own = sorted({str(t.dtype).removeprefix("torch.") for t in places if t.is_floating_point()})
    lower = [one for one in stored if one in ("bfloat16", "float16") or one.startswith("float8")]
    if lower:
        return (f"weights stored in {', '.join(lower)}, with the digits that these have",)
    return (f"stored in {', '.join(stored)}, held in {', '.join(own)}",) if stored != own else ()
