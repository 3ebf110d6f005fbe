"""The examples run, and say what they promise."""

import json
import runpy
from pathlib import Path

import numpy as np
import pandas as pd
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
@pytest.mark.slow
def test_study_is_recorded_judged_and_drawn(tmp_path, capsys):
    """Two small runs: the lazy network's operator stands still, the rich one's does not, and tables hold every row."""
    small = ["train.steps=300", "measure.count=14", "task.samples=20"]
    names = ["tanh, lazy", "tanh, rich"]
    study = runpy.run_path(str(EXAMPLES / "study.py"), run_name="study")
    study["main"]("record", str(tmp_path), names, small)
    assert capsys.readouterr().out.count("complete, finite, the loss fell, no gaps; 200 rows, 14 times") == 2
    moved = [ef.open_run(folder).measurements["trace"] for folder in sorted(tmp_path.glob("tanh*"))]
    lazy, rich = (abs(float(trace[-1] / trace[0]) - 1.0) for trace in moved)
    assert lazy < 0.02 < rich

    study["main"]("atlas", str(tmp_path), names)
    assert (tmp_path / "atlas.html").read_text().count("not judged") == 2

    table = study["main"]("judge", str(tmp_path), names)
    assert set(table["run"]) == set(names) and {"C1", "C3.closes"} <= set(table["claim"])
    forward = pd.read_csv(tmp_path / "forward.csv")
    assert set(forward["run"]) == set(names) and {"lazy", "power law", "persistence"} <= set(forward["method"])
    banded = forward.dropna(subset=["in_band"])
    assert np.isfinite(forward["rms_log_ratio"]).all() and (banded["in_band"] <= banded["later"]).all()
    assert "Forecasts: runs in which a method was best" in (tmp_path / "tables.md").read_text()

    study["main"]("atlas", str(tmp_path), names)
    page = (tmp_path / "atlas.html").read_text()
    assert page.count('class="run"') == 2 and 'href="tanh-lazy/report.html"' in page
    assert "http:" not in page and "https:" not in page and (tmp_path / "verdicts.png").stat().st_size > 10_000


def test_runs_of_the_study_are_experiments_that_differ():
    """At least the kinds that the plan names, on samples that no shipped configuration draws, each of its own."""
    pytest.importorskip("torch")
    from eigenflow.lab import load_config, shipped_configs

    runs = runpy.run_path(str(EXAMPLES / "study.py"), run_name="study")["RUNS"]
    configs = {name: load_config(setting.config, setting.changes) for name, setting in runs.items()}
    assert len(runs) >= 24
    shipped = {load_config(name).task.seed for name in shipped_configs()}
    assert all(config.task.seed >= 23 and config.task.seed not in shipped for config in configs.values())
    assert all(400 <= c.task.samples * c.task.outputs <= 1000 and c.measure.count >= 40 for c in configs.values())
    told = [config.model_dump_json(exclude={"name"}) for config in configs.values()]
    assert len(set(told)) == len(told)
    assert {c.model.parametrisation for c in configs.values()} == {"standard", "ntk", "maximal_update"}
    assert {(c.task.name, c.model.name) for c in configs.values()} >= {
        ("digits", "mlp"), ("digits", "cnn"), ("patches", "mlp"), ("patches", "cnn"), ("source", "gpt")
    }  # fmt: skip


def test_forecast_while_training_finds_the_bad_shard(tmp_path, capsys):
    """Wrong labels from step 2,800 on: one alarm of the data within a fiftieth of the run, and none before."""
    live = runpy.run_path(str(EXAMPLES / "forecast_while_training.py"))["main"](str(tmp_path))
    first = live.now.alarms[0]
    assert first.kind == "data trouble" and 2800 <= first.raised_at < 2880 and abs(first.since - 2800) < 40
    assert "data trouble: the loss went up" in capsys.readouterr().out
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert {"step", "eigenflow/forecast/value", "eigenflow/loss/expected"} <= set(rows[-1])
