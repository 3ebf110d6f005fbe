"""Files of a run folder, written so that a kill leaves the old content or the new, never a mixture."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from eigenflow.core.errors import ArgumentError, NonFiniteError, RunFolderError
from eigenflow.core.writing import TEMPORARY_PREFIX, write_whole

__all__ = [
    "is_leftover",
    "parse_strict",
    "read_json",
    "remove_leftovers",
    "to_json",
    "write_json",
]

_ZARR_TEMPORARY_SUFFIX = ".partial"


def is_leftover(name: str) -> bool:
    """Whether a file of this name is what a kill leaves of an atomic write, ours or zarr's."""
    return name.startswith(TEMPORARY_PREFIX) or name.endswith(_ZARR_TEMPORARY_SUFFIX)


def remove_leftovers(folder: Path, *, recursive: bool = True) -> None:
    """Delete what kills have left of atomic writes. For the writer that holds the lock."""
    for path in folder.rglob("*") if recursive else folder.iterdir():
        if is_leftover(path.name):
            path.unlink(missing_ok=True)


def to_json(value: Any, key: str) -> Any:
    """Convert a value to what strict JSON can hold.

    Args:
        value: Nested mappings, sequences, numpy arrays and scalars, paths, strings, numbers.
        key: What to call `value` in an error message; the path below it is added.

    Returns:
        The same with dicts, lists, and Python's own scalars.

    Raises:
        NonFiniteError: If a number is NaN or infinite; names its key path.
        ArgumentError: If a value or a key of a mapping has no place in JSON; names its key path.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, np.generic | np.ndarray):
        return to_json(value.tolist(), key)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise NonFiniteError(
                f"`{key}` must be finite, but is {value}. JSON has no such number: "
                f"leave the entry out, or write None and say why beside it."
            )
        return value
    if isinstance(value, Mapping):
        return {_to_name(name, key): to_json(entry, f"{key}.{name}") for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(entry, f"{key}[{index}]") for index, entry in enumerate(value)]
    if isinstance(value, Path):
        return str(value)
    raise ArgumentError(
        f"`{key}` must be made of mappings, sequences, numpy arrays, numbers, strings and None, "
        f"but is a {type(value).__name__}. Convert it before it is stored."
    )


def _to_name(name: Any, key: str) -> str:
    if isinstance(name, str):
        return name
    if isinstance(name, int | np.integer) and not isinstance(name, bool):
        return str(int(name))
    raise ArgumentError(
        f"Keys in `{key}` must be strings or whole numbers, but one is {name!r}. "
        f"Convert it to text before it is stored."
    )


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Replace a JSON file as a whole. `value` must have come through `to_json`."""
    text = json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False)
    write_whole(path, f"{text}\n")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def parse_strict(text: str | bytes) -> Any:
    """Parse JSON, refusing the NaN and Infinity that Python's own parser lets pass."""
    return json.loads(text, parse_constant=_refuse_constant)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds one object.

    Raises:
        RunFolderError: If the file is no strict JSON object.
        FileNotFoundError: If it is missing.
    """
    content = path.read_bytes()
    try:
        value = parse_strict(content)
    except ValueError as error:
        reason = f"is not valid JSON ({error})"
    else:
        if isinstance(value, dict):
            return value
        reason = f"must hold one JSON object, but holds a {type(value).__name__}"
    raise RunFolderError(
        f"`{path}` {reason}. eigenflow replaces this file as a whole, so another program or the "
        f"disk has damaged it: restore it from a backup, or record the run again."
    )
