"""The closure's pictures hold what was computed: every value drawn, intervals and bands around them."""

import numpy as np
import pytest

from eigenflow.closure import forward_test, nonlocal_source
from eigenflow.core.grid import log_steps
from eigenflow.report.figures.closure import forward_figure, source_figure
from particles import drifting_run
from report.page_tags import checked


@pytest.fixture(scope="module")
def run():
    return drifting_run(log_steps(1500, count=40), gamma=0.5, b=1.0, seed=0, modes=300)


@pytest.mark.long
def test_forecast_errors_are_drawn_for_every_method_and_cut(run):
    test = forward_test(*run, cuts=(0.05, 0.1, 0.2, 0.4))
    figure = checked(forward_figure(test))
    assert len(figure.data) == 5 + 4  # a power law of the loss places no energy
    for trace in figure.data[:1]:
        np.testing.assert_allclose(trace.x, [5, 10, 20, 40])
        np.testing.assert_allclose(trace.y, [cut.forecasts["closure"].score.rms_log_ratio for cut in test.cuts])


def test_source_is_drawn_with_both_fluxes(run):
    found = nonlocal_source(run[1])
    share, passed, jumped = checked(source_figure(found)).data
    np.testing.assert_allclose(share.y, found.share)
    assert np.abs(jumped.y).max() == 0 < np.abs(passed.y).max()
