"""Networks that are controls: recorded, they are what the numpy controls say, and get the same verdicts."""

import numpy as np
import pytest
import torch

import eigenflow as ef
from eigenflow.core.errors import ArgumentError
from eigenflow.core.grid import log_steps
from eigenflow.lab.exact import AlignedTwin, FrozenTwin
from eigenflow.theory import Evidence, judge_all
from eigenflow.theory.controls.catalogue import CONTROLS
from eigenflow.theory.controls.measuring import measure, resting_modes
from eigenflow.trajectory import Recorder

pytestmark = pytest.mark.long

RATE, STEPS = 0.05, 1500
LAM = np.arange(1.0, 61.0) ** -1.3


def record(path, twin, steps=STEPS):
    model, inputs, targets = twin.network()
    probe = ef.Probe(model, inputs, targets, loss="half_sum")
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    with Recorder(path, probe, [int(step) for step in log_steps(steps, count=24)]) as recorder:
        for step in range(steps):
            optimizer.zero_grad()
            loss = 0.5 * (model(inputs) - targets).square().sum()
            loss.backward()
            optimizer.step()
            recorder.step(step, loss=loss.detach(), learning_rate=RATE, batch_size=len(targets), momentum=0.0)
    return ef.open_run(path)


@pytest.fixture(scope="module")
def frozen(tmp_path_factory):
    coefficients = np.random.default_rng(3).normal(size=60) * LAM**0.7
    return coefficients, record(tmp_path_factory.mktemp("frozen") / "run", FrozenTwin(LAM, coefficients))


@pytest.fixture(scope="module")
def aligned(tmp_path_factory):
    rng = np.random.default_rng(4)
    strengths = 0.5 * LAM * np.exp(rng.normal(size=60))
    strengths /= 2 * strengths.max()
    twin = AlignedTwin(strengths, 0.02 * strengths)
    return twin, record(tmp_path_factory.mktemp("aligned") / "run", twin, steps=3000)


def test_a_recorder_measures_the_frozen_twin_as_the_control_is_measured(frozen):
    """Gradient descent is (1 - eta lambda)^k: a path of its own, so every variable of the numpy measurement is met.

    Both sort modes alike; coefficients have free signs. Energies and eigenvalues are of order one, and what
    is left is rounding of sums over 60 modes."""
    coefficients, run = frozen
    data = run.measurements

    def system(time):
        return resting_modes(LAM, np.zeros(60), coefficients * (1 - RATE * LAM) ** round(time / RATE))

    expected = measure(system, data["step"].values * RATE, RATE)
    for name in ("eigenvalue", "energy", "energy_after", "dissipation", "transfer", "remainder", "mode_count"):
        found, wanted = data[name].values, expected[name].values
        np.testing.assert_allclose(found, wanted, atol=1e-13 * max(1.0, np.abs(wanted).max()), err_msg=name)
    for name in ("coefficient", "gradient_step", "coefficient_after", "initial_coefficient", "sample_energy"):
        values = np.abs(data[name].values) - np.abs(expected[name].values)
        assert np.abs(values).max() < 1e-12 * float(np.abs(expected[name]).max()) + 1e-14, name


def test_the_aligned_twin_follows_its_sigmoids(aligned):
    """a(t) = s / (1 + (s / a0 - 1) exp(-2 s t)); gradient descent is of first order in eta 2 s <= 0.05: 3 per cent."""
    twin, run = aligned
    data = run.measurements
    times = data["time"].values[:, None]
    a = twin.strengths / (1 + (twin.strengths / twin.start - 1) * np.exp(-2 * twin.strengths * times))
    expected = -np.sort(-2 * a, axis=1)
    assert np.abs(np.log(data["eigenvalue"].values / expected)).max() < 0.03


@pytest.mark.parametrize("name", ["at rest", "aligned linear network"])
def test_verdicts_are_those_of_the_truth(name, frozen, aligned):
    """What holds of the control is not contradicted on its twin, and what fails is not supported."""
    control = next(one for one in CONTROLS if one.name == name)
    run = (frozen if name == "at rest" else aligned)[1]
    rows = {row.claim: row for row in judge_all(Evidence(run, knows_rates=False))}
    wrong = [key for key in control.holds if key in rows and rows[key].verdict == "contradicted"]
    wrong += [key for key in control.fails if key in rows and rows[key].verdict == "supported"]
    # Sixty modes are few: the spread of velocities in a shell is that of four or five.
    assert set(wrong) <= {"C3.single"}, {key: rows[key] for key in wrong}
    assert sum(rows[key].verdict == "supported" for key in control.holds if key in rows) >= 12


@pytest.mark.rejects
def test_wrong_numbers_are_refused():
    with pytest.raises(ArgumentError, match="`eigenvalues` must be"):
        FrozenTwin(np.array([1.0, -1.0]), np.ones(2))
    with pytest.raises(ArgumentError, match="`coefficients` must be"):
        FrozenTwin(np.ones(2), np.ones(3))
    with pytest.raises(ArgumentError, match="`start` must be"):
        AlignedTwin(np.ones(2), np.ones(3))
