"""A scalar-head network, trained and recorded like any other: the reading side finds the effective time it has."""

import numpy as np
import pytest
import torch

import eigenflow as ef
from eigenflow.core.grid import log_steps
from eigenflow.lab.exact import ScalarHeadNet
from eigenflow.tangent import Probe
from eigenflow.theory.claims import CLAIMS, Evidence
from eigenflow.theory.effective_time.clocks import error_clocks, operator_clocks
from eigenflow.theory.lazy_rich import lazy_rich, predict_from_start
from eigenflow.trajectory import Recorder

pytestmark = pytest.mark.long

STEPS, RATE = 1000, 0.05


@pytest.fixture(scope="module")
def net():
    return ScalarHeadNet(decay=1.5, source=0.4, head=0.5, modes=30)


@pytest.fixture(scope="module")
def run(net, tmp_path_factory):
    model, inputs, targets = net.network()
    probe = Probe(model, inputs, targets, loss="half_sum")
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    path = tmp_path_factory.mktemp("scalar") / "run"
    with Recorder(path, probe, [int(step) for step in log_steps(STEPS, count=22)]) as recorder:
        for step in range(STEPS):
            optimizer.zero_grad()
            loss = 0.5 * (model(inputs) - targets).square().sum()
            loss.backward()
            optimizer.step()
            recorder.step(step, loss=loss.detach(), learning_rate=RATE)
    return ef.open_run(path)


@pytest.fixture(scope="module")
def path(net, run):
    return net.flow(run.measurements["time"].values[1:], tolerance=1e-5)


def test_recorded_operator_is_that_of_the_flow(net, run, path):
    """Gradient descent follows the flow to first order in the rate: eta a^2 lambda_1 / 2 = 3 % in the fast modes."""
    stored = run.measurements["eigenvalue"].values[1:]
    exact = np.array([net.operator_eigenvalues(a, w) for a, w in zip(path.head, path.weights, strict=True)])
    assert np.abs(np.log(stored / exact)).max() <= 0.03
    assert np.abs(np.log(run.measurements["probe_loss"].values[1:] / (path.loss - net.tail))).max() <= 0.02


def test_slow_modes_run_by_the_clock_of_the_head(net, run, path):
    """M = a^2 diag(lambda) + z z': eigenvalues interlace those of a^2 diag(lambda), so tau_k lies between int a^2 and
    that of the next larger mode; the rank-one part is small against the gap for all but the first modes."""
    clocks = operator_clocks(run.measurements)
    tau = path.effective_time / net.head**2  # the untouched operator has a0^2 in it
    slow = clocks.taus[:, 5:]
    assert np.all(slow >= tau[:, None] * (1 - 0.03)) and np.abs(np.log(slow / tau[:, None]))[-1].max() <= 0.1
    assert clocks.taus[-1, 0] > 1.02 * tau[-1]  # the first mode also has the rank-one part


def test_growth_of_the_clock_is_faster_than_time(run, path):
    """alpha = 2 / (1 + source) = 1.43 is far away, and 30 modes end it; the local index still passes 1.15."""
    clocks = error_clocks(run.measurements)
    index = np.gradient(np.log(clocks.common), np.log(clocks.times))
    assert index[:5].mean() == pytest.approx(1.0, abs=0.05) and index.max() > 1.15


def test_coordinate_and_predictions(net, run, path):
    """||M - M0|| from the closed form of M; the measured eigenvalues predict the loss better than the frozen ones.

    w starts from 0, where after k steps of gradient descent the head is behind the flow by a share of 1 / (2k).
    """
    data = run.measurements
    place = lazy_rich(data, ef.shell_budget(run))
    lam = net.variances
    z = np.sqrt(lam) * path.weights
    change = (path.head**2 - net.head**2)[:, None, None] * np.diag(lam) + z[:, :, None] * z[:, None, :]
    exact = np.linalg.norm(change, axis=(1, 2)) / (net.head**2 * np.linalg.norm(lam))
    assert np.all(np.abs(place.distance[1:] / exact - 1) <= 0.55 / data["step"].values[1:] + 0.01)
    assert place.regime == "rich"
    found = predict_from_start(data)
    assert found.moving_score.rms_log_ratio < 0.5 * found.lazy_score.rms_log_ratio


def test_one_clock_of_the_operator_is_found(run):
    rows = {row.claim: row for row in CLAIMS["C7"].judge(Evidence(run))}
    assert list(rows) == ["C7", "C7.operator", "C7.error", "C7.clock", "C7.regular"]
    assert rows["C7.operator"].verdict == "supported" and rows["C7.operator"].estimate < 0.02
