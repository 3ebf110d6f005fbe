"""Controls are measured as a recorder would, and obey the equations that they claim to obey."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.sparse import csr_array

from eigenflow.shells import shell_budget
from eigenflow.theory.controls.catalogue import CONTROLS
from eigenflow.theory.controls.measuring import ControlRun, Instant, measure, resting_modes
from eigenflow.theory.controls.motion import carried_modes, scaled_modes, turning_pairs
from eigenflow.theory.controls.systems import draw_spectrum
from synthetic_run import measure as measure_densely
from synthetic_run import power_law_modes, riccati

TIMES = 0.05 * np.array([0, 1, 4, 12, 40])


def sparse(path):
    """A dense system of the tests as one of the controls."""

    def at(time):
        now = path(time)
        return Instant(now.eigenvalues, csr_array(now.frame), csr_array(now.rates), now.error)

    return at


@pytest.mark.parametrize("path", [power_law_modes(40, rho=1.2, seed=3), riccati(4)], ids=["at rest", "turning"])
def test_variables_are_those_of_dense_linear_algebra(path):
    """Every variable of the dense oracle, to rounding of sums over 40 numbers of order one."""
    dense, found = measure_densely(path, TIMES, 0.05), measure(sparse(path), TIMES, 0.05)
    for name, values in dense.items():
        scale = float(np.abs(values).max())
        np.testing.assert_allclose(found[name].values, values.values, atol=1e-12 * max(scale, 1.0), err_msg=str(name))


def test_pairs_obey_the_flow():
    """Against an explicit method at 1e-11; the integrator for pairs is of second order, 250 steps an e-fold: 1e-6."""
    rng = np.random.default_rng(0)
    lam = np.sort(10.0 ** rng.uniform(-2, 0, 8))[::-1]
    g, turn = rng.normal(size=8), np.array([0.5, -1.2])
    first, second = np.array([0, 2]), np.array([5, 7])
    times = np.array([0.3, 2.0, 10.0, 100.0])
    system = turning_pairs(lam, g, first, second, turn, times)

    def frame(time):
        found = np.eye(8)
        for i, j, angle in zip(first, second, turn * np.log1p(time), strict=True):
            found[[i, j], [i, j]] = np.cos(angle)
            found[i, j], found[j, i] = np.sin(angle), -np.sin(angle)
        return found

    def flow(time, error):
        now = frame(time)
        return -now.T @ (lam * (now @ error))

    truth = solve_ivp(flow, (0.0, 100.0), g, "DOP853", rtol=1e-11, atol=1e-13, t_eval=times)
    for time, error in zip(truth.t, truth.y.T, strict=True):
        now = system(float(time))
        np.testing.assert_allclose(now.error, error, atol=1e-6 * np.abs(error).max())
        np.testing.assert_allclose(now.frame.toarray(), frame(time), atol=1e-14)


def test_rates_of_pairs_are_the_operators_derivative():
    lam, step = np.array([1.0, 0.4, 0.1]), 1e-4
    times = np.array([0.7 - step, 0.7, 0.7 + step])
    system = turning_pairs(lam, np.ones(3), np.array([0]), np.array([2]), np.array([0.8]), times)
    low, now, high = (system(float(t)) for t in times)

    def operator(x):
        return x.frame.T @ np.diag(x.eigenvalues) @ x.frame.toarray()

    rate = now.frame.T @ now.rates.toarray() @ now.frame.toarray()
    # Central differences: step^2 / 6 of third derivatives of order one.
    np.testing.assert_allclose((operator(high) - operator(low)) / (2 * step), rate, atol=1e-7)


def test_carried_modes_follow_closed_solutions():
    """b = 2 with constant c: lambda0 / (1 + c lambda0 t) and Q = ln(1 + c lambda0 t) / c; scaled modes at b = 1."""
    lam, c = np.array([1.0, 0.1, 0.01]), 0.5
    system = carried_modes(lam, np.ones(3), lambda x, t: -c * x, 50.0)
    for time in (0.0, 0.3, 7.0, 50.0):
        now = system(time)
        np.testing.assert_allclose(now.eigenvalues, lam / (1 + c * lam * time), rtol=1e-8)
        np.testing.assert_allclose(now.error, (1 + c * lam * time) ** (-1 / c), rtol=1e-8)
    gamma = 0.3
    closed = scaled_modes(
        lam,
        np.ones(3),
        lambda t: (1 + t) ** gamma,
        lambda t: ((1 + t) ** (1 + gamma) - 1) / (1 + gamma),
        lambda t: gamma / (1 + t),
    )
    integrated = carried_modes(lam, np.ones(3), lambda x, t: np.full(3, gamma / (1 + t)), 50.0)
    np.testing.assert_allclose(integrated(20.0).error, closed(20.0).error, rtol=1e-7)


@pytest.mark.parametrize("control", [c for c in CONTROLS if c.record is None], ids=lambda c: c.name)
def test_every_control_descends_along_its_operator(control):
    """de/dt = -M e and Mdot by central differences at t = 2, h = 1e-3: third derivatives below one give h^2 / 6."""
    rng, step = np.random.default_rng(5), 1e-3
    times = np.array([2.0 - step, 2.0, 2.0 + step])
    system = control.make(draw_spectrum(60, rng), rng, times)
    low, now, high = (system(float(t)) for t in times)

    def operator(x):
        return x.frame.T @ np.diag(x.eigenvalues) @ x.frame.toarray()

    size = np.abs(now.error).max()
    np.testing.assert_allclose((high.error - low.error) / (2 * step), -operator(now) @ now.error, atol=1e-6 * size)
    rate = now.frame.T @ now.rates.toarray() @ now.frame.toarray()
    np.testing.assert_allclose((operator(high) - operator(low)) / (2 * step), rate, atol=1e-6)


@pytest.mark.long
@pytest.mark.parametrize("control", CONTROLS, ids=lambda c: c.name)
def test_budget_of_every_control_closes(control):
    """To rounding of sums over 60 modes; energies after an update of minibatches are those of another draw."""
    run = control.run(60, 12, 5)
    assert float(np.abs(shell_budget(run).residual / run.measurements["energy"].sum("shell")).max()) < 1e-12
    assert float(run.measurements["step_size"][0]) * float(run.measurements["eigenvalue"].max()) <= 0.08 * (1 + 1e-9)


@pytest.mark.long
def test_batches_of_a_control_are_those_that_it_says():
    noisy, doubled = (
        next(c for c in CONTROLS if c.name.startswith("minibatches") and c.holds >= need).run(200, 30, 1)
        for need in ({"C5.noise"}, frozenset())
    )
    assert isinstance(noisy, ControlRun) and noisy.losses["batch_size"].eq(20).all()
    assert doubled.losses["batch_size"].eq(20).all()


def test_what_is_learned_beyond_floats_is_nothing():
    now = resting_modes(np.array([1.0, 2.0]), np.zeros(2), np.array([1e-160, 1.0]))
    assert now.coefficients.tolist() == [1.0, 0.0]
