"""Estimates are made once, by the analysis: a report only draws them."""

import inspect
import sys
from collections import Counter

import pytest

from eigenflow.report import analyse, write_report
from eigenflow.report.sections import pictures
from eigenflow.store import open_run
from eigenflow.theory.claims import evidence as home
from eigenflow.theory.self_similarity.power_in_time import fit_power
from synthetic_run import power_law_modes, write_run

pytestmark = [pytest.mark.anew, pytest.mark.long]
# Everything that Evidence calls, and the fit behind the power of a frontier.
ESTIMATORS = [
    value for value in vars(home).values() if inspect.isfunction(value) and value.__module__.startswith("eigenflow.")
]
# Made of several settings by one estimate.
SEVERAL = {"shell_budget": 5, "closure_residual": 3, "integrate_modes": 3, "regularity": 2, "nonlocal_source": 3}
# Everything else is asked for of a run that allows it; these are for records of states.
UNASKED = ("rank_velocities", "select_dims", "shell_energies", "thinned_places", "used_states")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run"
    write_run(path, power_law_modes(120, rho=1.3, seed=0), steps=1000, count=24, step_size=0.1)
    return path


def replace_everywhere(monkeypatch, function, other):
    """Whoever imported it by name gets the other one."""
    for name, module in list(sys.modules.items()):
        if name.startswith("eigenflow") and vars(module).get(function.__name__) is function:
            monkeypatch.setattr(module, function.__name__, other)


def test_a_report_after_the_analysis_estimates_nothing(folder, monkeypatch):
    analysis = analyse(open_run(folder))
    drawn_before = {key: picture.caption for key, picture in pictures(analysis).items()}

    def raising(function):
        def make(*_, **__):
            raise AssertionError(f"{function.__name__} was called again")

        return make

    again = analyse(open_run(folder))
    for function in (*ESTIMATORS, fit_power):
        replace_everywhere(monkeypatch, function, raising(function))
    path = write_report(again)
    assert path.stat().st_size > 1e6
    drawn = pictures(again)
    assert {key: picture.caption for key, picture in drawn.items()} == drawn_before
    assert sum(picture.figure is not None for picture in drawn.values()) >= 15


def count_calls(monkeypatch) -> Counter:
    """How often Evidence calls each estimator from now on."""
    calls = Counter()

    def counting(function):
        def make(*arguments, **options):
            calls[function.__name__] += 1
            return function(*arguments, **options)

        return make

    for function in ESTIMATORS:
        monkeypatch.setattr(home, function.__name__, counting(function))
    return calls


def test_analysis_and_reports_make_each_estimate_once(folder, monkeypatch):
    calls = count_calls(monkeypatch)
    analysis = analyse(open_run(folder))
    write_report(analysis)
    write_report(analysis)
    # The clock of the loss alone is for runs whose first basis is not known.
    once = {function.__name__: SEVERAL.get(function.__name__, 1) for function in ESTIMATORS} | {"loss_clock": 0}
    assert {name: calls[name] for name in once} == once | dict.fromkeys(UNASKED, 0)


def test_what_a_run_does_not_allow_is_not_tried_again(folder, monkeypatch):
    run = open_run(folder)
    lacking = ["coupling_matrix", "initial_coefficient", "shell_overlap"]
    run.__dict__["measurements"] = run.measurements.drop_vars(lacking)
    calls = count_calls(monkeypatch)
    write_report(analyse(run))
    assert {name: count for name, count in calls.items() if count > SEVERAL.get(name, 1)} == {}
    assert calls["error_clocks"] == calls["kato_ratio"] == calls["operator_clocks"] == calls["loss_clock"] == 1
