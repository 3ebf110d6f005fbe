"""A record is not ended by what goes wrong in it: the gap is there with its reason, and the next step works."""

import json
import warnings

import numpy as np
import pytest
import torch
from torch import nn

import eigenflow as ef
from eigenflow.core.errors import ArgumentError, NonFiniteError, RunFolderError
from eigenflow.store import Gap, RecordGapWarning
from problems import samples, tanh_net

RATE = 0.1


class Breaking(nn.Module):
    """Fails inside a measurement when told to, as a user's own model may."""

    def __init__(self):
        super().__init__()
        self.net, self.problem = tanh_net(0), None

    def forward(self, x):
        if self.problem is not None:
            raise self.problem
        return self.net(x)


def make(model=None):
    model = Breaking() if model is None else model
    inputs, targets = samples(0)
    return model, inputs, targets, ef.Probe(model, inputs, targets)


def update(model, inputs, targets, rate=RATE):
    loss = nn.functional.mse_loss(model(inputs), targets)
    model.zero_grad()
    loss.backward()
    with torch.no_grad():
        for p in model.parameters():
            p -= rate * p.grad
    return float(loss.detach())


def fail_at(recorder, parts, step, problem, steps=6, **options):
    """Train for some steps; while one is recorded, the model cannot be evaluated."""
    model, inputs, targets, _ = parts
    for k in range(steps):
        loss = update(model, inputs, targets)
        model.problem = problem if k == step else None
        try:
            recorder.step(k, loss=loss, learning_rate=RATE, **options)
        finally:
            model.problem = None


@pytest.mark.long
def test_failed_measurement_is_a_gap_and_later_ones_are_made(tmp_path):
    parts = make()
    told = r"Step 2 was not measured: .*no space left.*The record goes on"
    with ef.Recorder(tmp_path / "run", parts[-1], [0, 2, 4]) as recorder, pytest.warns(RecordGapWarning, match=told):
        fail_at(recorder, parts, 2, RuntimeError("no space left"))
    run = ef.open_run(tmp_path / "run")
    assert run.status == "complete with gaps" and run.measured_steps == (0, 4)
    (gap,) = run.gaps
    assert (gap.step, gap.through, gap.kind) == (2, 2, "measurement") and "no space left" in gap.reason
    assert run.losses["step"].tolist() == list(range(6)) and run.losses["loss"].notna().all()
    # What is measured after the gap is what a record without it measures.
    others = make()
    with ef.Recorder(tmp_path / "whole", others[-1], [0, 4]) as recorder:
        fail_at(recorder, others, None, None)
    whole = ef.open_run(tmp_path / "whole").measurements
    for name in ("eigenvalue", "energy", "frame_overlap", "frame_time", "shell_overlap"):
        np.testing.assert_array_equal(run.measurements[name], whole[name])


@pytest.mark.parametrize("options", [{}, {"modes": 5, "method": "tracked"}])
def test_raising_leaves_the_recorder_ready_for_the_next_step(tmp_path, options):
    model, inputs, targets, probe = make()
    recorder = ef.Recorder(tmp_path / "run", probe, [0, 1, 2], on_error="raise", **options)
    for k in range(4):
        loss = update(model, inputs, targets)
        if k != 1:
            assert recorder.step(k, loss=loss, learning_rate=RATE) is (k < 3)
            continue
        model.problem = ZeroDivisionError("mine")
        with pytest.raises(Exception, match="mine"):
            recorder.step(k, loss=loss, learning_rate=RATE)
        model.problem = None
    recorder.close()
    run = ef.open_run(tmp_path / "run")
    assert run.status == "complete with gaps" and run.measured_steps == (0, 2) and len(run.losses) == 4
    assert [gap.step for gap in run.gaps] == [1]


def test_interrupt_is_raised_by_either_policy_and_the_record_can_go_on(tmp_path):
    parts = make()
    recorder = ef.Recorder(tmp_path / "run", parts[-1], [0, 1])
    model, inputs, targets, _ = parts
    loss = update(model, inputs, targets)
    model.problem = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        recorder.step(0, loss=loss, learning_rate=RATE)
    model.problem = None
    assert recorder.step(1, loss=update(model, inputs, targets), learning_rate=RATE)
    recorder.close()
    assert ef.open_run(tmp_path / "run").measured_steps == (1,)


def test_warnings_as_errors_do_not_break_the_record(tmp_path):
    """pytest turns the warning into an error here; the step is recorded before it is raised."""
    parts = make()
    recorder = ef.Recorder(tmp_path / "run", parts[-1], [0, 1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RecordGapWarning):
            fail_at(recorder, parts, 0, RuntimeError("x"), steps=1)
    update(*parts[:3])
    assert recorder.step(1, loss=1.0, learning_rate=RATE)
    recorder.close()
    assert len(ef.open_run(tmp_path / "run").losses) == 2


def test_infinite_loss_of_a_skipped_update_is_null_and_time_stands_still(tmp_path):
    """As GradScaler does it: the loss overflows, the optimizer's step is left out, the loop goes on."""
    model, inputs, targets, probe = make()
    with ef.Recorder(tmp_path / "run", probe, [0, 2, 4]) as recorder:
        for k in range(6):
            is_skipped = k in (2, 3)
            loss = float("inf") if is_skipped else update(model, inputs, targets)
            if k == 2:
                with pytest.warns(RecordGapWarning, match="`loss` is inf at step 2"):
                    assert not recorder.step(k, loss=loss, learning_rate=RATE, grad_norm=float("nan"))
            else:  # of several in a row only the first one warns
                recorder.step(k, loss=loss, learning_rate=RATE, grad_norm=1.0)
    run = ef.open_run(tmp_path / "run")
    # The measurement due at 2 looks at the update that followed, which is step 4's.
    assert run.measured_steps == (0, 4) and run.status == "complete with gaps"
    np.testing.assert_allclose(run.losses["time"], [0.0, 0.1, 0.2, 0.2, 0.2, 0.3], rtol=1e-14)
    assert run.losses["loss"].isna().tolist() == [False, False, True, True, False, False]
    (gap,) = run.gaps
    assert (gap.step, gap.through, gap.kind) == (2, 3, "loss") and "`grad_norm` is nan" in gap.reason
    assert "skipped" in gap.reason
    lines = [json.loads(line) for line in (tmp_path / "run" / "losses.jsonl").read_text().splitlines()]
    assert lines[2]["loss"] is None and lines[2]["grad_norm"] is None and lines[2]["length"] == 0.0


def test_infinite_loss_with_parameters_that_moved_counts_as_an_update(tmp_path):
    model, inputs, targets, probe = make()
    with ef.Recorder(tmp_path / "run", probe, [0, 1]) as recorder:
        for k in range(3):
            update(model, inputs, targets)
            if k == 1:
                with pytest.warns(RecordGapWarning, match="`loss` is nan"):
                    assert recorder.step(k, loss=float("nan"), learning_rate=RATE)
            else:
                recorder.step(k, loss=1.0, learning_rate=RATE)
    run = ef.open_run(tmp_path / "run")
    np.testing.assert_allclose(run.losses["time"], [0.0, 0.1, 0.2], rtol=1e-14)
    assert run.measured_steps == (0, 1)


def test_diverged_run_goes_on_with_one_warning_and_one_gap(tmp_path):
    model, inputs, targets, probe = make()
    with ef.Recorder(tmp_path / "run", probe, [0, 3]) as recorder:
        recorder.step(0, loss=update(model, inputs, targets), learning_rate=RATE)
        with torch.no_grad():
            model.net[0].weight.fill_(float("nan"))
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            for k in range(1, 6):
                with torch.no_grad():
                    model.net[0].bias += 1.0
                recorder.step(k, loss=float("nan"), learning_rate=RATE)
    told = [str(one.message) for one in found]
    assert len(told) == 2 and "step 1" in told[0] and "Step 3 was not measured" in told[1]
    run = ef.open_run(tmp_path / "run")
    assert [(g.kind, g.step, g.through) for g in run.gaps] == [("loss", 1, 5), ("measurement", 3, 3)]


def test_unchanged_parameters_wait_and_are_a_gap_if_nothing_follows(tmp_path):
    """Overflowing gradients behind a finite loss: the update is left out, and there is nothing to measure."""
    model, inputs, targets, probe = make()
    with ef.Recorder(tmp_path / "run", probe, [0, 2]) as recorder:
        assert not recorder.step(0, loss=1.0, learning_rate=RATE)
        assert recorder.step(1, loss=update(model, inputs, targets), learning_rate=RATE)
        assert not recorder.step(2, loss=1.0, learning_rate=0.0)
    run = ef.open_run(tmp_path / "run")
    assert run.measured_steps == (1,) and run.status == "complete with gaps"
    assert [(gap.kind, gap.step) for gap in run.gaps] == [("measurement", 2)]


@pytest.mark.long
def test_record_may_begin_at_any_step_with_time_zero(tmp_path):
    model, inputs, targets, probe = make()
    for _ in range(7):
        update(model, inputs, targets)
    before = probe.measure().eigenvalues
    with ef.Recorder(tmp_path / "run", probe, [0, 3, 7, 9]) as recorder:
        for k in range(7, 12):
            recorder.step(k, loss=update(model, inputs, targets), learning_rate=RATE)
    run = ef.open_run(tmp_path / "run")
    assert run.first_step == 7 and run.header["first_step"] == 7 and run.status == "complete" and not run.gaps
    assert run.measured_steps == (7, 9) and run.losses["step"].tolist() == [7, 8, 9, 10, 11]
    np.testing.assert_allclose(run.measurements["time"], [0.0, 0.2], rtol=1e-14)
    np.testing.assert_array_equal(run.measurements["eigenvalue"][0], before)
    with ef.Recorder(tmp_path / "run", probe, [7, 9], resume_from=12) as recorder:
        recorder.step(12, loss=update(model, inputs, targets), learning_rate=RATE)
    again = ef.open_run(tmp_path / "run")
    assert again.first_step == 7 and float(again.losses["time"].iloc[-1]) == pytest.approx(0.5)


@pytest.mark.long
def test_resume_beyond_the_record_marks_the_gap_and_goes_on(tmp_path):
    """A kill between a checkpoint and the next flush: the checkpoint is of 5 updates, the record ends at step 2."""
    model, inputs, targets, probe = make()
    recorder = ef.Recorder(tmp_path / "run", probe, [0, 1, 6])
    for k in range(3):
        recorder.step(k, loss=update(model, inputs, targets), learning_rate=RATE)
    recorder.close("interrupted")
    for _ in range(2):
        update(model, inputs, targets)
    with pytest.warns(RecordGapWarning, match=r"up to 3 completed updates and goes on from 5.*last recorded update"):
        recorder = ef.Recorder(tmp_path / "run", probe, [0, 1, 6], resume_from=5)
    for k in (5, 6, 7):
        recorder.step(k, loss=update(model, inputs, targets), learning_rate=RATE)
    recorder.close()
    run = ef.open_run(tmp_path / "run")
    assert [(g.kind, g.step, g.through) for g in run.gaps] == [("updates", 3, 4)]
    assert run.status == "complete with gaps" and run.measured_steps == (0, 1, 6)
    np.testing.assert_allclose(run.losses["time"], [0.0, 0.1, 0.2, 0.5, 0.6, 0.7], rtol=1e-14)
    # Made again from before the gap, the record has none.
    with ef.Recorder(tmp_path / "run", probe, [0, 1, 6], resume_from=3) as recorder:
        recorder.step(3, loss=1.0, learning_rate=RATE)
    assert ef.open_run(tmp_path / "run").gaps == ()


def test_flush_before_a_checkpoint_leaves_no_gap(tmp_path):
    model, inputs, targets, probe = make()
    recorder = ef.Recorder(tmp_path / "run", probe, [0])
    for k in range(3):
        recorder.step(k, loss=update(model, inputs, targets), learning_rate=RATE)
    recorder.flush()
    rows = (tmp_path / "run" / "losses.jsonl").read_text().splitlines()
    assert len(rows) == 3  # on the disk before the checkpoint of 3 updates, whatever happens next
    recorder.close("interrupted")


@pytest.mark.parametrize(
    "rate",
    [
        torch.tensor(0.1, dtype=torch.float64),
        np.float64(0.1),
        [0.1, 0.02],
        (0.1, 0.02),
        {"body": 0.1, "head": 0.02},
        torch.tensor([0.1, 0.02], dtype=torch.float64),
    ],
)
def test_learning_rate_in_the_forms_that_loops_have(tmp_path, rate):
    """The first group's rate is the clock; the others are logged beside it."""
    model, inputs, targets, probe = make()
    with ef.Recorder(tmp_path / "run", probe, [0]) as recorder:
        for k in range(2):
            assert recorder.step(k, loss=update(model, inputs, targets), learning_rate=rate) is (k == 0)
    losses = ef.open_run(tmp_path / "run").losses
    assert losses["learning_rate"].tolist() == [0.1, 0.1] and losses["time"].tolist() == [0.0, 0.1]
    others = [name for name in losses if str(name).startswith("learning_rate_")]
    assert len(others) == (0 if np.ndim(rate) == 0 and not isinstance(rate, dict) else 1)
    assert all((losses[name] == 0.02).all() for name in others)


def test_share_of_other_groups_is_the_optimizers_part(tmp_path):
    """One group at half the rate: h - h0 = J (dtheta + eta g) is that group's missing half, by hand."""
    model, inputs, targets, probe = make()
    gradient, point = probe.at().gradient(), probe.at()
    halves = {"net.0.weight", "net.0.bias"}
    expected = point.push({n: (0.5 * RATE * g if n in halves else 0 * g) for n, g in gradient.items()})
    optimizer = torch.optim.SGD(
        [
            {"params": [p for n, p in model.named_parameters() if n not in halves], "lr": RATE},
            {"params": [p for n, p in model.named_parameters() if n in halves], "lr": RATE / 2},
        ]
    )
    with ef.Recorder(tmp_path / "run", probe, [0]) as recorder:
        loss = nn.functional.mse_loss(model(inputs), targets)
        loss.backward()
        optimizer.step()
        recorder.step(0, loss=loss, learning_rate=[group["lr"] for group in optimizer.param_groups])
    data = ef.open_run(tmp_path / "run").measurements.isel(step=0)
    found = data["linear_step"].values - data["gradient_step"].values
    assert np.linalg.norm(found) == pytest.approx(float(torch.linalg.vector_norm(expected)), rel=1e-10)


def test_refused_call_may_be_repeated_or_passed_over(tmp_path):
    """A wrong argument changes nothing; the number of the next update is right all the same."""
    model, inputs, targets, probe = make()
    with ef.Recorder(tmp_path / "run", probe, [0, 1, 3]) as recorder:
        loss = update(model, inputs, targets)
        with pytest.raises(ArgumentError, match="learning_rate"):
            recorder.step(0, loss=loss, learning_rate="fast")
        assert recorder.step(0, loss=loss, learning_rate=RATE)
        update(model, inputs, targets)
        with pytest.raises(ArgumentError, match="learning_rate"):
            recorder.step(1, loss=1.0, learning_rate=-1.0)
        update(model, inputs, targets)
        recorder.step(2, loss=1.0, learning_rate=RATE)
        update(model, inputs, targets)
        assert recorder.step(3, loss=1.0, learning_rate=RATE)
    run = ef.open_run(tmp_path / "run")
    assert [(g.kind, g.step) for g in run.gaps] == [("updates", 1)] and "learning_rate" in run.gaps[0].reason
    assert run.losses["step"].tolist() == [0, 2, 3] and run.measured_steps == (0, 3)


def test_failed_write_of_a_row_is_told_and_made_up_for(tmp_path, monkeypatch):
    from eigenflow.store.loss_file import LossFile

    model, inputs, targets, probe = make()
    recorder = ef.Recorder(tmp_path / "run", probe, [5])
    original, is_full = LossFile._write, [True]

    def write(file, content):
        if is_full[0]:
            raise OSError(28, "No space left on device")
        original(file, content)

    monkeypatch.setattr(LossFile, "_write", write)
    with pytest.warns(RecordGapWarning, match="could not be written yet.*the disk is full"):
        recorder.step(0, loss=update(model, inputs, targets), learning_rate=RATE)
    is_full[0] = False
    recorder.step(1, loss=update(model, inputs, targets), learning_rate=RATE)
    recorder.close()
    run = ef.open_run(tmp_path / "run")
    assert len(run.losses) == 2 and run.status == "complete"


@pytest.mark.long
def test_analysis_commands_read_a_record_with_gaps(tmp_path):
    from typer.testing import CliRunner

    from eigenflow.cli.app import app

    folders = []
    for name, broken in (("a", True), ("b", False)):
        model, inputs, targets, probe = make()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RecordGapWarning)
            with ef.Recorder(tmp_path / name, probe, [0, 1, 2, 4, 7, 12, 20, 30]) as recorder:
                for k in range(30, 66):  # attached to a run in progress
                    loss = update(model, inputs, targets)
                    model.problem = RuntimeError("broken") if broken and k == 37 else None
                    recorder.step(k, loss=float("inf") if broken and k == 40 else loss, learning_rate=RATE)
                    model.problem = None
        folders.append(str(tmp_path / name))
    assert ef.open_run(folders[0]).first_step == 30
    for arguments in (["analyse", folders[0]], ["analyse", folders[1]], ["claims", folders[0], "--json"]):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code in (0,), result.output
    result = CliRunner().invoke(app, ["report", folders[0]])
    assert result.exit_code == 0, result.output


@pytest.mark.rejects
class TestRejects:
    @pytest.mark.parametrize(
        ("rate", "message"),
        [
            (
                lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 10),
                r"scheduler \(CosineAnnealingLR\).*get_last_lr",
            ),
            (lambda o: o, r"optimizer \(SGD\).*param_groups"),
            (lambda o: None, "None"),
            (lambda o: "0.1", "'0.1'"),
            (lambda o: [], "at least one"),
            (lambda o: float("nan"), "nan"),
            (lambda o: [0.1, -0.1], "-0.1"),
            (lambda o: lambda: 0.1, "finite number"),
        ],
    )
    def test_learning_rate_says_what_to_pass(self, tmp_path, rate, message):
        model, inputs, targets, probe = make()
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        with (
            ef.Recorder(tmp_path / "run", probe, [0]) as recorder,
            pytest.raises(ArgumentError, match=f"`learning_rate` must.*{message}"),
        ):
            recorder.step(0, loss=1.0, learning_rate=rate(optimizer))

    def test_repeated_step_says_that_it_is_there(self, tmp_path):
        model, inputs, targets, probe = make()
        with ef.Recorder(tmp_path / "run", probe, [5]) as recorder:
            recorder.step(3, loss=1.0, learning_rate=RATE)
            with pytest.raises(ArgumentError, match=r"must be 4.*is 3.*in the record already"):
                recorder.step(3, loss=1.0, learning_rate=RATE)

    def test_closed_recorder_and_unknown_policy(self, tmp_path):
        *_, probe = make()
        recorder = ef.Recorder(tmp_path / "run", probe, [0])
        recorder.close()
        with pytest.raises(RunFolderError, match=r"closed.*resume_from"):
            recorder.step(0, loss=1.0, learning_rate=RATE)
        with pytest.raises(ArgumentError, match=r"`on_error` must be 'skip' or 'raise'.*'ignore'"):
            ef.Recorder(tmp_path / "other", probe, [0], on_error="ignore")

    def test_dense_memory_is_checked_before_the_run(self, tmp_path):
        model, inputs, targets, _ = make()
        probe = ef.Probe(model, inputs, targets, memory_budget=1000)
        with pytest.raises(ArgumentError, match=r"memory_budget.*1,000"):
            ef.Recorder(tmp_path / "run", probe, [100])
        assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize(
        ("name", "value"),
        [("modes", 4.5), ("modes", "4"), ("couplings", 2.5), ("tail", 40), ("product_dtype", torch.int32)],
    )
    def test_options_of_tracking_are_checked_before_the_run(self, tmp_path, name, value):
        *_, probe = make()
        options = {"modes": 5, "method": "tracked", name: value}
        with pytest.raises(ArgumentError, match=f"`{name}` must be"):
            ef.Recorder(tmp_path / "run", probe, [100], **options)
        assert not (tmp_path / "run").exists()

    def test_network_that_cannot_be_measured_now(self, tmp_path):
        model, _, _, probe = make()
        with torch.no_grad():
            model.net[0].weight.fill_(float("nan"))
        with pytest.raises(NonFiniteError):
            ef.Recorder(tmp_path / "run", probe, [100])
        assert not (tmp_path / "run").exists()

    def test_names_of_the_record_itself(self, tmp_path):
        *_, probe = make()
        with ef.Recorder(tmp_path / "run", probe, [5]) as recorder, pytest.raises(ArgumentError, match="`time`"):
            recorder.step(0, loss=1.0, learning_rate=RATE, time=3.0)


def test_gap_goes_to_json_and_back():
    gap = Gap(3, 4, "updates", "x")
    assert Gap.from_dict(json.loads(json.dumps(gap.to_dict()))) == gap and Gap.is_sound(gap.to_dict())
