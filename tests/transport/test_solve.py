"""The solver against independent methods, conservation laws and its own promises."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial.legendre import leggauss
from scipy.integrate import quad, solve_ivp
from scipy.special import erf

from eigenflow.transport import (
    CellMasses,
    ExactJump,
    PointMasses,
    PowerDrift,
    SolveStatus,
    TransportProblem,
    solve,
)

DOMAIN = (1e-6, 1e2)


def start(x):
    """The initial density of the benchmark (`benchmarks/_transport_tasks.py`)."""
    return x**-0.5 * np.exp(-1e-5 / x - (x / 10) ** 2)


def bump(x):
    """A log-normal around 0.1 that is below 1e-30 at the ends of the domain."""
    return np.exp(-(np.log(x / 0.1) ** 2) / 0.8) / x


def problem(drift, initial=start, dissipation=2.0, domain=DOMAIN):
    return TransportProblem(drift=drift, dissipation=dissipation, initial=initial, domain=domain)


def wave(t):
    return 0.8 * np.cos(0.7 * t)


DRIFTS = {
    "b=2": PowerDrift(c=0.5, b=2.0),
    "b=1 growth": PowerDrift(c=-0.3, b=1.0),
    "b=1.5 escape": PowerDrift(c=-0.2, b=1.5),
    "b=3": PowerDrift(c=0.5, b=3.0),
    "b=0.5": PowerDrift(c=0.05, b=0.5),
    "b=0.5 growth": PowerDrift(c=-0.05, b=0.5),
    "standing": PowerDrift(c=0.0, b=1.4),
    "c(t), b=0.8": PowerDrift(c=lambda t: -0.5 / (1 + t), b=0.8),
    "c(t), b=1": PowerDrift(c=lambda t: 5 / (1 + t / 0.1), b=1.0),
    "c(t), b=1.5": PowerDrift(c=lambda t: 0.3 / (1 + t), b=1.5),
    "turning": PowerDrift(c=wave, b=1.1),
}


@pytest.mark.parametrize("drift", DRIFTS.values(), ids=DRIFTS)
@pytest.mark.parametrize("dissipation", [0.0, 2.0, np.sqrt])
def test_budget_closes_and_nothing_is_negative(drift, dissipation):
    solution = solve(problem(drift, dissipation=dissipation), np.geomspace(0.03, 30, 4), cells=20)
    budget = solution.budget
    assert np.abs(budget.residual).max() <= 1e-12 * budget.initial
    for part in (solution.mass, budget.dissipated, budget.outflow_below, budget.outflow_above):
        assert np.all(np.isfinite(part)) and np.all(part >= 0)
    assert np.all(np.diff(budget.outflow) >= -1e-15 * budget.initial)
    assert not np.any(np.isnan(solution.frontier))
    np.testing.assert_allclose(solution.mass.sum(axis=1), solution.total, rtol=1e-14)
    mass = quad(lambda y: start(np.exp(y)) * np.exp(y), *np.log(DOMAIN), epsabs=1e-13, limit=200)[0]
    assert budget.initial == pytest.approx(mass, rel=1e-12)
    if dissipation == 0:
        np.testing.assert_array_equal(budget.dissipated, 0)
        np.testing.assert_allclose(solution.total + budget.outflow, mass, rtol=1e-12)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("b", [0.6, 1.0, 2.0])
def test_dissipated_and_outflow_are_the_time_integrals_of_their_rates(b, sign):
    """Eulerian check: integral of 2 lambda g over domain and time, and of |v| g at the ends.

    Densities come from the closed characteristics. Both integrals are by Gauss-Legendre, and the
    initial front at a domain end is smooth in this window, so 1e-9 is safe.
    """
    drift, domain, end = PowerDrift(c=0.4 * sign, b=b), (0.02, 0.5), 1.5
    case = problem(drift, bump, domain=domain)
    solution = solve(case, [end], cells=7)
    paths = case.characteristics
    nodes, weights = leggauss(40)

    def density(x, t):
        # Nothing has come in from outside the domain.
        origin = paths.backward(x, t)
        inside = (origin >= domain[0]) & (origin <= domain[1])
        origin = np.where(inside, origin, domain[0])
        value = bump(origin) * paths.attenuation(origin, t) / paths.jacobian(origin, t)
        return np.where(inside, value, 0.0)

    dissipated = outflow = 0.0
    edge = domain[0] if sign > 0 else domain[1]
    for t, weight in zip(end * (1 + nodes) / 2, end * weights / 2, strict=True):
        low, high = np.clip(paths.forward(domain, t), *domain)
        x = low + (high - low) * (1 + nodes) / 2
        dissipated += weight * np.sum(weights * (high - low) / 2 * 2 * x * density(x, t))
        outflow += weight * abs(drift.velocity(edge)) * density(np.array(edge), t)
    assert solution.budget.dissipated[0] == pytest.approx(dissipated, rel=1e-9)
    assert solution.budget.outflow[0] == pytest.approx(float(outflow), rel=1e-9)


def reference_point(c, b, eigenvalue, times):
    """Position and exponent of one mode by DOP853, and whether it is inside the domain so far."""

    def slope(t, y):
        # A trial step may overshoot an escape to infinity or an arrival at zero.
        x = np.clip(y[0], -60.0, 200.0)
        return [-c(t) * np.exp((b - 1) * x), 2 * np.exp(x)]

    def leaves_below(t, y):
        return y[0] - np.log(DOMAIN[0])

    def leaves_above(t, y):
        return y[0] - np.log(DOMAIN[1])

    leaves_below.terminal = leaves_above.terminal = True
    path = solve_ivp(
        slope,
        (0, times[-1]),
        [np.log(eigenvalue), 0.0],
        method="DOP853",
        rtol=1e-11,
        atol=1e-12,
        dense_output=True,
        events=(leaves_below, leaves_above),
        max_step=0.5,
    )
    has_left = path.status == 1
    last = path.t[-1] if has_left else np.inf
    x, exponent = path.sol(np.minimum(times, last))
    return np.exp(x), np.exp(-exponent), np.asarray(times) >= last


@pytest.mark.long
@given(
    b=st.floats(0.3, 3.2),
    c=st.floats(-1.5, 1.5),
    decay=st.sampled_from([None, 0.5]),
    end=st.floats(0.05, 6.0),
    logs=st.lists(st.floats(-5.5, 1.0), min_size=1, max_size=3),
)
@settings(max_examples=30, deadline=None)
def test_points_agree_with_integrated_characteristics(b, c, decay, end, logs):
    """DOP853 with its interpolation is good to about 1e-9."""
    strength = (lambda t: c + 0 * t) if decay is None else (lambda t: c / (1 + decay * t))
    drift = PowerDrift(c=c if decay is None else strength, b=b)
    times = np.array([0.3 * end, end])
    eigenvalues, masses = 10.0 ** np.array(logs), 1.0 + np.arange(len(logs))
    solution = solve(problem(drift, PointMasses(eigenvalues, masses)), times, cells=30)
    total, outflow = np.zeros(2), np.zeros(2)
    for eigenvalue, mass in zip(eigenvalues, masses, strict=True):
        _, kept, has_left = reference_point(strength, b, eigenvalue, times)
        total += mass * np.where(has_left, 0, kept)
        outflow += mass * np.where(has_left, kept, 0)
    np.testing.assert_allclose(solution.total, total, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(solution.budget.outflow, outflow, rtol=1e-7, atol=1e-8)
    assert np.abs(solution.budget.residual).max() <= 1e-12 * masses.sum()


def test_points_arrive_in_their_cells():
    eigenvalues = np.array([3.0, 0.02, 0.5])
    solution = solve(problem(DRIFTS["b=2"], PointMasses(eigenvalues, [1.0, 2.0, 3.0])), [0, 2.0], cells=80)
    for row, bend in enumerate((1.0, 1 + 0.5 * 2 * eigenvalues)):
        cell = np.searchsorted(solution.edges, eigenvalues / bend) - 1
        expected = np.zeros(80)
        expected[cell] = np.array([1.0, 2.0, 3.0]) * (1 + 0.5 * 2 * row * eigenvalues) ** -4.0
        np.testing.assert_allclose(solution.mass[row], expected, rtol=1e-13)


def test_mode_that_left_does_not_come_back():
    """Under c = 0.8 cos(0.7 t), b = 1, a mode falls by at most 0.8 / 0.7 e-folds."""
    case = problem(PowerDrift(c=wave, b=1.0), PointMasses([2e-6, 5e-6], [1.0, 1.0]), dissipation=0.0)
    solution = solve(case, [0.5, 2.0, 9.0])
    np.testing.assert_array_equal(solution.budget.outflow_below, [0.0, 1.0, 1.0])
    np.testing.assert_array_equal(solution.total, [2.0, 1.0, 1.0])
    assert solution.status is SolveStatus.LEFT_DOMAIN


@pytest.mark.parametrize("end", [1.0, 2.5, 8.0])
def test_turning_drift_agrees_with_many_points(end):
    """Which end takes what, without dissipation, against 4000 points of at most 3e-4 each."""
    drift, domain = PowerDrift(c=wave, b=1.1), (0.05, 0.6)
    solution = solve(problem(drift, bump, domain=domain), [end], cells=1)
    edges = np.linspace(*np.log(domain), 4001)
    x = np.exp(0.5 * (edges[1:] + edges[:-1]))
    points = PointMasses(x, bump(x) * x * np.diff(edges))
    fine = solve(problem(drift, points, dissipation=0.0, domain=domain), [end], cells=1)
    still = solve(problem(drift, bump, dissipation=0.0, domain=domain), [end], cells=1)
    for name in ("outflow_below", "outflow_above"):
        assert getattr(still.budget, name)[0] == pytest.approx(getattr(fine.budget, name)[0], abs=3e-4)
    assert solution.total[0] < still.total[0]


def finite_volumes(cells, end, c=0.5, b=2.0):
    """Second-order central finite volumes in ln(lambda), by LSODA (equations/solutions.md#log-grid)."""
    edges = np.linspace(np.log(1e-4), np.log(1e2), cells + 1)
    width = edges[1] - edges[0]
    x = 0.5 * (edges[1:] + edges[:-1])
    speed = -c * np.exp((b - 1) * edges)

    def slope(t, n):
        flux = np.zeros(cells + 1)
        flux[1:-1] = speed[1:-1] * 0.5 * (n[1:] + n[:-1])
        return -np.diff(flux) / width - 2 * np.exp(x) * n

    n = bump(np.exp(x)) * np.exp(x)
    path = solve_ivp(slope, (0, end), n, method="LSODA", rtol=1e-9, atol=1e-11, lband=1, uband=1)
    return path.y[:, -1] * width


def test_method_of_lines_converges_to_the_solution_at_second_order():
    end, errors = 3.0, []
    for cells in (60, 120, 240):
        exact = solve(problem(DRIFTS["b=2"], bump, domain=(1e-4, 1e2)), [end], cells=cells)
        errors.append(np.abs(finite_volumes(cells, end) - exact.mass[0]).sum())
    order = np.log2(np.array(errors[:-1]) / errors[1:])
    assert order == pytest.approx([2.0, 2.0], abs=0.15)
    assert errors[-1] < 2e-3


@pytest.mark.parametrize("b", [0.9, 1.7])
def test_cell_masses_agree_with_quadrature_of_the_closed_density(b):
    """Quadrature over arrival cells, where the solver integrates over departures."""
    case = problem(PowerDrift(c=-0.1, b=b), bump)
    solution = solve(case, [0.0, 4.0], cells=40)
    paths, nodes_weights = case.characteristics, leggauss(12)
    for row, time in enumerate(solution.times):
        half = 0.5 * np.diff(np.log(solution.edges))[:, None]
        x = np.exp(np.log(solution.edges[:-1])[:, None] + half * (1 + nodes_weights[0]))
        origin = paths.backward(x, time)
        origin = np.where(origin > 1e-30, origin, 1e-30)
        density = bump(origin) * paths.attenuation(origin, time) / paths.jacobian(origin, time)
        expected = (density * x * half) @ nodes_weights[1]
        np.testing.assert_allclose(solution.mass[row], expected, rtol=1e-9, atol=1e-13)


def test_pile_up_spike_is_exact():
    """At b = 2, c = 1 the front cell gathers a departure of six decades (task T1s)."""
    solution = solve(problem(PowerDrift(c=1.0, b=2.0), dissipation=1.0), [50.0], cells=100)
    for cell in np.flatnonzero(solution.mass[0] > 1e-3):
        low, high = solution.edges[cell], solution.edges[cell + 1]
        low, high = (x / (1 - 50 * x) if 50 * x < 1 else np.inf for x in (low, high))
        low, high = np.log(np.clip([low, high], *DOMAIN))
        exact = quad(lambda y: start(np.exp(y)) * np.exp(y) / (1 + 50 * np.exp(y)), low, high, epsrel=1e-13)
        assert solution.mass[0, cell] == pytest.approx(exact[0], rel=1e-9)


def test_totals_do_not_depend_on_the_cells():
    case, times = problem(DRIFTS["b=1.5 escape"]), [0.1, 3.0, 200.0]
    few, many = solve(case, times, cells=1), solve(case, times, cells=333)
    np.testing.assert_allclose(few.total, many.total, rtol=1e-12)
    np.testing.assert_allclose(few.frontier, many.frontier, rtol=1e-14)


def test_each_time_is_one_jump_of_its_own():
    case = problem(DRIFTS["c(t), b=0.8"])
    together, alone = solve(case, [0.1, 1.0, 9.0], cells=20), solve(case, 9.0, cells=20)
    np.testing.assert_allclose(together.mass[-1], alone.mass[0], rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("name", ["b=2", "b=1.5 escape", "c(t), b=1", "b=0.5"])
def test_error_estimate_covers_the_error(name):
    """Coarse settings make errors that 20 nodes on short pieces do not have."""
    case, times = problem(DRIFTS[name]), np.geomspace(0.03, 30, 5)
    reference = solve(case, times, cells=15, method=ExactJump(nodes=20, longest_piece=0.1))
    for nodes in (3, 4, 6):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            solution = solve(case, times, cells=15, method=ExactJump(nodes=nodes, longest_piece=1.0))
        error = np.abs(solution.mass - reference.mass).sum(axis=1)
        assert np.all(error <= solution.error + 1e-13 * reference.budget.initial)


def test_cell_masses_converge_and_know_their_error():
    """Parabolas are of third order; halving the resolution is a safe estimate of the error."""
    case, times = problem(PowerDrift(c=0.5, b=2.0), bump), [0.0, 0.7, 40.0]
    exact, errors = solve(case, times, cells=50), []
    for cells in (50, 100, 200):
        edges = np.geomspace(*DOMAIN, cells + 1)
        x = np.log(edges / 0.1) / np.sqrt(0.8)
        masses = np.sqrt(0.8 * np.pi) / 2 * np.diff(erf(x))
        solution = solve(problem(case.drift, CellMasses(edges, masses)), times, cells=50)
        np.testing.assert_allclose(solution.total[0], masses.sum(), rtol=1e-14)
        assert np.abs(solution.budget.residual).max() <= 1e-13 * masses.sum()
        error = np.abs(solution.mass - exact.mass).sum(axis=1)
        assert np.all(error <= solution.error + 1e-13)
        errors.append(error[1:])
    order = np.log2(np.array(errors[:-1]) / errors[1:])
    assert np.all(order > 2.8)
    assert np.all(errors[-1] < 1e-5)


@pytest.mark.long
@given(
    masses=st.lists(st.floats(0, 1) | st.just(0.0), min_size=1, max_size=9),
    widths=st.lists(st.floats(0.01, 3), min_size=9, max_size=9),
    name=st.sampled_from(["b=2", "b=1.5 escape", "b=0.5", "standing", "c(t), b=1"]),
)
@settings(max_examples=40, deadline=None)
def test_any_cell_masses_stay_positive_and_are_kept(masses, widths, name):
    edges = np.exp(np.cumsum([np.log(1e-5), *widths[: len(masses)]]))
    edges *= min(1.0, 99.0 / edges[-1])
    domain = (1e-20, 1e2)
    case = problem(DRIFTS[name], CellMasses(edges, np.array(masses)), domain=domain)
    solution = solve(case, [0.0, 0.5, 20.0], cells=12)
    assert np.all(solution.mass >= 0)
    # The sums run over different pieces, so only roundings of the total differ.
    assert np.abs(solution.budget.residual).max() <= 1e-13 * max(sum(masses), 1e-300) * 10
    assert solution.total[0] == pytest.approx(sum(masses), rel=1e-13)


def test_cells_on_the_same_mesh_come_back_at_time_zero():
    edges = np.geomspace(1e-4, 1.0, 9)
    masses = np.array([0.0, 1.0, 5.0, 0.0, 0.0, 2.0, 2.0, 1e-9])
    case = problem(DRIFTS["b=3"], CellMasses(edges, masses), domain=(1e-4, 1.0))
    solution = solve(case, 0.0, cells=8)
    # ln and exp move the edges by a rounding, and with them a share of the neighbour's mass.
    np.testing.assert_allclose(solution.mass[0], masses, rtol=1e-12, atol=1e-14)


def test_jumps_and_narrow_bumps_of_the_density_are_found():
    """A step at 1 and a bump 0.05 e-folds wide; quad gets the break points told."""
    solution = solve(problem(PowerDrift(c=0.0, b=1.0), lambda x: (x < 1.0) / (1 + x)), 3.0)
    exact = quad(lambda x: np.exp(-6 * x) / (1 + x), DOMAIN[0], 1, epsabs=1e-14)[0]
    assert solution.total[0] == pytest.approx(exact, rel=1e-11)
    assert solution.budget.initial == pytest.approx(np.log(2 / (1 + 1e-6)), rel=1e-11)
    narrow = solve(problem(DRIFTS["standing"], lambda x: np.exp(-0.5 * (np.log(x) / 0.05) ** 2) / x), 0.0)
    assert narrow.total[0] == pytest.approx(np.sqrt(2 * np.pi) * 0.05, rel=1e-11)


@pytest.mark.long
@given(scale=st.floats(1e-3, 1e3))
@settings(max_examples=10, deadline=None)
def test_another_unit_of_time_changes_nothing(scale):
    """lambda -> k lambda, t -> t / k, c -> c k^(2-b) is a symmetry; roundings grow with ln k."""
    times = np.array([0.1, 1.0, 30.0])
    here = solve(problem(PowerDrift(c=-0.2, b=1.5)), times, cells=25)
    drift = PowerDrift(c=-0.2 * scale**0.5, b=1.5)
    domain = (DOMAIN[0] * scale, DOMAIN[1] * scale)
    there = solve(problem(drift, lambda x: start(x / scale) / scale, domain=domain), times / scale, cells=25)
    np.testing.assert_allclose(there.mass, here.mass, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(there.frontier, here.frontier * scale, rtol=1e-9)


def test_solution_names_its_method_and_status():
    solution = solve(problem(DRIFTS["standing"]), [0.0, 1.0])
    assert solution.method == "exact" and "one exact jump" in solution.reason
    assert solution.status is SolveStatus.CONVERGED
    assert solution.mass.shape == (2, 200) and solution.edges.shape == (201,)
    assert solution.density.shape == (2, 200)
    np.testing.assert_array_equal(solution.budget.source, 0.0)
    np.testing.assert_array_equal(solution.edges[[0, -1]], DOMAIN)


def test_too_few_nodes_are_reported_as_inaccurate():
    with pytest.warns(RuntimeWarning, match="inaccurate"):
        solution = solve(problem(DRIFTS["b=2"]), 1.0, cells=3, method=ExactJump(3, longest_piece=2.0))
    assert solution.status is SolveStatus.INACCURATE
    assert solution.error[0] > 1e-6 * solution.budget.initial


def test_coarse_cell_masses_are_seen_in_the_error():
    """Four source cells over eight decades say little about where the mass is."""
    edges, masses = np.geomspace(*DOMAIN, 5), np.array([0.0, 1.0, 0.0, 0.3])
    solution = solve(problem(DRIFTS["b=2"], CellMasses(edges, masses)), 1.0)
    assert solution.error[0] > 0.1 * solution.total[0]


@pytest.mark.parametrize("tolerance", [1e-3, 1e-5, 1e-7, 1e-10])
@pytest.mark.parametrize("name", ["b=2", "b=3", "standing", "b=0.5 growth", "b=1.5 escape", "c(t), b=1", "c(t), b=1.5"])
def test_tolerance_is_kept(name, tolerance):
    """Against 20 nodes on pieces of 0.1, which are converged to rounding."""
    case, times = problem(DRIFTS[name]), np.geomspace(0.03, 30, 4)
    reference = solve(case, times, cells=30, method=ExactJump(nodes=20, longest_piece=0.1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        solution = solve(case, times, cells=30, method=ExactJump(tolerance=tolerance))
    error = np.abs(solution.mass - reference.mass).sum(axis=1)
    assert error.max() <= tolerance * reference.budget.initial
