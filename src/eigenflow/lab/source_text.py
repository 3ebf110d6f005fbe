"""Python's standard library as a text to learn, byte by byte."""

import sysconfig
from pathlib import Path

import numpy as np
from jaxtyping import Int

from eigenflow.core.errors import ArgumentError, FileError

__all__ = ["MODULES", "draw_sequences", "library_text"]

# Modules of one file each in every version from 3.11 on; what they say changes from version to version.
MODULES = (
    "argparse", "ast", "bdb", "calendar", "cmd", "configparser", "contextlib", "copy", "csv", "dataclasses", "difflib",
    "dis", "doctest", "enum", "fractions", "functools", "heapq", "inspect", "ipaddress", "mailbox", "optparse", "pdb",
    "pickle", "plistlib", "pprint", "random", "shutil", "statistics", "subprocess", "tarfile", "textwrap", "threading",
    "tokenize", "traceback", "typing",
)  # fmt: skip


def library_text() -> Int[np.ndarray, " byte"]:
    """The source of `MODULES` of the running Python, one after the other, as numbers from 0 to 255.

    Raises:
        FileError: If this Python comes without the source of its library.
    """
    folder = Path(sysconfig.get_paths()["stdlib"])
    try:
        text = b"".join((folder / f"{name}.py").read_bytes() for name in MODULES)
    except OSError as error:
        raise FileError(
            f"Task 'source' reads the source of Python's standard library, but `{error.filename}` cannot be read: "
            f"{error.strerror}. Use a Python that comes with it, or another task."
        ) from None
    return np.frombuffer(text, dtype=np.uint8).astype(np.int64)


def draw_sequences(
    training: int, tests: int, length: int, symbols: int, *, rng: np.random.Generator
) -> tuple[Int[np.ndarray, "sequence byte"], Int[np.ndarray, "test byte"]]:
    """Draw sequences of the text of which no two share a byte.

    Args:
        training: Sequences for training.
        tests: Sequences for the test set.
        length: Bytes of a sequence.
        symbols: The `symbols` - 1 most frequent bytes are numbered by their rank from 0 on, and all others are
            `symbols` - 1. With 256 every byte is told apart.
        rng: Draws where sequences begin and which are taken.

    Returns:
        Sequences for training and for tests, as numbers below `symbols`.

    Raises:
        ArgumentError: If the text has not so many sequences.
    """
    text = library_text()
    counts = np.bincount(text, minlength=256)
    number = np.full(256, symbols - 1, dtype=np.int64)
    # Equally frequent bytes stand in the order of their values.
    frequent = np.argsort(-counts, kind="stable")[: symbols - (symbols < 256)]
    number[frequent] = np.arange(len(frequent))
    start = int(rng.integers(0, length))
    there = (len(text) - start) // length
    if training + tests > there:
        raise ArgumentError(
            f"`training` and `tests` must be at most {there} together, sequences of {length} bytes in the text, but "
            f"are {training} and {tests}."
        )
    whole = number[text[start : start + there * length]].reshape(there, length)
    chosen = whole[rng.permutation(there)[: training + tests]]
    return chosen[:training], chosen[training:]
