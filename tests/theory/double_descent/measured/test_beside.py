"""Predictions from measured kernels: matrix powers, differential equations by scipy, and orders of convergence."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from eigenflow.core.errors import ArgumentError, NonFiniteError, ShapeError
from eigenflow.theory.double_descent.measured.beside import KernelPath, predict_residuals, resolved_share

ROWS, TESTED = 6, 9


def kernels(seed=0, features=8):
    """Kernels of one set of features on training and test samples, and residuals."""
    rng = np.random.default_rng(seed)
    J, J_test = rng.standard_normal((ROWS, features)), rng.standard_normal((TESTED, features))
    return J @ J.T / 8, J_test @ J.T / 8, rng.standard_normal(ROWS), rng.standard_normal(TESTED)


def still(times, rate=0.0, features=8):
    M, K, e, e_test = kernels(features=features)
    count = len(times)
    return KernelPath(times, np.tile(M, (count, 1, 1)), np.tile(K, (count, 1, 1)), e, e_test, rate)


def rotation(angle):
    """A turn in two pairs of coordinates."""
    c, s = np.cos(angle), np.sin(angle)
    turn = np.eye(ROWS)
    turn[np.ix_([0, 3], [0, 3])] = [[c, -s], [s, c]]
    turn[np.ix_([1, 4], [1, 4])] = [[c, s], [-s, c]]
    return turn


def by_scipy(train, test, e, e_test, times):
    """The two coupled equations, integrated to 1e-11."""

    def slope(t, y):
        return np.concatenate([-train(t) @ y[:ROWS], -test(t) @ y[:ROWS]])

    found = solve_ivp(slope, (0, times[-1]), np.concatenate([e, e_test]), t_eval=times, rtol=1e-11, atol=1e-12)
    return found.y.T[:, :ROWS], found.y.T[:, ROWS:]


@pytest.mark.parametrize("features", [8, 4])  # the second has null modes: fewer features than samples
def test_kernels_at_rest_decay_by_matrix_exponentials(features):
    times = np.array([0.0, 0.3, 2.0, 40.0])
    path = still(times, features=features)
    M, K = path.train[0], path.test[0]
    for found in predict_residuals(path).values():
        for i, t in enumerate(times):
            np.testing.assert_allclose(found.train[i], expm(-M * t) @ path.residual, atol=1e-12)
        # int exp(-M s) ds by the block matrix of Van Loan, which needs no inverse of M.
        block = np.zeros((2 * ROWS, 2 * ROWS))
        block[:ROWS, :ROWS], block[:ROWS, ROWS:] = -M, np.eye(ROWS)
        for i, t in enumerate(times):
            integral = expm(block * t)[:ROWS, ROWS:]
            np.testing.assert_allclose(found.test[i], path.test_residual - K @ integral @ path.residual, atol=1e-9)


@pytest.mark.parametrize("rate", [0.05, 0.5])  # the second has rate times eigenvalue above 1/2 and above 1
def test_gradient_descent_is_followed_step_by_step(rate):
    steps = np.array([0, 1, 2, 7, 50])
    path = still(steps * rate, rate)
    M, K = path.train[0], path.test[0]
    assert rate < 0.1 or rate * np.linalg.eigvalsh(M)[-1] > 1.0
    e, e_test, by_hand = path.residual, path.test_residual, {0: (path.residual, path.test_residual)}
    for step in range(1, 51):
        e, e_test = e - rate * M @ e, e_test - rate * K @ e
        by_hand[step] = e, e_test
    for found in predict_residuals(path).values():
        for i, step in enumerate(steps):
            np.testing.assert_allclose(found.train[i], by_hand[step][0], atol=1e-12)
            np.testing.assert_allclose(found.test[i], by_hand[step][1], atol=1e-12)


def test_pure_growth_is_all_drift():
    """M(t) = (1 + t / 2) M(0): drift is right, lazy is not, and both errors fall with the square of the intervals."""
    M, K, e, e_test = kernels()
    errors = []
    for count in (20, 40, 80):
        times = np.linspace(0, 2, count + 1)
        grown = 1.0 + 0.5 * np.sin(times)
        path = KernelPath(times, grown[:, None, None] * M, grown[:, None, None] * K, e, e_test)
        found = predict_residuals(path)
        effective = times + 0.5 * (1.0 - np.cos(times))
        right = np.array([expm(-M * t) @ e for t in effective])
        np.testing.assert_allclose(found["drift"].train, found["full"].train, atol=1e-12)
        np.testing.assert_allclose(found["drift"].test, found["full"].test, atol=1e-10)
        errors.append(np.abs(found["drift"].train - right).max())
    assert np.abs(found["lazy"].train - right).max() > 100 * errors[-1]
    assert np.log2(np.array(errors[:-1]) / errors[1:]) == pytest.approx(2.0, abs=0.1)


def test_pure_rotation_leaves_drift_lazy_and_full_converges_to_the_equation():
    M, K, e, e_test = kernels()
    train, test = (lambda t: rotation(0.4 * t) @ M @ rotation(0.4 * t).T), (lambda t: K @ rotation(0.4 * t).T)
    errors = []
    for count in (20, 40, 80):
        times = np.linspace(0, 3, count + 1)
        path = KernelPath(times, np.array([train(t) for t in times]), np.array([test(t) for t in times]), e, e_test)
        found = predict_residuals(path)
        right = by_scipy(train, test, e, e_test, times)
        np.testing.assert_allclose(found["drift"].test, found["lazy"].test, atol=1e-10)
        errors.append([np.abs(found["full"].train - right[0]).max(), np.abs(found["full"].test - right[1]).max()])
    orders = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    assert orders == pytest.approx(2.0 * np.ones((2, 2)), abs=0.15)
    assert np.abs(found["lazy"].test - right[1]).max() > 100 * errors[-1][1]


def test_at_the_edge_of_stability_moving_kernels_do_not_amplify_and_lazy_ones_do():
    """One mode, 10 % above 2 / eta from the second record on: by itself it would grow by 1.2 an update."""
    rate, steps = 0.5, np.array([0, 1, 41, 81])
    values = np.array([2.0, 4.4, 4.4, 4.4])
    path = KernelPath(steps * rate, values[:, None, None], 0.5 * values[:, None, None], [1.0], [1.0], rate)
    found = predict_residuals(path)
    for name in ("drift", "full"):
        # The first update is one by itself, at the mean of both ends: 1 - 0.5 * 3.2; then nothing grows or falls.
        np.testing.assert_allclose(found[name].train[:, 0], [1.0, -0.6, -0.6, -0.6], atol=1e-12)
    above = KernelPath(steps * rate, np.full((4, 1, 1), 4.4), np.full((4, 1, 1), 2.2), [1.0], [1.0], rate)
    assert predict_residuals(above)["lazy"].train[-1, 0] == pytest.approx((-1.2) ** 81, rel=1e-9)


def test_resolved_modes_are_those_with_two_lambda_t_above_one():
    values = np.tile([0.01, 0.1, 1.0, 10.0], (5, 1))
    share = resolved_share(values, np.array([0.0, 0.04, 0.6, 6.0, 60.0]))
    np.testing.assert_array_equal(share, [0.0, 0.0, 0.5, 0.75, 1.0])


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"times": np.array([0.1, 1.0])}, ArgumentError, "must increase from 0"),
        ({"times": np.array([0.0, 0.0])}, ArgumentError, "must increase from 0"),
        ({"residual": np.ones(3)}, ShapeError, r"`train` must have the shape \(2, 3, 3\)"),
        ({"test": np.full((2, TESTED, ROWS), np.nan)}, NonFiniteError, "`test` must be finite"),
        ({"learning_rate": -1.0}, ArgumentError, "`learning_rate` must be a number from 0"),
    ],
)
def test_bad_paths_are_refused(change, error, message):
    path = still(np.array([0.0, 1.0]))
    given = {name: getattr(path, name) for name in ("times", "train", "test", "residual", "test_residual")}
    with pytest.raises(error, match=message):
        KernelPath(**{**given, **change})
