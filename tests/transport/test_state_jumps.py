"""Jumps upwards beside a drift set by the state: against dense equations, conservation, and orders of convergence."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.integrate import quad, solve_ivp

from eigenflow.transport import StateDrift, StateProblem, StateStatus, UpwardJumps, solve_state
from eigenflow.transport.methods.state_jumps import CELLS_PER_DECADE, JumpGrid, march

TIMES = np.geomspace(0.1, 200.0, 12)
LAW = StateDrift(6.0)


def problem(rate=1.0, reach=0.6):
    lam = np.geomspace(1e-4, 1.0, 80)
    return StateProblem(LAW, np.append(lam, 0.0), np.append(0.02 * lam**0.5, 0.01), jumps=UpwardJumps(rate, reach))


def test_landing_is_the_exponential_density_averaged_over_a_cell():
    """Shares by numerical integration over departure and length; columns add up to 1, and nothing goes down."""
    landing = JumpGrid.of(problem(), 0.6).landing[1:, 1:]
    width = np.log(10.0) / CELLS_PER_DECADE
    for cells in (1, 2, 7):
        share = quad(
            lambda x, n=cells: (np.exp(-(n * width - x) / 0.6) - np.exp(-((n + 1) * width - x) / 0.6)) / width, 0, width
        )[0]
        assert landing[cells, 0] == pytest.approx(share, rel=1e-10)
    np.testing.assert_allclose(landing.sum(0), 1.0, rtol=1e-14)
    assert (np.triu(landing, 1) == 0).all() and (landing >= 0).all()


def dense(grid, rate, times):
    """Energies and overlaps of the cells as one system of equations, by a stiff solver."""
    count = len(grid.labels)
    generator = grid.landing - np.eye(count)

    def rates(t, y):
        energies, overlaps, scale = y[:count], y[count : 2 * count], np.exp(y[-1])
        w = LAW.kappa * (overlaps.sum() - energies.sum()) / scale
        decay = grid.labels * scale
        return np.concatenate(
            [
                rate * w * (generator @ energies) - 2 * decay * energies,
                rate * w * (generator @ overlaps) - decay * overlaps,
                [w],
            ]
        )

    start = np.concatenate([grid.energies, grid.overlaps, [0.0]])
    path = solve_ivp(rates, (0, times[-1]), start, method="BDF", t_eval=times, rtol=1e-9, atol=1e-13)
    return path.y[:count].T, path.y[-1]


@pytest.mark.long
def test_splitting_is_of_second_order_and_reaches_the_dense_equations():
    """Halving the steps divides the error of the total energy by four; the reference is good to some 1e-8."""
    one = problem()
    grid = JumpGrid.of(one, 0.6)
    energies, growth = dense(grid, 1.0, TIMES)
    errors = []
    for step in (0.16, 0.08, 0.04, 0.02):
        states, grown, _ = march(grid, LAW, np.array([LAW.kappa]), np.array([1.0]), TIMES, step)
        errors.append(np.abs(states[:, 0, :, 0].sum(1) / energies.sum(1) - 1).max())
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert orders == pytest.approx(2.0, abs=0.35)
    assert errors[1] < 2e-3
    np.testing.assert_allclose(grown[:, 0], growth, atol=1e-4)
    assert growth[-1] > 0.5


@pytest.mark.long
def test_the_told_error_holds():
    """The estimate is that of the finer of two marches; the dense equations say what the error is."""
    one = problem(rate=2.0)
    found = solve_state(one, TIMES, tolerance=1e-4)
    energies, _ = dense(JumpGrid.of(one, 0.6), 2.0, TIMES)
    miss = np.abs(found.total / energies.sum(1) - 1).max()
    assert found.status is StateStatus.CONVERGED
    assert miss < 1e-4 and miss < 2 * found.error


def test_without_jumps_both_methods_agree():
    """A rate that never jumps on the grid, and paths of the cells' own eigenvalues: to the splitting's error."""
    one = problem()
    grid = JumpGrid.of(one, 0.6)
    states, grown, _ = march(grid, LAW, np.array([LAW.kappa]), np.array([0.0]), TIMES, 0.02)
    paths = solve_state(StateProblem(LAW, grid.labels, grid.energies, grid.overlaps), TIMES)
    np.testing.assert_allclose(states[:, 0, :, 0].sum(1), paths.total, rtol=2e-4)
    np.testing.assert_allclose(np.exp(grown[:, 0]), paths.scale, rtol=2e-4)


def test_jumps_lose_nothing_and_only_speed_up():
    """Where decay has no time, energy is kept to rounding; later more jumps leave less of it, and none is negative."""
    one = problem()
    early = solve_state(
        StateProblem(StateDrift(1e9), one.eigenvalues * 1e-9, one.energies, 2 * one.energies, UpwardJumps(3.0)),
        np.array([1e-6]),
    )
    assert early.scale[0] > 50 and early.total[0] == pytest.approx(one.energies.sum(), rel=1e-5)
    totals = [solve_state(problem(rate), TIMES).total for rate in (0.0, 0.5, 1.0, 2.0)]
    for less, more in pairwise(totals):
        assert (more <= less * (1 + 1e-3)).all() and more[-1] < less[-1]
    found = solve_state(problem(2.0), TIMES)
    assert (found.energies >= 0).all()


def test_a_jump_keeps_energy_to_rounding():
    """One step of the march without any decay: labels of zero rate but for one far below."""
    grid = JumpGrid.of(problem(), 0.6)
    still = JumpGrid(grid.labels * 1e-200, grid.energies, 2 * grid.energies, grid.landing)
    states, grown, _ = march(still, StateDrift(50.0), np.array([50.0]), np.array([2.5]), np.array([1.0]), 0.5)
    assert grown[-1, 0] > 0.5
    assert states[-1, 0].sum() == pytest.approx(grid.energies.sum(), rel=1e-13)
    # The mode at zero never jumps.
    assert states[-1, 0, 0, 0] == pytest.approx(grid.energies[0], rel=1e-13)
