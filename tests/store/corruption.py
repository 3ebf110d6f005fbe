"""Random damage to run folders, and a judge of what a reader makes of it."""

import shutil
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pandas as pd
import xarray as xr

from eigenflow.core.errors import EigenflowError
from eigenflow.store import RunFolderWarning, open_run

STATES = ("tracker.safetensors", "origin.safetensors")
# What every reader of a folder without sums is told.
GENERAL = "has no checksums"


def flip_bit(path: Path, rng: Random) -> None:
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def truncate(path: Path, rng: Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: rng.randrange(len(content))])


def truncate_at_line_end(path: Path, rng: Random) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[: rng.randrange(len(lines))]))


def delete(path: Path, rng: Random) -> None:
    path.unlink()


def swap(path: Path, rng: Random) -> None:
    """With a file of the same size, if there is one: the most alike of all damage."""
    others = [one for one in files(folder_of(path)) if one != path]
    alike = [one for one in others if one.stat().st_size == path.stat().st_size and one.suffix == path.suffix]
    other = rng.choice(alike or others)
    mine = path.read_bytes()
    path.write_bytes(other.read_bytes())
    other.write_bytes(mine)


def duplicate_line(path: Path, rng: Random) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    index = rng.randrange(len(lines))
    lines.insert(rng.randrange(len(lines) + 1), lines[index])
    path.write_bytes(b"".join(lines))


def edit_digit(path: Path, rng: Random) -> None:
    content = bytearray(path.read_bytes())
    places = [index for index, byte in enumerate(content) if byte in b"0123456789"]
    if not places:
        flip_bit(path, rng)
        return
    place = rng.choice(places)
    content[place] = ord(str((int(chr(content[place])) + rng.randrange(1, 10)) % 10))
    path.write_bytes(content)


def fill_with_zeros(path: Path, rng: Random) -> None:
    content = bytearray(path.read_bytes())
    begin = rng.randrange(len(content))
    size = min(len(content) - begin, rng.choice((1, 8, 64, 4096)))
    content[begin : begin + size] = bytes(size)
    path.write_bytes(content)


def become_folder(path: Path, rng: Random) -> None:
    path.unlink()
    path.mkdir()


def become_link(path: Path, rng: Random) -> None:
    """To a file elsewhere, with the same content but for a bit."""
    elsewhere = folder_of(path).with_name("elsewhere")
    shutil.copy(path, elsewhere)
    flip_bit(elsewhere, rng)
    path.unlink()
    path.symlink_to(elsewhere)


KINDS: tuple[Callable[[Path, Random], None], ...] = (
    flip_bit,
    truncate,
    truncate_at_line_end,
    delete,
    swap,
    duplicate_line,
    edit_digit,
    fill_with_zeros,
    become_folder,
    become_link,
)


def folder_of(path: Path) -> Path:
    inside = path.parent
    while inside.parent.name and (inside.name == "measurements.zarr" or inside.parent.name == "measurements.zarr"):
        inside = inside.parent
    return inside


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")


def corrupt(paths: list[Path], rng: Random) -> str:
    """Damage one of a folder's files; what is rare in a folder is hit as often as its many chunks."""
    groups: dict[str, list[Path]] = {}
    for path in paths:
        is_chunk = path.name.startswith("c.")
        groups.setdefault("chunk" if is_chunk else path.name, []).append(path)
    path = rng.choice(groups[rng.choice(sorted(groups))])
    kind = rng.choice(KINDS)
    kind(path, rng)
    return f"{kind.__name__} {path.relative_to(folder_of(path))}"


def restore(path: Path, content: bytes) -> None:
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
    else:
        path.rmdir()
    path.write_bytes(content)


@dataclass
class Content:
    """All that a reader gets."""

    header: dict
    losses: pd.DataFrame
    measurements: xr.Dataset
    gaps: tuple
    status: str
    states: dict

    @classmethod
    def read(cls, folder: Path) -> "Content":
        run = open_run(folder)
        states = {name: run.read_file(name) for name in STATES}
        return cls(run.header, run.losses, run.measurements.load(), run.gaps, run.status, states)

    def equals(self, other: "Content") -> bool:
        mine, others = ((one.header, one.gaps, one.status, one.states) for one in (self, other))
        return mine == others and self.losses.equals(other.losses) and self.measurements.identical(other.measurements)

    def is_part_of(self, whole: "Content") -> bool:
        """Whether nothing is in it that is not in the whole."""
        if (self.header, self.status, self.states) != (whole.header, whole.status, whole.states):
            return False
        steps = self.measurements["step"].values.tolist()
        rows = whole.losses[whole.losses["step"].isin(self.losses["step"])].reset_index(drop=True)
        return (rows.empty or rows.equals(self.losses)) and (
            not steps or self.measurements.identical(whole.measurements.sel(step=steps))
        )


def judge(folder: Path, truth: Content, *, has_sums: bool) -> str:
    """One of "right", "warning", "notice" (only the general one of a folder without sums), "error", "silent",
    "traceback"; for a folder with sums, what remains beside a warning must be right.
    """
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            found = Content.read(folder)
        except EigenflowError as error:
            return "error" if str(folder) in str(error) else f"traceback without a place: {error}"
        except Exception as error:
            return f"traceback {type(error).__name__}: {error}"
    said = [str(one.message) for one in told if issubclass(one.category, RunFolderWarning)]
    if len(said) != len(told):
        return f"traceback {[one.message for one in told]}"
    if found.equals(truth):
        return "right"
    if any(GENERAL not in one for one in said) and (not has_sums or found.is_part_of(truth)):
        return "warning"
    return "notice" if said and not has_sums else "silent"


def try_corruptions(folder: Path, count: int, seed: int) -> tuple[Counter, list[str]]:
    """Damage a folder in many ways, each from the start; outcomes, and those that must not be."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RunFolderWarning)
        truth, has_sums = Content.read(folder), open_run(folder).has_checksums
    rng, outcomes, bad = Random(seed), Counter[str](), []
    paths = files(folder)
    originals = {path: path.read_bytes() for path in paths}
    for _ in range(count):
        done = corrupt(paths, rng)
        outcome = judge(folder, truth, has_sums=has_sums)
        outcomes[outcome.split()[0]] += 1
        if outcome.split()[0] in ("silent", "traceback"):
            bad.append(f"{done}: {outcome}")
        for path, content in originals.items():
            if path.is_symlink() or not path.is_file() or path.read_bytes() != content:
                restore(path, content)
    return outcomes, bad
