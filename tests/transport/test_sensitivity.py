"""Derivatives of the total, against closed forms and against differences of the solver."""

import numpy as np
import pytest
from scipy.special import beta, digamma

from eigenflow.core.errors import ArgumentError, ShapeError
from eigenflow.transport import CellMasses, Characteristics, ExactJump, PointMasses, PowerDrift, TransportProblem, solve
from eigenflow.transport.sensitivity import sensitivities

DOMAIN = (1e-6, 1e2)


def start(x):
    """The initial density of the benchmark (`benchmarks/_transport_tasks.py`)."""
    return x**-0.5 * np.exp(-1e-5 / x - (x / 10) ** 2)


def flat(x):
    """As much in every decade, so that mass crosses the ends of the domain at once."""
    return 1 / x


def wave(t):
    return 0.8 * np.cos(0.7 * t)


def total(drift, times, initial=start, dissipation=2.0, domain=DOMAIN):
    problem = TransportProblem(drift, dissipation, initial, domain)
    return solve(problem, times, cells=20, method=ExactJump(nodes=10)).total


def difference(function, step):
    """Central differences at two step sizes, extrapolated to fourth order."""

    def central(h):
        return (function(h) - function(-h)) / (2 * h)

    return (4 * central(step / 2) - central(step)) / 3


@pytest.mark.long
def test_scale_free_decay_has_the_derivatives_of_the_beta_function():
    """L = (ct)^-s B(s, 2/c - s); the tails outside the domain weigh less than 1e-12."""
    c, s, times = 0.5, 0.7, np.array([10.0, 100.0, 1000.0])
    found = sensitivities(TransportProblem(PowerDrift(c, 2.0), 2.0, lambda x: x ** (s - 1), (1e-40, 1e10)), times)
    exact = (c * times) ** -s * beta(s, 2 / c - s)
    np.testing.assert_allclose(found.total, exact, rtol=1e-12)
    by_shape = digamma(2 / c - s) - digamma(2 / c)
    np.testing.assert_allclose(found.c, exact * (-s / c - 2 / c**2 * by_shape), rtol=1e-10)
    np.testing.assert_allclose(found.log_dissipation, exact * by_shape * 2 / c, rtol=1e-10)


def test_exponent_of_decay_at_b_near_one_and_two_is_smooth():
    """The derivative by b has no closed-form 0/0: values around b = 1, 2 lie on a smooth curve."""
    for b in (1.0, 2.0):
        offsets = np.array([-2e-4, -1e-4, -1e-9, 0.0, 1e-9, 1e-4, 2e-4])
        values = [
            sensitivities(TransportProblem(PowerDrift(0.4, b + d), 2.0, start, DOMAIN), 3.0).b[0] for d in offsets
        ]
        line = np.polynomial.Polynomial.fit(offsets, values, 3)(offsets)
        np.testing.assert_allclose(values, line, rtol=1e-11)


DRIFTS = {
    "b=2": (0.5, 2.0, 1e-3),
    "b=1": (0.5, 1.0, 1e-4),
    "b=1 growth": (-0.3, 1.0, 2e-4),
    "b=1.5 escape": (-0.2, 1.5, 1e-3),
    "b=3": (0.5, 3.0, 1e-3),
    "b=0.5": (0.05, 0.5, 1e-5),
    "b=0.5 growth": (-0.05, 0.5, 1e-5),
    "c(t), b=0.8": (lambda t: -0.5 / (1 + t), 0.8, 1e-3),
    "c(t), b=1": (lambda t: 5 / (1 + t / 0.1), 1.0, 1e-3),
    "c(t), b=1.5": (lambda t: 0.3 / (1 + t), 1.5, 1e-3),
    "turning": (wave, 1.1, 1e-3),
}


@pytest.mark.long
@pytest.mark.parametrize(("initial", "domain"), [(start, DOMAIN), (flat, (1e-3, 10.0))], ids=["inside", "leaving"])
@pytest.mark.parametrize("case", DRIFTS.values(), ids=DRIFTS)
def test_agrees_with_extrapolated_differences_of_the_solver(case, initial, domain):
    """Differences have rounding 1e-14 / step and fourth-order truncation: together below 1e-8 here."""
    c, b, step = case
    times = np.array([0.3, 3.0])
    found = sensitivities(TransportProblem(PowerDrift(c, b), 2.0, initial, domain), times)

    def by_strength(h):
        drift = PowerDrift((lambda t: (1 + h) * c(t)) if callable(c) else c + h, b)
        return total(drift, times, initial, 2.0, domain)

    scale = np.abs(found.total)
    np.testing.assert_allclose(found.total, by_strength(0.0), rtol=1e-13)
    expected = difference(by_strength, step)
    np.testing.assert_allclose(found.c, expected, rtol=1e-8, atol=1e-11 * scale.max() / step)
    expected = difference(lambda h: total(PowerDrift(c, b + h), times, initial, 2.0, domain), step)
    np.testing.assert_allclose(found.b, expected, rtol=1e-8, atol=1e-11 * scale.max() / step)
    expected = difference(lambda h: total(PowerDrift(c, b), times, initial, 2.0 * np.exp(h), domain), 1e-3)
    np.testing.assert_allclose(found.log_dissipation, expected, rtol=1e-8)
    # The seven-node rule behind the estimate is far worse than the ten-node rule it judges.
    assert np.all(found.error <= 1e-6 * scale[:, None])


@pytest.mark.long
@pytest.mark.parametrize("c", [0.3, -0.3])
def test_dissipation_as_a_function_needs_no_derivative_from_the_user(c):
    times = np.array([0.5, 5.0])
    found = sensitivities(TransportProblem(PowerDrift(c, 1.5), np.sqrt, start, DOMAIN), times)
    expected = difference(lambda h: total(PowerDrift(c + h, 1.5), times, dissipation=np.sqrt), 1e-3)
    np.testing.assert_allclose(found.c, expected, rtol=1e-8)
    expected = difference(lambda h: total(PowerDrift(c, 1.5 + h), times, dissipation=np.sqrt), 1e-3)
    np.testing.assert_allclose(found.b, expected, rtol=1e-8)


def test_without_dissipation_only_the_ends_matter():
    """Then the total changes by what crosses the ends: n0 lambda^a t at the lower one, n0 = 1."""
    c, b, t, bottom = 0.2, 1.0, 2.0, 1e-3
    found = sensitivities(TransportProblem(PowerDrift(c, b), 0.0, flat, (bottom, 10.0)), t)
    np.testing.assert_allclose(found.total, np.log(1e4) - c * t, rtol=1e-13)
    np.testing.assert_allclose([found.c[0], found.through_ends_c[0]], -t, rtol=1e-12)
    # d(fall)/db of the path that just arrives, whose fall at b = 1 is ct.
    np.testing.assert_allclose(found.b, -(c * t * np.log(bottom) + (c * t) ** 2 / 2), rtol=1e-12)
    assert found.log_dissipation[0] == 0.0


def test_standing_network_has_the_mean_of_one_sided_derivatives():
    times = np.array([1.0])
    found = sensitivities(TransportProblem(PowerDrift(0.0, 1.4), 2.0, flat, (1e-3, 10.0)), times)

    def one_sided(sign):
        steps = sign * np.array([1e-4, 2e-4])
        near, far = (total(PowerDrift(h, 1.4), times, flat, 2.0, (1e-3, 10.0))[0] - found.total[0] for h in steps)
        return (4 * near - far) / (2 * sign * 1e-4)

    # Second-order one-sided differences: truncation of order 1e-8 times a third derivative.
    assert found.c[0] == pytest.approx(0.5 * (one_sided(1) + one_sided(-1)), rel=1e-5)
    assert found.b[0] == 0.0


def test_points_keep_their_attenuation():
    modes, masses = np.array([1e-3, 0.1, 2.0, 5.0]), np.array([1.0, 2.0, 0.5, 0.0])
    drift, times = PowerDrift(-0.5, 1.5), np.array([0.0, 0.7, 3.0])
    found = sensitivities(TransportProblem(drift, 2.0, PointMasses(modes, masses), (1e-4, 10.0)), times)
    paths = Characteristics(drift)
    stayed = paths.forward(modes, times[:, None]) <= 10.0
    assert not stayed.all() and np.array_equal(stayed[0], [True] * 4)
    np.testing.assert_allclose(found.initial, stayed * paths.attenuation(modes, times[:, None]), rtol=1e-13)
    np.testing.assert_allclose(found.initial @ masses, found.total, rtol=1e-13)
    np.testing.assert_array_equal(found.eigenvalues, modes)

    def shifted(h):
        problem = TransportProblem(PowerDrift(-0.5 + h, 1.5), 2.0, PointMasses(modes, masses), (1e-4, 10.0))
        return solve(problem, times, cells=4).total

    np.testing.assert_allclose(found.c, difference(shifted, 1e-3), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("c", [0.4, -0.4])
def test_cells_keep_the_attenuation_averaged_over_their_shape(c):
    edges = np.geomspace(1e-3, 10.0, 17)
    masses = np.exp(-(np.log(edges[1:] / 0.1) ** 2))
    masses[3] = 0.0
    problem = TransportProblem(PowerDrift(c, 1.5), 2.0, CellMasses(edges, masses), (1e-4, 20.0))
    times = np.array([0.0, 0.5, 4.0])
    found = sensitivities(problem, times)
    solution = solve(problem, times, cells=16)
    np.testing.assert_allclose(found.total, solution.total, rtol=1e-10)
    np.testing.assert_allclose(found.initial @ masses, found.total, rtol=1e-12)
    np.testing.assert_allclose(found.initial[0], 1.0, rtol=1e-12)
    assert np.all(found.initial >= 0) and np.all(found.initial <= 1 + 1e-12)
    lone = solve(TransportProblem(problem.drift, 2.0, CellMasses(edges[3:5], [1.0]), problem.domain), times, cells=16)
    np.testing.assert_allclose(found.initial[:, 3], lone.total, rtol=1e-10)

    def scaled(h):
        drift = PowerDrift(c + h, 1.5)
        return solve(TransportProblem(drift, 2.0, problem.initial, problem.domain), times, cells=16).total

    np.testing.assert_allclose(found.c, difference(scaled, 1e-3), rtol=1e-7, atol=1e-11)


def test_density_gives_the_attenuation_where_it_is_asked():
    found = sensitivities(TransportProblem(PowerDrift(0.5, 2.0), 2.0, start, DOMAIN), [0.0, 2.0])
    np.testing.assert_allclose(found.initial[0], 1.0)
    exact = (1 + 0.5 * found.eigenvalues * 2.0) ** -4.0
    has_left = found.eigenvalues < 1e-6 / (1 - 0.5 * 1e-6 * 2.0)
    np.testing.assert_allclose(found.initial[1], np.where(has_left, 0.0, exact), rtol=1e-11)


def test_nothing_left_has_no_derivative():
    found = sensitivities(TransportProblem(PowerDrift(5.0, 1.0), 2.0, flat, (1e-3, 10.0)), [1.0, 30.0])
    for part in (found.total, found.c, found.b, found.log_dissipation):
        assert part[1] == 0.0 and np.all(np.isfinite(part))


@pytest.mark.rejects
@pytest.mark.parametrize("times", [[-1.0, 2.0], [2.0, 1.0], [np.nan]])
def test_wrong_times_are_named(times):
    problem = TransportProblem(PowerDrift(0.5, 2.0), 2.0, start, DOMAIN)
    with pytest.raises(ArgumentError, match="`times` must be finite"):
        sensitivities(problem, times)


@pytest.mark.rejects
def test_times_of_two_dimensions_are_named():
    with pytest.raises(ShapeError, match="`times` must be one-dimensional"):
        sensitivities(TransportProblem(PowerDrift(0.5, 2.0), 2.0, start, DOMAIN), np.ones((2, 2)))
