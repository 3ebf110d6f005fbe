"""Exact flow on given inputs, against matrix exponentials, actual descent, and simulated labels."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from eigenflow.core.errors import ArgumentError, NonFiniteError, ShapeError
from eigenflow.theory.double_descent.in_time.gradient_flow import LeastSquaresFlow, population_risk
from eigenflow.theory.task_spectrum import TaskSpectrum
from eigenflow.transport import PowerDrift


def spectrum(eigenvalues, target, noise=0.0, counts=None):
    counts = None if counts is None else np.array(counts, dtype=float)
    return TaskSpectrum(np.array(eigenvalues, dtype=float), np.array(target, dtype=float), noise, counts)


TIMES = np.array([0.0, 0.3, 1.0, 5.0, 40.0])
# equations/double_descent.md#two-scale-example: times, mean over 300 inputs, and the population's approximation.
TWO_SCALE_TIMES = np.array([0, 0.5, 1, 2, 5, 20, 100, 1e3, 3e3, 1e4, 3e4, 1e5])
TWO_SCALE = [12.20, 9.756, 9.658, 10.567, 11.674, 11.784, 11.669, 10.532, 8.802, 7.083, 8.243, 8.912]
TWO_SCALE_POPULATION = [12.2, 9.658, 9.474, 10.279, 11.139, 11.171, 11.058, 9.931, 8.220, 6.573, 7.629, 8.000]
VARIANCES = np.repeat([1.0, 1e-4], 20)
COEFFICIENTS = np.repeat([0.5, 60.0], 20)


def problem(n, p, seed=0, rank=None):
    rng = np.random.default_rng(seed)
    mix = rng.standard_normal((p, p))
    X = rng.standard_normal((n, p))
    if rank is not None:
        X = X[:, :rank] @ rng.standard_normal((rank, p))
    return X, rng.standard_normal(p), mix @ mix.T / p


def by_matrices(X, theta, Sigma, noise, times):
    """The formula of the docstring, with scipy's exponential and numpy's pseudo-inverse."""
    n, p = X.shape
    C = X.T @ X / n
    risks = []
    for t in times:
        kept = expm(-C * t)
        target = theta @ kept @ Sigma @ kept @ theta
        learned = np.eye(p) - kept
        risks.append((target, noise / n * np.trace(Sigma @ learned @ learned @ np.linalg.pinv(C, rcond=1e-12))))
    return np.array(risks).T


@pytest.mark.parametrize(
    ("n", "p", "rank"), [(30, 8, None), (8, 30, None), (12, 12, None), (1, 6, None), (9, 1, None), (20, 10, 4)]
)
def test_parts_are_those_of_matrix_exponentials(n, p, rank):
    """Samples more, fewer and as many as features, one of each, and inputs of low rank; 1e-9 is the exponential's."""
    X, theta, Sigma = problem(n, p, rank=rank)
    flow = LeastSquaresFlow.of(X, theta, covariance=Sigma, noise=0.7)
    parts = flow.risk(TIMES)
    target, noise = by_matrices(X, theta, Sigma, 0.7, TIMES)
    np.testing.assert_allclose(parts.from_target, target, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(parts.from_noise, noise, rtol=1e-8, atol=1e-10)


def test_means_over_labels_are_those_of_simulated_labels():
    """4,000 draws of noise; four standard errors."""
    X, theta, Sigma = problem(15, 10)
    rng = np.random.default_rng(1)
    noise, draws, t = 0.5, 4000, 2.0
    C = X.T @ X / 15
    values, vectors = np.linalg.eigh(C)
    reach = vectors @ np.diag(-np.expm1(-values * t) / values) @ vectors.T
    labels = (X @ theta)[:, None] + np.sqrt(noise) * rng.standard_normal((15, draws))
    found = reach @ (X.T @ labels) / 15
    miss = found - theta[:, None]
    test = np.einsum("id,ij,jd->d", miss, Sigma, miss)
    train = ((X @ found - labels) ** 2).mean(0)
    parts = LeastSquaresFlow.of(X, theta, covariance=Sigma, noise=noise).risk([t])
    for simulated, stated in ((test, parts.risk[0]), (train, parts.train[0])):
        assert stated == pytest.approx(simulated.mean(), abs=4 * simulated.std() / np.sqrt(draws))


def test_descent_is_what_steps_do():
    X, theta, Sigma = problem(12, 20)
    eta, w, risks = 0.05, np.zeros(20), []
    steps = [0, 1, 7, 50]
    for k in range(51):
        if k in steps:
            risks.append((w - theta) @ Sigma @ (w - theta))
        w = w - eta * X.T @ (X @ w - X @ theta) / 12
    flow = LeastSquaresFlow.of(X, theta, covariance=Sigma)
    np.testing.assert_allclose(flow.descent_risk(steps, eta).risk, risks, rtol=1e-11)


def test_descent_beyond_its_stability_alternates_and_grows():
    X, theta, _ = problem(12, 5)
    flow = LeastSquaresFlow.of(X, theta)
    unstable = 2.5 / flow.form.eigenvalues.max()
    risks = flow.descent_risk([0, 10, 11, 60], unstable).risk
    assert risks[-1] > 1e3 * risks[0]


def test_flow_with_ridge_is_the_equation_solved_and_ends_as_ridge_regression():
    X, theta, Sigma = problem(10, 14)
    ridge = 3.0
    C, pull = X.T @ X / 10, X.T @ X @ theta / 10
    solved = solve_ivp(
        lambda _, w: pull - C @ w - ridge / 10 * w, (0, 40), np.zeros(14), t_eval=TIMES, rtol=1e-11, atol=1e-12
    ).y.T
    miss = solved - theta
    flow = LeastSquaresFlow.of(X, theta, covariance=Sigma, noise=0.3)
    np.testing.assert_allclose(
        flow.ridge_risk(TIMES, ridge).from_target, np.einsum("ti,ij,tj->t", miss, Sigma, miss), rtol=1e-8
    )
    inverse = np.linalg.inv(X.T @ X + ridge * np.eye(14))
    end = flow.ridge_risk([1e9], ridge)
    left = inverse @ X.T @ X @ theta - theta
    assert end.from_target[0] == pytest.approx(left @ Sigma @ left, rel=1e-10)
    assert end.from_noise[0] == pytest.approx(0.3 * np.trace(Sigma @ inverse @ X.T @ X @ inverse), rel=1e-10)
    np.testing.assert_allclose(flow.ridge_risk(TIMES, 0.0).risk, flow.risk(TIMES).risk, rtol=1e-12)


def test_drift_replaces_the_exponent_by_the_integral_along_the_path():
    """Q by an integrator of lambda' = -c lambda^b, Q' = lambda."""
    X, theta, Sigma = problem(10, 6)
    drift = PowerDrift(c=0.4, b=1.5)
    flow = LeastSquaresFlow.of(X, theta, covariance=Sigma, noise=0.2, drift=drift)
    rates, vectors = np.linalg.eigh(X.T @ X / 10)
    exponents = np.array(
        [
            solve_ivp(
                lambda _, s: [-0.4 * s[0] ** 1.5, s[0]], (0, 40), [rate, 0.0], t_eval=TIMES, rtol=1e-11, atol=1e-13
            ).y[1]
            for rate in rates
        ]
    )
    kept = np.exp(-exponents)
    for i in range(len(TIMES)):
        left = vectors @ np.diag(kept[:, i]) @ vectors.T @ theta
        learned = vectors @ np.diag((1 - kept[:, i]) ** 2 / rates) @ vectors.T
        expected = left @ Sigma @ left + 0.2 / 10 * np.trace(Sigma @ learned)
        assert flow.risk(TIMES).risk[i] == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("drift", [None, PowerDrift(0.3, 1.0), PowerDrift(0.3, 1.5), PowerDrift(-0.1, 2.0)])
def test_slope_is_the_derivative(drift):
    """Central differences of relative step 1e-5: their error is 1e-9 of the risk."""
    X, theta, Sigma = problem(10, 14)
    flow = LeastSquaresFlow.of(X, theta, covariance=Sigma, noise=0.5, drift=drift)
    t, step = np.array([0.2, 1.0, 3.0]), 1e-5
    difference = (flow.risk(t * (1 + step)).risk - flow.risk(t * (1 - step)).risk) / (2 * step * t)
    np.testing.assert_allclose(flow.slope(t), difference, rtol=1e-5, atol=1e-7)


@pytest.fixture(scope="module")
def two_scale():
    rng = np.random.default_rng(0)
    draws = [rng.standard_normal((400, 40)) * np.sqrt(VARIANCES) for _ in range(300)]
    return [LeastSquaresFlow.of(X, COEFFICIENTS, covariance=VARIANCES, noise=80) for X in draws]


def test_two_descents_of_the_two_scale_example(two_scale):
    """Both means are over 300 inputs: four standard errors of their difference, and half a unit of the last digit."""
    risks = np.array([flow.risk(TWO_SCALE_TIMES).risk for flow in two_scale])
    error = np.sqrt(2.0) * risks.std(0, ddof=1) / np.sqrt(len(risks))
    assert (np.abs(risks.mean(0) - TWO_SCALE) <= 4 * error + 6e-3).all()


def test_population_approximation_of_the_two_scale_example():
    task = spectrum([1.0, 1e-4], [5.0, 7.2], 80.0, [20, 20])
    np.testing.assert_allclose(population_risk(task, 400, TWO_SCALE_TIMES).risk, TWO_SCALE_POPULATION, atol=6e-4)
    steps = population_risk(task, 400, np.array([0.0, 1.0, 1e4]), learning_rate=0.5)
    kept = (1 - 0.5 * VARIANCES)[:, None] ** np.array([0, 2, 20000])
    expected = (VARIANCES * COEFFICIENTS**2) @ kept**2 + 80 / 400 * ((1 - kept) ** 2).sum(0)
    np.testing.assert_allclose(steps.risk, expected, rtol=1e-12)


def test_surface_of_one_draw_has_exact_extrema(two_scale):
    """Where the peaks say the minimum is, the exact derivative changes its sign."""
    flow = two_scale[0]
    found = flow.surface(np.geomspace(0.01, 1e6, 40)).peaks()
    assert len(found) == 1
    assert len(found.minima) == 2
    for place in [*found.table["position"], *found.minima["position"]]:
        before, after = flow.slope(np.array([place * 0.999, place * 1.001]))
        assert before * after < 0


def test_nothing_to_see_and_nothing_to_learn():
    still = LeastSquaresFlow.of(np.zeros((3, 2)), np.array([1.0, 2.0]), noise=1.0)
    np.testing.assert_allclose(still.risk(TIMES).risk, 5.0)
    np.testing.assert_allclose(still.risk(TIMES).train, 1.0)
    assert "none above rounding" in repr(still)
    noiseless = LeastSquaresFlow.of(np.eye(2) * 10, np.zeros(2))
    assert (noiseless.risk(TIMES).risk == 0).all()


@pytest.mark.parametrize("scale", [1e-120, 1e120])
def test_units_of_inputs_do_not_matter(scale):
    X, theta, Sigma = problem(6, 9)
    plain = LeastSquaresFlow.of(X, theta, covariance=Sigma, noise=0.5).risk(TIMES).risk
    other = LeastSquaresFlow.of(X * scale, theta / scale, covariance=Sigma * scale**2, noise=0.5)
    np.testing.assert_allclose(other.risk(TIMES / scale**2).risk, plain, rtol=1e-10)


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"inputs": np.ones(3)}, ShapeError, r"`inputs` must have shape \(sample, feature\)"),
        ({"target": [1.0]}, ShapeError, "`target` must have one value for each of the 2 features"),
        ({"covariance": np.ones(3)}, ShapeError, r"`covariance` must have shape \(2,\) or \(2, 2\)"),
        ({"inputs": [[1.0, np.nan]]}, NonFiniteError, "`inputs` must be finite"),
        ({"noise": -1.0}, ArgumentError, "`noise`"),
        ({"drift": 3.0}, ArgumentError, "`drift` must be None, or a drift"),
    ],
)
def test_bad_input_is_named(changed, error, words):
    given = {"inputs": np.ones((3, 2)), "target": np.ones(2), **changed}
    with pytest.raises(error, match=words):
        LeastSquaresFlow.of(given.pop("inputs"), given.pop("target"), **given)


@pytest.mark.rejects
def test_times_and_steps_are_checked():
    flow = LeastSquaresFlow.of(np.eye(2), [1.0, 1.0])
    with pytest.raises(ArgumentError, match="`times` must be a row of numbers >= 0 that does not fall"):
        flow.risk([1.0, 0.5])
    with pytest.raises(ArgumentError, match=r"`times` must be whole multiples of `learning_rate` = 0.1.*2.5 steps"):
        flow.descent_risk([2.5], 0.1)
    with pytest.raises(ArgumentError, match="clock has no known speed"):
        replace(flow, motion=lambda t: t).slope([1.0])
