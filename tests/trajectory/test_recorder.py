"""The recorder: what it writes is what was measured, a resumed run equals an uninterrupted one."""

import json

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import eigenflow as ef
from eigenflow.core.errors import ArgumentError, ModelError, NonFiniteError, RunFolderError, ShapeError
from eigenflow.trajectory import measure_step
from problems import samples, tanh_net
from store.packed import unpack

pytestmark = pytest.mark.long

STEPS = 12


def make(seed=0):
    model, (inputs, targets) = tanh_net(seed), samples(seed)
    return model, inputs, targets, ef.Probe(model, inputs, targets, holdout=samples(seed + 50, count=3))


def descend(model, inputs, targets, start, stop, rate=0.1):
    """Full-batch gradient descent; yields (step, loss before the update)."""
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    for step in range(start, stop):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(inputs), targets)
        loss.backward()
        optimizer.step()
        yield step, float(loss.detach())


def record(path, schedule=(0, 3, 11), **options):
    model, inputs, targets, probe = make()
    with ef.Recorder(path, probe, schedule, **options) as recorder:
        for step, loss in descend(model, inputs, targets, 0, STEPS):
            recorder.step(step, loss=loss, learning_rate=0.1)
    return ef.open_run(path)


def test_run_holds_the_losses_and_the_measurements(tmp_path):
    run = record(tmp_path / "run")
    assert run.status == "complete"
    assert run.measured_steps == (0, 3, 11)
    model, inputs, targets, probe = make()
    states, losses = [probe.state()], []
    for _, loss in descend(model, inputs, targets, 0, STEPS):
        losses.append(loss)
        states.append(probe.state())
    np.testing.assert_array_equal(run.losses["loss"], losses)
    np.testing.assert_allclose(run.losses["time"], 0.1 * np.arange(STEPS), rtol=1e-14)
    expected = measure_step(probe, states[3], states[4], 0.1)
    stored = run.measurements.sel(step=3)
    np.testing.assert_array_equal(stored["eigenvalue"], expected.before.eigenvalues)
    np.testing.assert_array_equal(stored["eigenvalue_rate"], expected.before.eigenvalue_rates)
    assert float(stored["probe_loss"]) == pytest.approx(losses[3], rel=1e-13)
    assert float(stored["probe_loss_after"]) == pytest.approx(losses[4], rel=1e-13)
    test_inputs, test_targets = samples(50, count=3)
    with torch.no_grad():
        for p, (_, value) in zip(model.parameters(), states[3][0].items(), strict=True):
            p.copy_(value)
        holdout = float(nn.functional.mse_loss(model(test_inputs), test_targets))
    assert float(stored["holdout_loss"]) == pytest.approx(holdout, rel=1e-13)


def test_folder_is_read_by_other_programs(tmp_path):
    record(tmp_path / "run")
    header = json.loads((tmp_path / "run" / "run.json").read_text())
    assert header["probe"]["samples"] == 6 and header["probe"]["factor"] == pytest.approx(2 / 12)
    lines = [json.loads(line) for line in (tmp_path / "run" / "losses.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(STEPS))
    data = xr.open_zarr(tmp_path / "run" / "measurements.zarr")
    assert data["eigenvalue"].dims == ("step", "mode") and data["eigenvalue"].attrs["units"] == "1 / time"
    assert not data["energy"].attrs["label_dependent"] and data["coefficient"].attrs["label_dependent"]


def test_fewer_modes_leave_the_shells_complete(tmp_path):
    every, some = record(tmp_path / "a"), record(tmp_path / "b", modes=4)
    assert some.modes.sizes["mode"] == 4
    np.testing.assert_array_equal(some.modes["eigenvalue"], every.modes["eigenvalue"][:, :4])
    np.testing.assert_array_equal(some.shells["energy"], every.shells["energy"])
    energies = some.shells["energy"].sum("shell")
    np.testing.assert_allclose(energies, 2 * some.measurements["probe_loss"], rtol=1e-12)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nobody interrupted."""
    return record(tmp_path_factory.mktemp("whole") / "run")


@pytest.mark.parametrize("cut", [1, 3, 4, 7, 12])
def test_resumed_run_equals_an_uninterrupted_one(whole, tmp_path, cut):
    model, inputs, targets, probe = make()
    recorder = ef.Recorder(tmp_path / "run", probe, (0, 3, 11))
    for step, loss in descend(model, inputs, targets, 0, cut):
        recorder.step(step, loss=loss, learning_rate=0.1)
    recorder.close("interrupted")
    with ef.Recorder(tmp_path / "run", probe, (0, 3, 11), resume_from=cut) as recorder:
        for step, loss in descend(model, inputs, targets, cut, STEPS):
            recorder.step(step, loss=loss, learning_rate=0.1)
    run = ef.open_run(tmp_path / "run")
    assert run.losses.equals(whole.losses)
    xr.testing.assert_identical(run.measurements.load(), whole.measurements.load())


def test_resume_from_an_earlier_state_drops_what_came_after(tmp_path):
    expected = record(tmp_path / "run").measurements["eigenvalue"][:2]
    model, inputs, targets, probe = make()
    for _ in descend(model, inputs, targets, 0, 2):
        pass
    with ef.Recorder(tmp_path / "run", probe, (0, 3, 11), resume_from=2) as recorder:
        for step, loss in descend(model, inputs, targets, 2, 5):
            recorder.step(step, loss=loss, learning_rate=0.1)
    again = ef.open_run(tmp_path / "run")
    assert again.measured_steps == (0, 3) and len(again.losses) == 5
    np.testing.assert_array_equal(again.measurements["eigenvalue"], expected)


def test_heavy_ball_time_is_the_learning_rate_over_one_minus_mu(tmp_path):
    model, inputs, targets, probe = make()
    with ef.Recorder(tmp_path / "run", probe, [0, 2]) as recorder:
        for step, loss in descend(model, inputs, targets, 0, 3):
            recorder.step(step, loss=loss, learning_rate=0.1, momentum=0.75)
    run = ef.open_run(tmp_path / "run")
    np.testing.assert_allclose(run.losses["time"], [0.0, 0.4, 0.8], rtol=1e-14)
    np.testing.assert_allclose(run.measurements["step_size"], 0.4, rtol=1e-14)


def test_update_of_length_zero_is_measured_at_the_next_one(tmp_path):
    """The first step of a warm-up often has learning rate 0, which has no direction."""
    model, inputs, targets, probe = make()
    with ef.Recorder(tmp_path / "run", probe, [0]) as recorder:
        assert not recorder.step(0, loss=1.0, learning_rate=0.0)
        for step, loss in descend(model, inputs, targets, 1, 3):
            assert recorder.step(step, loss=loss, learning_rate=0.1) is (step == 1)
    assert ef.open_run(tmp_path / "run").measured_steps == (1,)


@pytest.mark.filterwarnings("ignore:.*no checksums:eigenflow.store.RunFolderWarning")
@pytest.mark.parametrize("name", ["schema-1", "schema-2", "schema-3", "schema-4"])
def test_run_of_an_older_version_goes_on_with_what_it_has(tmp_path, name):
    """The folder holds 18 updates of `make()`; the last nine are made again by this version."""
    old = ef.open_run(unpack(name, tmp_path)).measurements.load()
    model, inputs, targets, probe = make()
    for _ in descend(model, inputs, targets, 0, 9):
        pass
    with ef.Recorder(tmp_path / name, probe, (0, 3, 8, 15, 16), resume_from=9) as recorder:
        for step, loss in descend(model, inputs, targets, 9, 18):
            recorder.step(step, loss=loss, learning_rate=0.1, batch_size=6)
    run = ef.open_run(tmp_path / name)
    assert run.measured_steps == (0, 3, 8, 15, 16) and set(run.measurements.data_vars) == set(old.data_vars)
    for key in ("energy", "dissipation", "transfer", "eigenvalue", "probe_loss", "transfer_matrix"):
        np.testing.assert_allclose(run.measurements[key], old[key], rtol=1e-9, atol=1e-12 * float(abs(old[key]).max()))
    assert not ef.shell_budget(run).curvature.values.any()


@pytest.mark.rejects
class TestRejects:
    def test_existing_run_is_not_overwritten(self, tmp_path):
        run = record(tmp_path / "run")
        before = run.losses
        with pytest.raises(RunFolderError, match=r"run.*(resume|another)"):
            record(tmp_path / "run")
        assert ef.open_run(tmp_path / "run").losses.equals(before)

    def test_two_recorders_on_one_folder(self, tmp_path):
        *_, probe = make()
        recorder = ef.Recorder(tmp_path / "run", probe, [0])
        with pytest.raises(RunFolderError):
            ef.Recorder(tmp_path / "run", probe, [0], resume_from=0)
        recorder.close()

    def test_another_probe_set(self, tmp_path):
        record(tmp_path / "run")
        model, _, _, _ = make()
        other = ef.Probe(model, *samples(9))
        with pytest.raises(RunFolderError, match="probe"):
            ef.Recorder(tmp_path / "run", other, [0], resume_from=STEPS)

    def test_nan_loss_names_the_step_and_keeps_the_record(self, tmp_path):
        model, inputs, targets, probe = make()
        recorder = ef.Recorder(tmp_path / "run", probe, [0], on_error="raise")
        for step, loss in descend(model, inputs, targets, 0, 1):
            recorder.step(step, loss=loss, learning_rate=0.1)
        with pytest.raises(NonFiniteError, match="`loss` is nan at step 1"):
            recorder.step(1, loss=float("nan"), learning_rate=0.1)
        recorder.close("failed")
        run = ef.open_run(tmp_path / "run")
        assert run.status == "failed" and run.measured_steps == (0,)

    def test_skipped_step(self, tmp_path):
        *_, probe = make()
        with ef.Recorder(tmp_path / "run", probe, [5]) as recorder:
            recorder.step(0, loss=1.0, learning_rate=0.1)
            with pytest.raises(ArgumentError, match=r"`step` must be 1.*is 4.*updates=4"):
                recorder.step(4, loss=1.0, learning_rate=0.1)

    @pytest.mark.parametrize(("name", "value"), [("learning_rate", -0.1), ("momentum", 1.0)])
    def test_rates_out_of_range(self, tmp_path, name, value):
        *_, probe = make()
        settings = {"learning_rate": 0.1, "momentum": 0.0, name: value}
        with ef.Recorder(tmp_path / "run", probe, [0]) as recorder, pytest.raises(ArgumentError, match=f"`{name}`"):
            recorder.step(0, loss=1.0, **settings)

    @pytest.mark.parametrize("schedule", [[], [-1], [0.5]])
    def test_schedule(self, tmp_path, schedule):
        *_, probe = make()
        with pytest.raises(ArgumentError, match=r"`schedule`.*log_steps"):
            ef.Recorder(tmp_path / "run", probe, schedule)
        assert not (tmp_path / "run").exists()


@pytest.mark.rejects
class TestProbeRejects:
    @pytest.mark.parametrize(
        ("change", "error", "message"),
        [
            (lambda x, y: (x[:, :2], y), ArgumentError, r"`model` cannot be evaluated on `?inputs`? of shape \(6, 2\)"),
            (lambda x, y: (x[:4], y), ShapeError, "`inputs` and `targets`.*4 and 6"),
            (lambda x, y: (x, y[:, :1]), ShapeError, r"`targets`.*\(6, 2\).*\(6, 1\)"),
            (lambda x, y: (x[:0], y[:0]), ShapeError, "`inputs` must have at least one sample"),
            (lambda x, y: (x * torch.nan, y), NonFiniteError, "`inputs` must be finite.*18"),
            (lambda x, y: (x, y / 0), NonFiniteError, "`targets` must be finite"),
            (lambda x, y: (x, y.argmax(1)), ArgumentError, "`targets`.*int64.*one_hot"),
            (lambda x, y: (x, y.float()), ArgumentError, "`targets` must have the dtype.*float64.*float32"),
            (lambda x, y: (x.float(), y), ArgumentError, "`inputs` must have the dtype"),
            (lambda x, y: (x.numpy(), y), ArgumentError, "`inputs` must be a tensor"),
        ],
    )
    def test_bad_samples(self, change, error, message):
        inputs, targets = samples()
        with pytest.raises(error, match=message):
            ef.Probe(tanh_net(), *change(inputs, targets))

    def test_bad_holdout_is_named(self):
        inputs, targets = samples()
        with pytest.raises(NonFiniteError, match=r"`holdout\[0\]`"):
            ef.Probe(tanh_net(), inputs, targets, holdout=(inputs / 0, targets))

    def test_model_without_trainable_parameters(self):
        model = tanh_net().requires_grad_(False)
        with pytest.raises(ModelError, match=r"`model` has no trainable parameters.*requires_grad_"):
            ef.Probe(model, *samples())

    @pytest.mark.parametrize("layer", [nn.Dropout(0.5), nn.BatchNorm1d(5)])
    def test_stateful_layers_in_train_mode(self, layer):
        model = nn.Sequential(nn.Linear(3, 5), layer, nn.Linear(5, 2)).double()
        with pytest.raises(ModelError, match=r"layer '1'.*train mode.*model\.eval\(\)"):
            ef.Probe(model, *samples())

    def test_random_model_is_noticed(self):
        class Noisy(nn.Module):
            def __init__(self):
                super().__init__()
                self.layer = nn.Linear(3, 2).double()

            def forward(self, x):
                return self.layer(x) + torch.rand(len(x), 2)

        with pytest.raises(ModelError, match="different outputs on two calls"):
            ef.Probe(Noisy(), *samples())

    def test_weights_that_are_nan(self):
        model = tanh_net()
        with torch.no_grad():
            model[0].weight[0, 0] = torch.nan
        with pytest.raises(NonFiniteError, match="`model` returns NaN"):
            ef.Probe(model, *samples())

    def test_unknown_loss(self):
        with pytest.raises(ArgumentError, match=r"`loss`.*'mse'.*'huber'"):
            ef.Probe(tanh_net(), *samples(), loss="huber")

    def test_direction_without_a_parameter(self):
        with pytest.raises(ArgumentError, match=r"`direction`.*'0.bias'.*missing"):
            ef.Probe(tanh_net(), *samples()).measure(direction={"0.weight": torch.zeros(5, 3)})

    def test_operator_larger_than_memory(self, monkeypatch):
        monkeypatch.setattr("os.sysconf", lambda name: {"SC_PAGE_SIZE": 1, "SC_PHYS_PAGES": 100}[name])
        with pytest.raises(ArgumentError, match=r"`inputs`.*bytes.*at most 1 rows"):
            ef.Probe(tanh_net(), *samples()).measure()
