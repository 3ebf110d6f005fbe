"""`eigenflow sweep`, and `report` and `compare` of its folder: exit codes, what is printed, and what is written."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from eigenflow.cli.app import app
from eigenflow.cli.sweep_progress import SweepProgress
from eigenflow.lab.sweep import Outcome
from eigenflow.theory.over_sweep import open_results
from lab.sweep.small import TEXT, prepare
from report.recorded import Page
from theory.over_sweep.swept import write_sweep


def call(*words):
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "120"})


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(TEXT)
    return path


def test_a_dry_run_states_runs_and_cost_and_makes_nothing(config, tmp_path):
    done = call("sweep", config, "--out", tmp_path / "sweep", "--dry-run", "--json", "--set", "sweep.repeats=3")
    assert done.exit_code == 0
    cost = json.loads(done.stdout)["cost"]
    assert (cost["runs"], cost["of"], cost["kinds"]) == (6, 6, 2) and cost["cpu_s"] > 0
    assert "6 of 6 runs to make: about" in done.stderr
    assert not (tmp_path / "sweep").exists()


@pytest.mark.long
def test_a_sweep_is_made_gathered_and_gone_on_with(config, tmp_path):
    """Two runs, one of which diverges: exit 1 with its name, all numbers of the other, and nothing made twice."""
    folder = tmp_path / "sweep"
    words = ("sweep", config, "--out", folder, "--jobs", 1, "--set", "sweep.grid.model.width=[8]",
             "--set", "sweep.grid.train.learning_rate=[0.5,1e30]", "--json")  # fmt: skip
    wrong = "model.width=8,train.learning_rate=1e+30"
    for made in (["model.width=8,train.learning_rate=0.5"], []):
        done = call(*words)
        assert done.exit_code == 1
        found = json.loads(done.stdout)
        assert (found["runs"], found["done"], found["made_now"], list(found["failed"])) == (2, 1, made, [wrong])
    data = open_results(folder / "results.zarr")
    assert data["state"].values.tolist() == [[4 - 1, 2]]  # recorded, failed
    assert 0 < float(data["holdout_loss"][0, 0]) < 10


def test_help_has_an_example():
    assert "eigenflow sweep width" in call("sweep", "--help").stdout


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    dimensions = [("model.width", {"model.width": [8, 16, 32, 64]}, 0), ("repeat", {}, 2)]
    return write_sweep(
        tmp_path_factory.mktemp("cli") / "sweep",
        dimensions,
        lambda values, index: values["model.width"] ** -0.5 * (1 + 0.01 * index["repeat"]),
        growth=lambda values: 8 / values["model.width"],
        verdicts=lambda index: {"C1": "supported" if index["model.width"] else "contradicted"},
    )


@pytest.mark.long
def test_compare_of_a_sweep_tells_exponents_powers_and_flips(swept, tmp_path):
    told = json.loads(call("compare", swept, "--json").stdout)
    assert told["exponents"][0]["resource"] == "width" and told["flips"][0]["claim"] == "C1"
    power = next(one for one in told["powers"] if one["quantity"] == "distance")
    assert power["power"] == pytest.approx(-1.0, abs=1e-9)
    done = call("compare", swept, "--html", tmp_path / "page.html")
    assert done.exit_code == 0 and "width exponent" in done.stdout and "Verdicts that flip" in done.stdout
    assert (tmp_path / "page.html").exists()


@pytest.mark.long
def test_report_of_a_sweep_holds_its_numbers_and_loads_nothing(swept):
    done = call("report", swept, "--json")
    assert done.exit_code == 0
    text = (swept / "report.html").read_text()
    assert json.loads(done.stdout) == [str(swept / "report.html")]
    assert text.count("data-run=") == 8 and 'data-claim="C1"' in text
    page = Page(text)
    assert "default-src 'none'" in text and not [one for _, one in page.elements if "src" in one]
    assert {"runs"} <= set(page.traces("sweep_loss"))
    answer = text[: text.index('id="map"')]
    for key in ("done", "best", "size", "regime", "flips"):
        assert f'id="answer-{key}"' in answer
    assert "<dt>Which verdicts flip?</dt>" in answer and "One operator" in text


def test_names_of_strangers_are_escaped(tmp_path):
    folder = write_sweep(
        tmp_path / "s", [("model.width", {"model.width": ["<b>8</b>", "<i>9</i>"]}, 0)], lambda *_: 1.0
    )
    assert call("report", folder).exit_code == 0
    text = (folder / "report.html").read_text()
    assert "<b>8</b>" not in text and "&lt;b&gt;8&lt;/b&gt;" in text


def test_the_live_table_says_the_state_of_all_runs(tmp_path):
    from rich.console import Console

    work = prepare(tmp_path, "sweep.grid.model.width=[4,6,8,10,12]")
    work.folder.write_plan(work.plan)
    show = SweepProgress(work)
    show.is_live = True
    show.started("this process")
    show.ended(Outcome("model.width=4", True, wall_s=3.0))
    show.ended(Outcome("model.width=6", False, "OSError: the disk is full"))
    lease = {"id": "a", "host": "node-7", "done": 30, "of": 60, "beat": 1}
    work.folder.lease("model.width=8").write_text(json.dumps(lease))
    console = Console(width=110)
    with console.capture() as captured:
        console.print(show.table())
    lines = captured.get().splitlines()
    assert "2 waiting" in lines[0] and "1 running" in lines[0] and "1 done" in lines[0] and "1 failed" in lines[0]
    told = {name: next(line for line in lines if name in line) for name in work.states}
    assert "failed" in told["model.width=6"] and "the disk is full" in told["model.width=6"]
    assert "running" in told["model.width=8"] and "step 30 of 60, on node-7" in told["model.width=8"]
    assert "waiting" in told["model.width=10"]


PROGRAM = "from eigenflow.cli import main; main()"


@pytest.mark.slow  # the signal has to come before two short runs are done, which a busy machine does not promise
def test_ctrl_c_leaves_all_that_was_recorded_and_says_how_to_go_on(config, tmp_path):
    folder = tmp_path / "sweep"
    words = [sys.executable, "-c", PROGRAM, "sweep", str(config), "--out", str(folder), "--jobs", "1"]
    long = [*words, "--set", "train.steps=3000", "--set", "measure.count=4"]
    child = subprocess.Popen(long, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while not (folder / "runs" / "model.width=8" / "checkpoint.safetensors").exists():
        assert child.poll() is None
        time.sleep(0.05)
    os.killpg(child.pid, signal.SIGINT)  # as a terminal does: to the command and to its processes
    told = child.communicate(timeout=120)[1]
    assert child.returncode == 130 and "go on with: eigenflow sweep" in told
    done = subprocess.run([*long, "--json"], capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["done"] == 2 and not found["failed"]
    data = open_results(folder / "results.zarr")
    assert data["steps"].values.tolist() == [3000.0, 3000.0]
