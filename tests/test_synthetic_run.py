"""The exact systems that other tests are built on are what they say."""

import numpy as np
import pytest

import eigenflow as ef
from synthetic_run import measure, power_law_modes, riccati, write_run


def test_riccati_error_obeys_the_flow_and_its_rate_is_the_derivative():
    """de/dt = -M e and Mdot by central differences: 1e-8 of truncation at a step of 1e-4."""
    path, step = riccati(4), 1e-4
    low, now, high = (path(0.7 + shift) for shift in (-step, 0.0, step))

    def operator(x):
        return x.frame.T @ (x.eigenvalues[:, None] * x.frame)

    np.testing.assert_allclose((high.error - low.error) / (2 * step), -operator(now) @ now.error, atol=1e-6)
    rate = now.frame.T @ now.rates @ now.frame
    np.testing.assert_allclose((operator(high) - operator(low)) / (2 * step), rate, atol=1e-6)
    assert np.abs(now.rates - np.diag(np.diag(now.rates))).max() > 0.1  # it rotates


@pytest.mark.long
def test_budget_of_a_synthetic_run_closes_and_the_loss_follows_its_power(tmp_path):
    run = write_run(tmp_path / "run", power_law_modes(200, rho=1.2), steps=20_000, count=12, step_size=0.01)
    budget = ef.shell_budget(run)
    energy = budget.energy.sum("shell")
    # Rounding of sums over 200 modes.
    assert float(np.abs(budget.residual / energy).max()) < 1e-13
    late = run.losses[run.losses["time"] > 10]
    tail = 0.5 * 200.5**-1.2 / 1.2  # energy of the modes beyond the 200th, which have not moved yet
    slope = -np.polyfit(np.log(1 + late["time"]), np.log(late["loss"] + tail), 1)[0]
    # Modes beyond the 200th do move a little (2 lambda tau = 0.3 at the end): 2 per cent.
    assert slope == pytest.approx(1.2 * 0.8, rel=0.04)


def test_rotation_moves_energy_between_shells():
    data = measure(riccati(4), np.linspace(0.0, 3.0, 8), 1e-3)
    between = data["transfer_matrix"].values.copy()
    between[:, np.arange(between.shape[1]), np.arange(between.shape[1])] = 0.0
    assert np.abs(between).max() > 0
    np.testing.assert_allclose(
        between.sum(2) - between.sum(1), data["transfer"].values, atol=1e-14 * float(data["energy"].sum("shell").max())
    )
