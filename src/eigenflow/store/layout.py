"""What the arrays of `measurements.zarr` say of themselves, held against what eigenflow writes.

Zarr makes whatever codec a file names, and some codecs run code. So nothing of a folder reaches zarr, or is unpacked,
before every field of its metadata has been found on the list of what is written here.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eigenflow.core.errors import RunFolderError
from eigenflow.core.limits import within
from eigenflow.core.writing import write_whole
from eigenflow.store.checksums import canonical, digest
from eigenflow.store.chunks import chunk_name, decode_chunk, encode_chunk
from eigenflow.store.folder import explain_link, read_file, read_json, write_json
from eigenflow.store.metadata import GROUP_METADATA
from eigenflow.store.schema import STEP, is_variable_name

__all__ = ["COORDINATES", "Layout", "StoredArray", "checksum_of_step", "read_layout"]

COORDINATES = "coordinates"
_DTYPES = frozenset(
    {"bool", "float16", "float32", "float64"} | {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
)
_ARRAY_KEYS = frozenset(
    {
        "shape",
        "data_type",
        "chunk_grid",
        "chunk_key_encoding",
        "fill_value",
        "codecs",
        "attributes",
        "dimension_names",
        "zarr_format",
        "node_type",
        "storage_transformers",
    }
)
_MOST_AXES = 8


@dataclass(frozen=True)
class StoredArray:
    """An array that is as eigenflow writes them.

    Attributes:
        path: Its folder.
        shape: Of one chunk, without the axis `step`.
        length: Along `step`, which may be more than what was measured; None for a constant.
        dtype: Little-endian.
        dims: Names of all axes.
        attributes: What it means.
        described: All that its metadata says, but for `length`.
    """

    path: Path
    shape: tuple[int, ...]
    length: int | None
    dtype: np.dtype[Any]
    dims: tuple[str, ...]
    attributes: dict[str, Any]
    described: dict[str, Any]

    def read_chunk(self, index: int = 0) -> bytes:
        """The packed values at a place along `step`; for a constant the whole."""
        path = self.path / chunk_name(None if self.length is None else index, len(self.shape))
        try:
            return read_file(path)
        except FileNotFoundError:
            raise RunFolderError(f"`{path}` is missing. Restore it from a backup.") from None

    def write_chunk(self, index: int | None, values: np.ndarray) -> bytes:
        """Put values at a place along `step`, None for a constant, over whatever lies there; returns them packed."""
        content = encode_chunk(values, self.dtype)
        write_whole(self.path / chunk_name(index, len(self.shape)), content, sync=False)
        return content

    def set_length(self, length: int) -> None:
        """Make it as long along `step`; the values that are there stay."""
        path = self.path / GROUP_METADATA
        metadata = _read(path)
        if metadata["shape"][0] != length:
            metadata["shape"][0] = length
            write_json(path, metadata, sync=False)

    def unpack(self, content: bytes, index: int = 0) -> np.ndarray:
        """The values in what `read_chunk` gave."""
        try:
            return decode_chunk(content, self.shape, self.dtype)
        except ValueError as error:
            raise RunFolderError(
                f"`{self.path}` cannot be read, measurement {index}: {error}. It was changed after it was written: "
                f"restore it from a backup, or resume the run from an earlier step to measure again."
            ) from None


@dataclass(frozen=True)
class Layout:
    """The arrays of a run.

    Attributes:
        growing: Those with one value a measurement, by name.
        constants: The others.
        attributes: Of the group.
    """

    growing: Mapping[str, StoredArray]
    constants: Mapping[str, StoredArray]
    attributes: dict[str, Any]

    def checksum(self) -> str:
        """Of all metadata and the constants' values."""
        told = {name: array.described for name, array in {**self.growing, **self.constants}.items()}
        values = [array.read_chunk() for _, array in sorted(self.constants.items())]
        return digest(canonical([self.attributes, told]), *(bytes.fromhex(digest(value)) for value in values))


def checksum_of_step(chunks: Mapping[str, bytes]) -> str:
    """The sum of one measurement from the packed values of every array."""
    return digest(*(bytes.fromhex(digest(name.encode(), chunk)) for name, chunk in sorted(chunks.items())))


def read_layout(group: Path, names: tuple[str, ...], count: int) -> Layout:
    """Read the metadata of a run's arrays.

    Args:
        group: The folder `measurements.zarr`.
        names: The arrays that grow along `step`.
        count: How many measurements they must hold.

    Returns:
        The arrays; nothing of their values has been read.

    Raises:
        RunFolderError: If anything is not as eigenflow writes it: another format of zarr, another codec or type, a
            chunk of another shape, a name that is a path, a link.
        LimitError: If a stated shape asks for more than `record_bytes`.
    """
    if group.is_symlink():
        raise RunFolderError(explain_link(group))
    metadata = _read(group / GROUP_METADATA)
    _require(group, "zarr_format", metadata.get("zarr_format"), 3)
    _require(group, "node_type", metadata.get("node_type"), "group")
    attributes = metadata.get("attributes", {})
    coordinates = attributes.get(COORDINATES, "") if isinstance(attributes, dict) else None
    if not isinstance(coordinates, str) or not all(map(is_variable_name, coordinates.split())):
        raise RunFolderError(_explain(group, COORDINATES, coordinates, "names of arrays"))
    growing = {name: _read_array(group / name, grows=True) for name in names}
    constants = {name: _read_array(group / name, grows=False) for name in coordinates.split()}
    for name, array in growing.items():
        if array.length is None or array.length < count:
            raise RunFolderError(_explain(group / name, "shape", array.length, f"at least {count} along `{STEP}`"))
    total = 0
    for name, array in {**growing, **constants}.items():
        chunk_bytes = array.dtype.itemsize * math.prod(array.shape)
        within("file_bytes", chunk_bytes, f"A chunk of `{group / name}`")
        total += chunk_bytes if name in constants else chunk_bytes * count
    within("record_bytes", total, f"`{group}`")
    return Layout(growing, constants, attributes)


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except FileNotFoundError:
        raise RunFolderError(
            f"`{path}` is missing: this is no array that eigenflow has written (zarr format 3). Restore it from a "
            f"backup; do not open the folder with other programs if you do not know who made it."
        ) from None


def _read_array(path: Path, *, grows: bool) -> StoredArray:
    if path.is_symlink():
        raise RunFolderError(explain_link(path))
    metadata = _read(path / GROUP_METADATA)
    foreign = sorted(set(metadata) - _ARRAY_KEYS)
    if foreign:
        raise RunFolderError(_explain(path, foreign[0], metadata[foreign[0]], "no such key"))
    _require(path, "zarr_format", metadata.get("zarr_format"), 3)
    _require(path, "node_type", metadata.get("node_type"), "array")
    kind = metadata.get("data_type")
    if not (isinstance(kind, str) and kind in _DTYPES):
        raise RunFolderError(_explain(path, "data_type", kind, "a boolean, integer or float type"))
    shape: Any = metadata.get("shape")
    is_shape = isinstance(shape, list) and len(shape) <= _MOST_AXES and all(_is_length(size) for size in shape)
    if not is_shape or (grows and not shape):
        raise RunFolderError(_explain(path, "shape", shape, f"lengths of at most {_MOST_AXES} axes"))
    length, inner = (shape[0], shape[1:]) if grows else (None, shape)
    _require_storage(path, metadata, [1, *inner] if grows else inner)
    dims: Any = metadata.get("dimension_names") or []
    is_named = isinstance(dims, list) and len(dims) == len(shape) and all(isinstance(dim, str) for dim in dims)
    if not is_named or (STEP in dims[:1]) != grows or STEP in dims[1:] or len(set(dims)) != len(dims):
        raise RunFolderError(_explain(path, "dimension_names", dims, "distinct names of all axes"))
    attributes = metadata.get("attributes", {})
    if not isinstance(attributes, dict):
        raise RunFolderError(_explain(path, "attributes", attributes, "an object"))
    described = {**metadata, "shape": inner}
    dtype = np.dtype(kind).newbyteorder("<")
    return StoredArray(path, tuple(inner), length, dtype, tuple(dims), attributes, described)


def _require_storage(path: Path, metadata: Mapping[str, Any], chunk: list[int]) -> None:
    """The few ways of storing values that are allowed: one each."""
    _require(path, "chunk_grid", metadata.get("chunk_grid"), _named("regular", chunk_shape=[max(1, n) for n in chunk]))
    _require(path, "chunk_key_encoding", metadata.get("chunk_key_encoding"), _named("default", separator="."))
    _require(path, "storage_transformers", metadata.get("storage_transformers", []), [])
    codecs = metadata.get("codecs")
    if isinstance(codecs, list) and len(codecs) == 2:
        pack = codecs[1].get("configuration") if isinstance(codecs[1], dict) else None
        level = pack.get("level") if isinstance(pack, dict) else None
        # Types of one byte have no byte order.
        as_bytes = ({"name": "bytes"}, _named("bytes", endian="little"))
        if codecs[0] in as_bytes and type(level) is int and codecs[1] == _named("zstd", level=level, checksum=True):
            return
    raise RunFolderError(_explain(path, "codecs", codecs, "'bytes' (little-endian), then 'zstd' with a checksum"))


def _named(name: str, **configuration: Any) -> dict[str, Any]:
    return {"name": name, "configuration": configuration}


def _is_length(size: Any) -> bool:
    return type(size) is int and 0 < size < 2**47


def _require(path: Path, key: str, came: Any, allowed: Any) -> None:
    if came != allowed or type(came) is not type(allowed):
        raise RunFolderError(_explain(path, key, came, repr(allowed)))


def _explain(path: Path, key: str, came: Any, allowed: str) -> str:
    text = repr(came)
    shown = text if len(text) <= 80 else text[:80] + " ..."
    return (
        f"`{path / GROUP_METADATA}` is not as eigenflow writes it: `{key}` must be {allowed}, but is {shown}. Nothing "
        f"of it was opened: the file is damaged or foreign. Restore it from a backup, or ask who made the folder."
    )
