"""Effective time of losses, eigenvalues and energies: closed forms, a bracketing solver, and the scalar-head net."""

import numpy as np
import pytest
from scipy.integrate import quad_vec
from scipy.optimize import brentq
from scipy.special import logsumexp

from eigenflow.core.errors import ArgumentError, NonFiniteError, ShapeError
from eigenflow.theory.effective_time.series import (
    RangeStatus,
    effective_time_of_eigenvalues,
    effective_time_of_energies,
    effective_time_of_losses,
)
from eigenflow.theory.task_spectrum import TaskSpectrum

TIMES = np.append(0.0, np.geomspace(0.01, 1e4, 80))
TASK = TaskSpectrum.power_law(1.5, 1.6, modes=3000, tail=True)


def scaled_time(rho, times=TIMES):
    """tau of v = -c(t) lambda, c = (1 - rho) / (1 + t): lambda = lambda0 (1 + t)^(rho - 1)."""
    return np.expm1(rho * np.log1p(times)) / rho


def lazy_loss(tau, noise=0.0, task=TASK):
    return 0.5 * (noise + (task.target * np.exp(-2 * task.eigenvalues * np.atleast_1d(tau)[:, None])).sum(1))


@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize("rho", [0.5, 1.0, 1.6])
def test_losses_of_scaling_modes_give_back_their_time(rho, noise):
    """b = 1: one tau for all modes. The index of the later half, where 1 is small beside t, is rho to a percent."""
    task = TaskSpectrum(TASK.eigenvalues, TASK.target, noise, TASK.sizes)
    tau = scaled_time(rho)
    found = effective_time_of_losses(TIMES, lazy_loss(tau, noise), task)
    # The loss is known to 1e-16 of itself: tau to that over the share of the loss that learning has changed.
    np.testing.assert_allclose(found.tau, tau[1:], rtol=1e-9)
    np.testing.assert_allclose(found.times, TIMES[1:])
    assert found.status is RangeStatus.INSIDE and found.spread is None
    assert found.index.value == pytest.approx(rho, abs=0.01)
    assert found.index.interval[0] - 0.01 <= rho <= found.index.interval[1] + 0.01


def test_the_lazy_network_itself_has_its_own_time():
    """v = 0: tau = t and the index is 1."""
    found = effective_time_of_losses(TIMES, lazy_loss(TIMES), TASK)
    np.testing.assert_allclose(found.tau, TIMES[1:], rtol=1e-9)
    assert found.index.interval == pytest.approx((1.0, 1.0), abs=1e-8)


@pytest.mark.parametrize("spread", [1e-140, 1.0, 1e140])
def test_against_a_bracketing_solver(spread):
    """Random spectra over 0 to 20 decades, any unit of time; scipy's brentq on the logarithm of the loss."""
    rng = np.random.default_rng(3)
    rates = spread * np.sort(10.0 ** rng.uniform(-10, 10, 40))[::-1]
    energies = rng.exponential(size=40)
    tau = np.geomspace(1e-8, 1e9, 12) / spread
    losses = 0.5 * (energies * np.exp(-2 * rates * tau[:, None])).sum(1)
    found = effective_time_of_losses(tau, losses, (rates, energies))
    kept = [status is RangeStatus.INSIDE for status in found.statuses]

    def excess(x, loss):
        return logsumexp(-2 * rates * np.exp(x), b=0.5 * energies) - np.log(loss)

    ends = np.log(1e-12 / spread), np.log(1e13 / spread)
    expected = [brentq(excess, *ends, args=(loss,), xtol=1e-13) for loss in losses[kept]]
    assert sum(kept) >= 8
    # tau follows from the change of the loss since the start, of which rounding is 1e-16 / change.
    np.testing.assert_allclose(found.tau, np.exp(expected), rtol=1e-9)


def test_losses_outside_of_the_lazy_curve_are_left_out_and_counted():
    """Above the first lazy loss, at it, below its end (the noise): a status each, and no number."""
    task = TaskSpectrum(TASK.eigenvalues, TASK.target, 0.2, TASK.sizes)
    losses = lazy_loss(TIMES, 0.2)
    losses[3], losses[5] = 2 * losses[0], losses[0]
    losses[-2:] = 0.09, 0.1
    found = effective_time_of_losses(TIMES, losses, task)
    told = {place: status for place, status in enumerate(found.statuses, 1) if status is not RangeStatus.INSIDE}
    last = len(TIMES) - 1
    below = {last - 1: RangeStatus.BELOW, last: RangeStatus.BELOW}
    assert told == {3: RangeStatus.ABOVE, 5: RangeStatus.AT_START, **below}
    np.testing.assert_allclose(found.tau, np.delete(TIMES, [0, *told]), rtol=1e-8)
    assert found.status is RangeStatus.ABOVE and "2 below the last lazy loss" in repr(found)


def test_degenerate_modes_are_one_group():
    """Ten equal eigenvalues, one by one or as a group of ten: the same time."""
    rates, energies = np.repeat([2.0, 0.1], 10), np.linspace(0.1, 2, 20)
    losses = 0.5 * (energies * np.exp(-2 * rates * scaled_time(0.6)[:, None])).sum(1)
    group = TaskSpectrum([2.0, 0.1], [energies[:10].sum(), energies[10:].sum()], 0.0, [10.0, 10.0])
    one_by_one, together = (effective_time_of_losses(TIMES, losses, s) for s in ((rates, energies), group))
    np.testing.assert_allclose(together.tau, one_by_one.tau, rtol=1e-9)
    np.testing.assert_allclose(together.tau, scaled_time(0.6)[1:][: len(together.tau)], rtol=1e-8)


def test_modes_without_an_eigenvalue_are_the_floor():
    rates, energies = np.array([2.0, 1.0, 0.0]), np.array([1.0, 0.5, 0.4])
    losses = 0.5 * (0.4 + np.exp(-4 * TIMES) + 0.5 * np.exp(-2 * TIMES))
    found = effective_time_of_losses(TIMES, losses, (rates, energies))
    # What is left of the modes is lost in the floor's rounding from 2 t = 35 on.
    seen = found.times < 12
    np.testing.assert_allclose(found.tau[seen], found.times[seen], rtol=1e-4)
    assert found.statuses[-1] is RangeStatus.BELOW


def test_a_spectrum_known_in_shape():
    """Losses in another unit: `scaled` begins the lazy curve at the first one."""
    tau = scaled_time(0.7)
    found = effective_time_of_losses(TIMES, 17.0 * lazy_loss(tau), TASK, scaled=True)
    np.testing.assert_allclose(found.tau, tau[1:], rtol=1e-9)


def test_runs_are_averaged_and_resampled():
    """Runs whose tau differs by a factor have one index; runs of different rho have an interval over their mean."""
    alike = [lazy_loss(factor * scaled_time(0.8)) for factor in (0.5, 1.0, 2.0, 1.0)]
    found = effective_time_of_losses(TIMES, alike, TASK)
    np.testing.assert_allclose(found.tau, scaled_time(0.8)[1:], rtol=1e-9)
    assert np.ptp(found.index.interval) <= 0.02
    rhos = np.array([0.6, 0.7, 0.8, 0.9, 1.0, 1.1])
    found = effective_time_of_losses(TIMES, [lazy_loss(scaled_time(rho)) for rho in rhos], TASK)
    # 90 % of a mean of six that are spread uniformly: 1.645 x their standard deviation / sqrt(6).
    assert np.diff(found.index.interval)[0] == pytest.approx(2 * 1.645 * rhos.std() / 6**0.5, rel=0.2)
    assert found.index.value == pytest.approx(0.85, abs=0.02)


@pytest.mark.parametrize("rho", [0.5, 1.0, 1.6])
def test_eigenvalues_and_energies_of_scaling_modes(rho):
    """b = 1: no spread. Power-law quadrature at 13 points a decade is right to 0.2 %; energies need none."""
    rates = np.geomspace(3.0, 1e-4, 120)
    tau = scaled_time(rho)
    start = np.random.default_rng(0).exponential(size=120)
    by_values = effective_time_of_eigenvalues(TIMES, rates * (1 + TIMES[:, None]) ** (rho - 1), start)
    by_energies = effective_time_of_energies(TIMES, start * np.exp(-2 * rates * tau[:, None]), rates)
    for found, accuracy in ((by_values, 3e-3), (by_energies, 1e-9)):
        np.testing.assert_allclose(found.tau, tau[1:], rtol=accuracy)
        assert found.spread.max() <= 1e-9
        assert found.index.value == pytest.approx(rho, abs=0.01)
        assert found.index.interval[0] - 0.01 <= rho <= found.index.interval[1] + 0.01
    assert (by_values.kind, by_energies.kind) == ("operator", "error")


@pytest.mark.parametrize("b", [1.5, 2.0])
def test_other_exponents_spread(b):
    """v = -lambda^b, c = 1: tau_u = Q / lambda0 with Q by quadrature of the path, not by its closed form."""
    rates, times = np.geomspace(3.0, 1e-3, 60), np.append(0.0, np.geomspace(0.01, 100.0, 60))
    start = np.ones(60)
    lam = (rates ** (1 - b) + (b - 1) * times[:, None]) ** (1 / (1 - b))
    exact = np.stack(
        [quad_vec(lambda s: (rates ** (1 - b) + (b - 1) * s) ** (1 / (1 - b)), 0, t, epsrel=1e-10)[0] for t in times]
    )
    found = effective_time_of_eigenvalues(times, lam, start)
    np.testing.assert_allclose(found.clocks.taus, exact[1:] / rates, rtol=2e-3)
    by_energies = effective_time_of_energies(times, start * np.exp(-2 * exact), rates)
    np.testing.assert_allclose(by_energies.clocks.taus, exact[1:] / rates, rtol=1e-6)
    learned = (rates * start * np.exp(-2 * rates * by_energies.tau[:, None]))[-1]
    weights = learned / learned.sum()
    expected = np.sqrt((weights * (exact[-1] / rates / by_energies.tau[-1] - 1) ** 2).sum())
    assert by_energies.spread[-1] == pytest.approx(expected, rel=1e-6) and expected > 0.05
    assert found.spread[-1] == pytest.approx(expected, rel=0.02)


@pytest.mark.long
@pytest.mark.measure
@pytest.mark.parametrize(("decay", "source", "factor"), [(1.5, 0.4, 1.22), (2.0, 0.25, 1.28), (1.5, 1.4, 1.0)])
def test_scalar_head_network_from_its_losses_alone(decay, source, factor):
    """f = a w'x: tau ~ t^(2 / (1 + source)) for hard targets, t for easy ones ([@bordelon2024feature]).

    The network is solved for, its lazy curve is that of its covariance with a = 1. Errors obey e' = -a^2 lambda e -
    (a'/a) (w* - e), which leaves a power of lambda tau behind where a grows: the clock of the loss is a constant factor
    from int a^2 dt, and has its index. At t < 300 the head's start at 0.1 still shows, by 0.05 in the index of an easy
    target: int a^2 dt has it too.
    """
    from eigenflow.lab.exact.scalar_head import ScalarHeadNet

    net = ScalarHeadNet(decay, source, 0.1, modes=10_000)
    times = np.geomspace(1.0, 300.0, 60)
    path = net.flow(times, tolerance=1e-4)
    task = TaskSpectrum(net.variances, net.variances * net.target**2, 2 * net.tail)
    found = effective_time_of_losses(times, path.loss, task)
    late = times >= 60
    assert found.status is RangeStatus.INSIDE
    np.testing.assert_allclose(found.tau[late] / path.effective_time[late], factor, rtol=0.06)
    slopes = [np.polyfit(np.log(times[late]), np.log(tau[late]), 1)[0] for tau in (found.tau, path.effective_time)]
    assert slopes[0] == pytest.approx(slopes[1], abs=0.02)
    assert slopes[0] == pytest.approx(net.effective_time_exponent, abs=0.06)
    low, high = found.index.interval
    assert low - 0.02 <= net.effective_time_exponent <= high + 0.02


@pytest.mark.long
def test_a_swinging_time_is_rejected_and_noise_widens_the_interval():
    times = np.geomspace(1.0, 1e6, 241)
    swinging = effective_time_of_losses(times, lazy_loss(times**0.7 * (2 + np.sin(np.log(times)))), TASK)
    assert swinging.index.variation.status == "rejected" and np.ptp(swinging.index.interval) > 0.5
    rng = np.random.default_rng(5)
    widths = []
    for size in (0.0, 0.01, 0.1):
        tau = times**0.7 * np.exp(size * rng.normal(size=241))
        index = effective_time_of_losses(times, lazy_loss(tau), TASK).index
        widths.append(2 * index.noise)
        assert index.interval[0] <= 0.7 <= index.interval[1] or size == 0.0
    assert widths[0] <= 1e-6 and widths[2] / widths[1] == pytest.approx(10, rel=0.5)


def test_one_mode_and_few_times():
    """One mode has a time but no spread; fewer than eight times have no index, and say so."""
    found = effective_time_of_energies([0.0, 1.0, 2.0], np.exp(-2 * np.array([[0.0], [1.0], [2.0]])), [1.0])
    np.testing.assert_allclose(found.tau, [1.0, 2.0], rtol=1e-12)
    np.testing.assert_array_equal(found.spread, [0.0, 0.0])
    assert "too few times" in repr(found)
    with pytest.raises(ArgumentError, match="at least 8"):
        _ = found.index
    assert len(repr(effective_time_of_losses(TIMES, lazy_loss(TIMES), TASK).index).splitlines()) <= 15


def test_energy_that_rises_has_no_time_and_one_that_is_gone_a_finite_one():
    times, rates = np.arange(5.0), np.array([1.0, 0.5])
    energies = np.array([[1.0, 1.0], [1.5, 1.5], [1.0, 1.0], [0.1, 0.5], [0.0, 0.0]])
    found = effective_time_of_energies(times, energies, rates)
    assert found.statuses[:2] == (RangeStatus.ABOVE, RangeStatus.AT_START)
    assert np.isfinite(found.tau).all() and len(found.tau) == 2


@pytest.mark.rejects
class TestRejects:
    @pytest.mark.parametrize(
        ("times", "losses", "spectrum", "error", "message"),
        [
            ([0, 1], [1, 2, 3], TASK, ShapeError, r"`losses` must be \(run, time\)"),
            ([1, 1], [1, 2], TASK, ArgumentError, "`times` must be finite, >= 0 and increasing"),
            ([0, 1], [1, np.nan], TASK, NonFiniteError, "`losses` must be finite"),
            ([0, 1], [1, -1], TASK, ArgumentError, "`losses` are half of mean squares"),
            ([0, 1], [90, 80], TASK, ArgumentError, "never lie inside the lazy curve.*scaled=True"),
            ([0, 1], [1, 0.5], 3, ArgumentError, "`spectrum` must be a TaskSpectrum"),
            ([0, 1], [1, 0.5], ([1.0], [1.0], [1.0]), ArgumentError, "has 3 parts"),
            ([0, 1], [1, 0.5], ([1.0], [1.0, 2.0]), ShapeError, "two equally long rows"),
            ([0, 1], [1, 0.5], ([-1.0], [1.0]), ArgumentError, "finite eigenvalues >= 0"),
            ([0, 1], [1, 0.5], ([0.0], [1.0]), ArgumentError, "nothing can be learned"),
        ],
    )
    def test_losses(self, times, losses, spectrum, error, message):
        with pytest.raises(error, match=message):
            effective_time_of_losses(times, losses, spectrum)

    def test_a_first_loss_below_the_floor(self):
        task = TaskSpectrum(np.array([1.0]), np.array([1.0]), 2.0)
        with pytest.raises(ArgumentError, match="`scaled` lets the lazy curve begin"):
            effective_time_of_losses([0.0, 1.0], [0.5, 0.4], task, scaled=True)

    @pytest.mark.parametrize(
        ("call", "message"),
        [
            (lambda: effective_time_of_eigenvalues([0, 1], np.ones((2, 2))), "3 measurements or more"),
            (lambda: effective_time_of_eigenvalues([0, 1, 2], -np.ones((3, 2))), "`eigenvalues` must be >= 0"),
            (lambda: effective_time_of_eigenvalues([0, 1, 2], np.ones((3, 2)), [1.0]), "`energies` must be finite"),
            (lambda: effective_time_of_eigenvalues([0, 1, 2], np.ones((3, 2)) * [1, 2]), "decreasing first eigenvalue"),
            (lambda: effective_time_of_energies([0, 1, 2], np.ones((3, 2)), [1.0]), "`eigenvalues` must be finite"),
            (lambda: effective_time_of_energies([0, 1], np.ones((2, 2)), [1.0, 1.0]), "`times` must be 3 or more"),
            (lambda: effective_time_of_energies([0, 1, 2], -np.ones((3, 2)), [1.0, 1.0]), "`energies` are squares"),
            (lambda: effective_time_of_energies([0, 1, 2], np.zeros((3, 2)), [1.0, 1.0]), "no mode that has energy"),
        ],
    )
    def test_modes(self, call, message):
        with pytest.raises(ArgumentError, match=message):
            call()
