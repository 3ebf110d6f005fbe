"""The report, the summary and the comparison of records of states."""

import json

import numpy as np
import pytest

import eigenflow as ef
from eigenflow.report import analyse, write_report
from eigenflow.report.comparison import compare
from eigenflow.report.comparison_page import write_comparison
from eigenflow.report.sections import pictures
from report.page_tags import checked

pytestmark = pytest.mark.measure
NEED_UPDATES = {"forecast", "flux", "terms", "velocity", "transfer", "forward", "source", "locality", "shift"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Records of states: with rates, without, of tracked modes, of two states and of one."""
    from trajectory.recorded_states import record_states  # needs torch

    folder = tmp_path_factory.mktemp("states")
    steps = (0, 1, 2, 4, 7, 12, 20, 33, 55, 90)
    return {
        "rates": record_states(folder / "rates", steps),
        "updates": record_states(folder / "updates", steps, has_time=False),
        "tracked": record_states(folder / "tracked", (0, 5, 10, 15), method="tracked", modes=5),
        "two": record_states(folder / "two", (0, 9)),
        "one": record_states(folder / "one", (0,)),
    }


@pytest.mark.long
@pytest.mark.parametrize("name", ["rates", "updates", "tracked", "two", "one"])
def test_pages_show_what_states_say_and_nothing_empty(runs, name, tmp_path):
    analysis = analyse(runs[name])
    found = pictures(analysis)
    assert not NEED_UPDATES & set(found) and {"loss", "eigenvalues", "since_start", "energy"} <= set(found)
    for picture in found.values():
        assert picture.caption
        if picture.figure is not None:  # every picture has a point that is drawn
            drawn = [trace for trace in checked(picture.figure).data if trace.name not in (None, "1 / (2t)")]
            assert any(np.isfinite(np.asarray(trace.y, dtype=float)).any() for trace in drawn)
    page = write_report(analysis, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "this is a record of states" in page and page.index("record of states") < page.index('id="loss"')
    assert ("counts updates" in page) == (name == "updates")
    for absent in ('id="flux"', 'id="transfer"', 'id="coupling"', 'id="closure"', "Loss and forecasts"):
        assert absent not in page


def test_first_state_is_drawn_where_states_are_near(runs):
    figure = pictures(analyse(runs["two"]))["eigenvalues"].figure
    assert figure is not None
    figure = checked(figure)
    assert figure.layout.xaxis.type != "log"
    np.testing.assert_allclose(figure.data[0].x, [0.0, 0.9])
    np.testing.assert_array_equal(figure.data[0].y, runs["two"].measurements["eigenvalue"][:, 0])


def test_overlap_with_the_first_state_is_what_is_stored(runs):
    figure = pictures(analyse(runs["rates"]))["since_start"].figure
    assert figure is not None
    traces = {trace.name: trace for trace in checked(figure).data}
    data = runs["rates"].measurements
    np.testing.assert_array_equal(traces["operator aligned with the first"].y, data["initial_alignment"])
    np.testing.assert_array_equal(traces["distance"].y[1:], data["initial_distance"][1:])


def test_summary_tells_kind_and_clock_and_has_no_budget(runs):
    summary = analyse(runs["updates"]).summary()
    assert (summary["kind"], summary["clock"], summary["budget"]) == ("states", "updates", None)
    assert json.dumps(summary["claims"]) and summary["forecast"]["scores"] == []
    assert any("budget, transfer and forecasts: this is a record of states" in line for line in summary["problems"])


def test_comparison_takes_states_of_either_clock(runs, tmp_path):
    found = compare([runs["rates"], runs["updates"], runs["one"]])
    first, second, third = found.runs
    assert third.place is None  # one state does not say how far the operator went
    assert first.relaxations is not None and second.relaxations is None
    assert first.place is not None and first.place.flux_share is None
    assert first.place.coordinate == pytest.approx(float(runs["rates"].measurements["initial_distance"][-1]))
    assert any("count updates" in told for told in found.cautions)
    assert json.dumps(found.to_dict(), allow_nan=False)
    page = write_comparison(found, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "records of states, which do not tell how much energy changes its shell" in page


def test_old_functions_read_a_record_of_states(runs):
    run = runs["rates"]
    assert run.plot().has_data() and len(run.to_dataframe()) == 10
    rows = ef.claims(run)
    assert len(repr(rows).splitlines()) <= 15
