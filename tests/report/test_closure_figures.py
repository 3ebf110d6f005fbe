"""The closure's pictures hold what was computed: every value drawn, intervals and bands around them."""

import numpy as np
import pytest

from eigenflow.closure import fit_drift_law, forward_test, mode_intervals, nonlocal_source, shell_velocities
from eigenflow.core.grid import log_steps
from eigenflow.report.figures.closure import forecast_cut_figure, forward_figure, interval_figure, source_figure
from particles import drifting_run


@pytest.fixture(scope="module")
def run():
    return drifting_run(log_steps(1500, count=40), gamma=0.5, b=1.0, seed=0, modes=300)


def test_velocities_are_drawn_with_their_intervals_and_the_law(run):
    data, budget = run
    found = mode_intervals(data, budget.edges)
    law = fit_drift_law(shell_velocities(budget), "piecewise", draws=0)
    figure = interval_figure(found, law, [10, 20, 30])
    points = [trace for trace in figure.data if trace.mode == "markers"]
    assert len(points) == 3
    for trace, row in zip(points, (10, 20, 30), strict=True):
        used = found.is_used[row]
        np.testing.assert_allclose(trace.y, found.times[row] * found.value[row, used])
        np.testing.assert_allclose(np.array(trace.y) + trace.error_y.array, found.times[row] * found.high[row, used])
    lines = [trace for trace in figure.data if trace.mode == "lines"]
    assert len(lines) == 3
    # Instantaneous t w = 0.5 t / (t + 1), and law and modes agree on it.
    assert lines[2].y[0] == pytest.approx(0.5, rel=0.05)
    assert len(interval_figure(found, None, [10]).data) == 1


def test_forecast_errors_are_drawn_for_every_method_and_cut(run):
    test = forward_test(*run, cuts=(0.05, 0.1, 0.2, 0.4))
    figure = forward_figure(test)
    assert len(figure.data) == 5 + 4  # a power law of the loss places no energy
    for trace in figure.data[:1]:
        np.testing.assert_allclose(trace.x, [5, 10, 20, 40])
        np.testing.assert_allclose(trace.y, [cut.forecasts["closure"].score.rms_log_ratio for cut in test.cuts])
    last = test.cuts[-1]
    drawn = {trace.name: trace for trace in forecast_cut_figure(last).data}
    np.testing.assert_allclose(drawn["truth"].y, last.truth)
    np.testing.assert_allclose(drawn["high"].y, last.forecasts["closure"].upper)
    assert "low" not in {trace.name for trace in forecast_cut_figure(test.cuts[0]).data}  # no earlier cut, no band


def test_source_is_drawn_with_both_fluxes(run):
    found = nonlocal_source(run[1])
    share, passed, jumped = source_figure(found).data
    np.testing.assert_allclose(share.y, found.share)
    assert np.abs(jumped.y).max() == 0 < np.abs(passed.y).max()
