"""Damaged folders give right values, a warning or an error of eigenflow: nothing wrong in silence, nothing foreign.

Judged against what the undamaged folder holds. Folders of schema versions without sums cannot tell a changed digit from
a right one, and say so whenever they are read.
"""

from pathlib import Path

import pytest

from eigenflow.store import RunWriter, accept_run
from store.corruption import try_corruptions
from store.packed import unpack
from store.recording import HEADER, record

OLD = ("schema-1", "schema-2", "schema-2-tracked", "schema-3", "schema-3-tracked", "schema-4", "schema-4-tracked")


def make(path: Path) -> Path:
    with RunWriter.create(path, header=HEADER) as writer:
        record(writer, 0, 9)
        for name in ("tracker.safetensors", "origin.safetensors"):
            writer.write_file(name, name.encode() * 20)
    return path


@pytest.mark.long
def test_sixty_corruptions_of_a_folder(tmp_path):
    outcomes, bad = try_corruptions(make(tmp_path / "made"), count=60, seed=1)
    assert not bad
    assert outcomes["error"] + outcomes["warning"] > 30  # most damage is seen


@pytest.mark.parametrize("name", ["schema-1", "schema-4"])
def test_some_corruptions_of_older_folders(tmp_path, name):
    _, bad = try_corruptions(unpack(name, tmp_path), count=5, seed=2)
    assert not bad


@pytest.mark.slow
@pytest.mark.parametrize("name", OLD)
def test_two_hundred_corruptions_of_older_folders(tmp_path, name):
    outcomes, bad = try_corruptions(unpack(name, tmp_path), count=200, seed=3)
    print(name, dict(outcomes))
    assert not bad


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_two_hundred_corruptions_of_this_schema(tmp_path, seed):
    outcomes, bad = try_corruptions(make(tmp_path / "made"), count=200, seed=10 + seed)
    print("schema-5", dict(outcomes))
    assert not bad and outcomes["notice"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", OLD[-2:])
def test_two_hundred_corruptions_of_an_upgraded_folder(tmp_path, name):
    accept_run(unpack(name, tmp_path))
    outcomes, bad = try_corruptions(tmp_path / name, count=200, seed=4)
    print(name, "upgraded", dict(outcomes))
    assert not bad and outcomes["notice"] == 0
