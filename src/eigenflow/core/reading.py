"""The one way in which files of strangers are read: regular files, within the limits, with their faults told in words.

What is read is bounded after decompression, so that a small file that unpacks to a large one is refused on the way.
"""

import bz2
import gzip
import json
import lzma
import re
import stat
import zipfile
import zlib
from io import BufferedIOBase
from pathlib import Path
from typing import IO, Any

import numpy as np

from eigenflow.core.errors import ArgumentError, FileError
from eigenflow.core.limits import current_limits, within
from eigenflow.core.writing import explain

__all__ = ["parse_json", "read_bytes", "read_json", "read_text", "require_regular"]

_CHUNK = 2**20
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)


def require_regular(path: Path) -> None:
    """Refuse what is no file on a disk (a folder, a device, a pipe), and files beyond the limit.

    Raises:
        ArgumentError: If it is missing or no regular file.
        FileError: If the system does not say.
        LimitError: If it is too large.
    """
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise ArgumentError(f"There is no file '{path}'. Check the path.") from None
    except OSError as error:
        raise FileError(explain(path, error, "read")) from None
    except ValueError as error:  # a NUL in the name
        raise ArgumentError(f"{str(path)!r} is no path: {error}.") from None
    if not stat.S_ISREG(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "a device or a pipe"
        raise ArgumentError(f"{path} must be a file, but is {kind}. Give a file on a disk.")
    within("file_bytes", found.st_size, f"{path}")


def read_bytes(path: Path) -> bytes:
    """Give the content of a file; of a compressed one (.gz, .bz2, .xz, .zip) what is inside.

    Raises:
        ArgumentError: If it is missing, no regular file, or damaged.
        FileError: If the system cannot read it.
        LimitError: If it holds more than the limit of bytes.
    """
    require_regular(path)
    try:
        if path.suffix.lower() == ".zip":
            return _read_zip(path)
        with _opened(path) as file:
            return _bounded(file, path)
    except (gzip.BadGzipFile, lzma.LZMAError, zlib.error, zipfile.BadZipFile, EOFError) as error:
        raise _damaged(path, error) from None
    except OSError as error:
        # bz2 tells of damage by an OSError without a number.
        raise _damaged(path, error) if error.errno is None else FileError(explain(path, error, "read")) from None


def read_text(path: Path) -> str:
    """Give the content of a text file, as `read_bytes` does; a byte order mark is left out.

    Raises:
        ArgumentError: As `read_bytes`, and if the text is not UTF-8.
    """
    content = read_bytes(path)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = content.count(b"\n", 0, error.start) + 1
        raise ArgumentError(
            f"{path}, row {row} is not text in UTF-8 (byte {error.start} is 0x{content[error.start]:02x}). Save it as "
            f"UTF-8, or check that it is the right file."
        ) from None


def read_json(path: Path) -> Any:
    """Give the values of a JSON file.

    Raises:
        ArgumentError: As `read_text`, and if it is not JSON.
        LimitError: If it is nested deeper than the limit.
    """
    return parse_json(read_text(path), f"{path}")


def parse_json(text: str, place: str) -> Any:
    """Give the values of a JSON text.

    Args:
        text: One value.
        place: Where it stands, for messages.

    Raises:
        ArgumentError: If it is not JSON.
        LimitError: If it is nested deeper than the limit.
    """
    # Every level opens with one of these: only a text that has many can be deep.
    if text.count("[") + text.count("{") > current_limits().depth:
        within("depth", _depth(text), place)
    try:
        return json.loads(text)
    except RecursionError:
        raise ArgumentError(f"{place} is nested too deeply to be read.") from None
    except ValueError as error:
        raise ArgumentError(f"{place} is not JSON: {error}.") from None


def _depth(text: str) -> int:
    """Levels of nesting up to the first fault of the text; brackets in strings do not count."""
    codes = np.frombuffer(_STRING.sub("", text).encode(), dtype=np.uint8)
    opens, closes = np.isin(codes, list(b"[{")), np.isin(codes, list(b"]}"))
    return int(np.cumsum(opens.astype(np.int64) - closes).max(initial=0))


def _opened(path: Path) -> BufferedIOBase:
    """A file, unpacked while it is read where its ending says that it is packed."""
    match path.suffix.lower():
        case ".gz":
            return gzip.open(path, "rb")
        case ".bz2":
            return bz2.open(path, "rb")
        case ".xz":
            return lzma.open(path, "rb")
        case _:
            return path.open("rb")


def _bounded(file: BufferedIOBase | IO[bytes], path: Path) -> bytes:
    parts, size = [], 0
    while part := file.read(_CHUNK):
        size += len(part)
        within("file_bytes", size, f"{path}, unpacked,")
        parts.append(part)
    return b"".join(parts)


def _read_zip(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if len(names) != 1:
            raise ArgumentError(f"{path} must hold one file, but holds {len(names)}. Unpack it, and give one of them.")
        try:
            with archive.open(names[0]) as file:
                return _bounded(file, path)
        except (RuntimeError, NotImplementedError) as error:  # encrypted, or packed in a way that Python does not know
            raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> ArgumentError:
    return ArgumentError(f"{path} cannot be unpacked: {str(error).rstrip('.')}. It is damaged, or its ending is wrong.")
