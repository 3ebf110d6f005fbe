"""What a person reads in a terminal of 80 columns: no line is longer, no cell is cut, and words stand beside codes."""

import re

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from eigenflow.cli import plot
from eigenflow.cli.app import app
from eigenflow.cli.console import out
from eigenflow.theory.claim_words import CLAIM_WORDS
from report.recorded import record_run
from synthetic_run import power_law_modes, write_run

pytestmark = [pytest.mark.usefixtures("analysed_once"), pytest.mark.measure]
ANSI = re.compile(r"\x1b\[[0-9;]*m")
TERMINAL = {"COLUMNS": "80", "FORCE_COLOR": "1", "TERM": "xterm-256color"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("terminal")
    for name, rho in (("still", 1.0), ("a-growing-operator", 1.5)):
        write_run(folder / name, power_law_modes(20, rho=rho, seed=0), count=16)
    record_run(folder / "recorded")
    return folder


@pytest.fixture(autouse=True)
def _quiet_is_undone():
    from eigenflow.cli.console import err

    before = err.quiet
    yield
    err.quiet = before


def read(*words, **more):
    """Lines on stdout of a terminal of 80 columns, without colours."""
    done = CliRunner().invoke(app, [str(word) for word in words], env=TERMINAL | more)
    assert done.exit_code == 0, done.output
    return ANSI.sub("", done.stdout).splitlines()


def fits(lines):
    paths = [line for line in lines if not line.startswith(("Summary:", "Page:"))]  # one can copy a whole path
    return max(map(len, paths)) <= 80 and not any("…" in line for line in paths)


def words_of(lines):
    """Text of a table's wrapped cells, as far as they stand in one column."""
    return " ".join(" ".join(lines).split())


@pytest.mark.long
def test_claims_are_sentences_with_their_number_and_verdict(runs):
    lines = read("claims", runs / "recorded")
    assert fits(lines)
    middle = words_of([line[8:65] for line in lines])
    for words in CLAIM_WORDS.values():
        assert words.plain in middle
    assert not any(line.strip().startswith("C1.identity") for line in lines)
    assert {line.split()[0] for line in lines if re.match(r" ?C\d ", line)} == set(CLAIM_WORDS)
    assert "--all" in lines[-1] and "--reasons" in lines[-1]


def test_all_assertions_keep_their_names(runs):
    lines = read("claims", runs / "recorded", "--all")
    assert fits(lines)
    assert any("C4.alternatives" in line for line in lines) and any("C1.identity" in line for line in lines)


def test_reasons_break_at_words(runs):
    lines = read("claims", runs / "recorded", "--reasons")
    assert fits(lines) and any("It would change" in line for line in lines)


def test_an_analysis_fits(runs):
    assert fits(read("analyse", runs / "recorded"))


@pytest.mark.long
@pytest.mark.parametrize("more", [[], ["--all"]])
def test_a_comparison_answers_first_and_fits(runs, more):
    lines = read("compare", runs / "still", runs / "a-growing-operator", *more)
    assert fits(lines)
    text = words_of(lines)
    for words in ("What differs?", "Which claims flip?", "a-growing-operator", "✗ contradicted", "⇄"):
        assert words in text
    assert ("C8.equation" in text) == bool(more)


@pytest.mark.long
def test_many_runs_stand_in_several_tables(runs, tmp_path):
    names = [f"run-{number}" for number in range(5)]
    for name in names:
        write_run(tmp_path / name, power_law_modes(8, rho=1.0, seed=0), steps=20, count=3)
    lines = read("compare", *(tmp_path / name for name in names))
    assert fits(lines)
    heads = [line.split() for line in lines if line.split() and set(line.split()) <= set(names)]
    assert {name for head in heads for name in head} == set(names)
    assert 1 < max(map(len, heads)) < len(names)  # side by side, as many as there is room for


def test_a_plot_is_as_wide_as_told_and_shows_where_the_loss_went():
    steps = np.arange(1, 201)
    losses = 2.0 * np.exp(-steps / 50)
    ahead = np.arange(200, 401)
    loss = 2.0 * np.exp(-ahead / 50)
    drawn = plot.loss_plot((steps, losses), (ahead, loss, 0.5 * loss, 2 * loss), x="completed updates", width=80)
    lines = drawn.plain.splitlines()
    assert {len(line) for line in lines} == {80} and "completed updates" in lines[-1]
    assert f"{losses.max():.3g}" in lines[1]
    columns = [[place for place, letter in enumerate(line) if letter == "+"] for line in lines[4:-3]]
    rows = [row for row, places in enumerate(columns) if places]
    lefts = [min(columns[row]) for row in rows]
    assert len(rows) > 3 and lefts == sorted(lefts)  # a falling straight line: an exponential on a logarithmic scale
    assert min(lefts) >= 80 // 2 - 2  # it begins in the middle, where the log ends


@pytest.mark.parametrize("environment", [{}, {"NO_COLOR": "1"}])
def test_no_colour_where_none_is_wanted(environment):
    console = Console(width=80, force_terminal=True, color_system="standard", _environ=environment)
    with console.capture() as captured:
        console.print(plot.loss_plot((np.arange(1, 9), np.arange(9, 1, -1)), None, x="updates", width=60))
    assert bool(re.search(r"\x1b\[[0-9;]*3[0-9]m", captured.get())) == (not environment)


def test_a_plot_is_drawn_for_people_alone(runs, monkeypatch):
    from eigenflow.cli.console import err
    from eigenflow.report import analyse
    from eigenflow.store import open_run

    analysis = analyse(open_run(runs / "recorded"))

    def printed(**environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with out.capture() as captured:
            plot.print_run(analysis)
        return captured.get()

    monkeypatch.delenv("FORCE_COLOR", raising=False)
    assert printed(COLUMNS="80") == ""
    monkeypatch.setattr(out, "_force_terminal", True)
    drawn = printed(COLUMNS="80")
    assert "┤" in drawn and "forecast from 50%" in drawn
    monkeypatch.setattr(err, "quiet", True)
    assert printed() == ""
