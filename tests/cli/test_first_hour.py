"""What a newcomer meets: version, quiet, colours, missing packages, progress in a file, Ctrl-C."""

import io
import sys
from importlib import import_module

import pytest
from rich.console import Console

import eigenflow as ef
from cli.program import eigenflow as program
from eigenflow.cli import progress
from eigenflow.core.extras import EXTRAS, remedy
from report.recorded import record_run


def test_version_and_wrong_limit(tmp_path):
    done = program("--version", cwd=tmp_path)
    assert (done.code, done.stdout) == (0, f"eigenflow {ef.__version__}\n")
    done = program("--limit", "steps=many", "doctor", cwd=tmp_path)
    assert done.code == 2 and "`steps` must be a positive number" in done.stderr


@pytest.mark.long
def test_quiet_leaves_results_and_errors(tmp_path):
    record_run(tmp_path / "run")
    quiet, told = (program(*words, "claims", "run", cwd=tmp_path) for words in (["--quiet"], []))
    assert quiet.stdout == told.stdout and quiet.stderr == ""
    done = program("-q", "claims", "missing", cwd=tmp_path)
    assert done.code == 1 and "does not exist" in done.stderr


def test_no_colour_where_it_is_not_wanted(monkeypatch):
    """Rich obeys NO_COLOR; here that our consoles do, although they write to a terminal."""
    from eigenflow.cli.console import claims_table

    for name, has_colour in (("NO_COLOR", False), ("UNRELATED", True)):
        monkeypatch.setenv(name, "1")
        text = io.StringIO()
        console = Console(file=text, force_terminal=True, color_system="standard")
        console.print(claims_table([]), "[red]word[/]")
        assert ("\x1b[31m" in text.getvalue()) is has_colour
        monkeypatch.delenv(name)


@pytest.mark.parametrize("module", EXTRAS)
def test_remedy_names_an_extra_that_brings_the_package(module):
    """The remedy must also work where there is no checkout: it names no file that a wheel lacks as a must."""
    from importlib.metadata import metadata

    brought = [one for one in metadata("eigenflow").get_all("Requires-Dist") or [] if f"'{EXTRAS[module]}'" in one]
    package = {"sklearn": "scikit-learn"}.get(module, module)
    assert any(one.startswith(package) for one in brought), brought
    assert f"pip install 'eigenflow[{EXTRAS[module]}]'" in remedy(module)


class _Hidden:
    """An import finder for which a package is not installed."""

    def __init__(self, name):
        self.name = name

    def find_spec(self, fullname, path=None, target=None):
        if fullname.split(".")[0] == self.name:
            raise ModuleNotFoundError(f"No module named {self.name!r}", name=self.name)


def test_run_without_scikit_learn_says_what_to_install(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.startswith(("sklearn", "eigenflow.lab"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [_Hidden("sklearn"), *sys.meta_path])
    done = program("run", "--dry-run", cwd=tmp_path)
    assert done.code == 1 and "pip install 'eigenflow[lab]'" in done.stderr
    assert not list(tmp_path.iterdir())


def test_progress_in_a_file_is_a_line_now_and_then(monkeypatch):
    """A run of 100 steps of a second each, resumed at step 40."""
    text, now = io.StringIO(), [0.0]
    monkeypatch.setattr(progress, "err", Console(file=text, width=120))
    plain = progress.PlainProgress(lambda done, measured, total: done / total, clock=lambda: now[0])
    for done in range(41, 101):
        now[0] += 1.0
        plain.show(done, 100, done // 10)
    lines = text.getvalue().splitlines()
    assert len(lines) == 6  # every ten seconds
    assert lines[0] == "step 50 of 100, 5 measured, 10 s, about 50 s left"
    assert lines[-1] == "step 100 of 100, 10 measured, 60 s, about 0 s left"


def test_interrupted_run_says_how_to_go_on(tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    # By its name among the modules, as another test has it imported anew.
    monkeypatch.setattr(import_module("eigenflow.lab"), "run_experiment", interrupted)
    done = program("run", "--set", "train.steps=50", "--out", "my run", cwd=tmp_path)
    assert done.code == 130
    assert "go on with: eigenflow run --set train.steps=50 --out 'my run' --resume" in done.stderr


@pytest.mark.long
def test_warnings_are_a_line_for_people(tmp_path, monkeypatch):
    """A run folder of an old schema is opened with a warning: no file and line of our source."""
    import warnings

    from eigenflow import store

    real = store.open_run

    def warned(path):
        warnings.warn(f"Run `{path}` is old.", store.RunFolderWarning, stacklevel=2)
        return real(path)

    record_run(tmp_path / "run")
    monkeypatch.setattr(store, "open_run", warned)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        done = program("claims", "run", cwd=tmp_path)
    assert done.code == 0 and "warning: Run `run` is old.\n" in done.stderr and ".py" not in done.stderr
