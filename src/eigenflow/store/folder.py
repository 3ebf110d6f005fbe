"""Files of a run folder: read with bounds and never through a link, written so that a kill leaves old or new."""

import errno
import json
import math
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from eigenflow.core.errors import ArgumentError, EigenflowError, FileError, NonFiniteError, RunFolderError
from eigenflow.core.limits import within
from eigenflow.core.writing import TEMPORARY_PREFIX, explain, write_whole

__all__ = [
    "as_folder",
    "in_words",
    "is_leftover",
    "parse_strict",
    "read_file",
    "read_json",
    "refuse_links",
    "remove_leftovers",
    "to_json",
    "write_json",
]

_ZARR_TEMPORARY_SUFFIX = ".partial"
# A link is not followed, and a pipe is not waited for.
_KNOWS_LINKS = hasattr(os, "O_NOFOLLOW")
_READ = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def as_folder(path: Any) -> Path:
    """The path of a run folder, as it was given.

    Raises:
        ArgumentError: If it is no path.
    """
    if not isinstance(path, str | os.PathLike) or "\0" in os.fspath(path):
        raise ArgumentError(f"`path` must be the path of a run folder, but is {path!r}. Give a text or a Path.")
    return Path(path)


@contextmanager
def in_words(path: Path, done: str = "written") -> Iterator[None]:
    """Tell what the system refuses as a sentence on `path`.

    Raises:
        FileError: In place of any other OSError.
    """
    try:
        yield
    except EigenflowError:
        raise
    except OSError as error:
        raise FileError(explain(path, error, done)) from error


def is_leftover(name: str) -> bool:
    """Whether a file of this name is what a kill leaves of an atomic write, ours or zarr's."""
    return name.startswith(TEMPORARY_PREFIX) or name.endswith(_ZARR_TEMPORARY_SUFFIX)


def remove_leftovers(folder: Path, *, recursive: bool = True) -> None:
    """Delete what kills have left of atomic writes. For the writer that holds the lock."""
    for path in folder.rglob("*") if recursive else folder.iterdir():
        if is_leftover(path.name) and not path.is_dir():
            path.unlink(missing_ok=True)


def refuse_links(folder: Path, names: tuple[str, ...] | None = None) -> None:
    """Refuse to write where a link could lead elsewhere.

    Args:
        folder: The folder; it may itself be reached through a link.
        names: Of the entries to look at, with all that is in them; None for all.

    Raises:
        RunFolderError: If one of them is a link.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            if names is not None and entry.name not in names:
                continue
            if entry.is_symlink():
                raise RunFolderError(explain_link(folder / entry.name))
            if entry.is_dir(follow_symlinks=False):
                refuse_links(folder / entry.name)


def explain_link(path: Path) -> str:
    """Why a link is not followed."""
    return (
        f"`{path}` is a link. A run folder holds its files itself, so that nothing outside of it is read or changed: "
        f"replace the link by what it leads to, or move the whole folder and link to that."
    )


def read_file(path: Path) -> bytes:
    """Read a file of a run folder as a whole.

    Raises:
        FileNotFoundError: If it is missing.
        RunFolderError: If it is a link, or no file.
        FileError: If the system refuses.
        LimitError: If it is larger than `file_bytes` allows.
    """
    if not _KNOWS_LINKS and path.is_symlink():
        raise RunFolderError(explain_link(path))
    try:
        descriptor = os.open(path, _READ)
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(errno.ENOENT, "missing", str(path)) from None
    except OSError as error:
        if error.errno == errno.ELOOP and path.is_symlink():
            raise RunFolderError(explain_link(path)) from None
        raise FileError(explain(path, error, "read")) from error
    with in_words(path, "read"), os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise RunFolderError(f"`{path}` must be a file, but is none. Restore it from a backup.")
        within("file_bytes", found.st_size, f"`{path}`")
        return file.read(found.st_size)


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


def write_json(path: Path, value: Mapping[str, Any], *, sync: bool = True) -> None:
    """Replace a JSON file as a whole. `value` must have come through `to_json`; `sync` as in `write_whole`."""
    text = json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False)
    write_whole(path, f"{text}\n", sync=sync)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def parse_strict(text: str | bytes) -> Any:
    """Parse JSON, refusing the NaN and Infinity that Python's own parser lets pass.

    Raises:
        ValueError: If it is no JSON in UTF-8, or nested too deeply for the parser.
    """
    try:
        return json.loads(text if isinstance(text, str) else text.decode(), parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds one object.

    Raises:
        RunFolderError: If the file is no strict JSON object, or a link.
        LimitError: If it is nested more deeply, or larger, than allowed.
        FileNotFoundError: If it is missing.
    """
    content = read_file(path)
    try:
        value = parse_strict(content)
    except ValueError as error:
        reason = f"is not valid JSON ({error})"
    else:
        if isinstance(value, dict):
            within("depth", _depth(value), f"`{path}`")
            return value
        reason = f"must hold one JSON object, but holds a {type(value).__name__}"
    raise RunFolderError(
        f"`{path}` {reason}. eigenflow replaces this file as a whole, so another program or the "
        f"disk has damaged it: restore it from a backup, or record the run again."
    )


def _depth(value: Any) -> int:
    """Levels of nesting, counted without recursion."""
    depth, level = 0, [value]
    while level:
        depth += 1
        inner = [entry.values() if isinstance(entry, dict) else entry for entry in level]
        level = [entry for entries in inner for entry in entries if isinstance(entry, dict | list)]
    return depth
