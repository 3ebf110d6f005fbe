"""ARCHITECTURE.md names what is there: every path in it exists, and every package and contract is in it."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "ARCHITECTURE.md").read_text()
SOURCE = ROOT / "src" / "eigenflow"
PATHS = sorted(set(re.findall(r"`((?:[a-z_0-9]+/)+(?:[a-z_0-9]+(?:\.\w+)?)?)`", TEXT)))
FOLDERS = ("src", "tests", "benchmarks", "docs", "tools", "examples")
THERE = [f"/{path.relative_to(ROOT)}" for folder in FOLDERS for path in [ROOT / folder, *(ROOT / folder).rglob("*")]]


def exists(path: str) -> bool:
    """Whether a file or folder ends so: paths are written short, after the folder that they lie in."""
    ends = f"/{path.rstrip('/')}", f"/{path}.py"
    return any(there.endswith(ends) for there in THERE)


@pytest.mark.parametrize("path", PATHS)
def test_every_path_exists(path):
    assert exists(path), f"ARCHITECTURE.md names {path}, which is not there"


def test_a_path_that_is_not_there_is_noticed():
    assert len(PATHS) > 50 and exists("tangent/probe") and not exists("tangent/nothing")


def test_every_package_has_its_line():
    packages = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert packages == set(re.findall(r"^\| `([a-z]+)/` \| ", TEXT, re.MULTILINE)) - {
        "tests",
        "benchmarks",
        "examples",
        "docs",
        "tools",
    }


def test_layers_are_those_of_the_contracts():
    """The orders that the page gives, against pyproject's layers."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = [
        " > ".join(contract["layers"]).replace("eigenflow.", "") for contract in contracts if "layers" in contract
    ]
    assert layers and all(f"`{order}`" in " ".join(TEXT.split()) for order in layers)
