"""The program as a user runs it: exit codes, JSON, files written, nothing overwritten."""

import json
import os
import re
import subprocess
import sys

import pytest

from cli.program import eigenflow as program

pytestmark = pytest.mark.long

SMALL = ["task.samples=10", "task.holdout=10", "model.width=12", "model.depth=1", "train.steps=300", "measure.count=20"]
CHANGES = [word for change in SMALL for word in ("--set", change)]


def eigenflow(*words, cwd, code=0):
    """In this process, as starting one costs seconds; the main job and the doctor are programs of their own."""
    done = program(*words, cwd=cwd)
    assert done.code == code, done
    return done


def in_a_process(*words, cwd, code=0):
    done = subprocess.run(
        [sys.executable, "-m", "eigenflow", *map(str, words)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "COLUMNS": "200", "OMP_NUM_THREADS": "1", "NO_COLOR": "1"},
    )
    assert done.returncode == code, (done.returncode, done.stdout[-2000:], done.stderr[-2000:])
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def main_job(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    done = in_a_process("run", *CHANGES, "--out", "out", cwd=folder)
    return folder, done


def strict(text):
    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_main_job_prints_verdicts_and_scores_and_writes_both_files(main_job):
    folder, done = main_job
    for text in ("C1", "C8", "verdict", "lazy limit", "transport, b = 1", "power law in time", "from 10%"):
        assert text in done.stdout
    assert re.search(r"about \d+ s", done.stderr)  # the cost is stated before the work
    summary = strict((folder / "out" / "summary.json").read_text())
    whole = [c["claim"] for c in summary["claims"] if "." not in c["claim"]]
    assert whole == sorted(whole) and {"C1", "C2", "C3", "C4", "C5", "C7", "C8"} <= set(whole) and len(whole) <= 8
    for row in summary["claims"]:
        assert row["verdict"] in {"supported", "contradicted", "undecided"} and row["reason"] and row["statement"]
    assert {(s["method"], s["cut"]) for s in summary["forecast"]["scores"]} == {
        (m, c) for m in ("lazy", "transport", "power_law") for c in (0.1, 0.25, 0.5)
    }
    assert summary["timings"]["total_s"] > 0 and summary["status"] == "complete"
    page = (folder / "out" / "report.html").read_text()
    assert page.startswith("<!DOCTYPE html>") and "C4.sign" in page


def test_claims_as_json_are_those_of_the_summary(main_job):
    folder, _ = main_job
    rows = strict(eigenflow("claims", "out", "--json", cwd=folder).stdout)
    assert rows == strict((folder / "out" / "summary.json").read_text())["claims"]


def test_analyse_rewrites_the_summary_and_keeps_the_timings(main_job):
    folder, _ = main_job
    before = strict((folder / "out" / "summary.json").read_text())
    printed = strict(eigenflow("analyse", "out", "--json", cwd=folder).stdout)
    assert printed["claims"] == before["claims"]
    assert printed["timings"]["train_and_measure_s"] == before["timings"]["train_and_measure_s"]
    assert "Claims of the theory" in eigenflow("analyse", "out", cwd=folder).stdout


def test_report_is_written_again(main_job):
    folder, _ = main_job
    (folder / "out" / "report.html").unlink()
    written = strict(eigenflow("report", "out", "--json", cwd=folder).stdout)
    assert len(written) == 1 and (folder / "out" / "report.html").stat().st_size > 10_000


def test_dry_run_states_the_cost_and_writes_nothing(tmp_path):
    cost = strict(eigenflow("run", *CHANGES, "--dry-run", "--json", cwd=tmp_path).stdout)["cost"]
    assert cost["rows"] == 100 and cost["parameters"] == 64 * 12 + 12 + 12 * 10 + 10 and cost["measurements"] == 20
    assert not any(tmp_path.iterdir())


def test_doctor_is_ready_here(tmp_path):
    findings = strict(eigenflow("doctor", "--json", cwd=tmp_path).stdout)
    assert findings["is_ready"] and findings["versions"]["torch"]
    assert "Ready." in eigenflow("doctor", cwd=tmp_path).stdout


@pytest.mark.parametrize("command", ["run", "analyse", "claims", "report", "doctor"])
def test_help_has_an_example(command, tmp_path):
    assert f"eigenflow {command}" in eigenflow(command, "--help", cwd=tmp_path).stdout.split("Example", 1)[1]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["run", "--set", "train.stesp=5"], 2, "'train.stesp' is not a known key"),
        (["run", "nonesuch"], 2, "no file 'nonesuch'"),
        (["run", "--nonesuch"], 2, "No such option"),
        (["nonesuch"], 2, "No such command"),
        (["claims", "nowhere"], 1, "nowhere"),
        (["analyse", "."], 1, "run.json"),
        (["report", "nowhere"], 1, "nowhere"),
        (["run", *CHANGES, "--out", "bad", "--set", "train.learning_rate=1e9"], 1, "the run has diverged"),
    ],
)
def test_wrong_usage_is_2_and_a_failed_run_is_1(words, code, message, tmp_path):
    done = eigenflow(*words, cwd=tmp_path, code=code)
    assert message in done.stderr.replace("\n", " ")


def test_existing_folder_is_refused_and_untouched(main_job):
    folder, _ = main_job
    before = {p: p.read_bytes() for p in (folder / "out").rglob("*") if p.is_file()}
    done = eigenflow("run", *CHANGES, "--out", "out", cwd=folder, code=1)
    assert "out" in done.stderr and "--resume" in done.stderr
    assert {p: p.read_bytes() for p in (folder / "out").rglob("*") if p.is_file()} == before


def test_claims_table_fits_80_columns(monkeypatch):
    """The longest names, intervals, bands and verdicts that there are."""
    from rich.console import Console

    from eigenflow.cli import console
    from eigenflow.theory import Claim, Verdict

    monkeypatch.setattr(console, "out", Console(width=80))
    interval = (-1.4e-6, -6.27e-7)
    row = Claim("C4.alternatives", "s", -6.08e-7, interval, (0.75, 1.25), Verdict.CONTRADICTED, "r")
    terminal = Console(width=80)
    with terminal.capture() as captured:
        terminal.print(console.claims_table([row]))
    text = captured.get()
    assert "\N{HORIZONTAL ELLIPSIS}" not in text
    for part in ("C4.alternatives", "-6.1e-07", "[-1.4e-06, -6.3e-07]", "[0.75, 1.25]", "contradicted"):
        assert part in text
