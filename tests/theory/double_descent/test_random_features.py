"""The general formula against simulation, scipy's solution of the coupled equations, closed forms and hard inputs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import root

from eigenflow.core.errors import ArgumentError
from eigenflow.theory.double_descent.mode_sums import DirectSums, TabulatedSums
from eigenflow.theory.double_descent.optimal_ridge import optimal_ridge_risk
from eigenflow.theory.double_descent.random_features import random_features_risk
from eigenflow.theory.double_descent.surface import PointStatus
from eigenflow.theory.task_spectrum import TaskSpectrum

POWER = TaskSpectrum.power_law(1.5, 2.0, noise=0.05)
RANKS = np.arange(1.0, 301.0)
SPECTRA = {
    "power": (RANKS**-1.5, RANKS**-2.0),
    "exponential": (np.exp(-RANKS / 30), np.exp(-RANKS / 40)),
    "two levels": (np.where(RANKS <= 40, 1.0, 0.01), np.where(RANKS <= 40, 0.02, 0.0004)),
    "flat": (np.full(300, 1 / 300), np.full(300, 1 / 300)),
    "slow": (RANKS**-0.6, RANKS**-1.0),
}


def simulated(eigenvalues, target, noise, samples, features, ridge, draws, seed):
    """Mean and standard error of test and training error of ridge regression on drawn Gaussian modes and features."""
    rng = np.random.default_rng(seed)
    modes, weights, found = len(eigenvalues), np.sqrt(target), []
    for _ in range(draws):
        inputs = rng.standard_normal((samples, modes))
        labels = inputs @ weights + np.sqrt(noise) * rng.standard_normal(samples)
        mix = np.diag(np.sqrt(eigenvalues))
        if np.isfinite(features):
            mix = mix @ rng.standard_normal((modes, features)) / np.sqrt(features)
        seen = inputs @ mix
        if ridge > 0:
            solution = seen.T @ np.linalg.solve(seen @ seen.T + ridge * np.eye(samples), labels)
        else:
            solution = np.linalg.lstsq(seen, labels, rcond=None)[0]
        test = ((mix @ solution - weights) ** 2).sum() + noise
        found.append((test, ((labels - seen @ solution) ** 2).mean()))
    return np.mean(found, axis=0), np.std(found, axis=0, ddof=1) / np.sqrt(draws)


@pytest.mark.parametrize(
    ("samples", "features", "ridge", "published", "simulation", "error"),
    [
        (100, 50, 1e-2, 0.272, 0.289, 0.008),
        (100, 100, 1e-2, 0.346, 0.357, 0.010),
        (100, 300, 1e-2, 0.1468, 0.1496, 0.0021),
        (200, 100, 1e-3, 0.1904, 0.1917, 0.0025),
        (200, np.inf, 1e-3, 0.0966, 0.0971, 0.0006),
        (50, np.inf, 0.0, 0.1322, 0.1332, 0.0020),
    ],
)
def test_documented_numbers(samples, features, ridge, published, simulation, error):
    """equations/double_descent.md#random-features: formula to the digits printed, simulation within 2.5 errors."""
    test = float(random_features_risk(POWER, samples, features, ridge).test_error)
    assert test == pytest.approx(published, abs=0.5 * 10.0 ** -(len(str(published)) - 2) * 1.02)
    assert abs(test - simulation) < 2.5 * error


@pytest.mark.long
@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize(
    ("samples", "features", "ridge"), [(60, 30, 1e-2), (60, 150, 0.0), (60, 30, 0.0), (100, np.inf, 1e-3)]
)
def test_simulation_of_any_spectrum(name, samples, features, ridge):
    """Within four standard errors of 60 draws, plus 3 % that the formula may be off at 30 features."""
    eigenvalues, target = SPECTRA[name]
    surface = random_features_risk(TaskSpectrum(eigenvalues, target, 0.05), samples, features, ridge)
    (test, train), (test_error, train_error) = simulated(
        eigenvalues, target, 0.05, samples, features, ridge, 60, seed=1
    )
    assert abs(float(surface.test_error) - test) < 4.0 * test_error + 0.03 * test
    if train > 1e-20:
        assert abs(float(surface.data["train"]) - train) < 4.0 * train_error + 0.03 * train


@pytest.mark.parametrize("ridge", [1e-6, 1e-2, 1.0])
@pytest.mark.parametrize(("samples", "features"), [(20, 300), (100, 100), (300, 20), (150, 151), (2500, 2200)])
def test_published_form_by_scipy(samples, features, ridge):
    """The coupled equations of the source, solved in two unknowns, and its own expression for the test error."""
    lam, target = POWER.eigenvalues, POWER.target

    def excess(logs):
        gamma, kappa = np.exp(logs)
        z = (lam / (lam + gamma)).sum()
        return [z + ridge / kappa - samples, z + features * kappa / gamma - features]

    starts = [(g, g - d) for g in np.linspace(-14, 2, 9) for d in (0.1, 1.0, 3.0)]
    solved = next(s for s in (root(excess, start, tol=1e-13) for start in starts) if np.abs(s.fun).max() < 1e-8)
    gamma, kappa = np.exp(solved.x)
    share = lam / (lam + gamma)
    z, q = share.sum(), (share**2).sum()
    left = (gamma / (lam + gamma) - kappa * lam / (lam + gamma) ** 2 * features / (features - q)) @ target
    test = (left + POWER.noise) / (1 - (q * (features - 2 * z) + z**2) / (samples * (features - q)))
    surface = random_features_risk(POWER, samples, features, ridge)
    # What the source's form loses where it cancels, at most 1e-8 of samples or features over 1e-2 of difference.
    assert float(surface.test_error) == pytest.approx(test, rel=1e-6)


def test_many_features_are_kernel_regression():
    """The eigenlearning form, E0 (sum (1 - L)^2 v^2 + sigma^2), with kappa by bisection; six digits at 1e9 features."""
    lam, target = POWER.eigenvalues, POWER.target
    for samples, ridge in ((50, 1e-3), (200, 1e-3), (200, 0.0), (1000, 1e-6)):
        low, high = 1e-12, 1e3
        for _ in range(200):
            kappa = np.sqrt(low * high)
            low, high = (kappa, high) if (lam / (lam + kappa)).sum() + ridge / kappa > samples else (low, kappa)
        share = lam / (lam + kappa)
        expected = samples / (samples - (share**2).sum()) * ((1 - share) ** 2 @ target + POWER.noise)
        kernel = random_features_risk(POWER, samples, np.inf, ridge)
        assert float(kernel.test_error) == pytest.approx(expected, rel=1e-10)
        assert float(kernel.data["train"]) == pytest.approx((ridge / (samples * kappa)) ** 2 * expected, rel=1e-9)
        assert float(kernel.data["resolved"]) == pytest.approx(share.sum() / samples, rel=1e-9)
        assert float(random_features_risk(POWER, samples, 1e9, ridge).test_error) == pytest.approx(expected, rel=1e-6)


def test_a_map_is_what_single_points_are():
    """A table serves the map, sums term by term serve the points."""
    places = np.geomspace(3.0, 6000.0, 23)
    ridges = [0.0, 1e-9, 1e-2, 10.0]
    surface = random_features_risk(POWER, places, places, ridges)
    assert surface.risk.shape == (23, 23, 4)
    rng = np.random.default_rng(0)
    for i, j, r in zip(rng.integers(23, size=40), rng.integers(23, size=40), rng.integers(4, size=40), strict=True):
        single = random_features_risk(POWER, places[i], places[j], ridges[r])
        # Near n = modes the ill-conditioned root is the same to 1e-11 only.
        assert float(single.risk) == pytest.approx(float(surface.risk[i, j, r]), rel=1e-10)


def test_a_table_holds_the_sums_to_rounding():
    """Chebyshev of degree 13 on one e-fold, with poles at a distance pi: 12.6^-14, below rounding."""
    for task in (POWER, TaskSpectrum(np.logspace(0, -30, 400), np.logspace(0, -10, 400))):
        direct = DirectSums(task)
        table = TabulatedSums(direct)
        places = np.random.default_rng(0).uniform(np.log(task.eigenvalues[-1]) - 3, 5, 300)
        for held, exact in zip(table(places[:100]), direct(places[:100]), strict=True):
            np.testing.assert_allclose(held, exact, rtol=1e-12)
        table(places)
        assert table.error < 1e-12


def test_certificate_holds_against_the_equations():
    """Both equations at the solution, from sums in extended precision where the machine has it."""
    surface = random_features_risk(POWER, np.geomspace(2, 5000, 40), np.geomspace(2, 5000, 40), 1e-5)
    assert surface.is_converged
    assert float(surface.data["error"].max()) < 1e-10


@pytest.mark.long
@given(
    samples=st.floats(0.5, 1e5),
    features=st.floats(0.5, 1e5) | st.just(np.inf),
    log_ridge=st.floats(-40, 5) | st.just(-np.inf),
    decades=st.floats(0.0, 30.0),
    decay=st.floats(0.0, 10.0),
    scale=st.floats(-100, 100),
)
@settings(max_examples=80, deadline=None)
def test_any_input_has_a_risk_with_a_status(samples, features, log_ridge, decades, decay, scale):
    """Spectra over 30 decades at any scale; a change of the kernel's unit changes nothing."""
    eigenvalues, target = np.logspace(0, -decades, 60), np.logspace(0, -decay, 60)
    ridge = 10.0**log_ridge
    surface = random_features_risk(TaskSpectrum(eigenvalues, target, 0.1), samples, features, ridge)
    risk, status = float(surface.risk), int(surface.data["status"])
    assert risk >= 0.0
    assert np.isfinite(risk) == (status != PointStatus.INFINITE)
    unit = 10.0**scale
    other = random_features_risk(TaskSpectrum(eigenvalues * unit, target, 0.1), samples, features, ridge * unit)
    if status == PointStatus.CONVERGED:
        bound = 1e-9 + 2.0 * float(surface.data["error"]) + 2.0 * float(other.data["error"])
        assert float(other.risk) == pytest.approx(risk, rel=bound)


def test_ridge_to_nothing_is_the_ridgeless_limit():
    """On both sides of n = k and n = modes; the first correction is of the order of the ridge over gamma."""
    task = TaskSpectrum(np.logspace(0, -4, 50), np.ones(50), 0.1)
    for samples, features in ((20, 35), (35, 20), (80, 45), (45, 80), (80, 70), (70, 80), (20, np.inf), (80, np.inf)):
        limit = random_features_risk(task, samples, features, 0.0)
        near = random_features_risk(task, samples, features, 1e-14)
        assert float(near.risk) == pytest.approx(float(limit.risk), rel=1e-7)
        assert float(near.data["train"]) == pytest.approx(float(limit.data["train"]), rel=1e-7, abs=1e-12)


def test_more_samples_and_features_than_modes_are_least_squares():
    """Excess sigma^2 M / (n - M), and training error sigma^2 (1 - M / n), whatever the eigenvalues."""
    task = TaskSpectrum(np.array([1.0, 0.1]), np.array([1.0, 0.3]), 0.05, np.array([10.0, 30.0]))
    surface = random_features_risk(task, [50, 80, 1000], [40, 60, np.inf], 0.0)
    expected = 0.05 * 40 / (np.array([50, 80, 1000]) - 40)
    np.testing.assert_allclose(surface.risk, np.repeat(expected[:, None], 3, axis=1), rtol=1e-12)
    fitted = 0.05 * (1 - 40 / np.array([50, 80, 1000]))
    np.testing.assert_allclose(surface.data["train"], np.repeat(fitted[:, None], 3, axis=1), rtol=1e-12)


def test_thresholds_without_ridge_are_infinite_and_said():
    task = TaskSpectrum(np.array([1.0, 0.1]), np.array([1.0, 0.3]), 0.05, np.array([10.0, 30.0]))
    surface = random_features_risk(task, [20, 40, 60], [20, 40, 60, np.inf], 0.0)
    infinite = np.array([[True, False, False, False], [False, True, True, True], [False, False, False, False]])
    np.testing.assert_array_equal(surface.data["status"].values == PointStatus.INFINITE, infinite)
    np.testing.assert_array_equal(np.isinf(surface.risk), infinite)
    assert np.isfinite(random_features_risk(task, [20, 40], [20, 40], 1e-200).risk).all()


def test_without_noise_and_target_there_is_no_risk():
    quiet = TaskSpectrum(POWER.eigenvalues, np.zeros(2000), 0.0)
    np.testing.assert_array_equal(random_features_risk(quiet, [10, 100], [10, 100], [0.0, 1.0]).risk, 0.0)
    surface = random_features_risk(TaskSpectrum(np.ones(3), np.ones(3)), [3, 4], np.inf, 0.0)
    np.testing.assert_array_equal(surface.risk, 0.0)


def test_whole_population_leaves_what_features_lack():
    """n -> infinity: sum gamma / (lambda + gamma) v^2 with z(gamma) = k, without noise; the kernel leaves nothing."""
    surface = random_features_risk(POWER, np.inf, [10, 100, np.inf], 0.0)
    large = random_features_risk(POWER, 1e12, [10, 100], 0.0)
    np.testing.assert_allclose(surface.risk[:2], large.risk, rtol=1e-9)
    np.testing.assert_array_equal(surface.data["from_noise"], 0.0)
    assert float(surface.risk[2]) == 0.0


def test_one_mode():
    """z = 1 / (1 + gamma) for lambda = 1: with infinitely many features gamma solves a quadratic."""
    task = TaskSpectrum(np.array([1.0]), np.array([2.0]), 0.3)
    n, ridge = 5.0, 0.7
    gamma = (-(n - 1 - ridge) + np.sqrt((n - 1 - ridge) ** 2 + 4 * n * ridge)) / (2 * n)
    share = 1 / (1 + gamma)
    expected = n / (n - share**2) * ((1 - share) ** 2 * 2.0 + 0.3) - 0.3
    assert float(random_features_risk(task, n, np.inf, ridge).risk) == pytest.approx(expected, rel=1e-12)


def test_groups_are_modes_of_one_eigenvalue():
    grouped = TaskSpectrum(np.array([1.0, 0.01]), np.array([1.0, 0.5]), 0.1, np.array([5.0, 70.0]))
    single = TaskSpectrum(np.repeat([1.0, 0.01], [5, 70]), np.repeat([0.2, 0.5 / 70], [5, 70]), 0.1)
    places = [3, 20, 74, 100]
    np.testing.assert_allclose(
        random_features_risk(grouped, places, places, 1e-3).risk,
        random_features_risk(single, places, places, 1e-3).risk,
        rtol=1e-11,
    )


@pytest.mark.long
@pytest.mark.parametrize("noise", [0.01, 1.0])
def test_best_ridge_leaves_no_peak(noise):
    """As [@simon2023better] proves; without it both axes have one."""
    task = TaskSpectrum.power_law(1.5, 2.0, modes=300, noise=noise)
    places = np.geomspace(5, 1000, 25)
    for samples, features in ((places, 100), (100, places)):
        best = optimal_ridge_risk(task, samples, features)
        assert (np.diff(best.risk) <= 1e-13).all()
        assert len(best.peaks()) == 0
        assert len(random_features_risk(task, samples, features, 1e-9).peaks()) == 1


def test_best_ridge_of_isotropic_inputs_is_p_noise_over_signal():
    """A Bayesian's ridge: coefficients of variance r^2 / p and noise sigma^2. A minimum is flat over 1e-7 of itself."""
    task = TaskSpectrum(np.ones(1), np.array([2.0]), 0.5, np.array([300.0]))
    best = optimal_ridge_risk(task, [50, 300, 2000], np.inf)
    np.testing.assert_allclose(best.data["optimal_ridge"], 300 * 0.5 / 2.0, rtol=3e-6)


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"samples": 0}, "`samples` must be > 0"),
        ({"samples": -np.inf}, "`samples` must be > 0"),
        ({"features": [20, 10]}, "`features` must increase"),
        ({"ridge": -1e-9}, "`ridge` must be >= 0 and finite"),
        ({"ridge": np.inf}, "`ridge` must be >= 0 and finite"),
        ({"samples": "many"}, "`samples` must be real numbers"),
        ({"task": [1.0, 2.0]}, "`task` must be a TaskSpectrum"),
    ],
)
def test_bad_arguments_are_named(options, words):
    with pytest.raises(ArgumentError, match=words):
        random_features_risk(**{"task": POWER, "samples": 10, **options})
