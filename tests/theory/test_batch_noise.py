"""The second moment of minibatch SGD against all batches, and sweeps whose coupling is known."""

from itertools import combinations, product

import numpy as np
import pandas as pd
import pytest
from scipy.linalg import expm

from eigenflow.core.errors import ArgumentError, RunFolderError
from eigenflow.theory.coupling.batch_noise import batch_noise, batch_variance
from eigenflow.theory.coupling.batch_sweep import _ratios, batch_sweep
from eigenflow.theory.coupling.turning import shell_turning
from synthetic_run import DatasetRun, from_matrix, measure


def linear_model(samples=6, outputs=2, size=9, seed=0):
    """J of a linear model, and an error; rows are sample-major."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(samples * outputs, size)) / 3, rng.normal(size=samples * outputs)


def after_batch(J, e, batch, eta, outputs):
    """e' = e - eta (n / m) J J_B' e_B for the samples of a batch."""
    samples = len(e) // outputs
    rows = (np.asarray(batch)[:, None] * outputs + np.arange(outputs)).ravel()
    return e - eta * samples / len(batch) * J @ (J[rows].T @ e[rows])


@pytest.mark.parametrize("batch_size", [1, 2, 4, 6])
@pytest.mark.parametrize("replacement", [False, True])
def test_second_moment_by_enumeration_of_all_batches(batch_size, replacement):
    """Rounding of a sum over at most 1,296 batches."""
    if replacement and batch_size > 2:
        batch_size = 3
    J, e = linear_model()
    instant = from_matrix(J @ J.T, np.zeros((12, 12)), e)
    eta, lam, g = 0.3, instant.eigenvalues, instant.coefficients
    batches = list(product(range(6), repeat=batch_size) if replacement else combinations(range(6), batch_size))
    moments = np.mean([(instant.frame @ after_batch(J, e, b, eta, 2)) ** 2 for b in batches], axis=0)
    energy = 6 * ((instant.frame * e).reshape(12, 6, 2).sum(2) ** 2).sum(1)
    added = batch_variance(lam, g, energy, eta, samples=6, batch_size=batch_size, replacement=replacement)
    np.testing.assert_allclose((1 - eta * lam) ** 2 * g**2 + added, moments, rtol=1e-11, atol=1e-13)


def sgd_run(batch_size, *, samples=24, outputs=2, steps=400, eta=0.02, seed=0):
    """A linear model trained by SGD, every update measured."""
    J, e = linear_model(samples, outputs, 30, seed=1)
    rng = np.random.default_rng(seed)
    errors = [e]
    for _ in range(steps + 1):
        batch = rng.choice(samples, batch_size, replace=False)
        errors.append(after_batch(J, errors[-1], batch, eta, outputs))
    M, zero = J @ J.T, np.zeros((samples * outputs, samples * outputs))
    times = eta * np.arange(0, steps, 10)
    data = measure(
        lambda t: from_matrix(M, zero, errors[round(t / eta)]),
        times,
        eta,
        outputs=outputs,
        linear=lambda now, dt: errors[1 + int(np.argmin([np.abs(now.error - x).max() for x in errors[:-1]]))],
    )
    losses = pd.DataFrame({"step": [0, 1], "batch_size": batch_size, "momentum": 0.0})
    return DatasetRun(_plain(data), losses, outputs=outputs)


def _plain(data):
    """Updates that are steps on batches of the probe, as the recorder finds them."""
    zeros = np.zeros(data.sizes["step"])
    return data.assign(batch_miss=("step", zeros), batch_repeats=("step", zeros + 1.0))


def test_updates_of_a_run_add_what_is_expected():
    """40 updates; one ratio scatters by about 0.4 (few modes count), so their mean by 0.07: three of them."""
    noise = batch_noise(sgd_run(4))
    assert noise.ratio.mean() == pytest.approx(1.0, abs=0.2)
    assert noise.batch_size == 4 and noise.samples == 24
    np.testing.assert_allclose(noise.expected_shells.sum(1), noise.expected, rtol=1e-12)
    np.testing.assert_allclose(noise.observed_shells.sum(1), noise.observed, rtol=1e-12)


@pytest.mark.long
def test_noise_falls_with_the_batch_size():
    """At the same state the factor is (n - m) / (m (n - 1))."""
    shares = [batch_noise(sgd_run(m)).expected[0] for m in (2, 8)]
    assert shares[0] / shares[1] == pytest.approx((22 / 2) / (16 / 8), rel=1e-9)


def turning_run(batch_size, speed, *, samples=32, seed=0):
    """A spectrum over two decades that turns through its modes at `speed` radians an e-fold of time."""
    rng = np.random.default_rng(seed)
    lam = np.geomspace(1.0, 0.01, samples)
    generator = np.triu(rng.normal(size=(samples, samples)), 1) / np.sqrt(samples)
    generator = generator - generator.T
    error = rng.normal(size=samples)

    def at(time):
        R = expm(speed * np.log(time) * generator)
        M = R @ (lam[:, None] * R.T)
        return from_matrix(M, speed / time * (generator @ M - M @ generator), error)

    data = measure(at, np.geomspace(1.0, 100.0, 20), 1e-3)
    return DatasetRun(_plain(data), pd.DataFrame({"step": [0], "batch_size": [batch_size], "momentum": [0.0]}))


@pytest.mark.long
def test_a_sweep_finds_weaker_coupling():
    """Half the speed: a quarter of the share that turns away, half the angle."""
    found = batch_sweep([turning_run(32, 0.2), turning_run(4, 0.1)])
    assert found.batch_sizes == (32, 4)
    assert found.ratio["turned"][1] == pytest.approx(0.25, rel=0.05)
    assert found.ratio["angle"][1] == pytest.approx(0.5, rel=0.05)
    assert found.answer() == "weakens"
    assert found.noise_share[0] == 0 < found.noise_share[1]


@pytest.mark.long
def test_a_sweep_of_equal_coupling_is_undecided():
    runs = [turning_run(m, 0.2, seed=s) for m, s in ((32, 0), (32, 1), (32, 2), (4, 3), (4, 4), (4, 5))]
    found = batch_sweep(runs)
    assert found.runs == (3, 3)
    assert found.answer() == "undecided", found


@pytest.mark.parametrize("paired", [False, True])
def test_intervals_of_ratios_cover_their_share(paired):
    """Run effects of 0.3 and independent scatter of times, 200 sweeps of 3 + 3 runs: 90 % +- 2 %, and not much more.

    Paired runs share a network, whose effect of 3.0 cancels.
    """
    rng = np.random.default_rng(0)
    members, hits = [[0, 1, 2], [3, 4, 5]], 0
    for seed in range(200):
        logs = 0.3 * rng.normal(size=(6, 1)) + 0.1 * rng.normal(size=(6, 16))
        if paired:
            logs = logs + 3.0 * np.tile(rng.normal(size=(3, 1)), (2, 1))
        _, intervals = _ratios(logs, members, paired, seed)
        hits += intervals[1][0] <= 1.0 <= intervals[1][1]
    assert 172 <= hits <= 196


@pytest.mark.long
def test_intervals_without_the_frame_before_are_left_out():
    """A measurement that was lost: its successor's overlap is with a frame that is not in the run."""
    data = turning_run(32, 0.2).measurements
    whole = shell_turning(data)
    times = data["time"].values
    before = np.append(times[:1], times[:-1])
    cut = shell_turning(data.assign(frame_time=("step", before)).isel(step=np.delete(np.arange(len(times)), 5)))
    assert len(cut.rate) == len(whole.rate) - 2
    np.testing.assert_allclose(np.delete(whole.rate, [4, 5]), cut.rate)


@pytest.mark.long
def test_samples_that_are_drawn_twice_have_the_moment_of_independent_draws():
    """1 / m instead of (n - m) / (m (n - 1))."""
    once = sgd_run(8)
    twice = DatasetRun(
        once.measurements.assign(batch_repeats=("step", np.full(once.measurements.sizes["step"], 2.0))),
        once.losses,
        outputs=2,
    )
    ratio = batch_noise(twice).expected / batch_noise(once).expected
    np.testing.assert_allclose(ratio, (1 / 8) / (16 / (8 * 23)), rtol=1e-12)


class Told(DatasetRun):
    """A dataset whose header says more."""

    def __init__(self, data, losses, **told):
        super().__init__(data, losses)
        self.told = told

    @property
    def header(self):
        return {**super().header, **self.told}


@pytest.mark.long
@pytest.mark.rejects
def test_runs_without_the_noise_of_plain_sgd_are_refused():
    full, small = turning_run(32, 0.2), turning_run(4, 0.2)
    with pytest.raises(ArgumentError, match="all 32 samples"):
        batch_noise(full)
    with pytest.raises(RunFolderError, match="batches of 64, but its probe set has 32"):
        batch_noise(turning_run(64, 0.2))
    with pytest.raises(RunFolderError, match="does not hold sample_energy"):
        batch_noise(DatasetRun(small.measurements.drop_vars("sample_energy"), small.losses))
    with pytest.raises(RunFolderError, match="not trained by plain SGD"):
        batch_noise(DatasetRun(small.measurements, small.losses.assign(momentum=0.9)))
    unsaid = small.measurements.drop_vars(["batch_miss", "batch_repeats"])
    with pytest.raises(RunFolderError, match="does not say whether its batches are samples of its probe"):
        batch_noise(DatasetRun(unsaid, small.losses))
    other = small.measurements.assign(batch_miss=("step", np.full(small.measurements.sizes["step"], 0.3)))
    with pytest.raises(RunFolderError, match=r"shows no updates by plain SGD on samples of its probe.* is 0\.3 of"):
        batch_noise(DatasetRun(other, small.losses))
    with pytest.raises(RunFolderError, match="no updates by plain SGD"):
        batch_sweep([full, DatasetRun(other, small.losses)])
    with pytest.raises(RunFolderError, match="preconditioner of AdamW"):
        batch_noise(Told(small.measurements, small.losses, preconditioner="AdamW"))
    with pytest.raises(RunFolderError, match="optimizer 'adam'"):
        batch_noise(Told(small.measurements, small.losses, config={"train": {"optimizer": "adam"}}))
    with pytest.raises(RunFolderError, match="weight decay"):
        batch_noise(Told(small.measurements, small.losses, config={"train": {"weight_decay": 0.1}}))
    own = {"task": {}, "model": {}, "train": {"optimizer": "sgd"}, "measure": {}}
    assert batch_noise(Told(unsaid, small.losses, config=own)).batch_size == 4
    with pytest.raises(RunFolderError, match="does not say"):
        batch_noise(Told(unsaid, small.losses, config={**own, "task": {"training": 64}}))
    with pytest.raises(RunFolderError, match="logged 0 batch sizes"):
        batch_noise(DatasetRun(small.measurements))
    with pytest.raises(ArgumentError, match="at least two batch sizes"):
        batch_sweep([small, small])
    with pytest.raises(ArgumentError, match=r"`paired` needs as many runs.*\{32: 1, 4: 2\}"):
        batch_sweep([full, small, small], paired=True)
    with pytest.raises(ArgumentError, match="one probe set"):
        batch_sweep([full, turning_run(4, 0.2, samples=16)])
    with pytest.raises(ArgumentError, match="between 1 and `samples` = 6, but is 9"):
        batch_variance(np.ones(2), np.ones(2), np.ones(2), 0.1, samples=6, batch_size=9)
    lacking = DatasetRun(small.measurements.drop_vars("shell_overlap"), small.losses)
    assert "schema version 3" in batch_sweep([full, lacking]).answer()
