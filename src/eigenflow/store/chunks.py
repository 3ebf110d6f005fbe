"""Chunk files of `measurements.zarr`: which measured steps have them all, and what is in them.

Zarr answers a missing chunk with the fill value, and its arrays are longer here than what was
measured, so the presence of the files decides. Every array stores one chunk a step, in a file
`c.<index>.0...` of its folder. Reading goes through no codec but zstd, whatever a file asks for.
"""

import math
import os
import stat
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numcodecs.zstd import Zstd

__all__ = ["LEVEL", "chunk_name", "decode_chunk", "delete_chunks_from", "encode_chunk", "present_indices"]

_PREFIX = "c"
# Of zstd's compression: measurements are mostly noise in their last digits, which no level makes smaller.
LEVEL = 1
_MAGIC = bytes.fromhex("28b52ffd")
# Longer than any place along an axis that was ever written.
_MOST_DIGITS = 12


def _index_of(name: str) -> int | None:
    """Place along `step` of a chunk file, None for any other file."""
    prefix, *parts = name.split(".")
    is_chunk = prefix == _PREFIX and parts and all(part.isdecimal() and len(part) <= _MOST_DIGITS for part in parts)
    return int(parts[0]) if is_chunk else None


def present_indices(group: Path, names: Iterable[str]) -> tuple[set[int], set[int]]:
    """Find the indices along `step` whose chunk files are there and not empty.

    Args:
        group: Folder of the zarr group.
        names: The arrays that grow along `step`, at least one.

    Returns:
        Indices that every array has, and indices that some array has.
    """
    found = [_present(group / name) for name in names]
    return set.intersection(*found), set.union(*found)


def _present(array: Path) -> set[int]:
    if not array.is_dir() or array.is_symlink():
        return set()
    found = set[int]()
    with os.scandir(array) as entries:
        for entry in entries:
            index = _index_of(entry.name)
            if index is not None and _is_filled(entry):
                found.add(index)
    return found


def _is_filled(entry: "os.DirEntry[str]") -> bool:
    found = entry.stat(follow_symlinks=False)
    return stat.S_ISREG(found.st_mode) and found.st_size > 0


def delete_chunks_from(array: Path, count: int) -> None:
    """Delete the chunk files of an array from index `count` on."""
    for path in array.iterdir():
        index = _index_of(path.name)
        if index is not None and index >= count:
            path.unlink()


def chunk_name(index: int | None, axes: int) -> str:
    """The file of the values at a place along `step`, of so many further axes; None: of a constant."""
    return ".".join([_PREFIX, *map(str, [] if index is None else [index]), *["0"] * axes])


def encode_chunk(values: np.ndarray, dtype: np.dtype[np.generic]) -> bytes:
    """Pack one chunk: a zstd frame that states its size and carries a checksum."""
    return Zstd(level=LEVEL, checksum=True).encode(np.ascontiguousarray(values, dtype))


def decode_chunk(content: bytes, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> np.ndarray:
    """Unpack one chunk.

    Args:
        content: One zstd frame that states its size and carries a checksum.
        shape: Of the values.
        dtype: Of the values, little-endian.

    Returns:
        The values.

    Raises:
        ValueError: If the frame is damaged or states another size; nothing is unpacked then.
    """
    stated, expected = _stated_bytes(content), math.prod(shape) * dtype.itemsize
    if stated != expected:
        raise ValueError(f"it must unpack to {expected} bytes, but states {stated}")
    values = np.empty(shape, dtype)
    try:
        Zstd().decode(content, out=values.reshape(-1).view(np.uint8))
    except (RuntimeError, ValueError) as error:
        raise ValueError(str(error)) from None
    return values


def _stated_bytes(content: bytes) -> int | None:
    """Size that a zstd frame states, None without size or checksum (RFC 8878, 3.1.1.1)."""
    if len(content) < 5 or content[:4] != _MAGIC:
        return None
    described = content[4]
    size_flag, is_single, has_checksum, dictionary = described >> 6, described & 32, described & 4, described & 3
    size_bytes = (1 if is_single else 0) if size_flag == 0 else 1 << size_flag
    begin = 5 + (0 if is_single else 1) + (0, 1, 2, 4)[dictionary]
    field = content[begin : begin + size_bytes]
    if not has_checksum or not size_bytes or len(field) < size_bytes:
        return None
    return int.from_bytes(field, "little") + (256 if size_flag == 1 else 0)
