"""Paths of single modes, against closed forms (equations/solutions.md#closed-solutions) and DOP853."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.integrate import quad, solve_ivp
from scipy.optimize import brentq

from eigenflow.core.errors import ArgumentError
from eigenflow.transport import Characteristics, PowerDrift


def integrate_path(c, b, rate, start, end, begin=0.0):
    """Position and exponent by DOP853 on ln(lambda); its rtol 1e-12 sets the tests' tolerance."""

    def slope(t, y):
        eigenvalue = np.exp(y[0])
        return [-c(t) * eigenvalue ** (b - 1), rate(eigenvalue)]

    path = solve_ivp(slope, (begin, end), [np.log(start), 0.0], method="DOP853", rtol=1e-12, atol=1e-13, max_step=1.0)
    assert path.success
    return np.exp(path.y[0, -1]), path.y[1, -1]


def test_cubic_drift_has_the_known_mode():
    """equations/solutions.md#cubic-drift gives 12 and 9 digits."""
    paths = Characteristics(PowerDrift(c=1.0, b=3.0))
    assert float(paths.forward(2.0, 50.0)) == pytest.approx(0.0998752338878, rel=1e-12)
    assert float(paths.attenuation(2.0, 50.0)) == pytest.approx(5.46454818e-9, rel=2e-9)


@pytest.mark.parametrize("c", [0.5, -0.5])
def test_linear_drift_rescales_all_modes(c):
    start, time = np.array([1e-9, 0.3, 7.0]), np.array([[0.1], [2.0]])
    paths = Characteristics(PowerDrift(c=c, b=1.0))
    np.testing.assert_allclose(paths.forward(start, time), start * np.exp(-c * time), rtol=1e-14)
    exponent = 2 * start / c * (1 - np.exp(-c * time))
    np.testing.assert_allclose(paths.exponent(start, time), exponent, rtol=1e-14)


@pytest.mark.parametrize("c", [0.5, -0.5])
def test_quadratic_drift_has_logarithmic_exponent(c):
    start, time = np.array([1e-9, 0.3, 0.7]), np.array([[0.1], [2.0]])
    paths = Characteristics(PowerDrift(c=c, b=2.0))
    bend = 1 + c * start * time
    np.testing.assert_allclose(paths.forward(start, time), start / bend, rtol=1e-14)
    np.testing.assert_allclose(paths.exponent(start, time), 2 * np.log1p(c * start * time) / c, rtol=1e-14)
    np.testing.assert_allclose(paths.jacobian(start, time), bend**-2, rtol=1e-14)


@pytest.mark.parametrize(("start", "factor"), [(0.1, 0.282264), (1.0, 0.0183156), (4.0, 3.35463e-4)])
def test_slow_decay_leaves_a_plateau(start, factor):
    """Six digits stand in equations/solutions.md#plateau; at t = 1e15 the mode is within 1e-14 of its end."""
    paths = Characteristics(PowerDrift(c=1.0, b=1.5))
    assert float(paths.attenuation(start, 1e15)) == pytest.approx(factor, rel=3e-6)


def test_standing_modes_decay_at_their_rate():
    paths = Characteristics(PowerDrift(c=0.0, b=1.7), dissipation=1.0)
    # Positions go through ln and exp, each good to a unit in the last place.
    np.testing.assert_allclose(paths.forward([0.5, 2.0], 3.0), [0.5, 2.0], rtol=1e-15)
    np.testing.assert_allclose(paths.exponent([0.5, 2.0], 3.0), [1.5, 6.0], rtol=1e-15)


@pytest.mark.parametrize("rho", [0.6, 1.6])
def test_power_law_effective_time(rho):
    """At b = 1 with c = (1 - rho)/(1 + t) all modes share tau = ((1+t)^rho - 1)/rho.

    The quadratures of C and tau are converged, so 1e-12 leaves room for roundings only.
    """
    paths = Characteristics(PowerDrift(c=lambda t: (1 - rho) / (1 + t), b=1.0))
    start, times = np.array([1e-6, 0.2]), np.array([[1e-3], [1.0], [1e3], [1e6]])
    tau = ((1 + times) ** rho - 1) / rho
    np.testing.assert_allclose(paths.forward(start, times), start * (1 + times) ** (rho - 1), rtol=1e-12)
    np.testing.assert_allclose(paths.exponent(start, times), 2 * start * tau, rtol=1e-12)


@pytest.mark.parametrize("power", [-0.5, 0.5])
def test_singular_and_growing_strength_is_integrated(power):
    """c = t^(b-2) is the self-similar drift; its integral is known. Panels are resolved to 1e-14 each."""
    drift = PowerDrift(c=lambda t: t**power, b=2.0 + power)
    times = np.array([0.0, 1e-6, 1.0, 37.0])
    np.testing.assert_allclose(drift.accumulated(times), times ** (1 + power) / (1 + power), rtol=1e-12)


@pytest.mark.parametrize("b", [0.4, 0.97, 1.0, 1.5, 2.0, 2.04, 3.1])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_time_dependent_strength_agrees_with_ode(b, sign):
    """Both sides are good to about 1e-12; 1e-10 covers the error growth of the ODE's steps."""

    def c(t):
        return sign * 0.4 * np.cos(0.8 * t) / (1 + t)

    paths = Characteristics(PowerDrift(c=c, b=b), dissipation=1.0)
    for start in (0.05, 0.9):
        position, exponent = integrate_path(c, b, lambda x: x, start, 6.0, begin=0.5)
        assert float(paths.forward(start, 6.0, 0.5)) == pytest.approx(position, rel=1e-10)
        assert float(paths.exponent(start, 6.0, 0.5)) == pytest.approx(exponent, rel=1e-10)


@pytest.mark.parametrize("b", [0.5, 1.0, 1.3, 2.0, 2.7])
@pytest.mark.parametrize("c", [0.3, -0.3, 1e-12])
def test_any_rate_agrees_with_ode(b, c):
    def rate(x):
        return np.sqrt(x) + x**2 / (1 + x)

    paths = Characteristics(PowerDrift(c=c, b=b), dissipation=rate)
    position, exponent = integrate_path(lambda t: c, b, rate, 0.7, 1.5)
    assert float(paths.forward(0.7, 1.5)) == pytest.approx(position, rel=1e-10)
    assert float(paths.exponent(0.7, 1.5)) == pytest.approx(exponent, rel=1e-10)


def test_a_general_rate_equal_to_the_factor_agrees_with_the_closed_form():
    """The quadrature's promise is 1e-12."""
    start = np.geomspace(1e-8, 1e4, 25)
    for b, c in [(0.5, 1e-3), (1.0, 0.2), (1.5, 0.3), (2.0, 1.0), (3.0, 2.0)]:
        drift = PowerDrift(c=c, b=b)
        closed, numeric = Characteristics(drift), Characteristics(drift, lambda x: 2 * x)
        varying = Characteristics(PowerDrift(c=lambda t, c=c: np.full(t.shape, c), b=b))
        time = 0.9 * start.min() ** (1 - b) / c / (1 - b) if b < 1 else 30.0
        exact = closed.exponent(start, time)
        np.testing.assert_allclose(numeric.exponent(start, time), exact, rtol=1e-12)
        np.testing.assert_allclose(varying.exponent(start, time), exact, rtol=1e-12)


@pytest.mark.parametrize("centre", [1.0, 2.0])
def test_maps_are_continuous_in_the_exponent(centre):
    """Through b = 1 and b = 2 nothing cancels: a change of b by 1e-13 changes 2e-11 at most.

    That is 1e-13 times |ln(lambda0)| = 21 times the 5 e-folds of the fall, doubled.
    """
    start, times = np.geomspace(1e-9, 1e3, 13), np.array([[1e-6], [1.0], [50.0]])

    def both(b):
        paths = Characteristics(PowerDrift(c=0.1, b=b))
        return paths.forward(start, times), paths.exponent(start, times)

    for change in (1e-13, -1e-13, 1e-300):
        for near, exact in zip(both(centre + change), both(centre), strict=True):
            np.testing.assert_allclose(near, exact, rtol=2e-11)


def test_huge_and_tiny_eigenvalues_stay_finite():
    """Above the pile-up all modes meet at (2 c t)^(-1/2) for b = 3."""
    paths = Characteristics(PowerDrift(c=1.0, b=3.0))
    ends = paths.forward([1e-80, 1e80], 8.0)
    # ln(1e-80) = -184 is known to a unit in its last place, 3e-14, and so is what comes back through exp.
    np.testing.assert_allclose(ends, [1e-80, 0.25], rtol=1e-13)
    # Q = 2 (1/lambda - 1/lambda0) / c = 8 for the highest, 2 lambda0 t for the lowest.
    np.testing.assert_allclose(paths.exponent([1e-80, 1e80], 8.0), [1.6e-79, 8.0], rtol=1e-13)


def test_modes_that_end():
    """b < 1 reaches zero with Q = 2 lambda0^(2-b) / (c (2-b)); growth with b > 1 escapes."""
    sinking = Characteristics(PowerDrift(c=0.3, b=0.5))
    assert sinking.forward(0.04, 10.0) == 0.0
    assert float(sinking.exponent(0.04, 10.0)) == pytest.approx(2 * 0.04**1.5 / (0.3 * 1.5), rel=1e-14)
    # The rate sqrt(lambda) gives 0.04 / 0.3, for ds = dlambda / (0.3 sqrt(lambda)); 1e-12 is promised.
    rooted = Characteristics(sinking.drift, np.sqrt)
    np.testing.assert_allclose(rooted.exponent([0.04, 0.01], 10.0), [0.04 / 0.3, 0.01 / 0.3], rtol=1e-12)
    assert sinking.backward(0.0001, 0.01) > 0.0001
    assert Characteristics(PowerDrift(c=-0.3, b=0.5)).backward(0.0001, 10.0) == 0.0

    for b, left in [(1.5, np.inf), (2.0, np.inf), (3.0, 2 / (0.3 * 2.0))]:
        rising = Characteristics(PowerDrift(c=-0.3, b=b))
        assert rising.forward(2.0, 50.0) == np.inf
        assert float(rising.exponent(2.0, 50.0)) == pytest.approx(left, rel=1e-14)
    assert Characteristics(PowerDrift(c=0.3, b=2.0)).backward(10.0, 1.0) == np.inf


def test_modes_that_end_under_a_varying_strength():
    """With c a function that happens to be constant; the last stretch is good to about 1e-9."""
    for b, sign, start in [(0.5, 1.0, 0.04), (3.0, -1.0, 2.0)]:
        closed = Characteristics(PowerDrift(c=0.3 * sign, b=b))
        varying = Characteristics(PowerDrift(c=lambda t, s=sign: 0.3 * s + 0 * t, b=b))
        exact = float(closed.exponent(start, 50.0))
        assert float(varying.exponent(start, 50.0)) == pytest.approx(exact, rel=1e-8)


@given(
    b=st.floats(0.3, 3.2),
    c=st.floats(-2, 2),
    log_start=st.floats(-12, 4),
    time=st.floats(0, 100),
)
@settings(max_examples=200, deadline=None)
def test_backward_undoes_forward(b, c, log_start, time):
    """Rounding grows by the stretching of the map, which the tolerance follows."""
    paths = Characteristics(PowerDrift(c=c, b=b))
    start = 10.0**log_start
    end = paths.forward(start, time)
    assume(np.isfinite(end) and end > 1e-100)
    stretch = max(1.0, float((start / end) ** (b - 1)), float((end / start) ** (b - 1)))
    assume(stretch < 1e8)
    assert float(paths.backward(end, time)) == pytest.approx(start, rel=1e-13 * (10 + stretch))


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: p.forward([1.0, 0.0], 1.0), "`eigenvalues` must be positive"),
        (lambda p: p.forward(1.0, -1.0), "`times` must be finite and at least 0"),
        (lambda p: p.exponent(1.0, 1.0, 2.0), "`times` must not lie before `start`"),
        (lambda p: Characteristics(PowerDrift(c=np.nan, b=1.0)), "`c` must be finite"),
        (lambda p: Characteristics(PowerDrift(c=1.0, b=np.nan)), "`b` must be a finite number"),
        (lambda p: PowerDrift(c=1.0, b=1.0, integral=np.sin), "`integral` is allowed only when"),
        (lambda p: Characteristics(p.drift, dissipation=-1.0), "`dissipation` must be a finite factor >= 0"),
        (lambda p: Characteristics(p.drift, lambda x: -x).exponent(1.0, 1.0), "must return rates >= 0"),
        (lambda p: PowerDrift(c=lambda t: 1 / t**1.2, b=1.0).accumulated(1.0), "too fast to be integrated"),
        (lambda p: PowerDrift(c=lambda t: t[:1] + t.size, b=1.0).accumulated(1.0), "one value per time"),
        (lambda p: PowerDrift(c=lambda t: t * np.nan, b=1.0).accumulated(1.0), "`c` must be finite at"),
        (
            lambda p: Characteristics(PowerDrift(c=np.cos, b=1.0, integral=np.cos)).forward(1.0, 1.0),
            "`integral` must be 0 at t = 0",
        ),
    ],
)
def test_wrong_arguments_are_named(call, message):
    with pytest.raises(ArgumentError, match=message):
        call(Characteristics(PowerDrift(c=0.5, b=2.0)))


def test_everything_is_over_long_before_the_horizon():
    """c = 0.5 (1 + t)^0.5 at b = 1 until t = 1e8, where C = 3e11: all modes have then spent lambda0 tau(inf).

    tau = 2 integral of exp(-C) by quad, in pieces; C by its closed form.
    """
    fallen = lambda t: ((1 + t) ** 1.5 - 1) / 3  # noqa: E731
    pieces = [0.0, 1.0, 3.0, 10.0, 30.0, 100.0]
    tau = sum(quad(lambda t: np.exp(-fallen(t)), *ends, epsabs=0, epsrel=1e-12)[0] for ends in pairwise(pieces))
    paths = Characteristics(PowerDrift(c=lambda t: 0.5 * (1 + t) ** 0.5, b=1.0))
    start = np.array([1e-6, 0.1, 5.0])
    np.testing.assert_allclose(paths.exponent(start, 1e8), 2 * start * tau, rtol=1e-12)
    # Growth of the same size leaves nothing.
    assert np.all(Characteristics(PowerDrift(c=lambda t: -0.5 * (1 + t) ** 0.5, b=1.0)).attenuation(start, 1e8) == 0)


@pytest.mark.parametrize("b", [0.3, 0.8, 0.95])
@pytest.mark.parametrize(
    ("c", "passed"),
    [
        (lambda t: 0.5 * (1 + t) ** 0.5, lambda t: ((1 + t) ** 1.5 - 1) / 3),
        (lambda t: 2 / (1 + t / 0.01) ** 0.5, lambda t: 0.04 * ((1 + t / 0.01) ** 0.5 - 1)),
        (lambda t: 1 + 0.9 * np.cos(5 * t), lambda t: t + 0.18 * np.sin(5 * t)),
    ],
)
@pytest.mark.filterwarnings("ignore::scipy.integrate.IntegrationWarning")  # roundings where next to nothing is left
def test_paths_that_end_under_a_varying_drift(b, c, passed):
    """Q until zero is reached, by quad between cuts; lambda^(1-b) = lambda0^(1-b) - (1-b) C."""
    paths, power = Characteristics(PowerDrift(c=c, b=b)), 1 - b

    def spent(start, cuts):
        moving = lambda t: 2 * max(start**power - power * passed(t), 0.0) ** (1 / power)  # noqa: E731
        return sum(quad(moving, *ends, epsabs=1e-300, epsrel=1e-10)[0] for ends in pairwise(cuts))

    for start in (1e-4, 0.05):
        end = brentq(lambda t, start=start: start**power - power * passed(t), 0.0, 1e5, xtol=1e-300, rtol=1e-14)
        exact = spent(start, end * np.concatenate([[0], np.geomspace(1e-6, 0.5, 25), 1 - np.geomspace(0.4, 1e-9, 25)]))
        assert float(paths.exponent(start, 1.5 * end)) == pytest.approx(exact, rel=1e-8)
        assert float(paths.forward(start, 1.5 * end)) == 0
        # Half way it has not ended yet, in one call with one that has.
        half = spent(start, np.linspace(0, 0.5 * end, 9))
        np.testing.assert_allclose(paths.exponent([start, start], [0.5 * end, 1.5 * end]), [half, exact], rtol=1e-8)
