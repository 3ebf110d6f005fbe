"""What README and guides print runs as printed, from the root of the repository: Python blocks and commands."""

import contextlib
import io
import re
import shlex
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from cli.program import eigenflow

pytestmark = pytest.mark.measure
ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# Commands that take longer than a few seconds.
LONG = ("backtest", "--backtest", "eigenflow run", "analyse", "eigenflow report", "compare")


def blocks(page: Path, language: str) -> list[str]:
    """Fenced blocks of a language, "" for those that name none."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return [text for name, text in found if name == language]


def commands(page: Path) -> list[list[str]]:
    """Lines of a page that begin with the program's name, without comments."""
    lines = "".join(blocks(page, "bash") + blocks(page, "")).splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.startswith("eigenflow ")]


@pytest.fixture
def root(tmp_path):
    """What a reader has who is in a checkout; results go beside it and not into it."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    return tmp_path


PYTHON = [page.name for page in PAGES if blocks(page, "python")]
# Two processes, and what takes as long again: `make test-slow`.
SLOW = {"large_probes.md", "plan.md"}


def marked(names: list[str]) -> list:
    return [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in names]


def test_blocks_are_found():
    assert {"README.md", "forecast.md", "leading_modes.md", "large_probes.md", "transport.md"} <= set(PYTHON)


@pytest.mark.parametrize("name", marked(PYTHON))
def test_python_blocks_run_as_printed(name, root):
    """Those of one page one after the other, each page anew; every block of the README by itself."""
    (page,) = (page for page in PAGES if page.name == name)
    if name == "files.md":
        eigenflow_run(root / "runs" / "a")
    names = {"__name__": "snippet"}
    with contextlib.chdir(root), contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        for code in blocks(page, "python"):
            if "init_process_group" in code:
                run_on_two_processes(code, root)
            else:
                exec(compile(code, name, "exec"), names if name != "README.md" else {"__name__": "snippet"})


def eigenflow_run(folder: Path) -> None:
    """A small run where the page supposes one."""
    from report.recorded import record_run

    folder.parent.mkdir(parents=True)
    record_run(folder)


def run_on_two_processes(code: str, root: Path) -> None:
    """As torchrun does it, on this machine alone."""
    script = root / "script.py"
    script.write_text(code)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--local_addr", "127.0.0.1", "--nproc_per_node", "2"]
    command = [sys.executable, *launcher, str(script)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("name", marked([page.name for page in PAGES if commands(page)]))
@pytest.mark.parametrize("is_long", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_commands_run_as_printed(name, is_long, root):
    """In the page's order. `cd` is obeyed; a page that supposes runs gets small ones."""
    (page,) = (page for page in PAGES if page.name == name)
    where = root / "examples" / "logs" if "cd examples/logs" in page.read_text() else root
    for words in commands(page):
        if not is_long and any(mark in " ".join(words) for mark in LONG):
            continue
        done = eigenflow(*words[1:], cwd=where)
        assert done.code == 0, (words, done.stderr)


def test_sample_logs_are_what_their_script_writes(tmp_path):
    """To the last digit written: the losses are rounded to five."""
    import runpy

    runpy.run_path(str(ROOT / "examples" / "sample_logs.py"))["main"](str(tmp_path))
    for made in sorted(tmp_path.iterdir()):
        assert made.read_text() == (ROOT / "examples" / "logs" / made.name).read_text(), made.name
