"""What `torch.save` wrote, read by `torch.load(weights_only=True)`: tensors and plain values; no code is run."""

import pickle
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from eigenflow.integrations.checkpoints.formats.foreign import is_whole_zip, refuse_foreign
from eigenflow.integrations.checkpoints.formats.weights import AbstractWeights, Entry, UnreadableError

__all__ = ["TorchWeights", "joined", "rate_in_file", "read_torch"]

# Deepest nesting that is looked through for tensors, and most entries of one list.
DEEPEST, LONGEST = 8, 1000
REFUSED = re.compile(
    r"(?:GLOBAL|[Uu]nsupported (?:global|class):?|function) ['<]*(?:class '|built-in function )?([\w.]+)"
)


@dataclass(frozen=True, eq=False)
class TorchWeights(AbstractWeights):
    """Tensors of files of `torch.save`, by their place in what was saved.

    Attributes:
        tensors: Mapped from the file, so that only what is used is read.
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)

    def tensor(self, name: str) -> Tensor:
        """One of them."""
        return self.tensors[name].detach()


def read_torch(path: Path) -> TorchWeights:
    """Load a file without running anything of it.

    Raises:
        UnreadableError: If it is truncated, corrupt, no file of PyTorch, or holds an object of a class.
    """
    refuse_foreign(path)
    content = _loaded(path)
    if isinstance(content, Tensor) or not isinstance(content, Mapping | list | tuple):
        raise UnreadableError(f"it holds one {type(content).__name__}, not a collection of named tensors")
    tensors = dict(_tensors(content, "", 0))
    if parts := [name for name, t in tensors.items() if hasattr(t, "full_tensor")]:
        raise UnreadableError(
            f"it holds one rank's part of '{parts[0]}' (DTensor); save full_tensor() of each, or with "
            f"torch.distributed.checkpoint, which keeps all parts"
        )
    if not tensors:
        raise UnreadableError("it holds no named tensors")
    entries = {name: Entry(tuple(t.shape), t.dtype) for name, t in tensors.items()}
    plain = dict(content) if isinstance(content, Mapping) else {}
    return TorchWeights("torch file", (path,), entries, plain, tensors=tensors)


def joined(parts: list[TorchWeights], words: str) -> TorchWeights:
    """One checkpoint from the files that it was cut into.

    Raises:
        UnreadableError: If two of them hold the same name.
    """
    first = parts[0]
    tensors, entries = dict(first.tensors), dict(first.entries)
    for part in parts[1:]:
        if twice := tensors.keys() & part.tensors.keys():
            raise UnreadableError(f"tensor '{min(twice)}' is in two of its files")
        tensors |= part.tensors
        entries |= part.entries
    files = tuple(file for part in parts for file in part.files)
    return replace(first, format=words, files=files, entries=entries, tensors=tensors)


def _loaded(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            # Of other files than those of torch.save, which are refused in words below.
            warnings.filterwarnings("ignore", message="Detected pickle protocol", category=UserWarning)
            warnings.filterwarnings("ignore", message=".*looks like a TorchScript archive", category=UserWarning)
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_whole_zip(path))
    except pickle.UnpicklingError as error:
        raise UnreadableError(_refusal(path, str(error))) from None
    except Exception as error:  # what a corrupt pickle ends in depends on where it is corrupt
        text = str(error).split("\n")[0]
        if "TorchScript" in text:
            raise UnreadableError(
                "it is a TorchScript archive; save its state_dict: "
                "torch.save(torch.jit.load(file).state_dict(), new_file)"
            ) from None
        with path.open("rb") as file:
            is_cut = file.read(2) == b"PK" and not is_whole_zip(path)
        words = "it is truncated: the list of its parts, which is written last, is missing" if is_cut else ""
        raise UnreadableError(words or f"it is truncated, corrupt or no file of PyTorch ({text})") from None


def _refusal(path: Path, text: str) -> str:
    """Name the classes that would have to be trusted, and what to do."""
    try:
        names = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # of a file that is no zip archive, or a pickle that does not end
        names = []
    if not names and (match := REFUSED.search(text)):
        names = [match[1]]
    if not names:
        return "it is a plain pickle, or corrupt, and is not opened; save a state_dict with torch.save, or safetensors"
    listed = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    roots = {name.partition(".")[0] for name in names}
    if roots <= {"numpy", "builtins", "_codecs"}:
        hint = "Numbers of NumPy: convert them with float() before saving, or, if"
    elif any(".nn." in name or name.startswith("__main__") for name in names):
        hint = "It may hold the whole module; save model.state_dict() alone. If"
    else:
        hint = "Save again without them, the state_dict alone. If"
    return (
        f"it holds objects of {listed}, and opening them could run code. {hint} you trust them, "
        f"torch.serialization.add_safe_globals([...]) in the module of `model` allows them"
    )


def _tensors(content: Any, at: str, depth: int) -> Iterator[tuple[str, Tensor]]:
    if isinstance(content, Tensor):
        yield at.removesuffix("."), content
        return
    if depth > DEEPEST:
        return
    if isinstance(content, Mapping):
        for key, value in content.items():
            yield from _tensors(value, f"{at}{key}.", depth + 1)
    elif isinstance(content, list | tuple) and len(content) <= LONGEST:
        for index, value in enumerate(content):
            yield from _tensors(value, f"{at}{index}.", depth + 1)


def rate_in_file(content: Mapping[str, Any]) -> float | None:
    """The learning rate that an optimizer's state holds; the largest, where groups have several."""
    for name, value in content.items():
        if not (isinstance(name, str) and name.startswith("optim")):
            continue
        for one in value if isinstance(value, list) else [value]:
            groups = one.get("param_groups") if isinstance(one, Mapping) else None
            rates = [g.get("lr") for g in groups if isinstance(g, Mapping)] if isinstance(groups, list) else []
            numbers = [float(r) for r in rates if isinstance(r, int | float) or (isinstance(r, Tensor) and r.ndim == 0)]
            if numbers and 0.0 <= max(numbers) < float("inf"):
                return max(numbers)
    return None
