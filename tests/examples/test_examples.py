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
