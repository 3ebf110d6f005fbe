"""Checkpoints of torch.distributed.checkpoint: `.metadata` and files of parts, read in one process.

`.metadata` is a plain pickle, which could run anything. It is read by an unpickler that knows the few names that
PyTorch writes there, and gives for each of them a bag of values of our own: no class of the file is ever made. Only
tensors are read; objects (`BytesStorageMetadata`) stay closed.

Source of the format: torch/distributed/checkpoint/metadata.py and filesystem.py (PyTorch 2.1 to 2.13).
"""

import io
import pickle
from dataclasses import dataclass, field
from math import prod
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import torch
from torch import Tensor

from eigenflow.integrations.checkpoints.formats.weights import AbstractWeights, Entry, UnreadableError, assembled

__all__ = ["DistributedWeights", "read_distributed"]

METADATA = ".metadata"
# A checkpoint with a million parts has some 200 MB.
LARGEST_METADATA = 2**30


class _Values:
    """What a pickle says about an object, kept as plain values."""

    def __init__(self, *arguments: Any, **named: Any):
        self.arguments = arguments
        self.__dict__.update(named)

    def __setstate__(self, state: Any) -> None:
        self.state = state
        for one in state if isinstance(state, tuple) else (state,):
            if isinstance(one, dict):
                self.__dict__.update({str(key): value for key, value in one.items()})

    def __hash__(self) -> int:
        return id(self)


def _sizes(values: Any = ()) -> tuple[int, ...]:
    return tuple(int(value) for value in values)


def _layout(name: str) -> str:
    return name


_PARTS = ("torch.distributed.checkpoint.metadata", "torch.distributed._shard.checkpoint.metadata")
_PARTS += ("torch.distributed._shard.sharded_tensor.metadata", "torch.distributed._shard.metadata")
_NAMES = ("Metadata", "TensorStorageMetadata", "BytesStorageMetadata", "ChunkStorageMetadata", "TensorProperties")
_NAMES += ("MetadataIndex", "StorageMeta", "_MEM_FORMAT_ENCODING", "MEM_FORMAT_ENCODING", "ShardMetadata")
_FILES = ("torch.distributed.checkpoint.filesystem", "torch.distributed._shard.checkpoint.filesystem")
ALLOWED: dict[tuple[str, str], Any] = {(room, name): _Values for room in _PARTS for name in _NAMES}
ALLOWED |= {(room, name): _Values for room in _FILES for name in ("_StorageInfo", "_StoragePrefix")}
ALLOWED |= {
    ("torch", "Size"): _sizes,
    ("torch.serialization", "_get_layout"): _layout,
    ("collections", "OrderedDict"): dict,
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
    # Where the checkpoint was written; its own kind differs by system and by version of Python.
    **{
        (room, kind): _Values
        for room in ("pathlib", "pathlib._local")
        for kind in ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")
    },
}


# The one in Python: that in C sets aside as much memory as a number in the file says.
class _Unpickler(pickle._Unpickler):  # pyright: ignore[reportAttributeAccessIssue]
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in ALLOWED:
            return ALLOWED[module, name]
        if module == "torch" and isinstance(found := torch.__dict__.get(name), torch.dtype):
            return found
        raise UnreadableError(
            f"its .metadata asks for {module}.{name}, which no checkpoint of PyTorch needs; it is not opened, as "
            f"that could run code"
        )

    def persistent_load(self, pid: Any) -> Any:
        raise UnreadableError(f"its .metadata refers to something outside of it ({str(pid)[:40]!r}); it is not opened")


@dataclass(frozen=True, eq=False)
class DistributedWeights(AbstractWeights):
    """Tensors in parts, in files of ranks.

    Attributes:
        parts: For every name: offsets, and where the part lies.
    """

    parts: dict[str, list[tuple[tuple[int, ...], "_Place"]]] = field(default_factory=dict)

    def tensor(self, name: str) -> Tensor:
        """Read a tensor's parts and put them together."""
        return assembled(name, self.entries[name], [(_read(name, p), offsets) for offsets, p in self.parts[name]])


@dataclass(frozen=True)
class _Place:
    file: Path
    offset: int
    length: int


def read_distributed(folder: Path) -> DistributedWeights:
    """Look at the metadata of a checkpoint.

    Args:
        folder: With `.metadata` in it.

    Raises:
        UnreadableError: If the metadata is missing, corrupt or asks for other classes, or a file of parts is missing or
            cut off.
    """
    metadata = _metadata(folder / METADATA)
    try:
        return _described_by(metadata, folder)
    except (AttributeError, TypeError, ValueError, KeyError, IndexError, OverflowError) as error:
        raise UnreadableError(f"its .metadata is not what PyTorch writes ({type(error).__name__}: {error})") from None


def _described_by(metadata: Any, folder: Path) -> DistributedWeights:
    kinds, storage = getattr(metadata, "state_dict_metadata", None), getattr(metadata, "storage_data", None)
    if not isinstance(kinds, dict) or not isinstance(storage, dict):
        raise UnreadableError("its .metadata lists no tensors, so it is none of torch.distributed.checkpoint")
    places: dict[tuple[str, tuple[int, ...] | None], _Place] = {}
    for index, info in storage.items():
        name, offset = getattr(index, "fqn", None), getattr(index, "offset", None)
        places[str(name), None if offset is None else tuple(offset)] = _place(folder, info)
    entries, parts, objects = {}, {}, 0
    for name, kind in kinds.items():
        if not hasattr(kind, "chunks"):
            objects += 1
            continue
        entries[str(name)], parts[str(name)] = _described(str(name), kind, places)
    files = sorted({place.file for found in parts.values() for _, place in found})
    _require_whole(files, parts)
    if not entries:
        raise UnreadableError("it holds no tensors, only objects, which are not opened")
    notes = (f"{objects} entries are objects and stay closed",) if objects else ()
    words = f"distributed checkpoint, {len(files)} file{'s' * (len(files) > 1)}"
    return DistributedWeights(words, (folder / METADATA, *files), entries, {}, notes, parts=parts)


def _metadata(path: Path) -> Any:
    if not path.exists():
        raise UnreadableError("it has no .metadata: the writing was cut off, or another node holds the file")
    if path.stat().st_size > LARGEST_METADATA:
        raise UnreadableError(f"its .metadata has more than {LARGEST_METADATA:,} bytes")
    try:
        return _Unpickler(io.BytesIO(path.read_bytes())).load()
    except UnreadableError:
        raise
    except Exception as error:  # a corrupt pickle may end in any error
        raise UnreadableError(f"its .metadata is truncated or corrupt ({type(error).__name__})") from None


def _place(folder: Path, info: Any) -> _Place:
    name, offset, length = (getattr(info, key, None) for key in ("relative_path", "offset", "length"))
    if getattr(info, "transform_descriptors", None):
        raise UnreadableError("its parts are compressed or changed by an extension, which is not supported")
    is_inside = isinstance(name, str) and not (
        PurePosixPath(name).is_absolute() or PureWindowsPath(name).is_absolute() or ".." in PurePosixPath(name).parts
    )
    if not is_inside or not isinstance(offset, int) or not isinstance(length, int) or offset < 0 or length < 0:
        raise UnreadableError(f"its .metadata points outside of the folder: {str(name)[:60]!r}")
    return _Place(folder / str(name), offset, length)


def _described(name: str, kind: Any, places: dict[Any, _Place]) -> tuple[Entry, list[tuple[tuple[int, ...], _Place]]]:
    """Shape, type and parts; the type stands first in the state of the tensor's properties."""
    properties = getattr(kind, "properties", None)
    state = getattr(properties, "state", ())
    dtype = state[0] if isinstance(state, tuple) and state else getattr(properties, "dtype", None)
    size = getattr(kind, "size", None)
    if not isinstance(dtype, torch.dtype) or not isinstance(size, tuple):
        raise UnreadableError(f"its .metadata does not tell shape and type of '{name}'")
    if any(length < 0 for length in size):
        raise UnreadableError(f"its .metadata gives '{name}' the shape {size}")
    found = []
    for chunk in kind.chunks:
        offsets = tuple(chunk.offsets)
        place = places.get((name, offsets)) or (places.get((name, None)) if len(kind.chunks) == 1 else None)
        if place is None:
            raise UnreadableError(f"its .metadata does not tell where the part of '{name}' at {offsets} is")
        found.append((offsets, place))
    stored = sum(prod(tuple(chunk.sizes)) for chunk in kind.chunks)
    if stored != prod(size):
        raise UnreadableError(f"its .metadata lists {stored:,} of the {prod(size):,} numbers of '{name}'")
    return Entry(size, dtype), found


def _require_whole(files: list[Path], parts: dict[str, list[tuple[tuple[int, ...], _Place]]]) -> None:
    if absent := [file.name for file in files if not file.is_file()]:
        raise UnreadableError(f"{len(absent)} of {len(files)} files of parts are missing: {', '.join(absent[:5])}")
    needed: dict[Path, int] = {}
    for found in parts.values():
        for _, place in found:
            needed[place.file] = max(needed.get(place.file, 0), place.offset + place.length)
    for file, length in needed.items():
        if file.stat().st_size < length:
            raise UnreadableError(f"'{file.name}' is truncated: it has {file.stat().st_size:,} of {length:,} bytes")


def _read(name: str, place: _Place) -> Tensor:
    try:
        with place.file.open("rb") as file:
            file.seek(place.offset)
            part = file.read(place.length)
        if part.startswith((b"PK", b"\x80")):
            found = torch.load(io.BytesIO(part), map_location="cpu", weights_only=True)
        else:
            from safetensors.torch import load

            found = next(iter(load(part).values()))
    except Exception as error:  # what a corrupt archive raises depends on where it is corrupt
        raise UnreadableError(
            f"the part of '{name}' in '{place.file.name}' is corrupt ({type(error).__name__})"
        ) from None
    if not isinstance(found, Tensor):
        raise UnreadableError(f"the part of '{name}' in '{place.file.name}' is no tensor")
    return found.detach()
