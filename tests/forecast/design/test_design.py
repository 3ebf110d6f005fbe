"""Designed schedules against quadrature, finite differences, known optima and brute force."""

import numpy as np
import pytest
from scipy.integrate import quad

from eigenflow.core.errors import ArgumentError
from eigenflow.forecast import Schedule
from eigenflow.forecast.design import DesignStatus, LawFinalLoss, TransportFinalLoss, design_schedule
from eigenflow.forecast.laws import History, Parameter

LENGTHS, RATES = np.array([50, 100, 100, 80, 60, 30]), np.array([1e-3, 3e-3, 3e-3, 2e-3, 1e-3, 2e-4])


def law(alpha=(0.0, 0.6, 1.0), k=(1.3, 1.0, 2.1)):
    def column(*values):
        return np.array(values, dtype=float)

    return TransportFinalLoss(
        L_inf=column(2.0, 1.8, 2.2), A=column(3.0, 2.5, 1.0), a=column(0.5, 0.4, 0.6), s0=column(0.1, 0.2, 0.05),
        B=column(40.0, 30.0, 60.0), C=column(50.0, 20.0, 10.0), k=column(*k), alpha=column(*alpha),
        q=column(0.7, 0.8, 1.0),
    )  # fmt: skip


def test_final_loss_is_the_law_by_quadrature():
    """The kernel's integral in closed form against adaptive quadrature, for each special exponent."""
    found = law()(LENGTHS, RATES)[0]
    edges = np.concatenate([[0.0], np.cumsum(LENGTHS * RATES)])
    one = law()
    for draw in range(3):
        s0, alpha, C, k, q = (getattr(one, name)[draw] for name in ("s0", "alpha", "C", "k", "q"))

        def tau(s, s0=s0, alpha=alpha):
            return s0 * np.log1p(s / s0) if alpha == 0 else s0 / alpha * ((1 + s / s0) ** alpha - 1)

        noise = sum(
            rate**q * quad(lambda t, C=C, k=k: (1 + C * (tau(edges[-1]) - t)) ** -k, tau(a), tau(b), epsabs=1e-13)[0]
            for rate, a, b in zip(RATES, edges[:-1], edges[1:], strict=True)
        )
        expected = one.L_inf[draw] + one.A[draw] * (1 + edges[-1] / s0) ** -one.a[draw] + one.B[draw] * noise
        assert found[draw] == pytest.approx(expected, rel=1e-10)


def test_gradient_by_rates_is_exact():
    """Central differences of step 1e-8 on rates of 1e-3 know the derivative to about 1e-7."""
    predict = law()
    gradient = predict(LENGTHS, RATES)[1]
    steps = 1e-8 * np.eye(len(RATES))
    expected = np.array([(predict(LENGTHS, RATES + h)[0] - predict(LENGTHS, RATES - h)[0]) / 2e-8 for h in steps]).T
    np.testing.assert_allclose(gradient, expected, rtol=2e-6)


def test_without_noise_the_best_schedule_never_decays():
    """B = 0: the loss falls with the sum of rates alone, so every rate is the peak."""
    still = TransportFinalLoss(*(np.array([v]) for v in (2.0, 3.0, 0.5, 0.1, 1e-12, 50.0, 1.3, 0.3, 0.7)))
    design = design_schedule(still, steps=500, peak=1e-3, blocks=12)
    np.testing.assert_allclose(design.schedule.rates, 1e-3, rtol=1e-9)
    assert design.status is DesignStatus.CONVERGED


def test_lazy_quadratic_case_has_the_two_level_optimum_of_brute_force():
    """Three blocks, searched on a grid of 60^2 non-increasing schedules: nothing there beats the design."""
    predict = law()
    design = design_schedule(predict, steps=600, peak=3e-3, blocks=3, risk=1.0)
    edges = np.concatenate([[0], np.flatnonzero(np.diff(design.schedule.rates)) + 1, [600]])
    lengths = np.round(600 * np.diff(1 - (1 - np.linspace(0, 1, 4)) ** 2.3)).astype(int)
    assert set(edges) <= set(np.concatenate([[0], np.cumsum(lengths)])) | {600}
    levels = 3e-3 * np.linspace(1e-3, 1, 60)
    best = min(
        predict(lengths, np.array([3e-3, x, y]))[0].mean() for i, x in enumerate(levels) for y in levels[: i + 1]
    )
    assert design.loss.mean() <= best * (1 + 1e-6)


def test_design_is_feasible_and_no_worse_than_cosine_and_wsd():
    design = design_schedule(law(), steps=2000, peak=3e-3, warmup=100, end=1e-4, blocks=30)
    rates = design.schedule.rates
    assert len(rates) == 2000 and design.schedule.warmup == 100
    assert np.all(np.diff(rates[100:]) <= 1e-15) and rates[100:].min() >= 1e-4 - 1e-12 and rates.max() <= 3e-3 + 1e-12
    assert {rival.name for rival in design.rivals} == {"cosine", "wsd"}
    worst_half = np.sort(design.loss)[-2:].mean()  # of three draws, half is two
    for rival in design.rivals:
        assert worst_half <= np.sort(rival.loss)[-2:].mean() * (1 + 1e-5)
        assert rival.gain_lower <= rival.gain <= rival.gain_upper
        assert isinstance(rival.schedule, Schedule) and rival.schedule.rates[100:].min() >= 1e-4 - 1e-12
    assert design.status is DesignStatus.CONVERGED and design.stationarity < 1e-4


class TimeAlone:
    """ln L = theta * S: a law whose derivative by every rate is theta * length."""

    name = "time alone"
    parameters = (Parameter("slope", "1 / time", "of ln L", "linear", -10.0, 10.0),)

    def prepare(self, history: History):
        return history.times

    def evaluate(self, theta, prepared):
        return theta[0] * prepared, prepared[:, None]

    def start(self, prepared, log_losses, rng):
        return np.zeros(1)


def test_any_law_has_a_final_loss_with_derivatives():
    predict = LawFinalLoss(TimeAlone(), np.array([[-0.5], [0.2]]))
    value, gradient = predict(LENGTHS, RATES)
    expected = np.exp(np.array([-0.5, 0.2]) * (LENGTHS @ RATES))
    np.testing.assert_allclose(value, expected, rtol=1e-13)
    np.testing.assert_allclose(gradient, np.outer(expected * [-0.5, 0.2], LENGTHS), rtol=1e-6)


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"steps": 1}, "`steps` must be at least 2"),
        ({"peak": -1.0}, "`peak` must be a positive"),
        ({"warmup": 500}, "`warmup` must be in .0, steps = 500"),
        ({"end": 1.0}, "`end` must be in .0, peak"),
        ({"risk": 0.0}, "`risk` must be in"),
        ({"blocks": 1}, "`blocks` must be at least 2"),
    ],
)
def test_numbers_that_are_not_allowed(change, words):
    with pytest.raises(ArgumentError, match=words):
        design_schedule(law(), **({"steps": 500, "peak": 1e-3} | change))
