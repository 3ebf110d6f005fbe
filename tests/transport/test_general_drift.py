"""Drifts given as tables and functions, and the paths under them, against closed forms and scipy.

Steps keep their local error below 1e-11 in ln(lambda) and in the exponent; 1e-9 leaves room for its
growth along a path and is checked where paths do not spread by more than a factor of a hundred.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.interpolate import PchipInterpolator

from eigenflow.core.errors import ArgumentError, NonFiniteError, ShapeError
from eigenflow.transport import Characteristics, PowerDrift
from eigenflow.transport.flows import tracing
from eigenflow.transport.flows.general_drifts import CallableDrift, TabulatedDrift
from eigenflow.transport.flows.tracing import trace

ENDS = (np.log(1e-6), np.log(1e2))


def follow(drift, x, end, start=0.0, ends=ENDS, rate=lambda x: 2 * x):
    x = np.atleast_1d(np.asarray(x, dtype=float))
    return trace(drift, rate, x, np.full(len(x), float(start)), np.full(len(x), float(end)), ends)


def as_callable(drift):
    return CallableDrift(drift.velocity)


def as_table(drift, count=400):
    grid = np.geomspace(1e-7, 1e3, count)
    return TabulatedDrift(grid, drift.velocity(grid))


@pytest.mark.parametrize("b", [0.5, 1.0, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("c", [0.05, -0.05])
def test_power_law_as_a_function_has_its_closed_paths(b, c):
    drift, x = PowerDrift(c=c, b=b), np.linspace(*ENDS, 41)
    exact = Characteristics(drift)
    found = follow(as_callable(drift), x, 2.0)
    arrival = exact.forward(np.exp(x), 2.0)
    is_inside = (arrival > 1e-6) & (arrival < 1e2)
    np.testing.assert_array_equal(found.side == 0, is_inside)
    np.testing.assert_allclose(np.exp(found.x[is_inside]), arrival[is_inside], rtol=1e-9)
    exponent = exact.exponent(np.exp(x[is_inside]), 2.0)
    np.testing.assert_allclose(found.exponent[is_inside], exponent, rtol=1e-9, atol=1e-10)
    # Growing paths fan out by (lambda / lambda0)^b, which the way back multiplies errors with.
    back = trace(as_callable(drift), None, found.x, np.full(41, 2.0), np.zeros(41), ENDS)
    np.testing.assert_allclose(back.x[is_inside], x[is_inside], atol=1e-7)


@pytest.mark.parametrize("b", [0.5, 1.0, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("c", [0.05, -0.05])
def test_power_law_as_a_table_is_known_up_to_its_interpolation(b, c):
    """Monotone cubics are good to (a dx)^3 relative in w = e^(ax): 2e-4 at 0.058 and a = 2, so 1e-3."""
    drift, x = PowerDrift(c=c, b=b), np.linspace(np.log(1e-3), np.log(5.0), 31)
    exact, found = Characteristics(drift), follow(as_table(drift), x, 1.0)
    arrival = exact.forward(np.exp(x), 1.0)
    is_inside = (arrival > 1e-6) & (arrival < 1e2)
    moved = np.log(arrival[is_inside]) - x[is_inside]
    np.testing.assert_allclose(found.x[is_inside] - x[is_inside], moved, rtol=1e-3, atol=1e-12)


def test_tables_converge_at_third_order():
    """Fritsch-Butland slopes are of second order, the cubic and so the paths of third."""
    drift, x = PowerDrift(c=0.4, b=1.7), np.linspace(-6.0, 2.0, 17)
    exact = np.log(Characteristics(drift).forward(np.exp(x), 3.0))
    errors = np.array([np.abs(follow(as_table(drift, n), x, 3.0).x - exact).max() for n in (60, 120, 240)])
    assert np.all(np.log2(errors[:-1] / errors[1:]) > 2.4)


@pytest.mark.parametrize("start", [0.01, 1.0, 1.999, 5.0])
def test_logistic_growth_of_an_aligned_network(start):
    """v = lambda (2s - lambda), lambda = 2a, a = s e^2st / (e^2st - 1 + s/a0).

    See equations/known_cases.md#aligned-networks.

    The exponent 2 * integral of lambda is 2 ln(1 + (e^2st - 1) a0 / s).
    """
    s, a0, times = 3.0, start / 2, np.array([0.1, 0.8, 2.5])
    drift = CallableDrift(lambda x, t: x * (2 * s - x))
    grown = np.expm1(2 * s * times)
    for row, time in enumerate(times):
        found = follow(drift, np.log(start), time)
        assert found.x[0] == pytest.approx(np.log(2 * s * (grown[row] + 1) / (grown[row] + s / a0)), abs=1e-9)
        assert found.exponent[0] == pytest.approx(2 * np.log1p(grown[row] * a0 / s), rel=1e-9)


def test_reference_numbers_of_the_aligned_network():
    """equations/known_cases.md#aligned-numbers prints eight digits after the point: a at t = 0.8 for s = 4, 3, 2, 1."""
    for s, a0, a in [(4, 0.01, 2.40534754), (3, 0.02, 1.34756826), (2, 0.005, 0.11584721), (1, 0.01, 0.04764683)]:
        drift = CallableDrift(lambda x, t, s=s: x * (2 * s - x))
        assert np.exp(follow(drift, np.log(2 * a0), 0.8).x[0]) / 2 == pytest.approx(a, abs=6e-9)


@pytest.mark.parametrize("speed", [2.0, -2.0])
def test_modes_stop_at_the_end_of_the_domain(speed):
    """With v = w lambda a mode has lost 2 (lambda - lambda0) / w on its way, wherever it stops."""
    x, ends = np.array([-2.0, -0.5, 0.0, 0.7, 1.0]), (-2.0, 1.0)
    found = follow(CallableDrift(lambda lam, t: speed * lam), x, 0.8, ends=ends)
    free = x + speed * 0.8
    arrival = np.clip(free, *ends)
    np.testing.assert_array_equal(found.side, np.sign(free - arrival))
    np.testing.assert_allclose(found.x, arrival, rtol=1e-13)
    np.testing.assert_allclose(found.exponent, 2 * (np.exp(arrival) - np.exp(x)) / speed, rtol=1e-10, atol=1e-14)


def test_constant_ends_of_a_table_move_all_modes_alike():
    """Outside the table w = v / lambda keeps its last value."""
    table = TabulatedDrift([0.1, 1.0, 10.0], [-0.05, 0.3, 5.0])
    np.testing.assert_allclose(table.velocity([1e-4, 1e-2, 0.1]), [-5e-5, -5e-3, -0.05], rtol=1e-14)
    np.testing.assert_allclose(table.velocity([10.0, 40.0]), [5.0, 20.0], rtol=1e-14)
    x = np.log([1e-2, 20.0])
    np.testing.assert_allclose(follow(table, x, 1.0).x, x + np.array([-0.5, 0.5]), rtol=1e-12)


@given(
    w=st.lists(st.floats(-5, 5), min_size=2, max_size=8),
    shares=st.lists(st.floats(0, 1), min_size=1, max_size=12),
)
@settings(max_examples=30)
def test_tables_are_met_and_never_overshoot(w, shares):
    grid = np.exp(np.cumsum(0.3 + 0.2 * np.arange(len(w)) % 3))
    table = TabulatedDrift(grid, np.array(w) * grid)
    np.testing.assert_allclose(table.velocity(grid) / grid, w, rtol=1e-12, atol=1e-12)
    for i in range(len(w) - 1):
        inside = grid[i] * (grid[i + 1] / grid[i]) ** np.array(shares)
        value = table.velocity(inside) / inside
        assert np.all(value >= min(w[i], w[i + 1]) - 1e-12) and np.all(value <= max(w[i], w[i + 1]) + 1e-12)


def test_tables_are_linear_in_time_and_constant_outside():
    table = TabulatedDrift([1.0, 2.0], [[1.0, 4.0], [3.0, 0.0]], times=[1.0, 3.0])
    np.testing.assert_allclose(table.velocity(1.0, [0.0, 1.0, 1.5, 3.0, 9.0]), [1.0, 1.0, 1.5, 3.0, 3.0], rtol=1e-14)
    single = TabulatedDrift([1.0, 2.0], [[1.0, 4.0]], times=[2.0])
    np.testing.assert_allclose(single.velocity([1.0, 2.0], [[0.0], [5.0]]), [[1.0, 4.0], [1.0, 4.0]], rtol=1e-14)


def reference(grid, w, times, x0, end):
    """One mode by scipy, from scipy's own interpolant; short steps make up for its kinks."""
    rows = PchipInterpolator(grid, w, axis=1)

    def slope(t, y):
        x = np.clip(y[0], grid[0], grid[-1])
        return [np.interp(t, times, rows(x)), 2 * np.exp(y[0])]

    path = solve_ivp(slope, (0, end), [x0, 0.0], method="DOP853", rtol=1e-10, atol=1e-11, max_step=0.1)
    assert path.success
    return path.y[:, -1]


@pytest.mark.long
@given(seed=st.integers(0, 2**31), x0=st.floats(-3.5, 3.5), rows=st.integers(1, 4))
@settings(max_examples=12)
def test_random_smooth_tables_agree_with_scipy(seed, x0, rows):
    """scipy does not see knots and times of the table: its steps across them are good to about 1e-7."""
    rng = np.random.default_rng(seed)
    grid, times = np.linspace(-4, 4, 14), np.sort(rng.uniform(0, 2, rows)) + np.arange(rows) * 1e-3
    phase, size = rng.uniform(0, 6, (3, rows, 1)), rng.normal(0, 0.4, (3, rows, 1))
    w = sum(s * np.cos(k * 0.5 * grid + p) for k, s, p in zip((0, 1, 2), size, phase, strict=True))
    drift = TabulatedDrift(np.exp(grid), w * np.exp(grid), times=times)
    position, exponent = reference(grid, w, times, x0, 2.0)
    found = follow(drift, x0, 2.0, ends=(-30.0, 30.0))
    assert found.x[0] == pytest.approx(position, abs=1e-6)
    assert found.exponent[0] == pytest.approx(exponent, rel=1e-6, abs=1e-6)
    back = trace(drift, None, found.x, np.array([2.0]), np.array([0.0]), (-30.0, 30.0))
    # Here both ways see the same table; paths spread by less than e^(2 max |dw/dx|), some hundreds.
    assert back.x[0] == pytest.approx(x0, abs=1e-7)


def test_a_mode_that_turns_at_a_knot_sees_both_sides():
    """w = k (T - t) with k = 1 below and 3 above the knot x = 0 (one linear piece each), from x = -1/2.

    Solved in w: below x = -1/2 + T t - t^2/2 meets 0 where T t - t^2/2 = 1/2. Above, the slope of w in
    x is zero only in a table with two values, so the reference is scipy on either side.
    """
    grid = np.array([-2.0, 0.0, 2.0])
    table = TabulatedDrift(np.exp(grid), np.array([[1.0, 1.0, 3.0], [-1.0, -1.0, -3.0]]) * np.exp(grid), times=[0, 2.0])
    for x0 in (-0.5, -0.499, -0.6, 0.0):
        rows = PchipInterpolator(grid, [1.0, 1.0, 3.0])
        path = solve_ivp(
            lambda t, y, rows=rows: (1 - t) * rows(np.clip(y, -2, 2)),
            (0, 1.7),
            [x0],
            rtol=1e-10,
            atol=1e-12,
            max_step=0.01,
        )
        assert follow(table, x0, 1.7, ends=(-5.0, 5.0)).x[0] == pytest.approx(path.y[0, -1], abs=1e-9)


def test_a_fixed_point_on_a_knot_is_kept():
    table = TabulatedDrift([0.5, 1.0, 2.0], [0.5, 0.0, -2.0])
    found = follow(table, [0.0, -0.5, 0.5], 200.0, rate=lambda x: 0 * x)
    np.testing.assert_allclose(found.x, 0.0, atol=1e-9)
    np.testing.assert_array_equal(found.side, 0)


def test_jumps_in_time_of_a_function_are_found():
    """w is 1 until t = 1 and -2 after; the step control shortens at the jump and 1e-9 is kept."""
    drift = CallableDrift(lambda x, t: np.where(t < 1.0, x, -2 * x))
    assert follow(drift, 0.0, 2.0).x[0] == pytest.approx(-1.0, abs=1e-9)


GRID = [0.1, 1.0, 10.0]


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: CallableDrift(3.0), ArgumentError, "`function` must be a function"),
        (lambda: CallableDrift(lambda x, t: x[:1]).velocity([1.0, 2.0]), ShapeError, "one velocity per eigenvalue"),
        (lambda: CallableDrift(lambda x, t: x / t).velocity([1.0]), NonFiniteError, "`function` must be finite"),
        (lambda: TabulatedDrift([1.0], [1.0]), ArgumentError, "`eigenvalues` must be at least two"),
        (lambda: TabulatedDrift([0.0, 1.0], [1.0, 1.0]), ArgumentError, "at least two and positive"),
        (lambda: TabulatedDrift([2.0, 1.0], [1.0, 1.0]), ArgumentError, "`eigenvalues` must be increasing"),
        (lambda: TabulatedDrift([1.0, np.nan], [1.0, 1.0]), NonFiniteError, "`eigenvalues` must be finite"),
        (lambda: TabulatedDrift([GRID], [GRID]), ShapeError, "`eigenvalues` must be one-dimensional"),
        (lambda: TabulatedDrift(GRID, [1.0, 2.0]), ShapeError, r"`velocities` must have shape \(3,\).*has \(2,\)"),
        (lambda: TabulatedDrift(GRID, [GRID]), ShapeError, "changes in time needs `times`"),
        (lambda: TabulatedDrift(GRID, GRID, times=[0.0]), ShapeError, r"`velocities` must have shape \(1, 3\)"),
        (lambda: TabulatedDrift(GRID, [1.0, np.inf, 2.0]), NonFiniteError, "`velocities` must be finite"),
        (lambda: TabulatedDrift(GRID, [GRID], times=[-1.0]), ArgumentError, "`times` must not be negative"),
        (lambda: TabulatedDrift(GRID, [GRID, GRID], times=[1.0, 1.0]), ArgumentError, "`times` must be increasing"),
    ],
)
def test_wrong_arguments_are_named(call, error, message):
    with np.errstate(all="ignore"), pytest.raises(error, match=message):
        call()


@pytest.mark.rejects
def test_drifts_that_cannot_be_followed_are_refused(monkeypatch):
    """A pull of rate 1e6 to x = 0 needs about 1e6 / 6 explicit steps per unit of time."""
    monkeypatch.setattr(tracing, "_MAX_ROUNDS", 200)
    stiff = CallableDrift(lambda x, t: -1e6 * x * np.log(x))
    with pytest.raises(ArgumentError, match="`drift` is too rough or too stiff"):
        follow(stiff, 1.0, 1.0)
