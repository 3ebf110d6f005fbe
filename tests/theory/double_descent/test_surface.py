"""A surface holds what it is given, knows what is infinite, and refuses what does not fit."""

import pickle

import numpy as np
import pytest
import xarray as xr

from eigenflow.core.errors import ArgumentError, NonFiniteError, ShapeError
from eigenflow.theory.double_descent.surface import PointStatus, RiskSurface


def made(axes=None, **options):
    given = {"from_target": 1.0, "from_noise": 0.5, "noise": 0.25, "error": 1e-12, "formula": "by hand", **options}
    return RiskSurface.over({"samples": [1, 2, 4], "features": [3.0, 5.0]} if axes is None else axes, **given)


def test_axes_are_rows_and_numbers_in_the_order_given():
    surface = made({"time": [0.0, 1.0], "ridge": 0.0, "samples": [2, 3, 5]})
    assert surface.axes == ("time", "samples")
    assert surface.fixed == {"ridge": 0.0}
    assert surface.risk.shape == (2, 3)
    assert "RiskSurface over 2 time x 3 samples" in repr(surface)


def test_risk_is_the_sum_and_test_error_has_the_noise():
    surface = made(from_target=np.arange(6.0).reshape(3, 2))
    np.testing.assert_array_equal(surface.risk, np.arange(6.0).reshape(3, 2) + 0.5)
    np.testing.assert_array_equal(surface.test_error, np.arange(6.0).reshape(3, 2) + 0.75)


def test_infinite_risk_is_a_value_with_a_status():
    surface = made(from_noise=[[0.1, np.inf], [0.1, 0.1], [np.inf, 0.1]])
    assert surface.is_converged
    assert (surface.data["status"].values == PointStatus.INFINITE).sum() == 2
    assert "infinite" in repr(surface)
    assert "at 2 of 6 points" in repr(surface)


def test_unknown_points_are_said():
    status = np.full((3, 2), PointStatus.CONVERGED)
    status[1, 1] = PointStatus.NOT_CONVERGED
    risk = np.ones((3, 2))
    risk[1, 1] = np.nan
    surface = made(from_target=risk, status=status)
    assert not surface.is_converged
    assert "1 of 6 points" in repr(surface)


def test_places_are_taken_with_the_formula():
    surface = made({"samples": [1, 2, 4], "ridge": [0.0, 1.0]}, evaluate=lambda **where: where)
    part = surface.isel(ridge=1)
    assert part.axes == ("samples",)
    assert part.fixed == {"ridge": 1.0}
    assert part.at(samples=7)["samples"] == 7
    assert part.at(samples=7)["ridge"] == 1.0


def test_pickled_it_is_a_table():
    surface = made(evaluate=lambda **where: where)
    copy = pickle.loads(pickle.dumps(surface))
    assert copy.evaluate is None
    assert copy.data.identical(surface.data)


def test_one_point_prints():
    assert "one point" in repr(made({"samples": 3}, from_target=np.inf))


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("axes", "options", "error", "words"),
    [
        ({"width": [1.0]}, {}, ArgumentError, "Unknown `axes` 'width'"),
        ({"samples": [2, 1]}, {}, ArgumentError, "`samples` must increase.*place 1: 2, 1"),
        ({"samples": [2, 2]}, {}, ArgumentError, "`samples` must increase"),
        ({"samples": [0.0, 2]}, {}, ArgumentError, "`samples` must be > 0"),
        ({"ridge": -1.0}, {}, ArgumentError, "`ridge` must be >= 0 and finite"),
        ({"time": np.inf}, {}, ArgumentError, "`time` must be >= 0 and finite"),
        ({"samples": [[1.0]]}, {}, ShapeError, "`samples` must be a number or one row"),
        ({"samples": [1.0, np.nan]}, {}, ArgumentError, "`samples` must be > 0, but holds nan"),
        ({"samples": [1, 2]}, {"from_target": [1.0, 2.0, 3.0]}, ShapeError, "`from_target` must have the shape"),
        ({"samples": [1, 2]}, {"from_noise": [1.0, np.nan]}, NonFiniteError, "needs the status NOT_CONVERGED"),
        ({"samples": [1, 2]}, {"noise": -1.0}, ArgumentError, "`noise` must be a number from 0"),
    ],
)
def test_what_does_not_fit_is_named(axes, options, error, words):
    with pytest.raises(error, match=words):
        made(axes, **options)


@pytest.mark.rejects
def test_a_table_cannot_be_evaluated_elsewhere():
    with pytest.raises(ArgumentError, match="no formula is known"):
        made().at(samples=7)


@pytest.mark.rejects
def test_a_dataset_of_another_kind_is_refused():
    with pytest.raises(ShapeError, match="must hold `from_target`"):
        RiskSurface(xr.Dataset({"other": ("samples", [1.0])}))


@pytest.mark.rejects
def test_pictures_have_at_most_two_axes():
    with pytest.raises(ArgumentError, match="surface has 3"):
        made({"samples": [1, 2], "features": [1, 2], "ridge": [0.0, 1.0]}).plot()
