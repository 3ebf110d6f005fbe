"""A record under a cap on the time of measuring: fewer measurements, each the same as without it."""

import numpy as np
import pytest
import torch

import eigenflow as ef
from eigenflow.core.errors import ArgumentError
from eigenflow.store import RecordGapWarning
from eigenflow.trajectory.record_folder import RecordFolder


def record(folder, *, steps=40, cap=None, schedule=None, clock=None, update=lambda: None):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1)).double()
    inputs = torch.randn(12, 3, dtype=torch.float64)
    targets = torch.sin(inputs.sum(1, keepdim=True))
    probe = ef.Probe(model, inputs, targets)
    schedule = schedule or ef.log_steps(steps, count=10)
    with ef.Recorder(folder, probe, schedule, max_overhead=cap) as recorder:
        if clock is not None:
            recorder.pace._clock = clock
        for step in range(steps):
            update()
            loss = torch.nn.functional.mse_loss(model(inputs), targets)
            gradients = torch.autograd.grad(loss, list(model.parameters()))
            with torch.no_grad():
                for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                    parameter -= 0.1 * gradient
            recorder.step(step, loss=loss, learning_rate=0.1)
    return ef.open_run(folder)


def ticking(seconds):
    """A clock that goes on by so much at every look."""
    now = 0.0

    def clock():
        nonlocal now
        now += seconds
        return now

    return clock


@pytest.mark.long
def test_a_held_measurement_is_that_of_its_own_step(tmp_path):
    """Bit for bit: it is made of copies."""
    whole = record(tmp_path / "whole").measurements
    capped = record(tmp_path / "capped", cap=0.9, clock=ticking(1.0)).measurements
    assert 0 in capped.step.values and set(capped.step.values) < set(whole.step.values)
    same = whole.sel(step=capped.step)
    for name in ("time", "eigenvalue", "coefficient", "shell_energy", "probe_loss", "transfer"):
        if name in whole:
            np.testing.assert_array_equal(capped[name], same[name], err_msg=name)
    assert (capped["measurement_s"] > 0).all()
    assert "measurement_s" not in whole


@pytest.mark.long
@pytest.mark.parametrize("what", ["append", "save_method"])
def test_what_writing_takes_counts_too(what, tmp_path, monkeypatch):
    """Measuring takes nothing here and writing two updates' time: a cap of a tenth leaves one of eighteen."""
    now = 0.0

    def moves(seconds):
        nonlocal now
        now += seconds

    written = getattr(RecordFolder, what)

    def slow(*args, **named):
        moves(2.0)
        return written(*args, **named)

    monkeypatch.setattr(RecordFolder, what, slow)
    run = record(
        tmp_path / "run", steps=360, cap=0.1, schedule=range(360), clock=lambda: now, update=lambda: moves(1.0)
    )
    # 360 updates leave 40 seconds, and the first measurement is made before it is known what one takes.
    assert 17 <= run.measurements.sizes["step"] <= 20


@pytest.mark.long
def test_losses_are_those_of_a_run_without_a_cap(tmp_path):
    whole = record(tmp_path / "whole").losses
    capped = record(tmp_path / "capped", cap=0.5, clock=ticking(1.0)).losses
    assert whole.equals(capped)


def test_what_there_is_no_time_for_is_a_gap_with_its_reason(tmp_path):
    """Six calls, so that nothing is known of updates before the last one, and the first update is still held."""
    run = record(tmp_path / "run", steps=4, cap=0.01, schedule=[0])
    assert run.status == "complete with gaps" and run.measured_steps == ()
    (gap,) = run.gaps
    assert gap.step == 0 and gap.reason == "training ended before there was time for it"


@pytest.mark.rejects
def test_a_wrong_cap_is_refused_before_a_folder_is_made(tmp_path):
    with pytest.raises(ArgumentError, match="`max_overhead` must be a share"):
        record(tmp_path / "run", cap=2.0)
    assert not (tmp_path / "run").exists()


def test_a_cap_that_lets_nothing_be_measured_is_said_once_with_numbers(tmp_path):
    with pytest.warns(RecordGapWarning, match=r"Nothing is measured as yet. One measurement may take") as told:
        record(tmp_path / "run", steps=30, cap=1e-12, schedule=[0, 29])
    assert len(told) == 1
    (gap,) = ef.open_run(tmp_path / "run").gaps
    assert gap.step == 0 and "Use fewer probe samples or modes" in gap.reason
