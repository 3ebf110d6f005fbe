"""What a figure takes in a page: large arrays in single precision, but never a step that would be told wrongly."""

import json

import numpy as np
import pytest

from eigenflow.report.figures.figure import Figure
from eigenflow.report.page import figure_spec
from eigenflow.report.picture import Picture
from report.recorded import numbers


def spec(x, y):
    figure = Figure()
    figure.add_scatter(x=x, y=y)
    return json.loads(str(figure_spec(Picture("k", figure, "caption"))))["data"][0]


def test_many_numbers_are_shortened_to_what_is_seen():
    x, y = np.arange(1000.0), np.geomspace(1e-20, 1e3, 1000)
    trace = spec(x, y)
    assert trace["y"]["dtype"] == trace["x"]["dtype"] == "f4"
    np.testing.assert_array_equal(numbers(trace["x"]), x)
    np.testing.assert_allclose(numbers(trace["y"]), y, rtol=2.0**-24)


@pytest.mark.parametrize(
    "kept",
    [
        2.0**24 + np.arange(1000.0),  # steps that single precision would round
        np.geomspace(1e-60, 1.0, 1000),  # losses that would become 0
        np.geomspace(1.0, 1e60, 1000),
        np.geomspace(1e-3, 1.0, 100),  # few
    ],
)
def test_what_would_be_changed_or_is_light_stays(kept):
    trace = spec(np.arange(float(len(kept))), kept)
    np.testing.assert_array_equal(numbers(trace["y"]), kept)


def test_numbers_that_are_not_known_stay_so():
    values = np.where(np.arange(1000) % 7 == 0, np.nan, np.linspace(0.1, 1, 1000))
    found = numbers(spec(np.arange(1000.0), values)["y"])
    np.testing.assert_array_equal(np.isnan(found), np.isnan(values))
