"""The lock of the reading side: exact versions with hashes, no addresses, everything that the package depends on."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCK = (ROOT / "locks" / "reading-side.txt").read_text(encoding="utf-8")
DEPENDENCIES = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def entries(text: str) -> dict[str, tuple[Requirement, list[str]]]:
    """Requirements by name, each with its hashes; comments and line ends do not count."""
    plain = re.sub(r"\s+#[^\n]*|^#[^\n]*", "", text.replace("\\\n", " "), flags=re.MULTILINE)
    found = {}
    for line in filter(None, map(str.strip, plain.splitlines())):
        requirement, *rest = re.split(r"\s+(?=--hash)", line)
        parsed = Requirement(requirement)
        found[canonicalize_name(parsed.name)] = parsed, rest
    return found


LOCKED = entries(LOCK)


def pinned(requirement: Requirement) -> str:
    (exact,) = requirement.specifier
    assert exact.operator == "=="
    return exact.version


def test_every_entry_has_a_version_and_hashes():
    assert len(LOCKED) > len(DEPENDENCIES)
    for requirement, hashes in LOCKED.values():
        assert pinned(requirement)
        assert hashes and all(HASH.fullmatch(word) for word in hashes), requirement


def test_nothing_is_installed_by_address():
    assert not re.search(r"://|^\s*-(?!-hash)|^\s*--(?!hash=)| @ ", LOCK, re.MULTILINE)
    assert all(requirement.url is None for requirement, _ in LOCKED.values())


def test_every_dependency_is_locked_within_its_bounds():
    for word in DEPENDENCIES:
        wanted = Requirement(word)
        assert wanted.specifier.contains(pinned(LOCKED[canonicalize_name(wanted.name)][0])), word


def test_versions_are_those_of_the_constraints():
    """One set of versions for tests and for the lock; the rest of a line says where it holds."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    tested = dict(line.split("==") for line in lines if "==" in line)
    tested = {canonicalize_name(name): version for name, version in tested.items()}
    assert {name: pinned(entry) for name, (entry, _) in LOCKED.items()}.items() <= tested.items()


@pytest.mark.parametrize("absent", ["torch", "safetensors", "scikit-learn", "transformers"])
def test_the_measuring_side_is_not_in_it(absent):
    assert absent not in LOCKED
