"""Solutions with known answers: equations/solutions.md#closed-solutions and equations/solutions.md#phase-diagram."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import beta, gamma
from scipy.stats import gamma as gamma_distribution

from eigenflow.core.errors import ArgumentError
from eigenflow.transport import PowerDrift, SgdNoise, SolveStatus, TransportProblem, solve

# Closed losses are stated to ten digits, phases to four to seven; the domains are so wide that the tails
# outside weigh less than 1e-12 of the totals.


def power_cut(s):
    return lambda x: x ** (s - 1) * np.exp(-x)


def solved(drift, initial, times, domain, dissipation=2.0, cells=50):
    return solve(TransportProblem(drift, dissipation, initial, domain), times, cells=cells)


def slope(solution):
    return -np.diff(np.log(solution.total)) / np.diff(np.log(solution.times))


def test_scale_free_decay_has_the_beta_function_loss():
    times = np.array([10.0, 100.0, 1000.0])
    solution = solved(PowerDrift(c=0.5, b=2.0), lambda x: x**-0.3, times, (1e-40, 1e10))
    np.testing.assert_allclose(solution.total, [0.1881717473, 0.0375451996, 0.0074912522], rtol=2e-9)
    exact = (0.5 * times) ** -0.7 * beta(0.7, 4 - 0.7)
    np.testing.assert_allclose(solution.total, exact, rtol=1e-12)


def test_cut_start_reaches_the_power_law_dissipation_limit():
    """For s > 2/c the exponent is 2/c = 0.4; equations/solutions.md#phase-decay has 0.3998 at t near 1e6."""
    solution = solved(PowerDrift(c=5.0, b=2.0), power_cut(0.6), np.array([1e6, 1.1e6]), (1e-30, 1e2))
    assert slope(solution)[0] == pytest.approx(0.4, abs=2e-2)
    exact = quad(lambda y: np.exp(0.6 * y - np.exp(y)) * (1 + 5e6 * np.exp(y)) ** -0.4, -69, 5, epsabs=1e-13)
    assert solution.total[0] == pytest.approx(exact[0], rel=1e-10)


@pytest.mark.parametrize(("c", "initial", "top", "plateau"), [
    (1.0, lambda x: x**-0.3, 1.0, 0.244828),
    (0.3, power_cut(0.6), 1e2, 0.0808653),
])  # fmt: skip
def test_slow_decay_ends_on_a_plateau(c, initial, top, plateau):
    solution = solved(PowerDrift(c=c, b=1.5), initial, np.array([1e14, 1e15]), (1e-35, top))
    np.testing.assert_allclose(solution.total, plateau, rtol=3e-6)


def test_standing_modes_give_the_lazy_law():
    times = np.geomspace(1e-2, 1e6, 9)
    solution = solved(PowerDrift(c=0.0, b=1.0), power_cut(0.6), times, (1e-30, 1e3))
    np.testing.assert_allclose(solution.total, gamma(0.6) * (1 + 2 * times) ** -0.6, rtol=1e-12)
    np.testing.assert_allclose(solution.frontier[1:], 1 / (2 * times[1:]), rtol=1e-10)


@pytest.mark.parametrize("rho", [0.5, 1.6])
def test_linear_drift_rescales_the_lazy_law(rho):
    """L = Gamma(s) (1 + 2 tau)^-s, and the frontier is (1/2) d ln(tau)/dt.

    See equations/solutions.md#rescaled-time and equations/hypotheses.md#frontier-coordinates.
    """
    times = np.geomspace(1e-2, 1e4, 7)
    drift = PowerDrift(c=lambda t: (1 - rho) / (1 + t), b=1.0)
    solution = solved(drift, power_cut(0.4), times, (1e-45, 1e14))
    tau = ((1 + times) ** rho - 1) / rho
    np.testing.assert_allclose(solution.total, gamma(0.4) * (1 + 2 * tau) ** -0.4, rtol=1e-11)
    np.testing.assert_allclose(solution.frontier, (1 + times) ** (rho - 1) / (2 * tau), rtol=1e-9)
    assert solution.status is SolveStatus.CONVERGED


def test_growth_at_constant_strength_and_linear_drift():
    solution = solved(PowerDrift(c=-0.5, b=1.0), power_cut(0.6), 15.0, (1e-30, 1e6))
    scaled = solution.total[0] * np.exp(0.6 * 0.5 * 15)
    assert scaled == pytest.approx(0.64837, abs=1e-5)
    exact = gamma(0.6) * (1 + 4 * np.expm1(7.5)) ** -0.6
    assert solution.total[0] == pytest.approx(exact, rel=1e-11)


def test_scale_free_growth_keeps_the_exponent():
    solution = solved(PowerDrift(c=-0.5, b=2.0), power_cut(0.6), 1e5, (1e-30, 1e8))
    assert solution.total[0] * (0.5e5) ** 0.6 / beta(0.6, 5.0) == pytest.approx(0.999998, abs=2e-6)


@pytest.mark.parametrize(("b", "exponent"), [(1.5, 1.2001), (1.2, 3.0)])
def test_growth_with_escape_steepens_the_loss(b, exponent):
    """L ~ t^(-s/(b-1)); modes escape in finite time, and what is lost at infinity is e^-Q = 0."""
    solution = solved(PowerDrift(c=-1.0, b=b), power_cut(0.6), np.array([1e4, 1.01e4]), (1e-40, 1e6))
    assert slope(solution)[0] == pytest.approx(exponent, abs=1e-2)
    assert solution.budget.outflow[-1] < 1e-30
    assert solution.status is SolveStatus.CONVERGED


def test_steep_growth_carries_mass_out_of_the_upper_end():
    """For b = 3 a mode escapes with Q = 2 / (|c| lambda0), so the outflow is seen, not dissipated."""
    solution = solved(PowerDrift(c=-1.0, b=3.0), power_cut(0.6), np.array([0.5, 50.0]), (1e-20, 1e8))
    escaped = [
        quad(lambda x: x**-0.4 * np.exp(-x - 2 / x), (2 * t) ** -0.5, np.inf, epsabs=1e-14)[0] for t in solution.times
    ]
    # The end of the domain at 1e8 instead of infinity changes Q by 2e-8.
    np.testing.assert_allclose(solution.budget.outflow_above, escaped, rtol=3e-8)
    assert solution.status is SolveStatus.LEFT_DOMAIN


def test_sublinear_growth_is_faster_than_any_power():
    solution = solved(PowerDrift(c=-0.3, b=0.5), power_cut(0.6), 20.0, (1e-30, 1e4))
    assert -np.log(solution.total[0]) == pytest.approx(125.1, abs=0.05)


def test_sublinear_decay_leaves_what_has_reached_zero():
    """What stays at zero leaves through the lower end, here 1e-30."""
    solution = solved(PowerDrift(c=0.3, b=0.5), power_cut(0.6), np.array([1.0, 1e3]), (1e-30, 1e3))
    left = solution.total + solution.budget.outflow_below
    assert left[-1] == pytest.approx(0.7028181, abs=1e-7)
    assert solution.total[-1] == 0.0


@pytest.mark.parametrize(("sign", "level"), [(1, 1.44092), (-1, 0.73154)])
def test_self_similar_strength_keeps_the_scaled_loss_constant(sign, level):
    """c = t^(b-2)/2 with an uncut start: L t^s does not depend on t; five digits.

    See equations/solutions.md#self-similar-line.
    """
    times = np.array([1.0, 1e2, 1e5])
    drift = PowerDrift(c=lambda t: sign * 0.5 * t**-0.5, b=1.5, integral=lambda t: sign * t**0.5)
    solution = solved(drift, lambda x: x**-0.4, times, (1e-35, 1e8), cells=20)
    scaled = solution.total * times**0.6
    np.testing.assert_allclose(scaled, scaled[0], rtol=1e-9)
    np.testing.assert_allclose(scaled, level, atol=2e-5)


def test_frontier_of_scale_free_decay():
    """(2/c) ln(1 + c lambda0 t) = 1 ends at lambda = (1 - e^(-c/2)) / (c t)."""
    times = np.geomspace(1e-1, 1e4, 12)
    solution = solved(PowerDrift(c=0.5, b=2.0), power_cut(0.6), times, (1e-12, 1e3))
    np.testing.assert_allclose(solution.frontier, -np.expm1(-0.25) / (0.5 * times), rtol=1e-10)


def test_frontier_says_when_none_or_all_have_been_lost():
    solution = solved(PowerDrift(c=0.0, b=1.0), lambda x: 1 / x, [0.0, 1.0, 1e6], (1e-3, 1e-1))
    np.testing.assert_array_equal(solution.frontier, [np.inf, np.inf, 0.0])


def test_moments_and_quantiles_of_standing_modes():
    """g = lambda^(s-1) e^(-lambda (1 + 2t)): gamma functions; at t = 0 the median is that of scipy's distribution.

    Cells of h = 0.08 e-folds, even inside, leave h^2 / 12 times the power times the slope of ln g where the
    moment is made: 5e-4 x 2.5 x 2.5 at power 2.5, and halved cells a quarter of it.
    """
    s, times = 0.6, np.array([0.0, 5.0])
    problem = TransportProblem(PowerDrift(0.0, 1.0), 2.0, lambda x: x ** (s - 1) * np.exp(-x), (1e-12, 1e2))
    solution = solve(problem, times, cells=400)
    for power in (-0.3, 0, 1, 2.5):
        exact = gamma(s + power) * (1 + 2 * times) ** (-s - power)
        np.testing.assert_allclose(solution.moment(power), exact, rtol=4e-3)
    exact = gamma(s + 2.5) * (1 + 2 * times) ** (-s - 2.5)
    finer = solve(problem, times, cells=800)
    ratio = (solution.moment(2.5) / exact - 1) / (finer.moment(2.5) / exact - 1)
    np.testing.assert_allclose(ratio, 4.0, rtol=0.05)
    for share in (0.1, 0.5, 0.9):
        exact = gamma_distribution(s).ppf(share) / (1 + 2 * times)
        np.testing.assert_allclose(solution.quantile(share), exact, rtol=2e-3)


def test_the_quantile_sees_the_source_and_the_frontier_does_not():
    """Noise that keeps modes near 1 alive holds the 90 % quantile there; what was there at first is gone by t = 50."""
    initial = lambda x: np.exp(-(np.log(x / 0.1) ** 2)) / x  # noqa: E731
    noise = SgdNoise(0.05, 2, lambda x: 60 * np.exp(-4 * np.log(x) ** 2) / x, 0.1)
    without, fed = (
        solve(TransportProblem(PowerDrift(0.0, 1.0), 2.0, initial, (1e-4, 1e2), source), [50.0], cells=200)
        for source in (None, noise)
    )
    assert without.quantile(0.9)[0] < 0.1 and 0.7 < fed.quantile(0.9)[0] < 2.0
    assert fed.frontier[0] == pytest.approx(without.frontier[0], rel=1e-12)


@pytest.mark.rejects
def test_wrong_moments_and_quantiles_are_named():
    solution = solve(TransportProblem(PowerDrift(0.0, 1.0), 2.0, lambda x: np.exp(-x), (1e-4, 1e2)), [1.0], cells=4)
    with pytest.raises(ArgumentError, match=r"`power` must be a finite number, but is nan"):
        solution.moment(float("nan"))
    with pytest.raises(ArgumentError, match=r"`share` must lie between 0 and 1, but is 1\.0"):
        solution.quantile(1.0)
