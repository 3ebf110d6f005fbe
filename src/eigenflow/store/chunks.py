"""Which measured steps have all their chunk files: what zarr itself does not tell.

Zarr answers a missing chunk with the fill value, and its arrays are longer here than what was
measured, so the presence of the files decides. Every array stores one chunk a step, in a file
`c.<index>.0...` of its folder.
"""

from collections.abc import Iterable
from pathlib import Path

__all__ = ["delete_chunks_from", "present_indices"]

_PREFIX = "c"


def _index_of(name: str) -> int | None:
    """Place along `step` of a chunk file, None for any other file."""
    prefix, _, rest = name.partition(".")
    index = rest.partition(".")[0]
    is_chunk = prefix == _PREFIX and all(part.isdecimal() for part in rest.split("."))
    return int(index) if is_chunk else None


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
    if not array.is_dir():
        return set()
    indices = ((_index_of(path.name), path) for path in array.iterdir())
    return {index for index, path in indices if index is not None and path.stat().st_size > 0}


def delete_chunks_from(array: Path, count: int) -> None:
    """Delete the chunk files of an array from index `count` on."""
    for path in array.iterdir():
        index = _index_of(path.name)
        if index is not None and index >= count:
            path.unlink()
