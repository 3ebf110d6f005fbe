"""Records of states: the same numbers as a record of updates has, and as dense algebra gives."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, jacrev

import eigenflow as ef
from eigenflow.core.errors import ArgumentError, NonFiniteError, RunFolderError
from eigenflow.store import Gap, RecordGapWarning
from eigenflow.trajectory import StateMeasurement, StateRecorder, TailSettings, measure_state
from problems import samples, tanh_net
from trajectory.recorded_states import RATE, SCHEDULE, descend, make, record_states, states

# What a state has, and what a record of updates calls it. Signs of eigenvectors are free.
SHARED = ("eigenvalue", "coefficient", "energy", "mode_count", "eigenvalue_sum", "probe_loss", "total_energy", "trace")
SHARED += ("holdout_loss", "holdout_rate", "initial_coefficient", "sample_energy", "shell_overlap_initial")
SHARED += ("frame_overlap", "shell_overlap", "frame_time", "initial_time", "time")
WHOLE = ("initial_distance", "initial_alignment", "target_alignment", "initial_rayleigh", "operator_norm")
NEED_UPDATES = (
    "transfer",
    "transfer_matrix",
    "linear_step",
    "gradient_step",
    "eigenvalue_rate",
    "coupling",
    "optimizer",
)
NEED_UPDATES += ("identity_residual", "flow_residual", "batch_miss", "step_size", "energy_after", "eigenvalue_after")
TRACKED = {"method": "tracked", "modes": 5, "tolerance": 1e-13, "tail": TailSettings(steps=12)}


def record_updates(path, **options):
    model, train, probe = make()
    with ef.Recorder(path, probe, SCHEDULE, **options) as recorder:
        for step, loss in descend(model, train, 0, SCHEDULE[-1] + 1):
            recorder.step(step, loss=loss, learning_rate=RATE)
    return ef.open_run(path).measurements


@pytest.mark.long
@pytest.mark.parametrize("options", [{}, {"modes": 4}, TRACKED], ids=["dense", "some modes", "tracked"])
def test_states_have_what_a_record_of_updates_has(tmp_path, options):
    """The two differ in rounding alone; tracked pairs are solved to 1e-13 of their eigenvalue."""
    expected = record_updates(tmp_path / "updates", **options)
    run = record_states(tmp_path / "states", **options)
    found = run.measurements
    for name in (*SHARED, *(() if options is TRACKED else WHOLE)):
        scale = float(np.abs(expected[name]).max())
        miss = np.abs(np.abs(found[name].values) - np.abs(expected[name].values)).max()
        assert miss <= 1e-10 * max(scale, 1.0), name
        assert found[name].dims == expected[name].dims and found[name].attrs["units"] == expected[name].attrs["units"]
    np.testing.assert_array_equal(found["edge"], expected["edge"])
    assert run.measured_steps == SCHEDULE and not set(NEED_UPDATES) & set(found.data_vars)
    assert not any(np.isnan(found[name]).any() for name in found.data_vars)


@pytest.mark.long
def test_tracked_states_bound_the_tail_as_updates_do(tmp_path):
    expected, found = record_updates(tmp_path / "a", **TRACKED), record_states(tmp_path / "b", **TRACKED).measurements
    for name in (str(name) for name in expected.data_vars):
        if name.startswith("tail_"):
            np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=1e-10 * float(expected[name].max()))


def dense_operator(model, inputs):
    """M = f J J^T by torch.func.jacrev, f = 2 / (n C) of the mean over samples and outputs."""
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    jacobian = jacrev(lambda p: functional_call(model, p, (inputs,)))(parameters)
    size = len(inputs) * model(inputs).shape[1]
    flat = torch.cat([block.reshape(size, -1) for block in jacobian.values()], dim=1)
    return 2.0 / size * flat @ flat.T


def test_spectra_are_those_of_a_dense_jacobian(tmp_path):
    """Eigenvalues, energies by shell, and how modes moved, from torch.linalg.eigh of a Jacobian that jacrev made."""
    found = record_states(tmp_path / "run").measurements
    model, train, _ = make()
    edges, before = found["edge"].values, None
    for index, _ in enumerate(states(model, train)):
        values, vectors = torch.linalg.eigh(dense_operator(model, train[0]))
        values, vectors = values.flip(0), vectors.flip(1).T
        error = (2.0 / train[1].numel()) ** 0.5 * (model(train[0]) - train[1]).detach().reshape(-1)
        np.testing.assert_allclose(found["eigenvalue"][index], values, rtol=0, atol=1e-12 * float(values[0]))
        shells = np.searchsorted(edges, values.numpy(), side="right")
        energies = np.bincount(shells, (vectors @ error).numpy() ** 2, minlength=len(edges) + 1)
        np.testing.assert_allclose(found["energy"][index], energies, rtol=0, atol=1e-12)
        theta = nn.utils.parameters_to_vector(model.parameters()).detach()
        if before is not None:
            overlap = (vectors @ before[1].T).abs().numpy()
            best = overlap.argmax(1)
            np.testing.assert_allclose(found["predecessor_overlap"][index], overlap.max(1), rtol=0, atol=1e-10)
            moved = values.numpy() - before[0].numpy()[best]
            np.testing.assert_allclose(found["eigenvalue_change"][index], moved, rtol=0, atol=1e-11)
            distance = float((theta - before[2]).norm())
            assert float(found["parameter_distance"][index]) == pytest.approx(distance, rel=1e-12)
        before = values, vectors, theta
    assert not found["eigenvalue_change"][0].any()
    np.testing.assert_allclose(found["predecessor_overlap"][0], 1.0, rtol=1e-14)  # of a unit vector with itself
    assert float(found["parameter_distance"][0]) == 0.0 == float(found["parameter_distance_error"][0])


@pytest.mark.long
def test_measuring_elsewhere_is_recording_here(tmp_path):
    """Measured in any order, through bytes, appended in order: the folder that `record` makes."""
    expected = record_states(tmp_path / "a", modes=4, couplings=3)
    model, train, probe = make()
    recorder = StateRecorder(tmp_path / "b", probe, modes=4, couplings=3)
    copies = {step: probe.state() for step in states(model, train)}
    measured = {}
    for step in sorted(copies, reverse=True):
        for name, parameter in model.named_parameters():
            parameter.data.copy_(copies[step][0][name])
        measured[step] = measure_state(probe, **recorder.settings).to_bytes()
    for step in SCHEDULE:
        one = StateMeasurement.from_bytes(measured[step])
        assert recorder.append(step, one, time=RATE * step, loss=1.0 / (1 + step))
    recorder.close()
    run = ef.open_run(tmp_path / "b")
    assert run.measurements.identical(expected.measurements) and run.losses.equals(expected.losses)


def test_bytes_keep_a_tracked_state_whole():
    _, _, probe = make(count=20)
    one = measure_state(probe, method="tracked", modes=6, tail=TailSettings(steps=4, probes=3))
    again = StateMeasurement.from_bytes(one.to_bytes())
    assert again.to_bytes() == one.to_bytes() and repr(again) == repr(one) and len(repr(one).splitlines()) <= 15
    assert one.tail is not None and again.tail is not None and one.tail.density is not None
    points = np.geomspace(1e-6, 1.0, 9)
    np.testing.assert_array_equal(again.tail.energy.below(points), one.tail.energy.below(points))
    assert again.tail.density is not None
    np.testing.assert_array_equal(again.tail.density.below(points).upper, one.tail.density.below(points).upper)


@pytest.mark.parametrize("steps", [(4,), (0, 9)], ids=["one", "two"])
def test_one_and_two_states_make_a_record(tmp_path, steps):
    run = record_states(tmp_path / "run", steps)
    assert run.measured_steps == steps and run.status == "complete" and run.kind == "states"
    assert "states without the updates" in repr(run)


def test_a_state_that_did_not_change_differs_by_nothing(tmp_path):
    _, _, probe = make()
    with StateRecorder(tmp_path / "run", probe) as recorder:
        assert recorder.record(5, time=0.5) and recorder.record(6, time=0.5)
    data = ef.open_run(tmp_path / "run").measurements.isel(step=1)
    assert not data["eigenvalue_change"].any() and float(data["parameter_distance"]) == 0.0
    assert float(data["initial_distance"]) <= 1e-14  # the same operator: eigenvalues less themselves
    np.testing.assert_allclose(data["predecessor_overlap"], 1.0, rtol=1e-14)


def test_diverged_state_is_a_gap_and_the_record_goes_on(tmp_path):
    model, train, probe = make()
    recorder = StateRecorder(tmp_path / "run", probe)
    assert recorder.record(0)
    weights = [p.detach().clone() for p in model.parameters()]
    for parameter in model.parameters():
        parameter.data.fill_(torch.nan)
    with pytest.warns(RecordGapWarning, match="step 10 was not measured"):
        assert not recorder.record(10)
    for parameter, kept in zip(model.parameters(), weights, strict=True):
        parameter.data.copy_(kept)
    recorder.skip(15, "`checkpoint-15` is truncated")
    recorder.skip(15, "said again")
    assert recorder.record(20) and recorder.steps == (0, 20)
    recorder.close()
    run = ef.open_run(tmp_path / "run")
    assert run.status == "complete with gaps" and run.measured_steps == (0, 20) and run.clock == "updates"
    assert [(gap.step, gap.kind) for gap in run.gaps] == [(10, "measurement"), (15, "measurement")]
    assert "NaN" in run.gaps[0].reason or "finite" in run.gaps[0].reason
    assert run.gaps[1] == Gap(15, 15, "measurement", "`checkpoint-15` is truncated")
    np.testing.assert_array_equal(run.measurements["time"], [0.0, 20.0])
    assert run.measurements["time"].attrs["units"] == "update"


@pytest.mark.long
def test_cross_entropy_and_products_in_single_precision(tmp_path):
    model, (inputs, _) = tanh_net(0, outputs=3), samples(0, count=30)
    labels = torch.arange(30) % 3
    probe = ef.Probe(model, inputs, labels, loss="cross_entropy", holdout=(inputs[:5], labels[:5]))
    options = {"method": "tracked", "modes": 6, "product_dtype": torch.float32, "tolerance": 1e-5}
    with StateRecorder(tmp_path / "a", probe) as dense, StateRecorder(tmp_path / "b", probe, **options) as tracked:
        for step in states(model, (inputs, labels), (0, 6), nn.functional.cross_entropy):
            assert dense.record(step) and tracked.record(step)
    dense, tracked = (ef.open_run(tmp_path / name).measurements for name in "ab")
    # Products in float32 are right to some 1e-7 of the largest eigenvalue.
    np.testing.assert_allclose(tracked["eigenvalue"], dense["eigenvalue"][:, :6], rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(tracked["trace"], dense["trace"], rtol=1e-5)
    np.testing.assert_allclose(tracked["holdout_loss"], dense["holdout_loss"], rtol=1e-12)
    loss = float(nn.functional.cross_entropy(model(inputs), labels).detach())
    assert float(dense["probe_loss"][-1]) == pytest.approx(loss, rel=1e-12)


def test_large_networks_have_a_sketch_of_their_distance():
    """A count sketch of 2000 buckets is right to sqrt(2 / 2000) / 2 = 1.6 %, one standard error."""
    from eigenflow.trajectory.state_parameters import parameter_distance, parameter_vector, sketch_error

    generator = torch.Generator().manual_seed(1)
    misses = []
    for _ in range(20):
        first = {name: torch.randn(3000, generator=generator, dtype=torch.float64) for name in "ab"}
        second = {
            name: p + 0.01 * torch.randn(3000, generator=generator, dtype=torch.float64) for name, p in first.items()
        }
        true = float(sum((second[name] - first[name]).square().sum() for name in "ab") ** 0.5)
        misses.append(parameter_distance(*(parameter_vector(x, 2000) for x in (first, second))) / true - 1.0)
    assert sketch_error(6000, 2000) == pytest.approx(0.0158, rel=0.01) and sketch_error(2000, 2000) == 0.0
    assert 0.5 * 0.0158 <= float(np.std(misses)) <= 1.5 * 0.0158  # of 20 draws
    exact = parameter_distance(*(parameter_vector(x, 6000) for x in (first, second)))
    assert exact == pytest.approx(true, rel=1e-12)


@pytest.mark.rejects
def test_what_is_said_of_states_is_checked(tmp_path):
    _, _, probe = make()
    recorder = StateRecorder(tmp_path / "run", probe)
    recorder.record(5, time=0.5)
    with pytest.raises(ArgumentError, match=r"`step` must be later than 5.*is 3.*order of their steps"):
        recorder.record(3, time=0.6)
    with pytest.raises(ArgumentError, match=r"`step` must be later than 5.*is 5"):
        recorder.record(5, time=0.6)
    with pytest.raises(ArgumentError, match=r"`time` must be given for all states .* or for none"):
        recorder.record(6)
    with pytest.raises(ArgumentError, match=r"`time` must not fall, but is 0.4 at step 6"):
        recorder.record(6, time=0.4)
    with pytest.raises(ArgumentError, match=r"`step` must be a whole"):
        recorder.record(6.5, time=1.0)
    with pytest.raises(NonFiniteError, match="`time`"):
        recorder.record(6, time=float("nan"))
    with pytest.raises(ArgumentError, match="`loss` must be one number"):
        recorder.record(6, time=1.0, loss=torch.zeros(2))
    with pytest.raises(ArgumentError, match="`reason` must be words"):
        recorder.skip(6, None)
    recorder.close()
    recorder.close()
    with pytest.raises(RunFolderError, match=r"closed.*resume=True"):
        recorder.record(7, time=1.0)


@pytest.mark.rejects
def test_a_measurement_of_another_probe_or_other_settings_is_refused(tmp_path):
    _, _, probe = make()
    recorder = StateRecorder(tmp_path / "run", probe)
    with pytest.raises(ArgumentError, match=r"modes=4 instead of 12.*recorder.settings"):
        recorder.append(0, measure_state(probe, modes=4))
    with pytest.raises(ArgumentError, match="probe="):
        recorder.append(0, measure_state(make(seed=1)[2]))
    with pytest.raises(ArgumentError, match="`measurement` must be what measure_state returned"):
        recorder.append(0, None)
    recorder.close()
    with pytest.raises(OSError, match="no state that was measured by eigenflow"):
        StateMeasurement.from_bytes(b"12345678901234567890")
