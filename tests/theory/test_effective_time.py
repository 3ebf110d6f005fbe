"""Clocks of modes and shells against closed forms: one for all at b = 1, one for each otherwise."""

import numpy as np
import pytest
from scipy.linalg import expm
from scipy.optimize import brentq

from eigenflow.core.errors import ArgumentError
from eigenflow.theory.effective_time.clocks import (
    error_clocks,
    loss_clock,
    operator_clocks,
    power_integral,
    solve_clock,
)
from problems import AlignedLinearNet
from theory.moving_modes import measured

RATES = np.geomspace(3.0, 1e-3, 60)
TIMES = np.append(0.0, np.geomspace(0.01, 1e3, 60))
START = np.random.default_rng(0).normal(size=60)


def test_scaling_modes_share_one_clock():
    """lambda = lambda(0) (1 + t)^-0.4 (b = 1): tau = [(1 + t)^0.6 - 1] / 0.6 for all, to rounding between modes.

    Power-law quadrature at 12 points a decade is off by less than 0.2 %.
    """
    tau = ((1 + TIMES) ** 0.6 - 1) / 0.6
    g = START * np.exp(-RATES * tau[:, None])
    data = measured(TIMES, RATES * (1 + TIMES[:, None]) ** -0.4, g, initial_coefficient=g)
    for clocks, accuracy in ((operator_clocks(data), 2e-3), (error_clocks(data), 1e-9)):
        assert clocks.spread.max() <= 1e-9
        np.testing.assert_allclose(clocks.common, tau[1:], rtol=accuracy)
        np.testing.assert_allclose(clocks.taus, np.broadcast_to(tau[1:, None], clocks.taus.shape), rtol=accuracy)
        np.testing.assert_allclose(clocks.weights.sum(1), 1.0, rtol=1e-12)
    times, common = loss_clock(data)
    np.testing.assert_allclose(common, tau[1:], rtol=1e-9)
    np.testing.assert_array_equal(times, TIMES[1:])


@pytest.mark.parametrize("count", [8, 16, 32])
def test_quadrature_error_is_estimated(count):
    """At 2 to 8 measurements a decade, against the closed form; it is of second order."""
    times = np.append(0.0, np.geomspace(0.01, 1e2, count))
    tau = ((1 + times) ** 0.6 - 1) / 0.6
    g = START * np.exp(-RATES * tau[:, None])
    clocks = operator_clocks(measured(times, RATES * (1 + times[:, None]) ** -0.4, g))
    true = np.abs(clocks.common / tau[1:] - 1)[-1]
    assert 0.5 * true <= clocks.quadrature[-1] <= 2 * true
    assert true <= 0.15 * (8 / count) ** 2


def test_a_gap_in_the_measurements_shows():
    times = np.append(0.0, np.geomspace(0.01, 1e2, 40))
    gap = times[(times < 0.3) | (times > 20)]
    errors = []
    for some in (times, gap):
        scale = (1 + some[:, None]) ** -0.4
        clocks = operator_clocks(measured(some, RATES * scale, np.tile(START, (len(some), 1))))
        errors.append(clocks.quadrature[-1])
    assert errors[1] > 10 * errors[0]


def test_other_exponents_give_every_mode_its_own_clock():
    """v = -c lambda^2: tau_u = ln(1 + c lambda t) / (c lambda). Fast modes have learned, slow ones set the spread."""
    c = 0.5
    lam = RATES / (1 + c * RATES * TIMES[:, None])
    tau = np.log1p(c * RATES * TIMES[1:, None]) / (c * RATES)
    g = START * np.exp(-c * RATES * np.vstack([np.zeros(60), tau]))
    clocks = operator_clocks(measured(TIMES, lam, g))
    np.testing.assert_allclose(clocks.taus, tau, rtol=2e-3)
    weight = RATES * START**2 * np.exp(-2 * RATES * clocks.common[:, None])
    weight /= weight.sum(1, keepdims=True)
    expected = np.sqrt((weight * (tau / clocks.common[:, None] - 1) ** 2).sum(1))
    np.testing.assert_allclose(clocks.spread, expected, rtol=0.02)
    assert clocks.spread[-1] > 0.1
    low, high = clocks.extent
    np.testing.assert_allclose([low[-1], high[-1]], np.quantile(tau[-1] / clocks.common[-1], [0.05, 0.95]), rtol=5e-3)


def test_aligned_linear_network_has_no_common_clock():
    """Saxe: int a dt = ln(1 + a0 (exp(2 s t) - 1) / s) / 2 for each part of lambda_ij = a_i + a_j.

    Ranks do not cross here. While several modes learn, their clocks differ; in the end only the slowest one is left.
    """
    net = AlignedLinearNet((4.0, 2.5), (0.4, 0.1))
    times = np.append(0.0, np.geomspace(1e-3, 2.0, 80))
    lam = np.stack([net.eigenvalues(t) for t in times])
    s, a0 = np.array(net.strengths), np.array(net.start)
    halves = np.log1p(a0 * np.expm1(2 * s * times[:, None]) / s) / 2
    exact = np.stack([2 * halves[:, 0], *[halves.sum(1)] * 2, 2 * halves[:, 1]], axis=1) / lam[0]
    clocks = operator_clocks(measured(times, lam, np.ones_like(lam)))
    np.testing.assert_allclose(clocks.taus, exact[1:], rtol=2e-3)
    assert clocks.spread[clocks.effective_count > 2].max() > 0.1
    assert clocks.effective_count[-1] == pytest.approx(1.0, abs=0.01)


def test_error_clocks_see_rotation_that_eigenvalues_do_not():
    """M(t) with constant eigenvalues and turning eigenvectors: the operator's clock is t, the error's is not.

    In the turning frame e obeys the constant matrix -(diag(lambda) + A), A antisymmetric, which expm solves.
    """
    rates = np.array([1.0, 0.3, 0.1, 0.03])
    turn = np.zeros((4, 4))
    turn[0, 1], turn[1, 2], turn[2, 3] = 0.4, 0.1, 0.04
    turn -= turn.T
    times = np.linspace(0.0, 6.0, 25)
    start = np.array([0.3, 1.0, 1.0, 1.0])
    moving = np.stack([expm(-(np.diag(rates) + turn) * t) @ start for t in times])
    fixed = np.stack([expm(turn * t) @ g for t, g in zip(times, moving, strict=True)])
    data = measured(times, np.tile(rates, (25, 1)), moving, initial_coefficient=fixed)
    operator, error = operator_clocks(data), error_clocks(data)
    np.testing.assert_allclose(operator.common, times[1:], rtol=1e-12)
    assert operator.spread.max() <= 1e-12 and error.spread[-1] > 0.1
    expected = -np.log(np.abs(fixed[1:] / start)) / rates
    np.testing.assert_allclose(error.taus, expected, rtol=1e-9, atol=1e-12)  # every shell holds one mode


@pytest.mark.parametrize("remaining", [30.0, 9.0, 1e-2, 1e-9])
def test_clock_against_a_bracketing_solver(remaining):
    energies = START**2
    expected = brentq(lambda tau: np.log((energies * np.exp(-2 * RATES * tau)).sum() / remaining), -1, 1e5, rtol=1e-14)
    assert solve_clock(RATES, energies, np.array([remaining]))[0] == pytest.approx(expected, rel=1e-10)


def test_powers_are_integrated_exactly():
    times = np.array([0.5, 0.7, 2.0, 9.0])
    powers = np.array([-2.0, -1.0, 0.0, 0.5])
    exact = np.stack(
        [np.log(times / 0.5) if p == -1 else (times ** (p + 1) - 0.5 ** (p + 1)) / (p + 1) for p in powers], axis=1
    )
    np.testing.assert_allclose(power_integral(times, times[:, None] ** powers), exact, rtol=1e-12, atol=1e-15)


@pytest.mark.rejects
class TestRejects:
    def data(self, times=TIMES):
        return measured(times, np.tile(RATES, (len(times), 1)), np.tile(START, (len(times), 1)))

    def test_runs_of_an_earlier_version(self):
        with pytest.raises(ArgumentError, match=r"not hold `initial_coefficient`.*operator's clocks"):
            error_clocks(self.data())

    @pytest.mark.parametrize("times", [TIMES[:2], np.array([0.0, 2.0, 1.0])])
    def test_too_few_times_or_times_out_of_order(self, times):
        with pytest.raises(ArgumentError, match="3 measurements or more with increasing times"):
            operator_clocks(self.data(times))

    def test_nothing_to_learn(self):
        with pytest.raises(ArgumentError, match="nothing can be learned"):
            operator_clocks(measured(TIMES[:3], np.tile(RATES, (3, 1)), np.zeros((3, 60))))
