"""Safetensors: one file, shards with an index, shards without one, and shards of torch.distributed.checkpoint."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from eigenflow.integrations.checkpoints.formats.foreign import refuse_foreign
from eigenflow.integrations.checkpoints.formats.weights import AbstractWeights, Entry, UnreadableError, assembled
from eigenflow.integrations.checkpoints.steps import SHARD

__all__ = ["SafetensorsWeights", "missing_shards", "read_index", "read_safetensors"]

# Where torch.distributed.checkpoint keeps which part of a tensor a file holds.
SHARDING = "DCP_SHARDING_INFO"
# An index of a million tensors has some 100 MB.
LARGEST_INDEX = 2**28


@dataclass(frozen=True, eq=False)
class SafetensorsWeights(AbstractWeights):
    """Tensors in one or several files of safetensors.

    Attributes:
        places: For every name, the files that hold it and, where it is in parts, the offsets of each.
    """

    places: dict[str, list[tuple[Path, tuple[int, ...] | None]]] = field(default_factory=dict)

    def tensor(self, name: str) -> Tensor:
        """Read one tensor, whole or from its parts."""
        parts = [(_one(path, name), offsets) for path, offsets in self.places[name]]
        if len(parts) == 1 and parts[0][1] is None:
            return parts[0][0]
        return assembled(name, self.entries[name], [(part, offsets or ()) for part, offsets in parts])


def read_safetensors(files: Sequence[Path], *, expected: dict[str, str] | None = None) -> SafetensorsWeights:
    """Look at the headers of files that make up one checkpoint.

    Args:
        files: All of them.
        expected: From an index: the name of the file for every tensor.

    Raises:
        UnreadableError: If a file is missing, cut off or no file of safetensors, or the index is wrong.
    """
    if len(files) > 1 and (absent := [file.name for file in files if not file.exists()]):
        raise UnreadableError(f"{len(absent)} of {len(files)} shards are missing: {', '.join(absent[:5])}")
    places: dict[str, list[tuple[Path, tuple[int, ...] | None]]] = defaultdict(list)
    entries: dict[str, Entry] = {}
    said: dict[str, Any] = {}
    sizes: dict[str, list[tuple[tuple[int, ...], tuple[int, ...]]]] = defaultdict(list)
    for file in files:
        found, metadata = _header(file)
        said |= {key: _number_or_text(value) for key, value in metadata.items() if key != SHARDING}
        offsets = _sharding(metadata)
        for name, entry in found.items():
            offset = offsets.get(name)
            if name in places and offset is None:
                raise UnreadableError(f"tensor '{name}' is in '{places[name][0][0].name}' and again in '{file.name}'")
            places[name].append((file, offset))
            entries.setdefault(name, entry)
            if offset is not None:
                sizes[name].append((offset, entry.shape))
    for name, parts in sizes.items():
        shape = tuple(max(o[axis] + n[axis] for o, n in parts) for axis in range(len(parts[0][1])))
        entries[name] = Entry(shape, entries[name].dtype)
    for name, file_name in (expected or {}).items():
        if name not in places or places[name][0][0].name != file_name:
            raise UnreadableError(f"the index puts tensor '{name}' into '{file_name}', which does not hold it")
    kind = "safetensors" if len(files) == 1 else f"safetensors in {len(files)} shards"
    return SafetensorsWeights(kind, tuple(files), entries, said, places=dict(places))


def read_index(path: Path) -> dict[str, str]:
    """Read which file holds which tensor from an index of shards; file names only, never paths.

    Raises:
        UnreadableError: If it is no such index.
    """
    try:
        if path.stat().st_size > LARGEST_INDEX:
            raise UnreadableError(f"its index '{path.name}' has more than {LARGEST_INDEX:,} bytes")
        found = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        if not found or not all(isinstance(k, str) and isinstance(v, str) for k, v in found.items()):
            raise TypeError
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UnreadableError(f"its index '{path.name}' cannot be read") from None
    if outside := [name for name in found.values() if Path(name).name != name or name in ("", ".", "..")]:
        raise UnreadableError(f"its index '{path.name}' points outside of the folder: {outside[0]!r}")
    return found


def missing_shards(files: Sequence[Path]) -> list[str]:
    """Names of shards that files called ...-00001-of-00003 tell of, and that are not among them."""
    matches = [match for file in files if (match := SHARD.match(file.name))]
    if not matches:
        return []
    count, width = int(matches[0][3]), len(matches[0][2])
    there = {int(match[2]) for match in matches}
    first = 0 if 0 in there else 1
    before, after = matches[0][0][: matches[0].start(2)], matches[0][0][matches[0].end(2) :]
    return [f"{before}{n:0{width}d}{after}" for n in range(first, first + min(count, 100_000)) if n not in there]


def _header(path: Path) -> tuple[dict[str, Entry], dict[str, str]]:
    refuse_foreign(path)
    try:
        with safe_open(path, "pt") as file:
            entries = {name: _entry(file.get_slice(name)) for name in file.keys()}  # noqa: SIM118 - no mapping
            return entries, dict(file.metadata() or {})
    except SafetensorError as error:
        raise UnreadableError(f"'{path.name}' is truncated or corrupt ({error})") from None
    except (OSError, KeyError) as error:
        raise UnreadableError(f"'{path.name}' cannot be read ({error})") from None


def _entry(part: Any) -> Entry:
    return Entry(tuple(part.get_shape()), TYPES[part.get_dtype()])


TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "U16": torch.uint16,
    "U32": torch.uint32,
    "U64": torch.uint64,
    "BOOL": torch.bool,
    "C64": torch.complex64,
}


def _one(path: Path, name: str) -> Tensor:
    try:
        with safe_open(path, "pt") as file:
            return file.get_tensor(name)
    except (SafetensorError, OSError) as error:
        raise UnreadableError(f"'{path.name}' is truncated or corrupt ({error})") from None


def _sharding(metadata: dict[str, str]) -> dict[str, tuple[int, ...]]:
    if SHARDING not in metadata:
        return {}
    try:
        said = json.loads(metadata[SHARDING])
        return {str(name): tuple(int(o) for o in one["saved_offsets"]) for name, one in said.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UnreadableError(f"its note on parts of tensors ({SHARDING}) cannot be read") from None


def _number_or_text(value: str) -> Any:
    return int(value) if value.isdigit() and len(value) < 18 else value
