"""The examples run, and say what they promise."""

import runpy
from pathlib import Path

import pytest

import eigenflow as ef

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_solve_the_equation_reaches_the_closed_form(capsys):
    """What lies below the domain's lower end is missing: about (1e-16 t)^0.7, 2e-9 of the loss at the last time."""
    miss = runpy.run_path(str(EXAMPLES / "solve_the_equation.py"))["main"]()
    assert miss <= 1e-8
    assert "closed form" in capsys.readouterr().out


@pytest.mark.measure
def test_record_your_own_loop(tmp_path, capsys):
    runpy.run_path(str(EXAMPLES / "record_your_own_loop.py"))["main"](str(tmp_path / "run"), steps=200)
    assert ef.open_run(tmp_path / "run").status == "complete"
    assert "C3.closes          supported" in capsys.readouterr().out


def test_plan_a_run_finds_the_sharp_frontier(capsys):
    """Ten times the largest fitted size and 2.5 times its tokens: within 2 % of the true loss."""
    ours, _ = runpy.run_path(str(EXAMPLES / "plan_a_run.py"))["main"]()
    assert abs(ours) < 0.04
    assert "gamma 0.49" in capsys.readouterr().out


def test_forecast_a_curve_comes_near_the_truth(capsys):
    """Three times the length, a decay that no fitted run has, and the truth is another law: a per cent, not more."""
    assert runpy.run_path(str(EXAMPLES / "forecast_a_curve.py"))["main"]() < 0.01
    assert "converged" in capsys.readouterr().out


@pytest.mark.measure
def test_which_claims_hold_judges_every_run(tmp_path):
    """Two small runs side by side: the lazy network's operator stands still, the rich one's does not."""
    small = ["train.steps=300", "measure.count=14", "task.samples=20"]
    names = ["width 32, rich", "width 32, lazy"]
    study = runpy.run_path(str(EXAMPLES / "which_claims_hold.py"), run_name="study")
    table = study["main"](str(tmp_path), names, small, processes=0)
    assert set(table["run"]) == set(names) and {"C1", "C3.closes"} <= set(table["claim"])
    moved = [ef.open_run(folder).measurements["trace"] for folder in sorted(tmp_path.glob("width*"))]
    lazy, rich = (abs(float(trace[-1] / trace[0]) - 1.0) for trace in moved)
    assert lazy < 0.02 < rich
    assert (tmp_path / "verdicts.png").stat().st_size > 10_000
