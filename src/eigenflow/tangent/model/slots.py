"""Where a module holds its tensors, and how to put others in their places for a while without a trace.

A module may stand under several names (shared blocks, siamese towers), and so may a tensor (tied weights). Every place
is visited once, whatever it is called, so that what is put back is what was there.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["Slots", "plain_name"]

# Collections with more entries are vocabularies and the like, whose entries are not looked into.
LARGEST_CACHE = 1000
# What wrappers put into the names of parameters.
_WRAPPERS = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")


def plain_name(name: str) -> str:
    """A parameter's name without what torch.compile and other wrappers add to it."""
    for wrapper in _WRAPPERS:
        name = name.replace(wrapper, "")
    return name


@dataclass(frozen=True)
class _Slot:
    module: nn.Module
    kind: str  # "_parameters" or "_buffers"
    key: str

    @property
    def places(self) -> dict[str, Tensor | None]:
        return getattr(self.module, self.kind)


class Slots:
    """Every place of a module that holds a tensor, by the first name of the tensor in it.

    Args:
        model: Any module. It is referred to, not copied.
    """

    def __init__(self, model: nn.Module):
        self.model = model

    def tensors(self) -> dict[str, Tensor]:
        """Parameters and buffers as they are now, each once, by its first name."""
        return {name: found[0].places[found[0].key] for name, found in self._places().items()}  # pyright: ignore

    @contextmanager
    def holding(self, tensors: Mapping[str, Tensor]) -> Iterator[None]:
        """Within it, the module computes with these tensors; afterwards it holds what it held, also after an error.

        Attributes that the forward pass sets on the modules are put back too: they would hold tensors of a
        differentiation that is over.
        """
        modules = list(self.model.modules())
        held = [(module.__dict__, dict(module.__dict__)) for module in modules]
        attributes = [value for own, _ in held for value in own.values()]
        numbers = [restored for value in attributes if (restored := _numbers(value)) is not None]
        held += [(content, _copied(content)) for content in _containers(attributes, set())]
        places = self._places()
        try:
            for name, tensor in tensors.items():
                for slot in places[name]:
                    slot.places[slot.key] = tensor
            yield
        finally:
            for content, before in reversed(held):
                _put_back(content, before)
            for restore in numbers:
                restore()

    def _places(self) -> dict[str, list[_Slot]]:
        """Places by the first name of what they hold; several places may hold one tensor."""
        names: dict[int, str] = {}
        places: dict[str, list[_Slot]] = {}
        for prefix, module in self.model.named_modules():  # each module once
            for kind in ("_parameters", "_buffers"):
                for key, tensor in getattr(module, kind).items():
                    if tensor is None:
                        continue
                    name = names.setdefault(id(tensor), plain_name(f"{prefix}.{key}" if prefix else key))
                    places.setdefault(name, []).append(_Slot(module, kind, key))
        return places


def _numbers(value: Any) -> Callable[[], Any] | None:
    """What puts a generator of random numbers back to where it is now; None for anything else."""
    if isinstance(value, torch.Generator):
        return partial(value.set_state, value.get_state())
    if isinstance(value, np.random.Generator):
        return partial(setattr, value.bit_generator, "state", value.bit_generator.state)
    return None


def _containers(values: Iterable[Any], seen: set[int]) -> Iterator[Any]:
    """Collections that a forward pass may write into: the module's own tables, lists of losses, caches of lists."""
    for value in values:
        if isinstance(value, dict | list | set | deque) and id(value) not in seen:
            seen.add(id(value))
            yield value
            if len(value) <= LARGEST_CACHE and not isinstance(value, set):
                yield from _containers(value.values() if isinstance(value, dict) else value, seen)


def _copied(content: Any) -> dict | list | set:
    # An OrderedDict's copy of its own would be made through its methods; only the content counts.
    return dict(content) if isinstance(content, dict) else set(content) if isinstance(content, set) else list(content)


def _put_back(now: Any, before: Any) -> None:
    if isinstance(now, dict):
        if list(now) != list(before) or any(now[key] is not value for key, value in before.items()):
            now.clear()
            now.update(before)
    elif isinstance(now, list | deque):
        if len(now) != len(before) or any(a is not b for a, b in zip(now, before, strict=True)):
            now.clear()
            now.extend(before)
    elif {id(x) for x in now} != {id(x) for x in before}:
        now.clear()
        now.update(before)
