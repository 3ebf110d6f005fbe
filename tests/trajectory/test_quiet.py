"""Updates that are only logged: the same rows, errors, gaps and measurements as by the way that looks at everything."""

import errno
import json
import warnings

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

import eigenflow as ef
from eigenflow.core.errors import ArgumentError, FileError, RunFolderError
from eigenflow.store import RecordGapWarning
from eigenflow.trajectory import recorder as module
from eigenflow.trajectory.quiet import usual_row
from eigenflow.trajectory.rows import loss_row
from eigenflow.trajectory.said import as_number, checked_update
from problems import tanh_net
from trajectory.test_recorder_goes_on import make, update

NUMBERS = st.one_of(st.floats(), st.floats(0, 1), st.integers(-3, 2**70), st.booleans(), st.text(max_size=3), st.none())
LOSSES = st.one_of(NUMBERS, st.floats(0, 9).map(torch.tensor), st.just(torch.ones(2)), st.just(torch.tensor(True)))
RATES = st.one_of(
    NUMBERS,
    st.floats(0, 1).map(torch.tensor),
    st.lists(st.sampled_from([0.0, 0.1, 0.2]), max_size=4),
    st.lists(NUMBERS, max_size=2).map(tuple),
)
EXTRAS = st.dictionaries(st.sampled_from(["grad_norm", 'a "name"', "time", "reason"]), NUMBERS, max_size=2)


@pytest.mark.long
@given(
    step=st.integers(0, 2**53),
    loss=LOSSES,
    rate=RATES,
    momentum=st.one_of(st.just(0.0), st.floats(0, 1), NUMBERS),
    batch_size=st.one_of(st.none(), st.integers(-1, 10**6), NUMBERS),
    extra=EXTRAS,
    counts_momentum=st.booleans(),
)
@example(step=0, loss=0.0, rate=0.0, momentum=0.5, batch_size=None, extra={}, counts_momentum=False)
@settings(max_examples=600, deadline=None)
def test_a_usual_row_is_that_of_the_way_that_checks_everything(
    step, loss, rate, momentum, batch_size, extra, counts_momentum
):
    found = usual_row(step, 1.5, loss, rate, momentum, batch_size, extra, counts_momentum)
    if found is None:
        return
    options = {"batch_size": batch_size, "updates": 1, "extra": extra, "next_step": step, "may_skip": False}
    said = checked_update(step, as_number(loss), rate, momentum=momentum, **options)
    length = said.length(counts_momentum=counts_momentum)
    row = loss_row(said, 1.5, length, counts_momentum=counts_momentum)
    # As text: the order of entries and the types of numbers are part of it.
    assert json.dumps(found[0], allow_nan=False) == json.dumps(row, allow_nan=False)
    assert found[1] == length


@pytest.mark.parametrize(
    "said",
    [
        (0, 0.5, 0.1, 0.0, 8, {}),
        (7, torch.tensor(0.5, requires_grad=True), [0.1, 0.1, 0.3], 0.9, None, {"grad_norm": 2.0, "phase": "a"}),
    ],
)
def test_what_loops_say_is_usual(said):
    assert usual_row(said[0], 0.0, *said[1:], True) is not None


def losses(path):
    return (path / "losses.jsonl").read_bytes()


def record(path, *, schedule, max_overhead=None):
    """A run with everything that may come between: a loss that is none, a refused call, more numbers, a rate of 0."""
    model, inputs, targets, probe = make(tanh_net(0))
    measured = []
    options = {"modes": 4, "max_overhead": max_overhead}
    with warnings.catch_warnings(), ef.Recorder(path, probe, schedule, **options) as recorder:
        warnings.simplefilter("ignore", RecordGapWarning)
        for step in range(30):
            # Losses that are none come with and without a change of the parameters.
            rate = 0.0 if step in (8, 11) else 0.05
            loss = update(model, inputs, targets, rate) if step != 11 else 0.25
            if step in (11, 12):
                loss = float("nan")
            if step == 15:
                with pytest.raises(ArgumentError, match="`step` must be 15"):
                    recorder.step(16, loss=loss, learning_rate=rate)
            if step == 20:
                with pytest.raises(ArgumentError, match="`learning_rate` must be a finite number"):
                    recorder.step(step, loss=loss, learning_rate=-rate)
                continue  # the loop leaves it out
            more = {"grad_norm": 0.5, "momentum": 0.3} if step == 23 else {}
            measured.append(recorder.step(step, loss=torch.tensor(loss), learning_rate=[rate], **more))
        time, next_step = recorder.time, recorder.next_step
    run = ef.open_run(path)
    return measured, run.measured_steps, [gap.reason for gap in run.gaps], run.status, time, next_step


@pytest.mark.long
@pytest.mark.parametrize("schedule", [[0, 1, 2, 9, 10, 24], [5], [10**9]])
def test_a_run_is_the_same_without_the_short_way(tmp_path, schedule, monkeypatch):
    taken = []

    def counted(*args):
        taken.append(usual_row(*args) is not None)
        return usual_row(*args)

    monkeypatch.setattr(module, "usual_row", counted)
    short = record(tmp_path / "short", schedule=schedule)
    assert sum(taken) > 8
    monkeypatch.setattr(module, "usual_row", lambda *args: None)
    whole = record(tmp_path / "whole", schedule=schedule)
    assert short == whole and losses(tmp_path / "short") == losses(tmp_path / "whole")


def test_the_clock_of_a_paced_record_counts_every_update(tmp_path):
    """Thirty updates but one that was refused: the pace has seen all of them, the first one as its beginning."""
    model, inputs, targets, probe = make(tanh_net(0))
    with ef.Recorder(tmp_path / "run", probe, [10**6], modes=4, max_overhead=0.05) as recorder:
        for step in range(30):
            recorder.step(step, loss=update(model, inputs, targets), learning_rate=0.1)
        assert recorder.pace._seen == recorder.pace._step == 29


@pytest.mark.parametrize("on_error", ["skip", "raise"])
def test_a_full_disk_is_told_and_the_row_is_not_lost(tmp_path, on_error, monkeypatch):
    model, inputs, targets, probe = make(tanh_net(0))
    recorder = ef.Recorder(tmp_path / "run", probe, [10**6], modes=4, on_error=on_error)
    for step in range(3):
        recorder.step(step, loss=update(model, inputs, targets), learning_rate=0.1)
    assert recorder._is_quiet
    log = recorder._folder.writer._losses

    def no_space(content):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(log._file, "_write", no_space)
        patch.setattr(log, "_written_at", -10.0)
        if on_error == "raise":
            with pytest.raises(FileError, match="the disk is full"):
                recorder.step(3, loss=0.5, learning_rate=0.1)
        else:
            words = "The loss could not be written yet: .*the disk is full.*The record goes on"
            with pytest.warns(RecordGapWarning, match=words) as told:
                recorder.step(3, loss=0.5, learning_rate=0.1)
            assert told[0].filename == __file__
    recorder.step(4, loss=0.25, learning_rate=0.1)
    recorder.flush()
    assert [json.loads(line)["loss"] for line in losses(tmp_path / "run").splitlines()[3:]] == [0.5, 0.25]
    recorder.close()
    with pytest.raises(RunFolderError, match="recorder is closed"):
        recorder.step(5, loss=0.5, learning_rate=0.1)
