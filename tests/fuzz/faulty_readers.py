"""Readers that do what a reader must not, to judge the judge."""

import time
import warnings
from pathlib import Path

import numpy as np

from fuzz.registry import Reader, Sample

__all__ = ["READERS"]


def _samples() -> list[Sample]:
    return [Sample({"a.csv": b"a,b\n1,2\n"}, "a.csv")]


def _is_sound(path: Path) -> bool:
    return path.is_file() and path.read_bytes() == b"a,b\n1,2\n"


def _foreign(path: Path) -> None:
    if not _is_sound(path):
        raise KeyError("b")


def _warning(path: Path) -> None:
    if not _is_sound(path):
        np.array([1.0]) / 0.0
        warnings.warn("own words", UserWarning, stacklevel=1)


def _hang(path: Path) -> None:
    if not _is_sound(path):
        time.sleep(60)


def _memory(path: Path) -> None:
    if not _is_sound(path):
        np.ones(2**30)


def _ends(path: Path) -> None:
    if not _is_sound(path):
        raise SystemExit(3)


READERS = (
    Reader("foreign", _samples, _foreign),
    Reader("warning", _samples, _warning, may_warn=lambda category, text: category is UserWarning),
    Reader("hang", _samples, _hang),
    Reader("memory", _samples, _memory),
    Reader("ends", _samples, _ends),
)
