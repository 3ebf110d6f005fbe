"""Sources against closed forms and against scipy's quadrature of them."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import ndtr

from eigenflow.core.errors import ArgumentError, NonFiniteError, ShapeError
from eigenflow.transport import (
    CellMasses,
    Duhamel,
    GivenSource,
    KernelSource,
    LogNormalKernel,
    PointMasses,
    PowerDrift,
    SgdNoise,
    SolveStatus,
    StateSource,
    TransportProblem,
    solve,
)

DOMAIN = (1e-4, 1e1)
STILL = PowerDrift(c=0.0, b=1.0)


def nothing(x):
    return 0.0 * x


def bump(x):
    """A log-normal around 0.1 that is below 1e-15 at the ends of the domain."""
    return np.exp(-(np.log(x / 0.1) ** 2)) / x


def problem(source, drift=STILL, initial=nothing, dissipation=2.0, domain=DOMAIN):
    return TransportProblem(drift, dissipation, initial, domain, source)


def over_cells(function, edges):
    """Integrate over cells; quad's relative tolerance sets the tests' tolerances."""
    return np.array(
        [
            quad(lambda y: function(np.exp(y)) * np.exp(y), *np.log(edges[i : i + 2]), epsabs=0, epsrel=1e-12)[0]
            for i in range(len(edges) - 1)
        ]
    )


def test_constant_source_of_standing_modes_saturates():
    """g = S / r (1 - exp(-r t)); both quadratures are good to 1e-12."""
    times = [0.0, 0.01, 1.0, 300.0]
    solution = solve(problem(GivenSource(lambda x, t: bump(x))), times, cells=12)
    for row, time in enumerate(times):
        exact = over_cells(lambda x, t=time: bump(x) / (2 * x) * -np.expm1(-2 * x * t), solution.edges)
        np.testing.assert_allclose(solution.mass[row], exact, rtol=1e-10, atol=1e-15)
    given = quad(lambda y: bump(np.exp(y)) * np.exp(y), *np.log(DOMAIN), epsabs=1e-13)[0]
    np.testing.assert_allclose(solution.budget.source, given * np.array(times), rtol=1e-11)
    assert solution.method == "exact" and "given" in solution.reason


@pytest.mark.parametrize("c", [0.5, -0.5])
@pytest.mark.parametrize("b", [1.0, 2.0])
def test_given_source_under_drift_agrees_with_duhamel_by_quad(b, c):
    """One integral over the emission time per arrival, with the closed paths.

    See equations/solutions.md#closed-solutions.
    """

    def source(x, t):
        return bump(x) * (1 + np.sin(3 * t))

    def density(x, time):
        def emitted(s):
            passed = c * (time - s)
            if b == 1:
                origin = x * np.exp(passed)
                exponent = 2 * (origin - x) / c
                stretch = origin / x
            else:
                if passed * x >= 1:
                    return 0.0
                origin = x / (1 - passed * x)
                exponent = -2 * np.log(1 - passed * x) / c
                stretch = (origin / x) ** 2
            if not DOMAIN[0] <= origin <= DOMAIN[1]:
                return 0.0
            return source(origin, s) * stretch * np.exp(-exponent)

        return quad(emitted, 0, time, epsabs=0, epsrel=1e-11, limit=200, points=[0.5 * time, 0.9 * time])[0]

    time = 1.3
    solution = solve(problem(GivenSource(source), PowerDrift(c=c, b=b)), time, cells=40)
    for cell in (17, 24, 29):
        low, high = np.log(solution.edges[cell : cell + 2])
        exact = quad(lambda y: density(np.exp(y), time) * np.exp(y), low, high, epsabs=0, epsrel=1e-10)[0]
        assert solution.mass[0, cell] == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize(
    "drift",
    [
        PowerDrift(c=0.5, b=2.0),
        PowerDrift(c=-0.5, b=1.5),
        PowerDrift(c=0.5, b=0.5),
        PowerDrift(c=-0.3, b=1.0),
        PowerDrift(c=lambda t: 5 / (1 + t / 0.1), b=1.0),
    ],
)
@pytest.mark.parametrize("dissipation", [0.0, 2.0])
def test_budget_of_a_given_source_closes(drift, dissipation):
    """A source that fills the domain to its ends, where fronts and outflow are sharp: <= 1e-10 is promised."""
    solution = solve(problem(GivenSource(lambda x, t: 1.0), drift, bump, dissipation), [0.05, 1.0, 40.0], cells=10)
    scale = solution.budget.initial + solution.budget.source[-1]
    assert np.abs(solution.budget.residual).max() <= 1e-10 * scale
    assert np.all(solution.mass >= 0)
    np.testing.assert_allclose(solution.budget.source, (DOMAIN[1] - DOMAIN[0]) * solution.times, rtol=1e-12)
    if dissipation == 0:
        np.testing.assert_array_equal(solution.budget.dissipated, 0)


def test_a_given_source_is_added_to_what_the_start_leaves():
    """The equation is linear: source and start superpose, to roundings."""
    drift, times = PowerDrift(c=0.3, b=1.5), [0.1, 5.0]
    source = GivenSource(lambda x, t: bump(x) / (1 + t))
    both = solve(problem(source, drift, bump), times, cells=8)
    alone, start = solve(problem(source, drift), times, cells=8), solve(problem(None, drift, bump), times, cells=8)
    np.testing.assert_allclose(both.mass, alone.mass + start.mass, rtol=1e-13)


@pytest.mark.long
def test_a_turning_drift_takes_only_what_stayed_inside():
    """Against 40 emissions by Gauss-Legendre, each an exact source-free jump of shifted time.

    The integrand is smooth here (the source is small at the ends), so 40 nodes give 1e-9.
    """
    source, end = GivenSource(lambda x, t: bump(x) * np.exp(-t)), 4.0
    solution = solve(problem(source, PowerDrift(c=lambda t: 0.8 * np.cos(t), b=1.1)), end, cells=9)
    nodes, weights = np.polynomial.legendre.leggauss(40)
    mass = np.zeros(9)
    for s, weight in zip(end * (1 + nodes) / 2, end * weights / 2, strict=True):
        later = PowerDrift(c=lambda t, s=s: 0.8 * np.cos(t + s), b=1.1)
        jump = solve(problem(None, later, bump), end - s, cells=9)
        mass += weight * np.exp(-s) * jump.mass[0]
    np.testing.assert_allclose(solution.mass[0], mass, rtol=1e-8, atol=1e-12)


def test_a_sink_may_make_mass_negative():
    solution = solve(problem(GivenSource(lambda x, t: -bump(x))), 1.0, cells=5)
    assert solution.mass.min() < 0 and solution.budget.source[0] < 0
    assert solution.status is SolveStatus.CONVERGED


def noise(label_noise=0.3, rate=0.02):
    return SgdNoise(rate, batch_size=2, mode_density=lambda x: 400 * bump(x), label_noise=label_noise)


def test_sgd_noise_reaches_the_floor_of_the_continuous_limit():
    """L = sigma^2 mu / (1 - mu), mu = (eta / 2m) times the integral of lambda nu (S3 for small eta lambda)."""
    mean = quad(lambda y: 400 * bump(np.exp(y)) * np.exp(2 * y), *np.log(DOMAIN), epsabs=1e-13)[0]
    mu = 0.02 / 4 * mean
    floor = 0.3 * mu / (1 - mu)
    solution = solve(problem(noise(), initial=bump), [1e5, 2e5], cells=100)
    # The slowest modes, of 1e-4, have e^-20 left; the finite volumes are good to 1e-6 for this bump.
    np.testing.assert_allclose(solution.total, floor, rtol=1e-5)
    assert solution.method == "ladder" and 0.1 < mu < 0.9


def test_floor_of_small_learning_rates_is_that_of_the_discrete_recursion():
    """S2 and S3 with eta lambda <= 1e-3: they differ from the continuous limit by eta lambda (1 + 1/m) / 2."""
    eta, m, sigma = 1e-4, 2, 0.3
    edges = np.geomspace(*DOMAIN, 4001)
    modes = np.sqrt(edges[1:] * edges[:-1])
    counts = 8000 * bump(modes) * np.diff(edges)
    mu = np.sum(counts * eta / m * modes / (2 - eta * modes * (1 + 1 / m)))
    source = SgdNoise(eta, m, lambda x: 8000 * bump(x), sigma)
    solution = solve(problem(source, initial=nothing), 2e5, cells=100)
    assert solution.total[0] == pytest.approx(sigma * mu / (1 - mu), rel=1e-3)


def test_energy_of_standing_modes_solves_its_volterra_equation():
    """E(t) = F(t) + integral of k(t - s) (E(s) + sigma^2) ds, by the trapezoidal rule with 3000 steps.

    F and k are integrals over the spectrum; the rule's error is of order 1e-6.
    """
    y = np.linspace(*np.log(DOMAIN), 2001)
    x, width = np.exp(y), y[1] - y[0]
    grid = np.linspace(0, 6.0, 3001)
    step = grid[1] - grid[0]
    decay = np.exp(-2 * x[:, None] * grid)
    free = (bump(x) * x * width) @ decay
    kernel = (0.01 * x**2 * 400 * bump(x) * x * width) @ decay
    energy = np.empty(len(grid))
    energy[0] = free[0]
    for i in range(1, len(grid)):
        past = energy[:i] + 0.3
        known = step * (kernel[i:0:-1] @ past - 0.5 * kernel[i] * past[0] + 0.5 * kernel[0] * 0.3)
        energy[i] = (free[i] + known) / (1 - 0.5 * step * kernel[0])
    for method in ("ladder", "lines"):
        solution = solve(problem(noise(), initial=bump), grid[[500, 3000]], cells=100, method=method)
        np.testing.assert_allclose(solution.total, energy[[500, 3000]], rtol=2e-5)


def test_shares_of_a_lognormal_kernel_are_normal_probabilities():
    log_edges, fractions = np.linspace(0, 3, 8), np.array([0.1, 0.6])
    shares = KernelSource(0.5, LogNormalKernel(0.4)).shares(log_edges, fractions)
    x = log_edges[:-1, None] + 3 / 7 * fractions
    exact = np.diff(ndtr((log_edges[:, None, None] - x) / 0.4), axis=0)
    np.testing.assert_allclose(shares, exact / exact.sum(axis=0), atol=1e-15)
    np.testing.assert_allclose(shares.sum(axis=0), 1, rtol=1e-15)


def cut_normal(x, origin, width=0.5):
    """The same kernel as a function, cut at the ends and normalised by hand."""
    low, high = np.log(DOMAIN)
    z = (np.log(x) - np.log(origin)) / width
    inside = ndtr((high - np.log(origin)) / width) - ndtr((low - np.log(origin)) / width)
    return np.exp(-0.5 * z**2) / (np.sqrt(2 * np.pi) * width * x * inside)


def test_a_callable_kernel_equals_the_built_in_one():
    drift, times = PowerDrift(c=0.02, b=1.5), [0.3, 10.0]
    here = solve(problem(KernelSource(0.5, LogNormalKernel(0.5)), drift, bump), times, cells=60)
    source = KernelSource(lambda x: 0.5 * x, cut_normal)
    there = solve(problem(source, drift, bump), times, cells=60)
    # Shares by 24 nodes a cell instead of error functions, 0.2 e-folds wide: 1e-12 and better.
    np.testing.assert_allclose(there.mass, here.mass, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("method", ["ladder", "positive", "lines"])
def test_jumps_keep_the_mass(method):
    """Without drift and dissipation nothing is lost, and the uniform kernel ends uniform.

    K = 1 / (domain's width in ln lambda) / lambda with rate 1: g relaxes to it like exp(-t), exactly.
    """
    width = np.log(DOMAIN[1] / DOMAIN[0])
    source = KernelSource(lambda x: 1.0 + 0 * x, lambda x, origin: 1 / (width * x))
    case = problem(source, initial=bump, dissipation=0.0)
    solution = solve(case, [0.7, 3.0], cells=60, method=method)
    start = solve(problem(None, initial=bump), 0.0, cells=60)
    for row, time in enumerate(solution.times):
        exact = start.mass[0] * np.exp(-time) - np.expm1(-time) * start.total[0] / 60
        # LSODA's tolerance is 1e-7; the others make no error, for this kernel is constant in a cell.
        np.testing.assert_allclose(solution.mass[row], exact, rtol=1e-5 if method == "lines" else 1e-10)
    np.testing.assert_allclose(solution.total, start.total[0], rtol=1e-12)
    assert np.abs(solution.budget.source).max() <= 1e-12


def test_two_rates_of_modes_by_state_source():
    """Logistic growth S = g (1 - g) of standing modes without dissipation has a closed solution."""
    source = StateSource(lambda x, t, density: density * (1 - density))
    solution = solve(problem(source, initial=lambda x: 0.2 + 0 * x, dissipation=0.0), [0.5, 4.0], cells=20)
    exact = 1 / (1 + 4 * np.exp(-solution.times))
    # LSODA's tolerance is 1e-7 a step.
    np.testing.assert_allclose(solution.density, exact[:, None] + np.zeros(20), rtol=1e-5)
    assert solution.method == "lines"
    np.testing.assert_allclose(solution.budget.residual, 0, atol=1e-10)


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: problem(bump), ArgumentError, "`source` must be None or a source, but is a function"),
        (lambda: GivenSource(3.0), ArgumentError, "`density` must be a function"),
        (lambda: StateSource(None), ArgumentError, "`function` must be a function"),
        (lambda: SgdNoise(0.0, 1, bump), ArgumentError, "`learning_rate` must be positive"),
        (lambda: SgdNoise(0.1, 0, bump), ArgumentError, "`batch_size` must be at least 1"),
        (lambda: SgdNoise(0.1, 1, bump, -1.0), ArgumentError, "`label_noise` must be finite"),
        (lambda: SgdNoise(0.1, 1, 2.0), ArgumentError, "`mode_density` must be a function"),
        (lambda: KernelSource(-1.0, cut_normal), ArgumentError, "`rate` must be a finite factor"),
        (lambda: KernelSource(1.0, np.eye(3)), ArgumentError, "`kernel` must be a `LogNormalKernel` or"),
        (lambda: LogNormalKernel(0.0), ArgumentError, "`width` must be positive"),
        (lambda: run(GivenSource(lambda x, t: x[:1] + t[:2].sum())), ShapeError, "`density` must return one value"),
        (lambda: run(GivenSource(lambda x, t: x / 0)), NonFiniteError, "`density` must be finite"),
        (lambda: run(SgdNoise(0.1, 1, lambda x: -x)), ArgumentError, "`mode_density` must not be negative"),
        (lambda: run(KernelSource(lambda x: -x, cut_normal)), ArgumentError, "`rate` must not be negative"),
        (
            lambda: run(KernelSource(1.0, lambda x, origin: 1.1 * cut_normal(x, origin))),
            ArgumentError,
            r"`kernel` must keep the mass.*is 1\.1.* from eigenvalue.*Divide K",
        ),
        (lambda: run(StateSource(lambda x, t, g: g[:2])), ShapeError, "`function` must return one value"),
        (lambda: TransportProblem(0.5, 2.0, bump, DOMAIN), ArgumentError, "`drift` must have a method `velocity"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_wrong_sources_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def run(source):
    return solve(problem(source, initial=bump), [1.0], cells=10)


def test_a_start_of_points_or_cells_may_have_a_source():
    """Exact for a given source whatever the start is; jumps smear points over their cells only in "positive"."""
    source = GivenSource(lambda x, t: bump(x))
    for initial in (PointMasses([0.1, 2.0], [1.0, 2.0]), CellMasses(np.geomspace(*DOMAIN, 9), np.ones(8))):
        solution = solve(problem(source, PowerDrift(c=0.2, b=1.0), initial), [0.5, 3.0], cells=9, method=Duhamel())
        assert np.abs(solution.budget.residual).max() <= 1e-12 * solution.budget.initial
    points = problem(KernelSource(0.5, LogNormalKernel(0.5)), initial=PointMasses([0.1, 2.0], [1.0, 2.0]))
    solution = solve(points, [1.0], cells=100)
    assert solution.method == "positive" and "points" in solution.reason.replace("point masses", "points")
    assert solution.mass.min() >= 0
