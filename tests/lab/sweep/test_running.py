"""A sweep made: run folders are the truth, nothing finished is made again or replaced, and failures end nothing."""

import fcntl
import json
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import xarray as xr

from eigenflow.core.errors import RunFolderError
from eigenflow.lab import load_config, run_experiment
from eigenflow.lab.judging import judge_run
from eigenflow.lab.sweep import estimate_sweep, make_sweep
from eigenflow.lab.sweep.attempt import RunTask, make_run
from eigenflow.lab.sweep.running import _tasks
from eigenflow.store import open_run
from lab.sweep.small import Here, attempts, prepare

pytestmark = pytest.mark.long

NAMES = ["model.width=8", "model.width=12"]
ONE = "sweep.grid.model.width=[8]"
SCRIPT = """
import sys, json
from eigenflow.lab.sweep.attempt import RunTask, make_run
print(make_run(RunTask(**json.loads(sys.argv[1]))))
"""
TIMES = {"created", "updated", "versions", "machine", "checksums", "timings", "checksum", "time"}


def without_times(value):
    """JSON without what differs from run to run: dates, seconds, memory, and sums over them."""
    if isinstance(value, dict):
        return {key: without_times(entry) for key, entry in value.items() if key not in TIMES}
    return [without_times(entry) for entry in value] if isinstance(value, list) else value


def differences(here, there, at=""):
    """Where two JSON values differ: texts and whole numbers at all, others by more than 1e-9 of themselves."""
    if isinstance(here, dict) and isinstance(there, dict):
        keys = sorted({*here, *there})
        return [d for key in keys for d in differences(here.get(key), there.get(key), f"{at}/{key}")]
    if isinstance(here, list) and isinstance(there, list) and len(here) == len(there):
        return [d for n, pair in enumerate(zip(here, there, strict=True)) for d in differences(*pair, f"{at}/{n}")]
    are_floats = isinstance(here, float) and isinstance(there, float)
    is_same = here == pytest.approx(there, rel=1e-9, abs=1e-14) if are_floats else here == there
    return [] if is_same else [f"{at}: {here!r}, {there!r}"]


def test_every_run_is_made_once_and_a_second_call_makes_none(tmp_path):
    engine = Here()
    found = make_sweep(prepare(tmp_path), engine=engine)
    assert engine.made == NAMES and found.done == 2 and not found.failed
    assert [event["event"] for events in attempts(tmp_path / "sweep").values() for event in events] == [
        "begin",
        "end",
    ] * 2
    again = prepare(tmp_path)
    assert not again.left
    engine = Here()
    assert make_sweep(again, engine=engine).done == 2 and engine.made == []


def test_more_values_make_only_new_runs(tmp_path):
    make_sweep(prepare(tmp_path), engine=Here())
    engine = Here()
    make_sweep(prepare(tmp_path, "sweep.grid.model.width=[8,12,16]", "sweep.repeats=2"), engine=engine)
    assert len(engine.made) == 6 - 2
    assert not set(engine.made) & set(NAMES)


def test_a_run_of_a_sweep_is_the_run_alone_bit_for_bit(tmp_path):
    """All that is recorded, but for dates. What is concluded from it goes through fits, whose sums some libraries take
    in an order that depends on where arrays lie in memory: it is the same to 1e-9, and every word of it."""
    work = prepare(tmp_path, ONE, "sweep.analyse=true", "sweep.report=true", "measure.count=6")
    make_sweep(work, engine=Here())
    swept, config = tmp_path / "sweep" / "runs" / NAMES[0], work.plan.runs[0].config
    alone = tmp_path / "alone"
    judge_run(run_experiment(config, alone), report=True, train_s=0.0, begin=0.0)

    inside = [sorted(str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file()) for folder in (swept, alone)]
    assert inside[0] == inside[1]
    assert {"run.json", "losses.jsonl", "summary.json", "report.html"} <= set(inside[0])
    for name in inside[0]:
        here, there = (folder / name for folder in (swept, alone))
        if name in ("run.json", "summary.json"):
            contents = [json.loads(file.read_text().replace(str(file.parent), "")) for file in (here, there)]
            assert not differences(*map(without_times, contents))
        elif name != "report.html":
            assert here.read_bytes() == there.read_bytes(), name
    # The page shows name of the folder, dates and seconds beside what is compared above.
    assert abs((swept / "report.html").stat().st_size - (alone / "report.html").stat().st_size) < 2000


def test_a_run_that_was_deleted_is_made_again_and_no_other(tmp_path):
    make_sweep(prepare(tmp_path), engine=Here())
    gone = tmp_path / "sweep" / "runs" / NAMES[1]
    for file in sorted(gone.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    engine = Here()
    make_sweep(prepare(tmp_path), engine=engine)
    assert engine.made == [NAMES[1]]


def test_a_run_that_was_killed_goes_on_from_where_it_was(tmp_path):
    """Killed in the middle by SIGKILL; what comes of it is that of a run that was not, bit for bit."""
    long = ("train.steps=3000", "measure.count=5", ONE)
    work = prepare(tmp_path, *long)
    work.folder.write_plan(work.plan)
    task, place = _tasks(work)[0], tmp_path / "sweep" / "runs" / NAMES[0]
    child = subprocess.Popen([sys.executable, "-c", SCRIPT, json.dumps(task.__dict__)])
    while not (place / "checkpoint.safetensors").exists():
        assert child.poll() is None
        time.sleep(0.01)
    child.kill()
    child.wait()
    assert open_run(place).status == "interrupted"
    with pytest.warns(UserWarning, match=f"taken over from process {child.pid}"):
        found = make_sweep(prepare(tmp_path, *long), engine=Here())
    assert found.done == 1
    run, alone = open_run(place), run_experiment(work.plan.runs[0].config, tmp_path / "alone")
    assert run.status == "complete" and len(run.header["resumes"]) == 1
    xr.testing.assert_identical(run.measurements, alone.measurements)
    np.testing.assert_array_equal(run.losses["loss"], alone.losses["loss"])


@pytest.mark.rejects
def test_a_run_of_another_configuration_is_refused_and_stays(tmp_path):
    make_sweep(prepare(tmp_path), engine=Here())
    before = (tmp_path / "sweep" / "runs" / NAMES[0] / "run.json").read_bytes()
    with pytest.raises(
        RunFolderError, match=r"(?s)holds 2 runs of another configuration.*train.steps is 20 there and 70"
    ):
        prepare(tmp_path, "train.steps=70")
    assert (tmp_path / "sweep" / "runs" / NAMES[0] / "run.json").read_bytes() == before


def test_a_folder_that_cannot_be_gone_on_with_is_moved_aside_and_said(tmp_path):
    make_sweep(prepare(tmp_path), engine=Here())
    folder = tmp_path / "sweep" / "runs" / NAMES[1]
    (folder / "run.json").write_text("no json")
    with pytest.warns(UserWarning, match=r"begun anew; what was there is now in aside"):
        found = make_sweep(prepare(tmp_path), engine=Here())
    assert found.done == 2
    aside = tmp_path / "sweep" / "aside" / "model.width=12.1"
    assert (aside / "run.json").read_text() == "no json" and (aside / "losses.jsonl").exists()
    assert open_run(folder).status == "complete"


def test_a_checkpoint_that_is_damaged_is_moved_aside_too(tmp_path):
    make_sweep(prepare(tmp_path), engine=Here())
    folder = tmp_path / "sweep" / "runs" / NAMES[0]
    config = prepare(tmp_path).plan.runs[0].config

    def stop(done, *_):
        if done == 18:
            raise KeyboardInterrupt

    for file in sorted(folder.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    with pytest.raises(KeyboardInterrupt):
        run_experiment(config, folder, progress=stop)
    (folder / "checkpoint.safetensors").write_bytes(b"damaged")
    with pytest.warns(UserWarning, match="begun anew"):
        assert make_sweep(prepare(tmp_path), engine=Here()).done == 2
    assert (tmp_path / "sweep" / "aside").exists()


def test_what_diverges_is_named_ends_nothing_and_is_not_made_again(tmp_path):
    changes = ["sweep.grid.train.learning_rate=[0.5,1e30]"]
    found = make_sweep(prepare(tmp_path, *changes), engine=Here())
    assert found.done == 2
    assert set(found.failed) == {f"model.width={w},train.learning_rate=1e+30" for w in (8, 12)}
    again = prepare(tmp_path, *changes)
    assert not again.left and len(again.diverged) == 2
    assert set(make_sweep(again, engine=Here()).failed) == set(found.failed)


def test_what_failed_otherwise_is_tried_again(tmp_path, monkeypatch):
    from eigenflow.lab import experiment

    original, calls = experiment.load_task, []

    def fail_once(config):
        calls.append(1)
        if len(calls) == 1:
            raise OSError("the network disk is away")
        return original(config)

    monkeypatch.setattr(experiment, "load_task", fail_once)
    found = make_sweep(prepare(tmp_path), engine=Here())
    assert found.failed == {NAMES[0]: "OSError: the network disk is away"}
    told = json.loads((tmp_path / "sweep" / "failures" / f"{NAMES[0]}.json").read_text())
    assert "Traceback" in told["traceback"] and not told["has_diverged"]
    again = prepare(tmp_path)
    assert again.left == (NAMES[0],)
    assert make_sweep(again, engine=Here()).done == 2
    assert not list((tmp_path / "sweep" / "failures").iterdir())


def test_a_folder_that_a_machine_does_not_see_is_told(tmp_path):
    config = load_config("digits-width", ["measure.threads=1"]).model_dump()
    found = make_run(RunTask("a", str(tmp_path / "not there"), config))
    assert not found.is_done and "is not there on" in found.error and "every machine sees" in found.error
    assert not (tmp_path / "not there").exists()


HOLD = """
import sys, time
from pathlib import Path
from eigenflow.store.lock import acquire_lock
folder = Path(sys.argv[1])
folder.mkdir(parents=True)
lock = acquire_lock(folder)
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def held(tmp_path):
    """A lock of the kernel on a run's folder, by a living process."""
    place = tmp_path / "sweep" / "runs" / NAMES[0]
    (tmp_path / "sweep" / "sweep.json").parent.mkdir()
    (tmp_path / "sweep" / "sweep.json").write_text("{}")
    child = subprocess.Popen([sys.executable, "-c", HOLD, str(place)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None and child.stdout.readline() == "held\n"
    yield place
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()


def test_a_writer_beside_the_sweep_is_not_disturbed(tmp_path, held):
    found = make_sweep(prepare(tmp_path, "sweep.engine.patience_s=1.0"), engine=Here())
    assert list(found.failed) == [NAMES[0]] and "in use by a writer that is not of this sweep" in found.failed[NAMES[0]]
    assert not (held / "run.json").exists()


def test_a_lock_that_a_dead_machine_left_does_not_block_for_ever(tmp_path, held):
    """Its lease is of another machine, which gives no sign of life; the file system still has its lock."""
    lease = tmp_path / "sweep" / "leases" / f"{NAMES[0]}.json"
    lease.parent.mkdir()
    lease.write_text(json.dumps({"id": "x", "host": "dead-node", "system": "s", "process": 7, "beat": 3}))
    with pathlib.Path(held / ".lock").open() as lock, pytest.raises(BlockingIOError):  # the lock is really held
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with pytest.warns(UserWarning, match="taken over from process 7 of dead-node"):
        found = make_sweep(prepare(tmp_path, "sweep.engine.patience_s=3.0"), engine=Here())
    assert found.done == 2 and not found.failed


def test_two_attempts_at_once_make_one_run(tmp_path):
    """Both are told that it is done; one has made it, the other found it."""
    work = prepare(tmp_path)
    work.folder.write_plan(work.plan)
    text = json.dumps(_tasks(work)[0].__dict__)
    command = [sys.executable, "-c", SCRIPT, text]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in "ab"]
    told = [child.communicate()[0] for child in children]
    assert all("is_done=True" in one for one in told)
    found = sorted(event.get("found", event["event"]) for event in attempts(tmp_path / "sweep")[NAMES[0]])
    assert found == ["begin", "begin", "done", "new"]
    assert open_run(tmp_path / "sweep" / "runs" / NAMES[0]).header["resumes"] == []


@pytest.mark.rejects
def test_a_folder_with_something_else_in_it_is_refused(tmp_path):
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "thesis.tex").write_text("years of work")
    with pytest.raises(RunFolderError, match="is not empty, and holds no sweep"):
        make_sweep(prepare(tmp_path), engine=Here())
    assert [path.name for path in (tmp_path / "sweep").iterdir()] == ["thesis.tex"]


def test_cost_is_that_of_the_runs_that_are_left(tmp_path):
    cost = estimate_sweep(prepare(tmp_path, "sweep.repeats=2"))
    assert (cost.runs, cost.of, cost.kinds, cost.timed) == (
        4,
        4,
        2,
        2,
    )  # other seeds cost the same, another width does not
    assert cost.cpu_s >= 2 * cost.longest_s * 0.5 and cost.longest_s > 0
    make_sweep(prepare(tmp_path), engine=Here())
    done = estimate_sweep(prepare(tmp_path))
    assert (done.runs, done.cpu_s) == (0, 0.0) and "none of the 2 runs is left" in done.summary()


def test_results_print_themselves(tmp_path):
    work = prepare(tmp_path)
    found = make_sweep(work, engine=Here())
    for one in (work.plan, work, found):
        text = repr(one)
        assert len(text.splitlines()) <= 15 and "2" in text
