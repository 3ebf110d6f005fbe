"""The mutation run: what it changes, what it leaves alone, and that it tells survivors from killed ones."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[1] / "tools"
sys.path.insert(0, str(TOOLS))

from mutants import mutants_of  # noqa: E402
from mutate import Project, covering, known, sample  # noqa: E402

MODULE = '''"""A module."""

import numpy as np

LEAST = 3
__all__ = ["LEAST"]


def mean_square(x: "float[1]", axis: int = 0) -> float:
    """Give 1 + 1 of it."""
    if x.sum() < 0:
        raise ValueError(f"{x + 1} must not be {2 * x}")
    with np.errstate(all="ignore"):
        rest = np.abs(x[1:]) * LEAST
    return np.where(x > 0, rest, -x).sum(axis=0) / 2


def loop(count):
    total = 0
    while count > 0:
        total += count
        count -= 1
    return total
'''


def changes(source):
    return {(m.operator, m.before, m.after) for m in mutants_of(source, "m.py")}


@pytest.mark.parametrize(
    ("source", "operator", "after"),
    [
        ("y = a < b", "comparison", "a <= b"),
        ("y = a < b", "comparison", "a > b"),
        ("y = a + b", "arithmetic", "a - b"),
        ("y = a * b", "arithmetic", "a / b"),
        ("y = a * b", "dropped", "a"),
        ("y = a * b", "dropped", "b"),
        ("y = -a", "sign", "a"),
        ("y = not a", "sign", "a"),
        ("y = a and b", "logic", "a or b"),
        ("y = a and b", "dropped", "b"),
        ("y = 7", "constant", "8"),
        ("y = 0.25", "constant", "0.75"),
        ("y = 1e-9", "constant", "2e-09"),
        ("y = abs(a)", "left out", "a"),
        ("y = np.sqrt(a)", "left out", "a"),
        ("y = np.argmax(a)", "exchanged", "np.argmin(a)"),
        ("y = f(a, axis=1)", "dropped", "f(a)"),
        ("y = np.where(a, b, c)", "exchanged", "np.where(a, c, b)"),
        ("y = x[1:]", "slice", ":"),
        ("y = x[:-1]", "slice", ":-1 + 1"),
        ("y = find(a, side='left')", "side", "'right'"),
        ("y += a", "arithmetic", "y -= a"),
        ("y = a if b else c", "choice", "c"),
    ],
)
def test_operators(source, operator, after):
    assert any(found[0] == operator and found[2] == after for found in changes(source))


def test_every_mutant_is_python_and_differs_in_its_expression_alone():
    found = list(mutants_of(MODULE, "m.py"))
    assert len(found) > 20
    for mutant in found:
        compile(mutant.source, "m.py", "exec")
        assert mutant.source != MODULE
        assert mutant.source.startswith(MODULE[: mutant.low]) and mutant.source.endswith(MODULE[mutant.high :])
        assert MODULE[mutant.low : mutant.high] == mutant.before


def test_what_is_no_code_is_left_alone():
    """Docstrings, annotations, messages, `__all__`, decorators, and what numpy is to be silent about."""
    found = list(mutants_of(MODULE, "m.py"))
    lines = {mutant.line for mutant in found}
    text = MODULE.split("\n")
    for words in ("A module", "__all__", "Give 1 + 1", "raise", "errstate", "import"):
        assert not lines & {n for n, line in enumerate(text, 1) if words in line}
    assert not any("float[1]" in mutant.before for mutant in found)


def test_places_are_named_as_code_objects_name_them():
    source = "class A:\n    def f(self):\n        def g():\n            return 1 + 2\n        return g\n"
    found = next(m for m in mutants_of(source, "m.py") if m.operator == "arithmetic")
    space: dict = {}
    exec(compile(source, "m.py", "exec"), space)
    inner = space["A"]().f()
    assert found.function == inner.__qualname__ == inner.__code__.co_qualname
    assert found.first == 4 - inner.__code__.co_firstlineno


def test_tests_of_a_line_come_first_and_the_quick_ones_of_them_foremost():
    mutant = next(m for m in mutants_of(MODULE, "m.py") if m.function == "loop" and m.operator == "comparison")
    runs = f"m.py:loop:{mutant.first}"
    tests = {
        "tests/test_a.py::slow": {"seconds": 3.0, "lines": [runs]},
        "tests/test_a.py::other": {"seconds": 0.1, "lines": ["m.py:mean_square:1"]},
        "tests/test_b.py::quick": {"seconds": 0.5, "lines": [runs]},
        "tests/test_c.py::elsewhere": {"seconds": 0.0, "lines": ["m.py:mean_square:1"]},
    }
    assert covering(mutant, tests) == ["tests/test_b.py::quick", "tests/test_a.py::slow", "tests/test_a.py::other"]
    constant = next(m for m in mutants_of(MODULE, "m.py") if not m.function)
    assert len(covering(constant, tests)) == 4


def test_samples_are_those_of_their_seed_and_take_each_line_once():
    found = list(mutants_of(MODULE, "m.py"))
    drawn = [list(sample(found, 5, seed)) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len({mutant.line for mutant in drawn[0]}) == 5


def tiny(folder):
    """A project of one package with a test that sees signs and loops and no constant."""
    (folder / "src/tiny/part").mkdir(parents=True)
    (folder / "tests").mkdir()
    (folder / "src/tiny/__init__.py").write_text("")
    (folder / "src/tiny/part/__init__.py").write_text("")
    loop = "def loop(count):\n    total = 0\n    while count > 0:\n        total += count\n        count -= 1\n"
    code = loop + "    return total\n\n\ndef unseen(x):\n    return x + 1\n"
    (folder / "src/tiny/part/loops.py").write_text(code)
    (folder / "tests/test_loops.py").write_text(
        "import pytest\nfrom tiny.part.loops import loop\n\n\ndef test_loop():\n    assert loop(4) == 10\n\n\n"
        "@pytest.mark.slow\ndef test_other():\n    assert loop(3) == 6\n"
    )
    (folder / "pyproject.toml").write_text('[tool.pytest.ini_options]\nmarkers = ["slow: long"]\n')
    return code


def run_on(folder, *more):
    arguments = ["--root", folder, "--source", "src/tiny", "--parts", "part", "--tests", "tests", "--least", "1", *more]
    # What other plugins import takes longer than the tests.
    alone = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, str(TOOLS / "mutate.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder, env=alone).stdout


@pytest.mark.long
def test_survivors_are_told_from_killed_ones_and_the_tree_stays_as_it_was(tmp_path):
    """`count > 0` to `count > -1`, `>= 0`: alike for whole numbers, for 0 adds nothing. What no test runs survives too.

    `count -= 1` to `+= 1` never ends, and is killed by the limit on CPU time.
    """
    code = tiny(tmp_path)
    printed = run_on(tmp_path, "--count", "4", "--seed", "0")
    assert "part/loops.py:10" in printed and "no test runs this line" in printed
    assert (tmp_path / "src/tiny/part/loops.py").read_text() == code
    assert [p.name for p in (tmp_path / "build/mutate").iterdir()] == ["lines.json"]
    everything = run_on(tmp_path, "--count", "20", "--only", "loops")
    assert "which lines" not in everything  # kept from the first run
    drawn = [m for m in mutants_of(code, "part/loops.py") if m.line in (4, 5)]
    assert drawn and not any(f"loops.py:{m.line} " in everything for m in drawn if m.operator == "arithmetic")
    assert " survive" in everything


@pytest.mark.long
def test_reasons_on_the_page_excuse_a_survivor(tmp_path):
    code = tiny(tmp_path)
    lines = [m for m in mutants_of(code, "part/loops.py") if m.function == "unseen"]
    page = tmp_path / "docs/validation/mutants.md"
    page.parent.mkdir(parents=True)
    page.write_text("".join(f"| `{m.key}` | nobody calls it |\n" for m in lines))
    assert known(page) == {m.key for m in lines}
    printed = run_on(tmp_path, "--count", "4")
    assert "loops.py:10" not in printed and "1 known to do no harm" in printed


def test_the_project_names_modules_and_tests(tmp_path):
    tiny(tmp_path)
    project = Project(tmp_path, tmp_path / "src/tiny", ("part",), ("tests",))
    assert [f.name for f in project.files()] == ["__init__.py", "loops.py"]
    assert [f.name for f in project.test_files()] == ["test_loops.py"]
