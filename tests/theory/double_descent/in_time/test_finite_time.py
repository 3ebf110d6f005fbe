"""Risk at a finite time: limits with closed forms, simulation, an independent quadrature, and what it must not do."""

import numpy as np
import pytest

from eigenflow.core.errors import ArgumentError
from eigenflow.theory.double_descent.in_time.finite_time import finite_time_risk
from eigenflow.theory.double_descent.in_time.gradient_flow import LeastSquaresFlow, population_risk
from eigenflow.theory.double_descent.in_time.marchenko_pastur import advani_saxe
from eigenflow.theory.double_descent.least_squares import linear_regression_risk
from eigenflow.theory.double_descent.random_features import random_features_risk
from eigenflow.theory.double_descent.surface import PointStatus
from eigenflow.theory.task_spectrum import TaskSpectrum
from eigenflow.transport import CallableDrift, PowerDrift, StateDrift, TabulatedDrift


def spectrum(eigenvalues, target, noise=0.0, counts=None):
    counts = None if counts is None else np.array(counts, dtype=float)
    return TaskSpectrum(np.array(eigenvalues, dtype=float), np.array(target, dtype=float), noise, counts)


TIMES = np.array([0.0, 0.3, 3.0, 30.0, 1e3, 1e5])
TWO_SCALE = spectrum([1.0, 1e-4], [5.0, 7.2], 80.0, [20, 20])
POWER = TaskSpectrum.power_law(1.5, 2.0, modes=300, noise=0.05)


def simulated(task, samples, times, draws, seed=0, kept=None):
    """Excess risk and training error over drawn inputs, exact in the noise; the modes' eigenbasis is the input's."""
    rng = np.random.default_rng(seed)
    rates, w = np.repeat(task.eigenvalues, task.sizes.astype(int)), np.zeros(int(task.modes))
    w[np.cumsum(task.sizes.astype(int)) - 1] = np.sqrt(task.target)
    rows = []
    for _ in range(draws):
        X = rng.standard_normal((samples, len(w))) * np.sqrt(rates)
        left, roots, right = np.linalg.svd(X / np.sqrt(samples), full_matrices=False)
        seen = left.T @ (X @ (w / np.sqrt(rates))) / np.sqrt(samples)
        left_over = np.exp(-np.outer(times, roots**2)) if kept is None else kept(roots**2)
        found = ((1 - left_over) * seen / roots) @ right
        target = ((np.sqrt(rates) * found - w) ** 2).sum(1)
        noise = ((1 - left_over) ** 2 / roots**2) @ (right**2 @ rates) * task.noise / samples
        train = left_over**2 @ (seen**2 + task.noise / samples) + task.noise * (1 - len(roots) / samples)
        rows.append((target + noise, train))
    found = np.array(rows)
    return found.mean(0), found.std(0, ddof=1) / np.sqrt(draws)


def on_contour(task, samples, time, nodes=28):
    """Nodes s of a hyperbola round the negative rates, weights of exp(s time), and h, G and -dG/ds there.

    kappa(s) is followed from large s inwards by Newton's method, so no density, band or edge is known. Source of the
    contour: Weideman and Trefethen (2007), Mathematics of Computation 76.
    """
    lam, counts = task.eigenvalues, task.sizes
    step, angle, size = 2 * 1.081792140 / nodes, 1.172104229, 4.492075287 * nodes / 2 / time
    u = (np.arange(-nodes // 2, nodes // 2) + 0.5) * step
    s = size * (1 + np.sin(1j * u - angle))
    weights = np.exp(s * time) * 1j * size * np.cos(1j * u - angle) * step / (2j * np.pi)
    kappa, second = s * 1e6, np.zeros(nodes)
    for factor in np.geomspace(1e6, 1, 200):
        for _ in range(6):
            first = (counts * lam / (lam + kappa[:, None])).sum(1)
            second = (counts * lam**2 / (lam + kappa[:, None]) ** 2).sum(1)
            kappa = kappa - (kappa * (1 - first / samples) - s * factor) / (1 - second / samples)
    G = (task.target / (lam + kappa[:, None])).sum(1)
    bent = (task.target / (lam + kappa[:, None]) ** 2).sum(1) / (1 - second / samples)
    return s, weights, kappa / s, G, bent


def by_contour(task, samples, time):
    """Risk and training error without noise at rest by another road: both resolvents on a contour, as exp(-l t) is the
    integral of exp(s t) / (s + l)."""
    s, weights, h, G, bent = on_contour(task, samples, time)
    table = h[:, None] * h * (G[None, :] - G[:, None]) / (s[:, None] - s + np.eye(len(s)))
    table[np.diag_indices(len(s))] = h**2 * bent
    _, doubled, _, other, _ = on_contour(task, samples, 2 * time)
    return float((weights @ table @ weights).real), float((doubled @ other).real)


@pytest.mark.parametrize("gamma", [0.2, 0.9, 1.0, 1.1, 5.0])
def test_isotropic_task_is_that_of_advani_and_saxe(gamma):
    """Against a quadrature of the closed density; 1e-7 of it is what `error` says."""
    n, snr = 1000, 2.0
    task = spectrum([1.0], [1.0], 1 / snr, [gamma * n])
    t = np.array([0.0, 0.1, 1.0, 10.0, 1e3, 1e6])
    found = finite_time_risk(task, n, t)
    # Inputs of variance 1 have the rates of sum x x' / n: time in those units is t / alpha. The variance of one label's
    # noise counts against that of the whole target.
    expected = advani_saxe(t * gamma, 1 / gamma, snr=snr)
    np.testing.assert_allclose(found.test_error, expected, rtol=1e-6)
    assert found.data["error"].max() < 1e-5


@pytest.mark.parametrize("samples", [1, 30, 299, 301, 1000])
@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_end_of_training_is_ridge_regression(samples, ridge):
    found = finite_time_risk(POWER, samples, 1e12, ridge=ridge)
    end = linear_regression_risk(POWER, samples, ridge)
    assert float(found.risk) == pytest.approx(float(end.risk), rel=2e-6)
    assert float(found.data["train"]) == pytest.approx(float(end.data["train"]), rel=2e-6, abs=1e-12)


@pytest.mark.long
def test_population_is_every_mode_by_itself():
    found = finite_time_risk(POWER, [1e7, np.inf], TIMES)
    kept = np.exp(-np.outer(TIMES, POWER.eigenvalues)) ** 2 @ POWER.target
    np.testing.assert_allclose(found.risk.sel(samples=np.inf), kept, rtol=1e-13)
    np.testing.assert_allclose(found.data["train"].sel(samples=np.inf), kept + 0.05, rtol=1e-13)
    # The first correction is a mode's own, of the size of the number of learned modes over n.
    expected = population_risk(POWER, 1e7, TIMES).risk
    np.testing.assert_allclose(found.risk.sel(samples=1e7), expected, rtol=1e-4)


@pytest.mark.long
@pytest.mark.parametrize("samples", [40, 299, 300, 600])
def test_agrees_with_another_quadrature_of_the_same_equivalent(samples):
    """And what it says of its own error is true, or both are better than the contour's 1e-8."""
    quiet = TaskSpectrum(POWER.eigenvalues, POWER.target)
    found = finite_time_risk(quiet, samples, [1.0, 20.0, 400.0])
    for i, time in enumerate([1.0, 20.0, 400.0]):
        test, train = by_contour(quiet, samples, time)
        bound = max(float(found.data["error"][i]), 1e-8)
        assert float(found.risk[i]) == pytest.approx(test, rel=bound)
        assert float(found.data["train"][i]) == pytest.approx(train, rel=max(bound, 6e-7))


@pytest.mark.long
@pytest.mark.parametrize(
    ("task", "samples", "draws"),
    [(POWER, 60, 200), (POWER, 200, 60), (POWER, 450, 40), (TWO_SCALE, 400, 60), (TWO_SCALE, 25, 400)],
    ids=["power 60", "power 200", "power 450", "two scales 400", "two scales 25"],
)
def test_mean_over_samples_is_that_of_simulated_samples(task, samples, draws):
    """Four standard errors, and 2 / n of the risk: what the equivalent leaves out (the largest seen is 1.3 / n)."""
    t = np.array([0.3, 3.0, 30.0, 300.0, 1e4])
    mean, error = simulated(task, samples, t, draws)
    found = finite_time_risk(task, samples, t)
    assert (np.abs(found.risk.values - mean[0]) <= 4 * error[0] + 2 / samples * mean[0]).all()
    assert (np.abs(found.data["train"].values - mean[1]) <= 4 * error[1] + 4 / samples * mean[1] + 1e-3).all()


@pytest.mark.long
def test_drift_on_samples_is_that_of_simulated_samples():
    """Each sampled eigenvalue decays by its own Q: b = 1.5 in closed form, sqrt(l) / (1 + sqrt(l) c t / 2)."""
    c, t = 0.3, np.array([0.3, 3.0, 30.0, 300.0, 1e4])

    def kept(rates):
        root = np.sqrt(rates)
        return np.exp(-rates * t[:, None] / (1 + 0.5 * c * root * t[:, None]))

    mean, error = simulated(POWER, 60, t, 200, kept=kept)
    found = finite_time_risk(POWER, 60, t, drift=PowerDrift(c, 1.5))
    assert (np.abs(found.risk.values - mean[0]) <= 4 * error[0] + 2 / 60 * mean[0]).all()


@pytest.mark.parametrize("samples", [1, 2, 17, 300, 5000])
def test_nothing_is_learned_at_the_start(samples):
    """A sum rule of the whole form: all of it adds up to the target's variance."""
    found = finite_time_risk(POWER, samples, 0.0)
    assert float(found.data["from_target"]) == pytest.approx(POWER.energy, rel=1e-6)
    assert float(found.data["from_noise"]) == 0.0
    assert float(found.data["train"]) == pytest.approx(POWER.energy + POWER.noise, rel=1e-6)


def test_modes_of_one_eigenvalue_are_a_group():
    apart = spectrum(np.repeat([1.0, 0.01], [3, 40]), np.repeat([2.0, 0.5], [3, 40]), 0.1)
    together = spectrum([1.0, 0.01], [6.0, 20.0], 0.1, [3, 40])
    np.testing.assert_allclose(
        finite_time_risk(apart, 20, TIMES).risk, finite_time_risk(together, 20, TIMES).risk, rtol=1e-10
    )


@pytest.mark.parametrize("scale", [1e-28, 1e28])
def test_units_do_not_matter(scale):
    other = TaskSpectrum(POWER.eigenvalues * scale, POWER.target * scale, POWER.noise * scale)
    found = finite_time_risk(other, 50, TIMES / scale).risk / scale
    np.testing.assert_allclose(found, finite_time_risk(POWER, 50, TIMES).risk, rtol=1e-9)


def test_one_mode_and_a_long_tail_and_a_target_of_zero():
    one = finite_time_risk(spectrum([1.0], [1.0], 0.5), 1000, TIMES)
    np.testing.assert_allclose(one.risk, np.exp(-2 * TIMES) + 0.0005 * np.expm1(-TIMES) ** 2, rtol=0.02, atol=1e-9)
    tail = finite_time_risk(TaskSpectrum.power_law(1.5, 2.0, modes=50, noise=0.1, tail=True), 60, TIMES)
    assert tail.is_converged
    assert tail.data["error"].max() < 1e-5
    silent = finite_time_risk(spectrum([1.0, 0.1], [0.0, 0.0]), 10, TIMES)
    assert (silent.risk == 0).all()
    assert silent.is_converged


def test_risk_stays_finite_at_the_interpolation_threshold():
    """There it grows as the square root of time, forever: the factor is that of the height law."""
    task = spectrum([1.0], [0.0], 1.0, [200])
    t = np.array([1e4, 1e8])
    found = finite_time_risk(task, 200, t)
    assert (found.data["status"] == PointStatus.CONVERGED).all()
    np.testing.assert_allclose(found.risk, 0.660989 * np.sqrt(t) - 0.5, rtol=1e-4)


@pytest.mark.long
def test_clock_drift_and_state_agree_where_they_are_the_same():
    lazy = finite_time_risk(POWER, 50, TIMES).risk
    early = TIMES[:5]
    np.testing.assert_allclose(finite_time_risk(POWER, 50, TIMES, drift=PowerDrift(0.0, 1.5)).risk, lazy, rtol=1e-12)
    np.testing.assert_allclose(finite_time_risk(POWER, 50, TIMES, clock=lambda t: t).risk, lazy, rtol=1e-12)
    np.testing.assert_allclose(
        finite_time_risk(POWER, 50, early, drift=StateDrift(kappa=0.0)).risk, lazy[:5], rtol=1e-7
    )
    by_drift = finite_time_risk(POWER, 50, early, drift=PowerDrift(0.2, 1.0)).risk
    by_clock = finite_time_risk(POWER, 50, early, clock=lambda t: -np.expm1(-0.2 * t) / 0.2).risk
    np.testing.assert_allclose(by_drift, by_clock, rtol=1e-12)
    law = PowerDrift(0.2, 1.5)
    exact = finite_time_risk(POWER, 50, early, drift=law).risk
    callable_ = CallableDrift(lambda rates, _: -0.2 * rates**1.5)
    np.testing.assert_allclose(finite_time_risk(POWER, 50, early, drift=callable_).risk, exact, rtol=1e-8)
    grid = np.geomspace(1e-9, 10, 400)
    table = TabulatedDrift(grid, -0.2 * grid**1.5)
    np.testing.assert_allclose(finite_time_risk(POWER, 50, early, drift=table).risk, exact, rtol=1e-4)


def test_state_drift_moves_by_what_is_left_on_the_sample():
    """At b = 1 and z = F the scale s obeys ds/dt = kappa F; F by the sum over directions with a = exp(-l tau)."""
    from scipy.integrate import solve_ivp

    task, n, kappa = spectrum([1.0, 0.2], [1.0, 0.5], 0.0, [5, 5]), np.inf, 0.8
    rates, energies = task.eigenvalues, task.target

    def move(_, state):
        a = np.exp(-rates * state[1])
        return [kappa * (energies * (a - a**2)).sum(), state[0]]

    t = np.array([0.5, 2.0, 8.0])
    tau = solve_ivp(move, (0, 8), [1.0, 0.0], t_eval=t, rtol=1e-10, atol=1e-12).y[1]
    found = finite_time_risk(task, n, t, drift=StateDrift(kappa=kappa))
    np.testing.assert_allclose(found.risk, np.exp(-2 * np.outer(tau, rates)) @ energies, rtol=1e-7)


@pytest.mark.long
def test_descent_of_small_steps_is_flow_and_of_large_ones_is_not():
    """First order in the learning rate: a tenth of it, a tenth of the difference."""
    t = np.array([1.0, 10.0, 50.0])
    flow = finite_time_risk(POWER, 50, t).risk.values
    off = [np.abs(finite_time_risk(POWER, 50, t, learning_rate=eta).risk.values - flow) for eta in (0.1, 0.01)]
    np.testing.assert_allclose(off[0] / off[1], 10.0, rtol=0.2)
    rng = np.random.default_rng(0)
    risks = []
    for _ in range(60):
        X = rng.standard_normal((50, 300)) * np.sqrt(POWER.eigenvalues)
        form = LeastSquaresFlow.of(
            X, np.sqrt(POWER.target / POWER.eigenvalues), covariance=POWER.eigenvalues, noise=0.05
        )
        risks.append(form.descent_risk([2, 20, 100], 0.5).risk)
    mean, error = np.mean(risks, axis=0), np.std(risks, axis=0) / np.sqrt(60)
    found = finite_time_risk(POWER, 50, t, learning_rate=0.5).risk.values
    assert (np.abs(found - mean) <= 4 * error + 2 / 50 * mean).all()


def simulated_features(task, samples, features, times, draws, seed=0):
    """Excess risk and training error with features drawn too, by the singular vectors of every draw."""
    rng = np.random.default_rng(seed)
    w, modes, rows = np.sqrt(task.target), len(task.target), []
    for _ in range(draws):
        maps = np.sqrt(task.eigenvalues / features)[:, None] * rng.standard_normal((modes, features))
        modes_seen = rng.standard_normal((samples, modes))
        left, roots, right = np.linalg.svd(modes_seen @ maps / np.sqrt(samples), full_matrices=False)
        aim = left.T @ (modes_seen @ w) / np.sqrt(samples)
        kept = np.exp(-np.outer(times, roots**2))
        basis = maps @ right.T
        target = ((((1 - kept) * aim / roots) @ basis.T - w) ** 2).sum(1)
        noise = ((1 - kept) ** 2 / roots**2) @ (basis**2).sum(0) * task.noise / samples
        missing = ((modes_seen @ w) ** 2).mean() - aim @ aim
        train = kept**2 @ (aim**2 + task.noise / samples) + missing + task.noise * (1 - len(roots) / samples)
        rows.append((target + noise, train))
    found = np.array(rows)
    return found.mean(0), found.std(0, ddof=1) / np.sqrt(draws)


@pytest.mark.long
@pytest.mark.parametrize(("samples", "features"), [(60, 120), (120, 60), (80, 80)])
def test_mean_over_features_is_that_of_simulated_features(samples, features):
    """Four standard errors, and 3 / min(n, k) of the risk: the largest deviation seen is 2.5 / min(n, k)."""
    t = np.array([0.3, 3.0, 30.0, 300.0, 1e4])
    mean, error = simulated_features(POWER, samples, features, t, 150)
    found = finite_time_risk(POWER, samples, t, features=features)
    room = 3 / min(samples, features)
    assert (np.abs(found.risk.values - mean[0]) <= 4 * error[0] + room * mean[0]).all()
    assert (np.abs(found.data["train"].values - mean[1]) <= 4 * error[1] + room * mean[1] + 1e-3).all()
    assert found.data["error"].max() < 1e-3


@pytest.mark.parametrize(
    ("samples", "features"), [(20, 10), (60, 61), (61, 60), (299, 301), (400, 350), (400, 10), (20, 2000), (np.inf, 61)]
)
def test_features_end_as_ridgeless_regression_and_start_with_nothing(samples, features):
    found = finite_time_risk(POWER, samples, [0.0, 1e13], features=features)
    expected = random_features_risk(POWER, samples, features)
    np.testing.assert_allclose(found.risk, [POWER.energy, float(expected.risk)], rtol=3e-6)
    starts, ends = found.data["train"].values
    assert starts == pytest.approx(POWER.energy + POWER.noise, rel=1e-6)
    assert ends == pytest.approx(float(expected.data["train"]), rel=3e-5, abs=1e-12)


@pytest.mark.long
def test_many_features_are_the_kernel_and_all_of_it_is_continuous():
    kernel = finite_time_risk(POWER, 50, TIMES).risk
    many = finite_time_risk(POWER, 50, TIMES, features=1e7).risk
    np.testing.assert_allclose(many, kernel, rtol=1e-4)
    early = TIMES[:4]
    at, beside = (finite_time_risk(POWER, 50, early, features=k).risk for k in (50, 50.2))
    np.testing.assert_allclose(at, beside, rtol=5e-3)


def test_features_of_a_threshold_say_where_they_are_not_known():
    found = finite_time_risk(POWER, 60, [1.0, 1e12], features=60)
    assert list(found.data["status"].values) == [PointStatus.CONVERGED, PointStatus.NOT_CONVERGED]


def test_features_drift_as_samples_do():
    """One clock for all directions is the flow at rest at that clock, and a drift goes between."""
    t = np.array([0.5, 5.0, 50.0])
    clock = -np.expm1(-0.1 * t) / 0.1
    at_rest = finite_time_risk(POWER, 40, clock, features=70).risk.values
    np.testing.assert_allclose(
        finite_time_risk(POWER, 40, t, features=70, drift=PowerDrift(0.1, 1.0)).risk, at_rest, rtol=1e-9
    )


def test_surface_knows_its_axes_and_finds_extrema_in_time():
    found = finite_time_risk(TWO_SCALE, [200, 400], np.geomspace(0.01, 1e6, 30), ridge=[0.0, 1.0])
    assert found.axes == ("samples", "ridge", "time")
    single = finite_time_risk(TWO_SCALE, 400, np.geomspace(0.01, 1e6, 30))
    np.testing.assert_allclose(found.risk.sel(samples=400, ridge=0.0), single.risk)
    peaks = single.peaks()
    assert len(peaks) == 1
    assert list(np.round(peaks.minima["risk"], 2)) == [9.57, 7.08]
    quiet = single.at(noise=0.0)
    np.testing.assert_allclose(quiet.risk, single.data["from_target"], rtol=1e-13)


@pytest.mark.long
def test_growth_that_ends_reports_its_coarser_error():
    """At b = 3 modes escape at a sharp eigenvalue, which no panel knows: the error says so, and is true."""
    t = np.array([1.0, 30.0, 1e3])
    mean, error = simulated(POWER, 60, t, 100, kept=lambda rates: escaped(rates, t))
    found = finite_time_risk(POWER, 60, t, drift=PowerDrift(-0.5, 3.0))
    assert (np.abs(found.risk.values - mean[0]) <= 4 * error[0] + 2 / 60 * mean[0]).all()
    assert found.data["error"].max() < 1e-3


def escaped(rates, times):
    """lambda^-2 = l^-2 - t at c = -1/2, b = 3; Q = 2 (1 / l - 1 / lambda), and 2 / l from its escape on."""
    inner = np.maximum(rates**-2.0 - times[:, None], 0.0)
    return np.exp(-2.0 * (1 / rates - np.sqrt(inner)))


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"samples": 0.5}, "`samples` must be from 1 to 1e\\+15, or infinite, but holds 0.5"),
        ({"task": spectrum([1.0, 1e-300], [1.0, 1.0])}, "`task` must have eigenvalues from 1e-60 to 1e\\+60"),
        ({"samples": 1e20}, "or infinite, but holds 1e\\+20"),
        ({"features": 0.5}, "`features` must be from 1 to 1e\\+15, or infinite, but holds 0.5"),
        ({"times": [1.0, 0.5]}, "`time` must increase"),
        ({"times": np.inf}, "`time` must be >= 0 and finite"),
        ({"ridge": -1.0}, "`ridge` must be >= 0"),
        ({"task": 3}, "`task` must be a TaskSpectrum"),
        ({"drift": "fast"}, "`drift` must be None, or a drift such as"),
        ({"clock": 2.0}, "`clock` must be a function"),
        ({"clock": lambda t: -t}, "`clock` must give a finite, non-negative number"),
        ({"drift": PowerDrift(1.0, 1.0), "clock": np.sqrt}, "Only one of `drift` and `clock`"),
        ({"learning_rate": 0.1, "clock": np.sqrt}, "`learning_rate` goes with eigenvalues at rest"),
        ({"learning_rate": 0.3}, "`times` must be whole multiples of `learning_rate` = 0.3"),
        ({"learning_rate": 0.0}, "`learning_rate`"),
        ({"ridge": 1.0, "drift": PowerDrift(1.0, 1.0)}, "`ridge` must be 0 with a drift"),
        ({"drift": StateDrift(kappa=5.0, energy_power=0.0, overlap_power=0.0, scale_power=-2.0)}, "no path up to"),
    ],
)
def test_bad_input_is_named(given, words):
    arguments = {"task": POWER, "samples": 10, "times": [0.0, 1.0], **given}
    task, samples, times = (arguments.pop(name) for name in ("task", "samples", "times"))
    with pytest.raises(ArgumentError, match=words):
        finite_time_risk(task, samples, times, **arguments)
