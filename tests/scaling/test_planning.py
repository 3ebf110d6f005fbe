"""Allocation, approach 2, backtests, sweeps and exponents of spectra against closed forms."""

import numpy as np
import pytest

from eigenflow.core.errors import ArgumentError
from eigenflow.scaling.allocation import allocate, isoflop_minima
from eigenflow.scaling.backtest import backtest_table, compute_cuts
from eigenflow.scaling.exponents import Regime, scaling_exponents
from eigenflow.scaling.fit import fit_approach3, fit_scaling
from eigenflow.scaling.pictures import plan_figure
from eigenflow.scaling.prediction import predict_losses
from eigenflow.scaling.sweep import fit_sweep
from eigenflow.scaling.table import make_table
from eigenflow.theory.double_descent import random_features_risk
from eigenflow.theory.task_spectrum import TaskSpectrum

A, ALPHA, B, BETA, E = 406.4, 0.34, 410.7, 0.28, 1.69


def loss(size, tokens):
    return E + A * size**-ALPHA + B * tokens**-BETA


def isoflop_table(noise=0.0, skew=0.0, seed=0):
    rng = np.random.default_rng(seed)
    size, tokens = [], []
    for budget in np.geomspace(6e18, 6e20, 5):
        best = (ALPHA * A / BETA / B * (budget / 6) ** BETA) ** (1 / (ALPHA + BETA))
        n = best * np.geomspace(0.25, 4, 9) * (budget / 6e18) ** skew
        size, tokens = [*size, *n], [*tokens, *(budget / 6 / n)]
    size, tokens = np.array(size), np.array(tokens)
    return make_table(size, tokens, loss(size, tokens) * np.exp(noise * rng.normal(size=len(size))))


def test_allocation_is_the_closed_form_of_the_sum():
    """N* = G (C / 6)^(beta / (alpha + beta)), G = (alpha A / beta B)^(1 / (alpha + beta)); bisection to 1e-12."""
    fit = fit_approach3(isoflop_table(), starts=4)
    budgets = np.array([1e20, 1e23])
    plan = allocate(fit, budgets)
    expected = (ALPHA * A / BETA / B * (budgets / 6) ** BETA) ** (1 / (ALPHA + BETA))
    np.testing.assert_allclose(plan.size, expected, rtol=1e-5)  # the fit's own accuracy
    np.testing.assert_allclose(plan.tokens * plan.size * 6, budgets, rtol=1e-12)
    np.testing.assert_allclose(plan.exponent, BETA / (ALPHA + BETA), rtol=1e-4)
    np.testing.assert_allclose(plan.loss, loss(plan.size, plan.tokens), rtol=1e-9)
    at_edge = loss(plan.size * plan.within[:, 1], plan.tokens / plan.within[:, 1])
    np.testing.assert_allclose(at_edge / plan.loss, np.exp(1e-3), atol=3e-6)  # interpolated on a grid of 0.01 in ln N


@pytest.mark.long
def test_allocation_of_a_transient_is_the_minimum_on_a_grid():
    fit = fit_scaling(isoflop_table(noise=0.002))
    plan = allocate(fit, np.array([1e19, 1e21]))
    for size, flops in zip(plan.size, plan.flops, strict=True):
        grid = size * np.exp(np.linspace(-0.5, 0.5, 2001))
        value = fit.log_loss(grid, flops / 6 / grid)[0]
        assert abs(np.log(grid[value.argmin()] / size)) <= 1e-3  # flat: values agree to 1e-9 within two grid steps


@pytest.mark.long
def test_interval_of_the_optimum_covers_the_truth_in_repeats():
    """Of 10 noisy tables at least 7 intervals of 90 % hold the true optimum (binomial: p = 0.987)."""
    target = (ALPHA * A / BETA / B * (1e22 / 6) ** BETA) ** (1 / (ALPHA + BETA))
    plans = [
        allocate(fit_scaling(isoflop_table(0.003, seed=s), "chinchilla", starts=1), np.array([1e22])) for s in range(10)
    ]
    assert sum(p.size_lower[0] <= target <= p.size_upper[0] for p in plans) >= 7


def test_approach_2_is_biased_without_noise_and_says_by_how_much():
    """Parabolas through exact groups that drift off the optimum miss it; the stated bias is the error made."""
    table = isoflop_table(skew=0.15)
    fit = fit_approach3(table, starts=4)
    parabolas = isoflop_minima(table, fit)
    true = BETA / (ALPHA + BETA)
    assert abs(parabolas.exponent - true) > 0.001
    assert parabolas.exponent - parabolas.exponent_bias == pytest.approx(true, abs=1e-4)


def test_predictions_inside_are_narrow_and_widen_with_distance():
    fit = fit_scaling(isoflop_table(noise=0.003))
    forecast = predict_losses(fit, np.array([1e9, 1e10, 1e11]), np.array([2e10, 2e11, 2e12]))
    width = np.log(forecast.upper / forecast.lower)
    assert np.all(np.diff(width) > 0) and forecast.distance[0] == 0 < forecast.distance[1]
    assert np.all((forecast.lower < forecast.loss) & (forecast.loss < forecast.upper))
    truth = loss(np.array([1e9, 1e10, 1e11]), np.array([2e10, 2e11, 2e12]))
    assert np.all((forecast.lower < truth) & (truth < forecast.upper)) and abs(forecast.loss[0] / truth[0] - 1) < 0.003


@pytest.mark.long
def test_backtest_scores_what_was_not_fitted():
    table = isoflop_table(noise=0.003)
    cut = next(iter(compute_cuts(table)))
    rows = backtest_table(table, laws=("approach3",))
    assert [row.scored for row in rows] == [int((~c).sum()) for c in compute_cuts(table)]
    assert rows[0].cut == table.flops[cut].max() < table.flops[~cut].min()
    fit = fit_approach3(table.take(cut), starts=12)
    predicted = np.exp(fit.log_loss(table.size[~cut], table.tokens[~cut])[0])
    assert rows[0].mean_abs_error == pytest.approx(np.abs(predicted - table.loss[~cut]).mean(), rel=1e-6)
    assert rows[0].bias == pytest.approx((predicted - table.loss[~cut]).mean(), rel=1e-6)


@pytest.mark.rejects
def test_backtest_of_a_small_table_is_refused():
    with pytest.raises(ArgumentError, match="leave no cut"):
        backtest_table(isoflop_table().take(np.arange(6)))


def make_sweep(seed=0, noise=0.001):
    rng = np.random.default_rng(seed)
    rows = []
    for n in (1e8, 3e8, 1e9):
        for d in (3e9, 1e10, 3e10):
            x, y = np.meshgrid(np.arange(-1.2, 1.3, 0.4), np.arange(-1.2, 1.3, 0.4))
            rate, batch = 0.8 * n**-0.3 * d**0.1, 0.6 * d**0.57
            value = np.log(2.5) - 0.1 * np.log(d / 1e10) + 0.5 * (0.02 * x**2 - 0.012 * x * y + 0.03 * y**2)
            columns = (rate * np.exp(x), batch * np.exp(y), np.exp(value + noise * rng.normal(size=x.shape)))
            rows += [np.column_stack([np.full(x.size, n), np.full(x.size, d), *(c.ravel() for c in columns)])]
    return np.concatenate(rows).T


def test_sweep_recovers_the_power_laws_of_rate_and_batch():
    fit = fit_sweep(*make_sweep())
    np.testing.assert_allclose(fit.rate_powers[1:], [-0.3, 0.1], atol=0.03)
    np.testing.assert_allclose(fit.batch_powers[1:], [0.0, 0.57], atol=0.03)
    np.testing.assert_allclose(fit.curvature, [[0.02, -0.006], [-0.006, 0.03]], rtol=0.15, atol=0.001)
    best = fit.best(1e10, 1e11)
    truth_rate, truth_batch = 0.8 * 1e10**-0.3 * 1e11**0.1, 0.6 * 1e11**0.57
    assert best.rate_lower[0] <= truth_rate <= best.rate_upper[0]
    assert best.batch_lower[0] <= truth_batch <= best.batch_upper[0]
    off = fit.penalty(1e8, 3e9, fit.best(1e8, 3e9).rate * np.e, fit.best(1e8, 3e9).batch)
    assert off[0] == pytest.approx(0.5 * fit.curvature[0, 0], rel=1e-9)


@pytest.mark.rejects
def test_sweeps_without_a_minimum_or_with_one_cell_are_refused():
    columns = make_sweep()
    one = columns[:, (columns[0] == 1e8) & (columns[1] == 3e9)]
    with pytest.raises(ArgumentError, match="needs 4 cells"):
        fit_sweep(*one)
    broken = columns.copy()
    broken[4, 3] = -1
    with pytest.raises(ArgumentError, match="`loss` must be positive and finite, but run 3 has -1"):
        fit_sweep(*broken)
    with pytest.raises(ArgumentError, match="`flops` must be positive"):
        allocate(fit_approach3(isoflop_table(), starts=2), [-1.0])


@pytest.mark.parametrize(
    ("capacity", "source", "is_rich", "time", "compute"),
    [
        # equations/exponents.md#feature-learning-exponents: hard, easy, super-easy; rich only changes the hard one.
        (1.5, 0.4, False, 0.4, 0.24),
        (1.5, 0.4, True, 0.8 / 1.4, 1.2 / (1.5 * 1.4 + 2)),
        (1.5, 1.2, False, 1.2, 1.8 / 2.8),
        (1.5, 1.2, True, 1.2, 1.8 / 2.8),
        (1.5, 2.0, False, 2 - 1 / 1.5, 1 - 1 / 3.0),
    ],
)
def test_exponents_of_a_spectrum_are_the_table_of_the_theory(capacity, source, is_rich, time, compute):
    found = scaling_exponents(capacity, source, is_rich=is_rich)
    assert found.time == pytest.approx(time) and found.compute == pytest.approx(compute)


def test_hard_lazy_exponents_are_those_of_the_dynamical_model():
    """L ~ C^-(a-1)/(1+b), N ~ C^1/(1+b) for lambda ~ k^-b, lambda w^2 ~ k^-a, and the exact sum over modes agrees."""
    b, a = 1.5, 1.6
    found = scaling_exponents(b, (a - 1) / b)
    assert found.regime is Regime.HARD
    assert found.compute == pytest.approx((a - 1) / (1 + b)) and found.optimal_size == pytest.approx(1 / (1 + b))
    k = np.arange(1, 400_001, dtype=float)
    times = np.array([300.0, 3000.0])
    tail = k[-1] ** (1 - a) / (a - 1)
    decay = [np.sum(k**-a * np.exp(-2 * k**-b * t)) + tail for t in times]
    assert np.log(decay[0] / decay[1]) / np.log(10) == pytest.approx(found.time, abs=0.01)
    sizes = [np.sum(k[n:] ** -a) + tail for n in (300, 3000)]
    assert np.log(sizes[0] / sizes[1]) / np.log(10) == pytest.approx(found.size, abs=0.01)


@pytest.mark.parametrize(("capacity", "source", "size", "samples"), [(1.5, 1.3, 1.5, 1.95), (1.2, 2.5, 1.2, 2.4)])
def test_easy_targets_gain_less_from_size_than_from_samples(capacity, source, size, samples):
    """Slopes of the deterministic equivalents: of a projection Σ γ/(λ+γ) w², and of regression, over two octaves.

    Corrections fall as a power of the size that is small where source is near 1 or 2: 5 per cent.
    """
    task = TaskSpectrum.power_law(capacity, capacity * source + 1.0, modes=2000, tail=True)
    counts = np.array([2000.0, 8000.0])
    width = random_features_risk(task, 1e12, counts).risk.values
    data = random_features_risk(task, counts).risk.values
    found = scaling_exponents(capacity, source)
    assert (found.size, found.samples) == pytest.approx((size, samples))
    assert np.log(width[0] / width[1]) / np.log(4.0) == pytest.approx(size, rel=0.05)
    assert np.log(data[0] / data[1]) / np.log(4.0) == pytest.approx(samples, rel=0.05)


@pytest.mark.rejects
def test_exponents_out_of_range():
    with pytest.raises(ArgumentError, match="`capacity` must be above 1"):
        scaling_exponents(0.9, 0.5)
    with pytest.raises(ArgumentError, match="`source` must be positive"):
        scaling_exponents(1.5, 0.0)


@pytest.mark.long
@pytest.mark.parametrize("budgets", [1, 2, 3, 5])
def test_the_picture_of_a_plan_shows_interval_and_optimum_at_every_budget(budgets):
    """Few budgets have a point and a bar from end to end each; more have a band. The legend names what is there."""
    fit = fit_scaling(isoflop_table(noise=0.003))
    plan = allocate(fit, np.geomspace(1e21, 1e23, budgets) if budgets > 1 else np.array([1e21]))
    left, middle = plan_figure(plan, fit).axes[:2]
    per_token = plan.flops / 6
    for ax, best, lower, upper in (
        (left, plan.size, plan.size_lower, plan.size_upper),
        (middle, plan.tokens, per_token / plan.size_upper, per_token / plan.size_lower),
    ):
        line = next(line for line in ax.lines if len(line.get_xdata()) == budgets)
        np.testing.assert_allclose(line.get_ydata(), best)
        assert budgets > 2 or line.get_marker() == "o"
        if budgets > 2:
            assert not ax.containers and ax.collections
        else:
            (bars,) = ax.containers[0].lines[2]
            np.testing.assert_allclose(np.array(bars.get_segments())[:, :, 1], np.column_stack([lower, upper]))
        low, high = ax.get_xlim()
        assert 0 < low < plan.flops.min() <= plan.flops.max() < high and high / low > 10


@pytest.mark.long
def test_an_allocation_holds_the_interval_of_its_loss():
    """The same as a forecast of one run of that size and those tokens; the loss itself lies inside."""
    fit = fit_scaling(isoflop_table(noise=0.003))
    plan = allocate(fit, np.array([1e21, 1e23]))
    ahead = predict_losses(fit, plan.size, plan.tokens)
    np.testing.assert_array_equal(
        plan.to_dataframe()[["loss_lower", "loss_upper"]], np.stack([ahead.lower, ahead.upper], 1)
    )
    assert np.all((plan.loss_lower < plan.loss) & (plan.loss < plan.loss_upper))
    assert f"[{plan.loss_lower[0]:.4g}" in str(plan) and "for 2 budgets" in str(plan)
    assert "for 1 budget;" in str(allocate(fit, np.array([1e21])))
