"""What results on tables of runs print, tabulate and draw: short, and the numbers are their own."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.stats import norm

from eigenflow.scaling import (
    TransformerShape,
    allocate,
    backtest_table,
    fit_approach3,
    fit_scaling,
    fit_sweep,
    isoflop_minima,
    make_table,
    predict_losses,
    scaling_exponents,
)

pytestmark = pytest.mark.long

A, ALPHA, B, BETA, E = 406.4, 0.34, 410.7, 0.28, 1.69


@pytest.fixture(scope="module")
def results():
    rng = np.random.default_rng(0)
    flops = np.repeat(np.geomspace(1e18, 1e20, 4), 7)
    best = 0.6 * (flops / 6) ** 0.45
    size = best * np.tile(np.geomspace(0.3, 3.0, 7), 4)
    tokens = flops / 6 / size
    loss = (E + A * size**-ALPHA + B * tokens**-BETA) * np.exp(rng.normal(0, 1e-3, len(size)))
    table = make_table(size, tokens, loss, source="<img src=x onerror=alert(1)>")
    fit = fit_scaling(table, starts=2)
    plan = allocate(fit, np.geomspace(1e19, 1e22, 20))
    n, d, r, b = (
        x.ravel() for x in np.meshgrid([1e8, 4e8], [1e9, 4e9], np.geomspace(1e-4, 4e-3, 7), [32.0, 64.0, 128.0])
    )
    bowl = 3.0 * np.exp(
        0.01 * np.log(r / 6e-4 / (n / 1e8) ** -0.3) ** 2 + 0.01 * np.log(b / 64 / (d / 1e9) ** 0.2) ** 2
    )
    sweep = fit_sweep(n, d, r, b, bowl)
    return {
        "table": table,
        "fit": fit,
        "approach 3": fit_approach3(table, starts=4),
        "plan": plan,
        "forecast": predict_losses(fit, plan.size, plan.tokens),
        "minima": isoflop_minima(table, fit),
        "backtest": backtest_table(table, ("frontier", "chinchilla")),
        "sweep": sweep,
        "settings": sweep.best([1e8, 2e8], 1e9),
        "exponents": scaling_exponents(1.5, 0.4),
        "shape": TransformerShape(layers=2, width=64, vocabulary=100, context=32),
    }


NAMES = (
    "table", "fit", "approach 3", "plan", "forecast", "minima", "backtest", "sweep", "settings", "exponents", "shape",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_result_fits_a_screen_and_its_html_is_harmless(results, name):
    lines = repr(results[name]).splitlines()
    assert 1 <= len(lines) <= 15 and max(map(len, lines)) <= 110
    assert "array(" not in repr(results[name])
    assert "<img" not in results[name]._repr_html_()


def test_a_table_tells_its_ranges(results):
    table = results["table"]
    for values in (table.size, table.tokens, table.loss):
        assert f"{values.min():.4g} to {values.max():.4g}" in repr(table)
    frame = table.to_dataframe()
    np.testing.assert_array_equal(frame["loss"], table.loss)
    np.testing.assert_array_equal(frame["flops"], 6 * table.size * table.tokens)


@pytest.mark.parametrize("name", ["fit", "approach 3"])
def test_a_fit_tabulates_the_constants_of_its_law(results, name):
    fit = results[name]
    frame = fit.to_dataframe().set_index("name")
    for row in frame.itertuples():
        assert row.value == fit.constants[row.Index] and row.lower < row.value < row.upper
        assert f"{row.value:.3g} [{row.lower:.3g}, {row.upper:.3g}]" in repr(fit)
    assert fit.status.value in repr(fit) and fit.law.formula in repr(fit)


def test_the_interval_of_a_constant_is_that_of_its_draws(results):
    """A = exp(a + alpha * centre): 200,000 Gaussian draws give the ends of its interval to about a hundredth of it."""
    fit = results["approach 3"]
    drawn = np.random.default_rng(0).multivariate_normal(
        fit.parameters[list(fit.law.free)], fit.covariance, size=200_000
    )
    columns = list(fit.law.free)
    ln_a = drawn[:, columns.index(1)]
    alpha = np.exp(fit.parameters[2])
    linear = ln_a + (alpha + alpha * (drawn[:, columns.index(2)] - fit.parameters[2])) * fit.centre[0]
    row = fit.to_dataframe().set_index("name").loc["A"]
    sd = np.log(row["upper"] / row["value"]) / norm.ppf(0.95)
    assert sd == pytest.approx(linear.std(), rel=0.01)


def test_a_plan_tells_its_budgets_and_tabulates_them(results):
    plan = results["plan"]
    assert "more" in repr(plan).splitlines()[-1]  # twenty budgets, fourteen lines
    frame = plan.to_dataframe()
    for column in ("flops", "size", "size_lower", "size_upper", "tokens", "loss", "exponent"):
        np.testing.assert_array_equal(frame[column], getattr(plan, column))
    np.testing.assert_array_equal(frame[["within_lower", "within_upper"]], plan.within)
    assert f"{plan.loss[0]:.4g}" in repr(plan) and f"{plan.flops[0]:.3g} FLOP" in repr(plan)


def test_forecasts_minima_sweeps_and_backtests_tabulate_their_arrays(results):
    for name in ("forecast", "minima", "settings"):
        for column, values in results[name].to_dataframe().items():
            np.testing.assert_array_equal(values, getattr(results[name], str(column)))
    found = results["forecast"]
    assert f"{found.loss[0]:.4g} [{found.lower[0]:.4g}, {found.upper[0]:.4g}]" in repr(found)
    sweep = results["sweep"]
    assert sweep.to_dataframe()["value"].tolist() == [*sweep.rate_powers[1:], *sweep.batch_powers[1:]]
    rows = results["backtest"]
    assert rows.to_dataframe()["winkler"].tolist() == [row.winkler for row in rows]
    assert rows[0].law in repr(rows) and len(rows[:2]) == 2


def test_results_draw_themselves_into_the_axes_that_are_given(results):
    for name in ("table", "fit", "plan"):
        ax = Figure().subplots()
        assert results[name].plot(ax) is ax
    ax = results["plan"].plot(Figure().subplots(), table=results["table"])
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), results["plan"].size)
    np.testing.assert_array_equal(ax.collections[0].get_offsets()[:, 1], results["table"].size)
