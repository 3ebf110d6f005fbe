"""The scripts of the gallery that are written cell by cell: what they compute, against what is known."""

import runpy
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name: str) -> dict:
    found = runpy.run_path(str(EXAMPLES / name))
    assert plt.get_fignums()
    plt.close("all")
    return found


def test_phase_diagram_agrees_with_the_solver(capsys):
    """At b = 2, p = 0 the loss falls as t^-s; the grid's finite width at t = 100 leaves some 1e-4."""
    found = run("phase_diagram.py")
    assert found["miss"] < 3e-4
    assert found["phase"].loss_exponent == pytest.approx(0.7)
    assert "self-similar" in capsys.readouterr().out


def test_recovered_drift_encloses_the_true_one():
    """Five per cent of noise in 500 energies: exponent and strength come back within a per cent."""
    found = run("recover_the_drift.py")
    low, high = found["found"].b_interval
    assert low < found["b"] < high
    assert found["found"].c[0] == pytest.approx(found["c"], rel=0.01)


def test_derivatives_are_those_of_two_solutions():
    """A step of 1e-3 in c leaves a second-order difference of the same relative size."""
    found = run("what_the_loss_depends_on.py")
    derivative = 0.0005 * found["found"].c[-1]
    assert found["change"][-1] == pytest.approx(derivative, rel=2e-3)
    assert np.all(found["found"].log_dissipation <= 0)


@pytest.mark.measure
def test_lazy_stands_still_and_rich_moves(tmp_path, capsys):
    """A large factor on the outputs leaves the operator within a tenth of itself, a small one moves it by its size."""
    main = runpy.run_path(str(EXAMPLES / "lazy_against_rich.py"), run_name="shown")["main"]
    distances = main(str(tmp_path / "lazy_rich.png"), steps=300)
    plt.close("all")
    assert distances["lazy"] < 0.1 and distances["rich"] > 1.0
    assert (tmp_path / "lazy_rich.png").stat().st_size > 10_000 and "rich: ||M - M0||" in capsys.readouterr().out


@pytest.mark.measure
def test_double_descents_peak_where_samples_are_as_many_as_features(tmp_path):
    """At 50 of both; in time between the two scales, whose modes are learned at times about 1 and 10,000."""
    main = runpy.run_path(str(EXAMPLES / "three_double_descents.py"), run_name="shown")["main"]
    over_features, over_samples, over_time = main(str(tmp_path / "peaks.png"), draws=6)
    plt.close("all")
    assert over_features == over_samples == 50 and 2 < over_time < 2000
    assert (tmp_path / "peaks.png").stat().st_size > 10_000
