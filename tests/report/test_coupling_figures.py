"""Figures of coupling and self-similarity show the numbers that they are given."""

import numpy as np
import pytest

from eigenflow.report.figures.coupling import locality_figure, shift_figure
from eigenflow.report.figures.exponents import exponents_figure
from eigenflow.report.figures.self_similarity import collapse_figure, frontier_figure
from eigenflow.theory.coupling.locality import transfer_locality
from eigenflow.theory.coupling.log_shift import log_shift
from eigenflow.theory.exponents.regularity import regularity
from eigenflow.theory.self_similarity import frontiers, shell_collapse
from report.page_tags import checked
from synthetic_run import budget_of, measure, riccati
from theory.self_similarity.test_frontier import history
from theory.test_loss_exponent import TIMES


@pytest.fixture(scope="module")
def data():
    return measure(riccati(5), np.concatenate([[0.0], np.geomspace(0.02, 3.0, 20)]), 1e-3)


def traces(figure):
    return {trace.name: trace for trace in checked(figure).data}


def labelled(figure):
    axes = [*checked(figure).select_xaxes(), *checked(figure).select_yaxes()]
    return all(axis.title.text for axis in axes)


def test_locality_and_shift(data):
    budget = budget_of(data)
    locality, shift = transfer_locality(budget), log_shift(budget)
    drawn = traces(locality_figure(locality))
    np.testing.assert_array_equal(drawn["measured"].y, locality.width)
    np.testing.assert_array_equal(drawn["if distance did not matter"].y, locality.null_width)
    assert drawn["share"].z.shape[1] == len(locality.times)
    bars = checked(shift_figure(shift)).data[0]
    np.testing.assert_array_equal(bars.y, shift.mean_share[np.isin(shift.shifts, bars.x)])
    assert labelled(shift_figure(shift))


def test_collapse_draws_every_time_twice(data):
    found = shell_collapse(budget_of(data))
    figure = checked(collapse_figure(found))
    for time in found.times:
        assert sum(trace.name == f"t = {time:.3g}" for trace in figure.data) == 2
    assert f"{found.mismatch:.2g}" in figure.layout.title.text
    assert labelled(collapse_figure(found))


@pytest.mark.long
def test_frontiers_and_exponents():
    run = history(1.3, times=TIMES, seed=1, count=800)
    found = frontiers(run)
    figure = checked(frontier_figure(found))
    assert len(figure.layout.annotations) == 4
    measured = [trace for trace in figure.data if trace.name == "measured"]
    for trace, frontier in zip(measured, found.values(), strict=True):
        np.testing.assert_array_equal(trace.y, frontier.position)
    moving = regularity(run)
    drawn = traces(exponents_figure(moving, regularity(run, "fixed")))
    assert "fixed basis, 90 % interval" in drawn
    assert "fixed basis, 90 % interval" not in traces(exponents_figure(moving))
