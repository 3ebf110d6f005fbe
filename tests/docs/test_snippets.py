"""What README and the pages print runs as printed, from the root of the repository: Python blocks and commands."""

import contextlib
import io
import re
import shlex
import shutil
import subprocess
import sys
import warnings
from itertools import pairwise
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from cli.program import eigenflow

pytestmark = pytest.mark.measure
ROOT = Path(__file__).parents[2]
# Made by the build of the site, from docstrings and from `examples/`.
GENERATED = ("_build", "gallery", "commands.md")
PAGES = {
    page.relative_to(ROOT).as_posix(): page
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if not any(part in GENERATED for part in page.relative_to(ROOT).parts)
}
# Commands that take longer than a few seconds.
LONG = ("backtest", "--backtest", "eigenflow run", "analyse", "eigenflow report", "compare")


def blocks(page: Path, language: str) -> list[str]:
    """Fenced blocks of a language, "" for those that name none."""
    found = (part for part in MarkdownIt().parse(page.read_text(encoding="utf-8")) if part.type == "fence")
    return [part.content for part in found if part.info.strip() == language]


def commands(page: Path) -> list[list[str]]:
    """Lines of a page that begin with the program's name, without comments."""
    lines = "".join(blocks(page, "bash") + blocks(page, "")).splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.startswith("eigenflow ")]


@pytest.fixture
def root(tmp_path):
    """What a reader has who is in a checkout; results go beside it and not into it."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    return tmp_path


PYTHON = [name for name, page in PAGES.items() if blocks(page, "python")]
COMMANDS = [name for name, page in PAGES.items() if commands(page)]
# Two processes, and what takes as long again: `make test-slow`.
SLOW = {"docs/guides/large_probes.md", "docs/guides/plan_a_run.md"}
# Pages that suppose a run: where it lies.
WITH_RUN = {"docs/guides/run_folders.md": "runs/a"}


def marked(names: list[str]) -> list:
    return [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in names]


def test_blocks_are_found():
    guides = (
        "measure_a_run",
        "the_equation",
        "loss_curves",
        "plan_a_run",
        "leading_modes",
        "large_probes",
        "networks_and_losses",
    )
    assert {"README.md", "docs/start.md", *(f"docs/guides/{name}.md" for name in guides)} <= set(PYTHON)


def test_every_block_says_its_language():
    """A block of Python or of commands under another name would be run by nobody."""
    known = {"", "bash", "python", "text", "console", "toml", "{eval-rst}"}
    for name, page in PAGES.items():
        for part in MarkdownIt().parse(page.read_text(encoding="utf-8")):
            if part.type == "fence" and not part.info.startswith("{"):
                assert part.info.strip() in known, (name, part.info)
            if part.type == "code_block" or part.info.strip() == "text":
                assert not re.search(r"^(import|from \S+ import) ", part.content, flags=re.MULTILINE), (name, part.map)


# Lightning 2.6 asks PyTorch by a name that it has given up.
@pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated:FutureWarning")
@pytest.mark.parametrize("name", marked(PYTHON))
def test_python_blocks_run_as_printed(name, root):
    """Those of one page one after the other, each page anew; every block of the README by itself."""
    if name in WITH_RUN:
        record_small_run(root / WITH_RUN[name])
    names = {"__name__": "snippet"}
    with contextlib.chdir(root), contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        for code in blocks(PAGES[name], "python"):
            if "init_process_group" in code:
                run_on_two_processes(code, root)
            else:
                exec(compile(code, name, "exec"), names if name != "README.md" else {"__name__": "snippet"})


def record_small_run(folder: Path) -> None:
    """A small run where the page supposes one."""
    from report.recorded import record_run

    folder.parent.mkdir(parents=True, exist_ok=True)
    record_run(folder)


def run_on_two_processes(code: str, root: Path) -> None:
    """As torchrun does it, on this machine alone."""
    script = root / "script.py"
    script.write_text(code)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--local_addr", "127.0.0.1", "--nproc_per_node", "2"]
    command = [sys.executable, *launcher, str(script)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("name", marked(COMMANDS))
@pytest.mark.parametrize("is_long", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_commands_run_as_printed(name, is_long, root):
    """In the page's order. `cd` is obeyed; a run that the page's commands read is made where they look for it."""
    page = PAGES[name]
    where = root / "examples" / "logs" if "cd examples/logs" in page.read_text(encoding="utf-8") else root
    for words in commands(page):
        if not is_long and any(mark in " ".join(words) for mark in LONG):
            continue
        for before, word in pairwise(words):
            folder = where / word
            if word.startswith("runs/") and before != "--out" and not folder.exists():
                record_small_run(folder)
        done = eigenflow(*words[1:], cwd=where)
        assert done.code == 0, (words, done.stderr)


def test_sample_logs_are_what_their_script_writes(tmp_path):
    """To the last digit written: the losses are rounded to five."""
    import runpy

    runpy.run_path(str(ROOT / "examples" / "sample_logs.py"))["main"](str(tmp_path))
    for made in sorted(tmp_path.iterdir()):
        assert made.read_text() == (ROOT / "examples" / "logs" / made.name).read_text(), made.name
