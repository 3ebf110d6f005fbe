"""A record of states that is killed and resumed is the one that was not; and goes on as nothing else."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import eigenflow as ef
from eigenflow.core.errors import RunFolderError
from eigenflow.trajectory import StateRecorder
from trajectory.recorded_states import RATE, SCHEDULE, make, record_states, states

CHILD = Path(__file__).with_name("recorded_states.py")


def interrupted(path, stop, **options):
    """The first states of a record."""
    model, train, probe = make()
    recorder = StateRecorder(path, probe, **options)
    for step in states(model, train, SCHEDULE[:stop]):
        recorder.record(step, time=RATE * step, loss=1.0 / (1 + step))
    recorder.close("interrupted")


METHODS = {"dense": {}, "tracked": {"method": "tracked", "modes": 5}}


@pytest.fixture(scope="module")
def wholes(tmp_path_factory):
    """Records that nobody interrupted, by method."""
    path = tmp_path_factory.mktemp("wholes")
    return {name: record_states(path / name, **options) for name, options in METHODS.items()}


@pytest.mark.long
@pytest.mark.parametrize("stop", range(len(SCHEDULE)))
@pytest.mark.parametrize("method", METHODS)
def test_resumed_record_equals_an_uninterrupted_one(wholes, tmp_path, stop, method):
    whole, options = wholes[method], METHODS[method]
    interrupted(tmp_path / "run", stop, **options)
    run = record_states(tmp_path / "run", resume=True, **options)
    assert run.measurements.identical(whole.measurements) and run.losses.equals(whole.losses)
    assert run.status == "complete" and run.gaps == ()


# Writes of a state: the clock (of the first), a commit before each of its files (two, or one), each file, and the last
# commit. 1 is the folder itself, 7 and 10 are commits of measurements, 13 that of a later one.
@pytest.mark.long
@pytest.mark.parametrize("number", [1, 7, *(pytest.param(n, marks=pytest.mark.slow) for n in (4, 8, 9, 10, 11, 13))])
@pytest.mark.filterwarnings("ignore:.*not written to its end:eigenflow.store.RunFolderWarning")
def test_killed_in_the_middle_of_a_write_and_resumed(tmp_path, number):
    """kill -9 inside the n-th replaced file: the folder opens, and resumed it is the uninterrupted one, bit for bit."""
    roots = [str(CHILD.parent.parent), str(Path(ef.__file__).parent.parent)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(roots), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(CHILD), str(tmp_path / "run"), str(number)]
    done = subprocess.run(command, env=environment, timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL
    if number > 1:
        assert ef.open_run(tmp_path / "run").status == "interrupted"
    run, whole = record_states(tmp_path / "run", resume=True), record_states(tmp_path / "whole")
    assert run.measurements.identical(whole.measurements) and run.losses.equals(whole.losses)


def test_resume_measures_nothing_again_and_asks_again_for_later_gaps(tmp_path, monkeypatch):
    model, train, probe = make()
    with StateRecorder(tmp_path / "run", probe) as recorder:
        assert recorder.record(0)
        recorder.skip(3, "missing")
        assert recorder.record(7)
        recorder.skip(8, "truncated")
    monkeypatch.setattr("eigenflow.trajectory.state_recorder.measure_by", None)
    with StateRecorder(tmp_path / "run", probe, resume=True) as recorder:
        assert recorder.steps == (0, 7)
        assert not any(recorder.record(step) for step in (0, 3, 7))  # and nothing was measured
    run = ef.open_run(tmp_path / "run")
    assert [gap.step for gap in run.gaps] == [3] and run.status == "complete with gaps"


def test_resume_begins_a_folder_that_is_not_there(tmp_path):
    assert record_states(tmp_path / "run", resume=True).measured_steps == SCHEDULE


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("now", "told"),
    [
        ({"modes": 6}, "modes=4, but would go on with modes=6"),
        ({"modes": 4, "couplings": 2}, "couplings=4"),
        ({"method": "tracked", "modes": 4}, "method='dense'"),
    ],
    ids=["more modes", "couplings", "method"],
)
def test_other_settings_do_not_go_on(tmp_path, now, told):
    interrupted(tmp_path / "run", 2, modes=4)
    with pytest.raises(RunFolderError, match=rf"{told}.*same settings"):
        StateRecorder(tmp_path / "run", make()[2], resume=True, **now)


@pytest.mark.rejects
def test_other_records_do_not_go_on(tmp_path):
    interrupted(tmp_path / "run", 2)
    with pytest.raises(RunFolderError, match="another probe set"):
        StateRecorder(tmp_path / "run", make(seed=3)[2], resume=True)
    with pytest.raises(RunFolderError, match="not empty"):
        StateRecorder(tmp_path / "run", make()[2])
    model, (inputs, targets), _ = make()
    with pytest.raises(RunFolderError, match=r"holdout_samples=3, but would go on with holdout_samples=0"):
        StateRecorder(tmp_path / "run", ef.Probe(model, inputs, targets), resume=True)
    with ef.Recorder(tmp_path / "updates", make()[2], [0]) as recorder:
        recorder.step(0, loss=1.0, learning_rate=0.1)
    with pytest.raises(RunFolderError, match="is a record of updates"):
        StateRecorder(tmp_path / "updates", make()[2], resume=True)


def test_a_deleted_state_is_named(tmp_path):
    interrupted(tmp_path / "run", 3)
    (tmp_path / "run" / "state-first.safetensors").unlink()
    with pytest.raises(RunFolderError, match="state-first"):
        StateRecorder(tmp_path / "run", make()[2], resume=True)
