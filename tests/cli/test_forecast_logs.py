"""`eigenflow forecast LOG...` as a user runs it: words before and behind, files named like commands, JSON, the page."""

import json

import numpy as np
import pandas as pd
import pytest

import eigenflow as ef
from cli.program import eigenflow
from eigenflow.forecast import Schedule
from forecast.logs import loss_of

pytestmark = pytest.mark.long

PLAN = Schedule.cosine(total=4000, peak=3e-4, end=3e-5, warmup=100)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("answers")
    steps = np.arange(20, 1601, 20)
    losses = loss_of(PLAN, steps) * np.exp(1e-3 * np.random.default_rng(0).normal(size=len(steps)))
    log = pd.DataFrame({"step": steps, "loss": losses, "lr": PLAN.rates[steps]})
    log.to_csv(path / "run.csv", index=False)
    log.to_csv(path / "fit", index=False)
    log.drop(columns="lr").to_csv(path / "bare.csv", index=False)
    log.rename(columns={"loss": "nll_x", "step": "when"}).to_csv(path / "odd.csv", index=False)
    return path


@pytest.fixture(scope="module")
def told(folder):
    """The answer as JSON, with the page and the picture written on the way."""
    files = ["--out", "answer.html", "--picture", "answer.png"]
    words = ["run.csv", "--target", "2.2", "--what-if", "cosine:end=0", *files, "--json"]
    done = eigenflow("forecast", *words, cwd=folder)
    assert done.code == 0, done
    return json.loads(done.stdout)


def test_the_answer_is_that_of_the_call(folder, told):
    found = ef.forecast_logs(folder / "run.csv", target=2.2, what_if="cosine:end=0")
    assert told["end"] == {
        "step": 4000, "loss": found.end.loss, "lower": found.end.lower, "upper": found.end.upper,
    }  # fmt: skip
    assert told["run"]["known"] == 1600 and told["run"]["total"] == 4000 and not told["run"]["is_finished"]
    assert told["target"]["step"] == found.target.step and told["target"]["answer"] == found.target.answer
    assert [row["name"] for row in told["endings"]] == [one.name for one in found.endings]
    assert told["endings"][0]["is_asked"] and told["endings"][0]["difference"] == found.endings[0].difference
    assert [row["hidden"] for row in told["hidden"]] == ["rest after 25 %", "rest after 50 %"]
    assert told["fit"]["status"] == found.fit.status.value


def test_files_are_written_and_not_replaced_without_force(folder, told):
    assert (folder / "answer.html").read_text().startswith("<!DOCTYPE html>")
    assert (folder / "answer.png").stat().st_size > 10_000
    refused = eigenflow("forecast", "run.csv", "--out", "answer.html", cwd=folder)
    assert refused.code == 2 and "exists already" in refused.stderr


@pytest.mark.parametrize(
    "words",
    [["run.csv", "--dry-run"], ["--dry-run", "run.csv"], ["--total", "5000", "--dry-run", "run.csv"],
     ["log", "run.csv", "--dry-run"], ["./fit", "--dry-run"],
     ["odd.csv", "--column", "loss=nll_x", "--column", "step=when", "--dry-run"]],
)  # fmt: skip
def test_a_first_word_that_is_no_command_is_a_log(folder, words):
    done = eigenflow("forecast", *words, cwd=folder)
    assert done.code == 0, done
    total = "5,000" if "--total" in words else "4,000"
    assert f"known up to step 1,600 of {total}" in done.stdout
    assert "cosine" in done.stdout and "CPU seconds" in done.stdout


def test_a_dry_run_says_what_would_be_done_as_json(folder):
    done = eigenflow("forecast", "run.csv", "--dry-run", "--json", cwd=folder)
    told = json.loads(done.stdout)
    (run,) = told["runs"]
    assert run["is_chosen"] and run["total"] == 4000 and run["schedule"].startswith("cosine") and told["cpu_s"] > 0


def test_the_terminal_shows_cautions_first(folder):
    done = eigenflow("forecast", "bare.csv", cwd=folder)
    assert done.code == 0, done
    lines = done.stdout.splitlines()
    first = next(k for k, line in enumerate(lines) if "ends at" in line and not line.startswith("caution"))
    assert first > 0 and all(line.startswith("caution: ") for line in lines[:first])
    assert any("no learning rates" in line for line in lines[:first])
    assert any("does not say how long" in line for line in lines[:first])


def test_help_shows_the_commands_and_the_options_of_the_one_without_a_name(folder):
    done = eigenflow("forecast", "--help", cwd=folder)
    assert done.code == 0
    for word in ("backtest", "predict", "LOG...", "--what-if", "--target", "--total", "--column", "--pattern"):
        assert word in done.stdout, word
    assert eigenflow("forecast", "log", "--help", cwd=folder).code == 0


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("words", "messages"),
    [
        (["pedict", "fit.json"], ["'pedict' is neither a file", "Did you mean 'predict'?"]),
        (["nowhere.csv"], ["nowhere.csv does not exist"]),
        (["run.csv", "--total", "100"], ["`total` must be", "at least 1,600"]),
        (["run.csv", "--what-if", "cosin"], ["`what_if`", "of kind constant, cosine"]),
        (["bare.csv", "--what-if", "cosine"], ["`what_if` cannot be answered", "learning_rate=NAME"]),
        (["run.csv", "--run", "x"], ["`run` must be the name of a run, run, but is 'x'"]),
        (["run.csv", "--out", "run.csv"], ["`--out`", "run.csv"]),
        (["run.csv", "--picture", "a.txt"], ["`--picture` must end in"]),
    ],
)
def test_wrong_usage_ends_with_2_and_a_next_step(folder, words, messages):
    done = eigenflow("forecast", *words, cwd=folder)
    assert done.code == 2, done
    assert all(message in done.stderr for message in messages), done.stderr
