"""`forecast plan` as a program: table, JSON, picture, and messages."""

import json

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from eigenflow.cli.forecast import forecast_app
from eigenflow.cli.forecast.plan import plan
from eigenflow.core.errors import ArgumentError

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(plan)


@pytest.fixture
def path(tmp_path):
    size = np.repeat(np.geomspace(1e8, 3e9, 6), 4)
    tokens = size * np.tile([5.0, 15.0, 45.0, 135.0], 6)
    loss = 1.69 + 406.4 * size**-0.34 + 410.7 * tokens**-0.28
    target = tmp_path / "runs.csv"
    pd.DataFrame({"params": size, "tokens": tokens, "eval": loss, "set": "a"}).to_csv(target, index=False)
    return target


@pytest.mark.long
def test_plan_prints_json_of_the_published_law(path, tmp_path):
    """Exact losses of a sum law: constants come back, and the optimum is the closed form."""
    picture = tmp_path / "plan.png"
    arguments = [str(path), "--law", "approach3", "--column", "loss=eval", "--where", "set=a", "--flops", "1e22"]
    done = CliRunner().invoke(app, [*arguments, "--picture", str(picture), "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["constants"]["alpha"] == pytest.approx(0.34, abs=1e-4) and found["status"] == "converged"
    best = (0.34 * 406.4 / 0.28 / 410.7 * (1e22 / 6) ** 0.28) ** (1 / 0.62)
    assert found["allocation"]["size"][0] == pytest.approx(best, rel=1e-3)
    assert picture.read_bytes()[:4] == b"\x89PNG"


@pytest.mark.long
def test_plan_prints_tables_for_people(path):
    done = CliRunner().invoke(app, [str(path), "--column", "loss=eval", "--backtest", "--law", "tied"])
    assert done.exit_code == 0, done.output
    assert "Compute-optimal runs" in done.output and "approach3" in done.output


@pytest.mark.rejects
def test_wrong_pairs_are_named(path):
    done = CliRunner().invoke(app, [str(path), "--column", "loss"])
    assert isinstance(done.exception, ArgumentError) and "`--column` must be LEFT=RIGHT" in str(done.exception)


@pytest.mark.rejects
def test_schedule_of_a_missing_fit_names_the_next_step(tmp_path):
    done = CliRunner().invoke(forecast_app, ["schedule", str(tmp_path / "no.json"), "--steps", "100", "--peak", "1e-3"])
    assert isinstance(done.exception, ArgumentError) and "eigenflow forecast fit" in str(done.exception)


@pytest.mark.rejects
@pytest.mark.parametrize("budget", ["1e21PF", "-1e21", "nan", "inf", "many"])
def test_a_budget_that_is_no_number_is_refused_before_the_table_is_read(budget):
    done = CliRunner().invoke(app, ["no.csv", f"--flops={budget}"])
    assert isinstance(done.exception, ArgumentError)
    assert "`--flops` must be a positive number" in str(done.exception) and budget in str(done.exception)
