"""Pictures of clocks, index and coordinate: what is drawn is what was found."""

import json

import numpy as np
import plotly.io
import pytest

from eigenflow.report.figures.effective_time import clocks_figure, index_figure
from eigenflow.report.figures.lazy_rich import limits_figure, plane_figure
from eigenflow.theory.effective_time.clocks import error_clocks, operator_clocks
from eigenflow.theory.effective_time.regular_variation import regular_variation
from eigenflow.theory.lazy_rich import lazy_rich, predict_from_start
from report.page_tags import checked
from report.recorded import numbers
from synthetic_run import budget_of, measure, power_law_modes

TIMES = np.append(0.0, np.geomspace(0.05, 300, 30))


@pytest.fixture(scope="module")
def data():
    return measure(power_law_modes(30, rho=1.4, seed=0), TIMES, 0.01)


def traces(figure):
    """By name, as a browser reads them; strict JSON, gaps as null."""
    found = json.loads(plotly.io.to_json(checked(figure)))
    return {trace.get("name"): trace for trace in found["data"]}, found["layout"]


@pytest.mark.parametrize("clocks_of", [operator_clocks, error_clocks])
def test_clocks_with_their_common_time_and_spread(data, clocks_of):
    clocks = clocks_of(data)
    drawn, layout = traces(clocks_figure(clocks))
    np.testing.assert_allclose(numbers(drawn["common τ"]["y"]), clocks.common)
    band = "spread, weighted by what is being learned"
    np.testing.assert_allclose(numbers(drawn[band]["y"]), 1 + clocks.spread)
    np.testing.assert_allclose(numbers(drawn[f"{band}, low"]["y"]), 1 - clocks.spread)
    assert {layout[axis]["type"] for axis in ("xaxis", "yaxis", "xaxis2", "yaxis2")} == {"log"}
    assert ("modes" if clocks.kind == "operator" else "shells") in layout["title"]["text"]


def test_index_by_every_estimator(data):
    clocks = error_clocks(data)
    found = regular_variation(clocks.times, clocks.common)
    drawn, layout = traces(index_figure(found))
    np.testing.assert_allclose(numbers(drawn["local, d ln τ / d ln t"]["y"]), found.local_index)
    np.testing.assert_allclose(numbers(drawn["ln[τ(t) / τ(t/4)] / ln 4"]["x"]), found.ratio_times[4.0])
    assert numbers(drawn["alpha by the forms of L that fit"]["y"]) == pytest.approx(found.index_range)
    low, high = layout["yaxis"]["range"]
    assert low < min(found.index_range) and max(map(np.max, found.ratio_indices.values())) < high


def test_plane_ends_where_the_runs_end(data):
    still = measure(power_law_modes(30, rho=1.0, seed=0), TIMES, 0.01)
    places = {"growing": lazy_rich(data, budget_of(data)), "still": lazy_rich(still, budget_of(still))}
    drawn, layout = traces(plane_figure(places))
    end = places["growing"]
    assert numbers(drawn["growing"]["x"])[-1] == pytest.approx(end.distance[-1])
    assert numbers(drawn["growing"]["y"])[-1] == pytest.approx(end.flux_share[-1])
    assert drawn["growing"]["marker"]["size"][-1] > 0 and not any(drawn["growing"]["marker"]["size"][:-1])
    assert len(numbers(drawn["still"]["x"])) == 0  # at distance 0, which has no place
    low, high = layout["xaxis"]["range"]
    assert low < -1 and high > 0  # holds both marks, 0.1 and 1


def test_both_limits_beside_the_truth(data):
    found = predict_from_start(data)
    drawn, _ = traces(limits_figure(found))
    np.testing.assert_allclose(numbers(drawn["truth"]["y"]), found.truth)
    (lazy,) = (trace for name, trace in drawn.items() if name.startswith("lazy"))
    assert f"{found.lazy_score.rms_log_ratio:.3g}" in lazy["name"]
    np.testing.assert_allclose(numbers(lazy["y"]), np.where(found.lazy > 0, found.lazy, np.nan))
