"""The mode equations between measured times, on systems whose error is known at any time."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from eigenflow.core.errors import ArgumentError, RunFolderError
from eigenflow.theory.modes.integration import integrate_modes, integration_errors
from synthetic_run import from_matrix, from_modes, measure, riccati

# Short enough for the flow, long enough for (kato - linear) / dt to keep nine digits.
UPDATE = 1e-7


def flow(operator, rate, size, end, *, seed=0):
    """An operator given in time, with the error that flows under it."""
    start = np.random.default_rng(seed).normal(size=size)
    solution = solve_ivp(
        lambda t, e: -operator(t) @ e, (0, end + 0.1), start, rtol=1e-12, atol=1e-14, dense_output=True, method="DOP853"
    )
    return lambda t: from_matrix(operator(t), rate(t), solution.sol(t))


def rotating(size=8, *, end=4.0, seed=0):
    """Eigenvalues 2^-k that swing, and eigenvectors that turn at a changing rate."""
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(size, size))
    A, speed, first = 0.15 * (A - A.T), 0.3 * rng.normal(size=size), 2.0 ** -np.arange(size)

    def operator(t):
        turn = expm(A * np.sin(t))
        return turn @ np.diag(first * np.exp(speed * np.sin(t))) @ turn.T

    def rate(t):
        turn = expm(A * np.sin(t))
        M, own = operator(t), np.diag(first * np.exp(speed * np.sin(t)) * speed * np.cos(t))
        return turn @ own @ turn.T + np.cos(t) * (A @ M - M @ A)

    return flow(operator, rate, size, end)


def orders(errors):
    return np.log2(np.array(errors[:-1]) / np.array(errors[1:]))


@pytest.mark.long
def test_riccati_error_is_reproduced_at_fourth_order():
    """M rotates and has pairs of equal eigenvalues, whose vectors are arbitrary at every measurement."""
    path = riccati(3, seed=1)
    found = [integrate_modes(measure(path, np.linspace(0, 2, count), 0.1 * UPDATE)) for count in (6, 11, 21)]
    assert orders([run.chained_error[-1] for run in found]) == pytest.approx(4.0, abs=0.1)
    # The change over a window halves with the spacing, so a standing operator misses the same share to first order.
    assert np.median(found[1].frozen_error) > 0.4 and found[1].error.max() < 1e-3 * np.median(found[1].frozen_error)
    assert all((run.spacing_error > 0.5 * run.error).all() for run in found)


@pytest.mark.long
def test_modes_beyond_the_leading_ones_enter_at_second_order():
    """Three of eight modes: a straight line for the source of the rest; without it the spacing does not help."""
    found = [integrate_modes(measure(rotating(), np.linspace(0, 4, c), UPDATE), modes=3) for c in (17, 33, 65)]
    assert orders([run.chained_error[-1] for run in found]) == pytest.approx(2.0, abs=0.15)
    closed = [np.median(run.closed_error) for run in found]
    assert min(closed) > 0.1 and found[-1].error.max() < 5e-3
    assert found[-1].leaving.max() > 0
    whole = integrate_modes(measure(rotating(), np.linspace(0, 4, 65), UPDATE))
    np.testing.assert_allclose(whole.error, whole.closed_error, atol=1e-7)
    assert np.abs(whole.leaving).max() < 1e-13


@pytest.mark.long
def test_matched_labels_integrate_the_equations_as_they_are_written():
    """Isolated modes, with a straight line for Omega: second order."""
    found = [integrate_modes(measure(rotating(), np.linspace(0, 4, c), UPDATE), labels="matched") for c in (17, 33, 65)]
    assert orders([run.chained_error[-1] for run in found]) == pytest.approx(2.0, abs=0.3)
    assert np.median(found[-1].error) < 0.05 * np.median(found[-1].frozen_error)


@pytest.mark.parametrize("gap", [1e-1, 1e-3, 1e-6, 0.0])
def test_avoided_crossing_is_passed_without_labels(gap):
    """Landau-Zener: M is linear in time, so interpolation in a carried frame is exact, however sharp the crossing.

    Single modes are not: near the crossing Omega is a spike of area pi / 2 between two measurements, which a line does
    not see. For a gap of zero the labels just cross, and both are exact.
    """
    shift = np.diag([3.0, 3.0])
    path = flow(lambda t: shift + np.array([[t - 1, gap], [gap, 1 - t]]), lambda t: np.diag([1.0, -1.0]), 2, 2.0)
    data = measure(path, np.linspace(0, 2, 10), UPDATE)
    # Fourth-order integrator with steps that change M by 0.1: about 1e-7; 1e-6 from the update's finite length.
    assert integrate_modes(data).error.max() < 2e-6
    if gap in (1e-1, 1e-3):
        assert integrate_modes(data, labels="matched").error.max() > 1e-3


def test_no_choice_of_signs_or_of_vectors_in_clusters_enters():
    data = measure(riccati(3, seed=2), np.linspace(0, 2, 9), UPDATE)
    expected = integrate_modes(data, modes=6)
    rng, turned = np.random.default_rng(0), data.copy(deep=True)
    before = np.eye(data.sizes["leading"])
    for k in range(data.sizes["step"]):
        lam, turn = data["eigenvalue"].values[k], np.zeros_like(before)
        groups = np.cumsum(np.append(0, np.diff(lam) < -1e-9 * lam[0]))
        for group in np.unique(groups):
            members = np.flatnonzero(groups == group)
            turn[np.ix_(members, members)] = np.linalg.qr(rng.normal(size=(len(members),) * 2))[0]
        for name in ("coefficient", "linear_step", "kato_after"):
            turned[name][k] = turn @ data[name].values[k]
        turned["coupling"][k] = turn @ data["coupling"].values[k] @ turn.T
        turned["frame_overlap"][k] = turn @ data["frame_overlap"].values[k] @ before.T
        before = turn
    found = integrate_modes(turned, modes=6)
    # Pairs are equal to rounding only, and couplings divide by gaps down to 1e-9: what is left of 1e-16.
    np.testing.assert_allclose(found.error, expected.error, rtol=1e-5, atol=1e-8)


def test_steps_of_gradient_descent_are_not_those_of_the_flow():
    """Frozen modes with eta lambda up to 0.45: (1 - eta lambda)^k exactly, where the flow is off by 20 per cent."""
    rate, lam = 0.1, np.array([4.5, 2.0, 0.5, 0.01])
    path = lambda t: from_modes(lam, 0 * lam, (1 - rate * lam) ** round(t / rate))  # noqa: E731
    found = integrate_modes(measure(path, rate * np.array([0, 1, 3, 6, 10]), rate))
    assert found.error.max() < 1e-11 and found.chained_error.max() < 1e-13


@pytest.mark.long
def test_table_of_errors_shows_what_spacing_and_modes_do():
    """Twice the spacing costs a factor of four where modes beyond enter, and none where they are missing."""
    data = measure(rotating(), np.linspace(0, 4, 65), UPDATE)
    table = integration_errors(data, modes=(3, 5), strides=(1, 2, 4))
    ratios = table.sel(kind="error", stride=[2, 4]).values / table.sel(kind="error", stride=[1, 2]).values
    np.testing.assert_allclose(ratios, 4.0, rtol=0.25)
    closed = table.sel(kind="closed")
    assert float(closed.max() / closed.min()) < 3 and float(closed.min()) > 20 * float(table.sel(kind="error").max())
    spacing = table.sel(kind="spacing", stride=[1, 2]) / table.sel(kind="error", stride=[1, 2])
    assert (np.abs(spacing - 1) < 0.3).all()  # all of the error is due to the spacing, and it says so


def test_gap_is_left_out_and_counted():
    data = measure(rotating(), np.linspace(0, 4, 21), UPDATE)
    times = data["time"].values
    data["frame_time"] = ("step", np.append(times[:1], times[:-1]))
    expected, broken = integrate_modes(data), integrate_modes(data.isel(step=[*range(8), *range(9, 21)]))
    assert expected.gaps == 0 and broken.gaps == 2
    assert len(broken.error) == len(expected.error) - 3
    np.testing.assert_allclose(broken.error, np.delete(expected.error, [6, 7, 8]), rtol=1e-12)
    np.testing.assert_array_equal(broken.chained_times, times[:8])


@pytest.mark.rejects
class TestRejects:
    data = measure(rotating(), np.linspace(0, 1, 4), UPDATE)

    def test_older_run(self):
        with pytest.raises(RunFolderError, match=r"does not hold coupling, frame_overlap, .*older version"):
            integrate_modes(self.data.drop_vars(["coupling", "frame_overlap"]))

    @pytest.mark.parametrize("modes", [0, 9])
    def test_modes(self, modes):
        with pytest.raises(ArgumentError, match=rf"`modes` must lie in \[1, 8\].*but is {modes}.*couplings="):
            integrate_modes(self.data, modes=modes)

    def test_stride(self):
        with pytest.raises(ArgumentError, match="`stride` must be at least 1, but is 0"):
            integrate_modes(self.data, stride=0)

    def test_labels(self):
        with pytest.raises(ArgumentError, match=r"`labels` must be .*but is 'sorted'"):
            integrate_modes(self.data, labels="sorted")  # pyright: ignore[reportArgumentType]

    @pytest.mark.parametrize("count", [1, 2])
    def test_too_few_measurements(self, count):
        with pytest.raises(RunFolderError, match=rf"at least 3 measurements .*the run has {count}\. Measure more"):
            integrate_modes(self.data.isel(step=slice(count)))
