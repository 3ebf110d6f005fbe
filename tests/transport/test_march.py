"""The semi-Lagrangian march against the exact jump, closed forms, and its own promises."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial.legendre import leggauss
from scipy.integrate import solve_ivp

from eigenflow.core.errors import ArgumentError
from eigenflow.transport import CellMasses, ExactJump, PointMasses, PowerDrift
from eigenflow.transport.flows.general_drifts import CallableDrift, TabulatedDrift
from eigenflow.transport.flows.preparation import make_flow
from eigenflow.transport.methods.march import March

DOMAIN = (1e-6, 1e2)
MARCH = March(from_start=False)


def start(x):
    """The initial density of the benchmark (`benchmarks/_transport_tasks.py`)."""
    return x**-0.5 * np.exp(-1e-5 / x - (x / 10) ** 2)


def bump(x):
    """A log-normal around 0.1 that is below 1e-30 at the ends of the domain."""
    return np.exp(-(np.log(x / 0.1) ** 2) / 0.8) / x


def edges(cells, domain=DOMAIN):
    return np.linspace(*np.log(domain), cells + 1)


def exact(drift, initial, times, cells, dissipation=2.0, domain=DOMAIN):
    times = np.asarray(times, dtype=float)
    flow = make_flow(drift, dissipation, float(times[-1]))
    return ExactJump().jump(flow, initial, times, edges(cells, domain))


def run(method, drift, initial, times, cells, dissipation=2.0, domain=DOMAIN):
    return method.carry(drift, dissipation, initial, np.asarray(times, dtype=float), edges(cells, domain))


def as_callable(drift):
    return CallableDrift(drift.velocity)


def as_table(drift):
    grid = np.geomspace(*DOMAIN, 200)
    return TabulatedDrift(grid, drift.velocity(grid))


def distance(a, b):
    """Over cells and budget, as a share of the initial mass."""
    rows = [np.abs(a.mass - b.mass).sum(axis=1).max()]
    rows += [np.abs(getattr(a, n) - getattr(b, n)).max() for n in ("dissipated", "outflow_below", "outflow_above")]
    return max(rows) / b.initial


def residual(result):
    gone = result.dissipated + result.outflow_below + result.outflow_above
    return np.abs(result.initial - result.mass.sum(axis=1) - gone).max() / result.initial


def wave(t):
    return 0.8 * np.cos(0.7 * t)


SAXE = CallableDrift(lambda x, t: x * (2.0 - x))
DRIFTS = {
    "b=2": PowerDrift(c=0.5, b=2.0),
    "b=1.5 escape": PowerDrift(c=-0.2, b=1.5),
    "b=0.5": PowerDrift(c=0.05, b=0.5),
    "standing": PowerDrift(c=0.0, b=1.4),
    "c(t), b=1.5": PowerDrift(c=lambda t: 0.3 / (1 + t), b=1.5),
    "turning": PowerDrift(c=wave, b=1.1),
    "function b=3": CallableDrift(lambda x, t: -0.3 * x**3),
    "function turning": CallableDrift(lambda x, t: -wave(t) * x**1.1),
    "saxe": SAXE,
    "table": TabulatedDrift(
        np.geomspace(1e-5, 10, 9), np.geomspace(1e-5, 10, 9) * np.sin([[3.0], [5.0]] * np.arange(9)), times=[0.2, 4.0]
    ),
}


@pytest.mark.parametrize("drift", DRIFTS.values(), ids=DRIFTS)
@pytest.mark.parametrize("dissipation", [0.0, 2.0, np.sqrt])
@pytest.mark.parametrize("method", [March(), MARCH], ids=["jumps", "steps"])
def test_budget_closes_and_nothing_is_negative(drift, dissipation, method):
    """Dissipation and outflow have quadratures of their own; only roundings of the sums differ."""
    result = run(method, drift, start, [0.0, 0.1, 1.0, 10.0], 24, dissipation, domain=(1e-4, 5.0))
    assert residual(result) <= 1e-12
    for part in (result.mass, result.dissipated, result.outflow_below, result.outflow_above, result.error):
        assert np.all(np.isfinite(part)) and np.all(part >= 0)
    # In jumps each time stands alone, so what has left is monotone up to their errors.
    for part in (result.outflow_below, result.outflow_above):
        assert np.all(np.diff(part) >= (-1e-14 if method is MARCH else -result.error[1:]) * result.initial)


@pytest.mark.long
@pytest.mark.parametrize("b", [0.5, 1.0, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("c", [0.05, -0.05])
def test_power_law_as_a_function_agrees_with_the_exact_method(b, c):
    """Parabolas are Hermite cubics of the cumulative mass, h^4 / 384 times a third derivative per cut.

    For a bump of width 0.63 and cells of 0.18 that sums up to (0.18 / 0.63)^3 * 3 / 192 = 4e-4.
    """
    drift, times = PowerDrift(c=c, b=b), np.geomspace(0.03, 3, 4)
    reference = exact(drift, bump, times, 100)
    jumps = run(March(), as_callable(drift), bump, times, 100)
    assert distance(jumps, reference) < 4e-4
    closed = run(March(), drift, bump, times, 100)
    # The same method with closed and with followed paths; these are good to about 1e-9.
    np.testing.assert_allclose(jumps.mass, closed.mass, rtol=0, atol=2e-9 * closed.initial)
    assert distance(run(MARCH, as_callable(drift), bump, times, 100), reference) < 4e-4


@pytest.mark.parametrize("b", [0.5, 1.0, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("c", [0.05, -0.05])
def test_power_law_as_a_table_agrees_with_the_exact_method(b, c):
    """Cubics in w = e^(ax) on 0.09 give w to 1e-4, times a distance of an e-fold; 4e-4 for the parabolas."""
    drift, times = PowerDrift(c=c, b=b), [0.1, 1.0]
    assert distance(run(March(), as_table(drift), bump, times, 100), exact(drift, bump, times, 100)) < 5e-4


@pytest.mark.parametrize("method", [March(), MARCH], ids=["jumps", "steps"])
@pytest.mark.parametrize("drift", [PowerDrift(c=0.5, b=2.0), PowerDrift(c=-0.3, b=0.8)], ids=["sink", "grow"])
def test_cells_converge_at_third_order(method, drift):
    """Parts of cells are good to h^4, and there are 1/h of them; steps do not lower that."""
    times, errors = np.geomspace(0.1, 2.0, 4), []
    for cells in (50, 100, 200):
        errors.append(distance(run(method, drift, bump, times, cells), exact(drift, bump, times, cells)))
    order = np.log2(np.array(errors[:-1]) / errors[1:])
    assert np.all(order > 2.9)


def test_more_steps_hurt_in_proportion_at_most():
    """Paths are exact, so each step adds one remap; its parts of cells shrink with the step."""
    drift, times = PowerDrift(c=0.5, b=2.0), [2.0]
    reference = exact(drift, bump, times, 80)
    errors = [
        distance(run(March(from_start=False, steps=steps), drift, bump, times, 80), reference)
        for steps in (1, 4, 16, 64)
    ]
    jump = distance(run(March(), drift, bump, times, 80), reference)
    assert errors[0] == pytest.approx(jump, rel=1e-9)
    assert errors[0] < errors[2] < 20 * errors[0]
    # Fixed cells, ever more steps: the error settles at that of the method of lines.
    assert errors[3] < 1.5 * errors[2]


@pytest.mark.parametrize("c", [0.5, 1.0])
def test_benchmark_problem_is_solved_by_jumps(c):
    """Tasks T1 and T1s of `benchmarks/_transport_tasks.py` (rate lambda); the goal there is 1e-3."""
    drift, times = PowerDrift(c=c, b=2.0), np.geomspace(1e-3, 1e4, 50)
    for cells, bound in ((100, 1e-4), (200, 1e-5)):
        reference = exact(drift, start, times, cells, dissipation=1.0)
        found = run(March(), drift, start, times, cells, dissipation=1.0)
        per_time = np.abs(found.mass - reference.mass).sum(axis=1) / reference.mass.sum(axis=1)
        assert per_time.max() < bound
        # The prototype's 2e-5 in the loss.
        np.testing.assert_allclose(found.mass.sum(axis=1), reference.mass.sum(axis=1), rtol=1e-6)


def test_benchmark_problem_is_marched():
    """T1 by 200 cells: 2e-5 in the mean of the loss error, as the prototype; the front smears (4e-4)."""
    drift, times = PowerDrift(c=0.5, b=2.0), np.geomspace(1e-3, 1e4, 50)
    reference = exact(drift, start, times, 200, dissipation=1.0)
    found = run(MARCH, drift, start, times, 200, dissipation=1.0)
    assert np.abs(found.mass.sum(axis=1) / reference.mass.sum(axis=1) - 1).mean() < 2e-5
    assert np.mean(np.abs(found.mass - reference.mass).sum(axis=1) / reference.mass.sum(axis=1)) < 1e-3


def saxe_path(x, t, s=1.0):
    """Position and exponent 2 Q after a time t, also negative (lambda = 2a).

    See equations/known_cases.md#aligned-networks.
    """
    grown = np.expm1(2 * s * t)
    bend = 1 + grown * x / (2 * s)
    return x * (grown + 1) / bend, 2 * np.log(bend)


@pytest.mark.parametrize("method", [March(), MARCH], ids=["jumps", "steps"])
def test_logistic_growth_has_its_closed_density(method):
    """Quadrature over arrival cells; modes gather at 2s = 2 from both sides."""
    times, log_edges = np.array([0.2, 1.0]), edges(160, (1e-4, 1e2))
    found = method.carry(SAXE, 2.0, bump, times, log_edges)
    nodes, weights = leggauss(10)
    half = 0.5 * np.diff(log_edges)[:, None]
    x = np.exp(log_edges[:-1, None] + half * (1 + nodes))
    for row, time in enumerate(times):
        grown = -np.expm1(-2 * time)
        # The front of what started at infinity: behind it there is nothing.
        is_reached = x * grown < 2.0
        origin = np.where(is_reached, x * np.exp(-2 * time) / (1 - np.minimum(x * grown / 2, 0.999999)), 1.0)
        forward, exponent = saxe_path(origin, time)
        jacobian = np.exp(2 * time) / (1 + np.expm1(2 * time) * origin / 2) ** 2
        np.testing.assert_allclose(forward[is_reached & (x < 1.99)], x[is_reached & (x < 1.99)], rtol=1e-9)
        mass = (np.where(is_reached, bump(origin) * np.exp(-exponent) / jacobian, 0.0) * x * half) @ weights
        # h = 0.086: (h / 0.63)^3 * 3 / 192 of the initial mass.
        assert np.abs(found.mass[row] - mass).sum() < 4e-5 * found.initial


@pytest.mark.parametrize("drift", [PowerDrift(c=0.4, b=0.7), PowerDrift(c=-0.4, b=1.6)], ids=["below", "above"])
@pytest.mark.parametrize("wrap", [lambda d: d, as_callable], ids=["closed", "followed"])
@pytest.mark.parametrize("method", [March(), MARCH], ids=["jumps", "steps"])
def test_outflow_agrees_with_the_exact_method(drift, wrap, method):
    """The density does not vanish at the ends, where the outermost two parabolas are of second order.

    Cells are 0.077: (0.077 / 0.63)^3 * 3 / 192 = 3e-5 inside, and 0.077^3 times the share 0.1 at an end.
    """
    domain, times = (0.01, 1.0), [0.3, 1.0, 4.0]
    reference = exact(drift, bump, times, 60, dissipation=0.2, domain=domain)
    assert max(reference.outflow_below[-1], reference.outflow_above[-1]) > 0.02 * reference.initial
    found = run(method, wrap(drift), bump, times, 60, dissipation=0.2, domain=domain)
    assert distance(found, reference) < 8e-5
    assert residual(found) <= 1e-12


@pytest.mark.parametrize("wrap", [lambda d: d, as_callable], ids=["closed", "followed"])
def test_turning_drift_agrees_with_the_exact_method(wrap):
    """A mode that has left does not come back.

    Steps that end at the turns have no mode that leaves and returns within one. Jumps sort the nodes
    of a piece, so a cut within a piece is known up to that piece: 1/60 of the domain at most.
    """
    drift, domain, times = PowerDrift(c=wave, b=1.1), (0.05, 0.6), [1.0, 4.0, 8.0]
    reference = exact(drift, bump, times, 60, domain=domain)
    jumps = run(March(), wrap(drift), bump, times, 60, domain=domain)
    assert residual(jumps) <= 1e-12
    assert distance(jumps, reference) < 1.0 / 60
    if not isinstance(wrap(drift), CallableDrift):
        assert distance(run(MARCH, drift, bump, times, 60, domain=domain), reference) < 2e-4


@pytest.mark.parametrize("method", [March(), MARCH], ids=["jumps", "steps"])
@pytest.mark.parametrize("name", ["b=2", "c(t), b=1.5", "b=0.5"])
def test_error_estimate_covers_the_error_of_smooth_data(method, name):
    times = [0.0, 0.3, 3.0]
    for cells in (40, 80, 160):
        found = run(method, DRIFTS[name], bump, times, cells)
        error = np.abs(found.mass - exact(DRIFTS[name], bump, times, cells).mass).sum(axis=1)
        assert np.all(error <= found.error)
        assert np.all(found.error <= 300 * error + 2e-10 * found.initial)


@pytest.mark.long
@given(seed=st.integers(0, 2**31), from_start=st.booleans())
@settings(max_examples=8)
def test_points_under_random_tables_agree_with_scipy(seed, from_start):
    """Each mode by DOP853 through the public velocity; kinks limit scipy to about 1e-7."""
    rng = np.random.default_rng(seed)
    grid = np.linspace(-5, 3, 12)
    w = rng.normal(0, 0.5, (3, 1)) + rng.normal(0, 0.5, (3, 1)) * np.cos(0.7 * grid + rng.uniform(0, 6, (3, 1)))
    drift = TabulatedDrift(np.exp(grid), w * np.exp(grid), times=[0.0, 0.7, 1.5])
    x, times = rng.uniform(-4, 2, 3), np.array([0.5, 1.5])
    points, log_edges = PointMasses(np.exp(x), [1.0, 2.0, 4.0]), np.linspace(-9, 9, 2)
    found = March(from_start=from_start).carry(drift, 2.0, points, times, log_edges)
    kept = np.zeros(2)
    for x0, mass in zip(x, [1.0, 2.0, 4.0], strict=True):
        path = solve_ivp(
            lambda t, y: [float(drift.velocity(np.exp(y[0]), t)) / np.exp(y[0]), 2 * np.exp(y[0])],
            (0, 1.5),
            [x0, 0.0],
            method="DOP853",
            rtol=1e-9,
            atol=1e-10,
            max_step=0.15,
            t_eval=times,
        )
        kept += mass * np.exp(-path.y[1])
    np.testing.assert_allclose(found.mass.sum(axis=1), kept, rtol=1e-5, atol=1e-6)
    assert residual(found) <= 1e-13


def test_points_go_exactly_and_leave_exactly():
    """Without dissipation, under v = -lambda, ln(lambda) falls by t; the one at 2e-6 leaves at t = ln 2."""
    points = PointMasses([2e-6, 0.1, 3.0], [1.0, 2.0, 4.0])
    found = run(March(), CallableDrift(lambda x, t: -x), points, [0.0, 0.5, 1.0], 50, dissipation=0.0)
    np.testing.assert_allclose(found.outflow_below, [0.0, 0.0, 1.0], rtol=1e-15)
    for row, time in enumerate([0.0, 0.5]):
        cell = np.searchsorted(edges(50), np.log([2e-6, 0.1, 3.0]) - time) - 1
        np.testing.assert_allclose(found.mass[row, cell], [1.0, 2.0, 4.0], rtol=1e-15)
    power = run(March(), PowerDrift(c=1.0, b=1.0), points, [0.5, 1.0], 50)
    function = run(March(), CallableDrift(lambda x, t: -x), points, [0.5, 1.0], 50)
    np.testing.assert_allclose(function.mass, power.mass, rtol=1e-9)


def test_cell_masses_on_the_same_cells_come_back_at_time_zero():
    masses = np.array([0.0, 1.0, 5.0, 0.0, 0.0, 2.0, 2.0, 1e-9])
    found = run(March(), SAXE, CellMasses(np.exp(edges(8, (1e-4, 1.0))), masses), [0.0], 8, domain=(1e-4, 1.0))
    # ln and exp move the edges by a rounding, and with them a share of the neighbour's mass.
    np.testing.assert_allclose(found.mass[0], masses, rtol=1e-12, atol=1e-14)


@pytest.mark.long
@given(
    masses=st.lists(st.floats(0, 1) | st.just(0.0), min_size=1, max_size=9),
    name=st.sampled_from(["b=2", "b=1.5 escape", "saxe", "table", "standing"]),
    from_start=st.booleans(),
    cells=st.integers(1, 13),
)
@settings(max_examples=40)
def test_any_cell_masses_stay_positive_and_are_kept(masses, name, from_start, cells):
    initial = CellMasses(np.geomspace(1e-5, 9.0, len(masses) + 1), np.array(masses))
    found = run(March(from_start=from_start), DRIFTS[name], initial, [0.0, 0.5, 5.0], cells)
    assert np.all(found.mass >= 0)
    assert residual(found) <= 1e-12 if sum(masses) > 1e-290 else True
    assert found.initial == pytest.approx(sum(masses), rel=1e-13, abs=1e-300)


def test_conserved_mass_stays_in_the_domain():
    """Without dissipation and far from the ends nothing is lost but by roundings."""
    found = run(MARCH, SAXE, bump, np.linspace(0.2, 3.0, 15), 60, dissipation=0.0)
    np.testing.assert_allclose(found.mass.sum(axis=1), found.initial, rtol=1e-13)


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: March(steps=0, from_start=False), "`steps` must be a whole number"),
        (lambda: March(steps=2.5, from_start=False), "`steps` must be a whole number"),
        (lambda: March(steps=3), "`steps` must be 1 for jumps"),
        (lambda: March(nodes=1), "`nodes` must be in"),
        (lambda: run(March(), np.sqrt, bump, [1.0], 5), "`drift` must have"),
        (lambda: March().carry(SAXE, 2.0, bump, np.ones(1), np.array([0.0, 1.0, 3.0])), "`log_edges` must be evenly"),
        (lambda: run(March(), SAXE, lambda x: -x, [1.0], 5), "`initial` must not be negative"),
        (lambda: run(March(), SAXE, bump, [1.0], 5, dissipation=lambda x: -x), "must return rates >= 0"),
    ],
)
def test_wrong_arguments_are_named(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()
