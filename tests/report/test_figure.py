"""Figures as dictionaries: the same as plotly's own objects make of the same calls."""

import json

import numpy as np
import plotly.graph_objects as go
import pytest
from plotly.subplots import make_subplots

from eigenflow.report.figures.figure import Figure
from eigenflow.report.page import figure_spec
from eigenflow.report.picture import Picture
from report.page_tags import checked, numbers

LINE = {"color": "#66717d", "width": 1.2, "dash": "dash"}


def layout_of(figure):
    found = json.loads(go.Figure(figure).to_json())["layout"]
    found.pop("template", None)
    return {key: value for key, value in found.items() if value != []}


@pytest.mark.parametrize("columns", [1, 2, 3, 4])
@pytest.mark.parametrize("more", [{}, {"shared_y": True}, {"spacing": 0.03}, {"titles": True}])
def test_panels_lie_where_plotly_puts_them(columns, more):
    titles = [f"panel {k}" for k in range(columns)] if "titles" in more else None
    ours = Figure(columns, **{**more, "titles": titles})
    names = {"shared_y": "shared_yaxes", "spacing": "horizontal_spacing"}
    told = {names[key]: value for key, value in more.items() if key in names}
    theirs = make_subplots(rows=1, cols=columns, subplot_titles=titles, **told)
    theirs.update_annotations(font=None)
    found, wanted = layout_of(checked(ours)), layout_of(theirs)
    assert found.keys() == wanted.keys()
    for key in wanted:
        if key == "annotations":
            for one, other in zip(found[key], wanted[key], strict=True):
                assert one.pop("x") == pytest.approx(other.pop("x"), rel=1e-12)
                assert one == other
        else:
            assert found[key].pop("domain") == pytest.approx(wanted[key].pop("domain"), rel=1e-12)
            assert found[key] == wanted[key]


def test_lines_bands_and_settings_are_those_of_plotly():
    ours, theirs = Figure(2), make_subplots(rows=1, cols=2)
    x = np.arange(3.0)
    for column in (1, 2):
        common = {"x": x, "y": x**2, "name": "a", "error_y": {"type": "data", "array": x}, "hovertemplate": None}
        ours.add_scatter(col=column, line_width=2, **common)
        theirs.add_scatter(row=1, col=column, line_width=2, **common)
    ours.add_hline(2.0, line=LINE, col=2)
    theirs.add_hline(2.0, line=LINE, row=1, col=2)
    ours.add_vline(1.0, line=LINE)
    theirs.add_vline(1.0, line=LINE)
    ours.add_hrect(y0=-1, y1=1, fillcolor="#66717d", line_width=0, layer="below", col=1)
    theirs.add_hrect(y0=-1, y1=1, fillcolor="#66717d", line_width=0, layer="below", row=1, col=1)
    for one in (ours, theirs):
        one.update_layout(legend={"x": 0.5, "font": {"size": 12}}, margin_b=96, paper_bgcolor="#ffffff")
        one.update_layout(legend={"y": 1.0}, legend_font_color="#000000")
        one.update_yaxes(title_text="loss", col=1, range=[0, np.float64(9.0)])
        one.update_xaxes(title_standoff=8)
        one.update_xaxes(title_text="step", type="log")
    assert layout_of(checked(ours)) == layout_of(theirs)
    assert json.loads(checked(ours).to_json())["data"] == json.loads(theirs.to_json())["data"]


def test_a_note_stands_at_the_beginning_of_its_line():
    ours, theirs = Figure(), go.Figure(go.Scatter(x=[1.0], y=[1.0]))
    ours.add_hline(2.0, line=LINE, note="target")
    theirs.add_hline(2.0, line=LINE, annotation_text="target", annotation_position="top left", annotation_font_size=12)
    (found,), (wanted,) = (layout_of(one)["annotations"] for one in (checked(ours), theirs))
    assert found == wanted


def test_a_figure_in_a_page_keeps_arrays_of_every_kind():
    figure = Figure()
    table = np.arange(6.0).reshape(2, 3) / 7
    figure.add_heatmap(z=table, x=np.arange(3), y=[0.5, None], customdata=np.array([["<b>"], ["c"]]))
    trace = json.loads(str(figure_spec(Picture("k", figure, "caption"))))["data"][0]
    assert trace["z"]["shape"] == "2, 3" and trace["x"]["dtype"] == "i4"
    np.testing.assert_array_equal(numbers(trace["z"]).reshape(2, 3), table)
    np.testing.assert_array_equal(numbers(trace["x"]), np.arange(3))
    assert trace["y"] == [0.5, None] and trace["customdata"] == [["<b>"], ["c"]]
    go.Figure({"data": [trace]})


def test_settings_that_figures_share_are_not_changed():
    shared = {"legend": {"font": {"size": 12}}}
    one, other = Figure(), Figure()
    one.update_layout(**shared)
    one.update_layout(legend={"font": {"size": 9}})
    other.update_layout(**shared)
    assert other.layout["legend"]["font"]["size"] == shared["legend"]["font"]["size"] == 12
