"""Files of text as people have them: packed or not, in UTF-8 or UTF-16; first bytes say it, not names."""

import bz2
import codecs
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path
from typing import Any

from eigenflow.core.errors import ArgumentError, FileError
from eigenflow.core.limits import within
from eigenflow.core.reading import read_text, require_regular
from eigenflow.core.text import clean
from eigenflow.core.writing import explain

__all__ = ["encoding_of", "first_lines", "head_of", "text_blocks", "whole_text"]

HEAD = 2**16
_BLOCK = 2**20
# A line without an end is cut here: a progress bar that was redirected may be one line of any length.
_LONGEST = 2**22
_PACKED = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}


def head_of(path: Path, size: int = HEAD) -> bytes:
    """The first bytes of a file, unpacked.

    Raises:
        ArgumentError: If it is no regular file, or damaged.
    """
    require_regular(path)
    with _opened(path) as file:
        return file.read(size)


def encoding_of(head: bytes) -> str | None:
    """The encoding of a text that begins so; None if it is no text."""
    for mark, name in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if head.startswith(mark):
            return name
    pairs = head[: len(head) // 2 * 2]
    if len(pairs) >= 8:
        # Without a mark, every other byte of a text in Latin letters is 0.
        for first, name in ((1, "utf-16-le"), (0, "utf-16-be")):
            if pairs[first::2].count(0) > 0.9 * len(pairs) / 2 and 0 not in pairs[1 - first :: 2]:
                return name
    return None if 0 in head else "utf-8"


def whole_text(path: Path) -> str:
    """A text file as a whole, without its byte order mark.

    Raises:
        ArgumentError: If it is no text, or damaged; LimitError if it is larger than the limit.
    """
    head = head_of(path)
    encoding = encoding_of(head)
    with path.open("rb") as file:
        is_packed = _unpacker(file.read(6)) is not None
    if encoding in {"utf-8", "utf-8-sig", None} and is_packed == (path.suffix.lower() in {".gz", ".bz2", ".xz"}):
        return read_text(path)
    if encoding is None:
        raise ArgumentError(f"{path} is not text. Check that it is the right file.")
    content = b"".join(_raw_blocks(path))
    try:
        return content.decode("utf-8-sig" if encoding == "utf-8" else encoding)
    except UnicodeDecodeError as error:
        raise ArgumentError(
            f"{path} is not text in {encoding.upper().removesuffix('-SIG')} (byte {error.start}). Save it as UTF-8."
        ) from None


def text_blocks(path: Path) -> Iterator[str]:
    """A text in blocks that end with a line, each once, so that a large one never stands in memory as a whole.

    Bytes that are no text are replaced: a log may hold output of anything.
    """
    encoding = encoding_of(head_of(path)) or "utf-8"
    decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
    rest = ""
    for raw in _raw_blocks(path):
        text = rest + decoder.decode(raw)
        cut = text.rfind("\n") + 1
        if not cut and len(text) > _LONGEST:
            cut = text.rfind("\r") + 1 or len(text)
        if cut:
            yield text[:cut]
        rest = text[cut:]
    rest += decoder.decode(b"", final=True)
    if rest:
        yield rest


def first_lines(path: Path, count: int = 5, length: int = 100) -> list[str]:
    """The first lines that are not blank, each cut."""
    text = head_of(path).decode(encoding_of(head_of(path)) or "utf-8", errors="replace")
    lines = [line.strip() for line in text.replace("\r", "\n").split("\n") if line.strip()]
    return [clean(line[:length]) for line in lines[:count]]


def _unpacker(head: bytes) -> Callable[..., Any] | None:
    return next((way for magic, way in _PACKED.items() if head.startswith(magic)), None)


@contextmanager
def _opened(path: Path) -> Iterator[BufferedIOBase]:
    """A file, unpacked while it is read where its first bytes say that it is packed."""
    try:
        with path.open("rb") as raw:
            way = _unpacker(raw.read(6))
            raw.seek(0)
            if way is None:
                yield raw
            else:
                with way(raw, "rb") as file:
                    yield file
    except (gzip.BadGzipFile, lzma.LZMAError, zlib.error, EOFError) as error:
        raise ArgumentError(f"{path} cannot be unpacked: {str(error).rstrip('.')}. It is damaged.") from None
    except OSError as error:
        if error.errno is None:  # bz2 tells of damage by an OSError without a number
            raise ArgumentError(f"{path} cannot be unpacked: {str(error).rstrip('.')}. It is damaged.") from None
        raise FileError(explain(path, error, "read")) from None


def _raw_blocks(path: Path) -> Iterator[bytes]:
    require_regular(path)
    size = 0
    with _opened(path) as file:
        while block := file.read(_BLOCK):
            size += len(block)
            within("file_bytes", size, f"{path}, unpacked,")
            yield block
