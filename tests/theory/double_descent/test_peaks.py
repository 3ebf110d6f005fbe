"""Peaks of curves that are known, of risks by a dense search, and where they vanish."""

import numpy as np
import pytest
from scipy.optimize import brentq, minimize_scalar

from eigenflow.core.errors import ArgumentError
from eigenflow.theory.double_descent.least_squares import feature_subset_risk, isotropic_risk
from eigenflow.theory.double_descent.mei_montanari import mei_montanari_risk
from eigenflow.theory.double_descent.peaks import risk_peaks
from eigenflow.theory.double_descent.random_features import random_features_risk
from eigenflow.theory.double_descent.surface import RiskSurface
from eigenflow.theory.double_descent.vanishing import peak_vanishing
from eigenflow.theory.task_spectrum import TaskSpectrum

POWER = TaskSpectrum.power_law(1.5, 2.0, modes=500, noise=0.05)


def surface_of(function, times, noise=1.0, refine=True):
    """A surface over time of any function of time and noise."""

    def evaluate(*, time, noise=noise):
        return surface_of(function, time, noise)

    risk = function(np.asarray(time_row := times, dtype=float), noise)
    return RiskSurface.over({"time": time_row}, from_target=risk, from_noise=0.0, noise=noise, error=1e-15,
                            formula="by hand", evaluate=evaluate if refine else None)  # fmt: skip


def bump(time, height):
    """A Gaussian in ln t at t = 7 on a floor that falls slowly."""
    return 1.0 + height * np.exp(-0.5 * (np.log(time / 7.0) / 0.4) ** 2)


def test_a_known_peak_is_found_to_rounding():
    """Full width at half maximum of a Gaussian: 2 sqrt(2 ln 2) sigma, to the 6e-6 left of it at the end."""
    peaks = surface_of(bump, np.geomspace(0.8, 50, 15), noise=3.0).peaks()
    (row,) = peaks.table.to_dict("records")
    assert row["position"] == pytest.approx(7.0, rel=1e-7)
    assert row["height"] == pytest.approx(4.0, rel=1e-14)
    assert row["base"] == pytest.approx(bump(50.0, 3.0), rel=1e-14)
    assert row["prominence"] == pytest.approx(3.0, rel=1e-5)
    assert row["width"] == pytest.approx(2 * np.sqrt(2 * np.log(2)) * 0.4, rel=2e-5)
    assert row["is_base_at_end"]
    assert abs(row["position"] - 7.0) < row["position_error"] < 1e-5
    assert "1, refined by the formula" in repr(peaks)


def test_a_table_is_limited_by_its_points_and_says_so():
    places = np.geomspace(0.1, 500, 60)
    peaks = surface_of(bump, places, noise=3.0, refine=False).peaks()
    (row,) = peaks.table.to_dict("records")
    assert not peaks.is_refined
    assert abs(row["position"] - 7.0) < row["position_error"]
    assert row["width"] == pytest.approx(2 * np.sqrt(2 * np.log(2)) * 0.4, rel=0.03)


def test_a_place_is_as_sure_as_the_risk():
    """A risk that is only sure to 1e-5, and is wrong by up to that: the stated error still covers the true place.

    It is of the order of sigma sqrt(2 error height / prominence), 2e-3 here.
    """

    def shaky(time, noise):
        return bump(time, noise) * (1.0 + 5e-6 * np.sin(1e4 * np.asarray(time, dtype=float)))

    def evaluate(*, time, noise=3.0):
        given = {"from_noise": 0.0, "noise": 3.0, "error": 1e-5, "formula": "shaky", "evaluate": evaluate}
        return RiskSurface.over({"time": time}, from_target=shaky(time, noise), **given)

    (row,) = evaluate(time=np.geomspace(0.8, 50, 15)).peaks().table.to_dict("records")
    assert abs(row["position"] - 7.0) < row["position_error"] < 0.3
    assert row["height"] == pytest.approx(4.0, rel=1e-5)


def test_two_peaks_and_the_minimum_between():
    """The lower peak's base is the valley, a minimum found by scipy; the higher one's the higher end."""

    def two(time, noise):
        return bump(time, 3.0) + 2.0 * np.exp(-0.5 * (np.log(time / 60.0) / 0.4) ** 2)

    peaks = surface_of(two, np.geomspace(0.1, 500, 40)).peaks()
    valley = minimize_scalar(lambda x: two(np.exp(x), 0), bounds=(np.log(8), np.log(55)), method="bounded",
                             options={"xatol": 1e-10})  # fmt: skip
    assert len(peaks) == 2
    assert peaks.table["base"][1] == pytest.approx(valley.fun, rel=1e-12)
    assert not peaks.table["is_base_at_end"][1]
    (minimum,) = peaks.minima.to_dict("records")
    assert minimum["position"] == pytest.approx(np.exp(valley.x), rel=1e-6)
    assert minimum["risk"] == pytest.approx(valley.fun, rel=1e-12)


@pytest.mark.parametrize("ridge", [1e-8, 1e-4, 1e-2])
def test_peak_of_a_risk_by_a_dense_search(ridge):
    """Even where it is 1e-3 wide and the grid's points are 0.4 apart; scipy's bounded search and root beside it."""

    def risk(log_features):
        return float(random_features_risk(POWER, 100, np.exp(log_features), ridge).risk)

    peaks = random_features_risk(POWER, 100, np.geomspace(6, 4000, 17), ridge).peaks()
    (row,) = peaks.table.to_dict("records")
    near = 3.0 * row["width"]
    top = minimize_scalar(lambda x: -risk(x), bounds=(np.log(row["position"]) - near, np.log(row["position"]) + near),
                          method="bounded", options={"xatol": 1e-12})  # fmt: skip
    assert row["position"] == pytest.approx(np.exp(top.x), rel=1e-5)
    assert row["height"] == pytest.approx(-top.fun, rel=1e-8)
    level = row["base"] + 0.5 * row["prominence"]
    left = brentq(lambda x: risk(x) - level, np.log(row["left"]) - 0.1, top.x)
    right = brentq(lambda x: risk(x) - level, top.x, np.log(row["right"]) + 0.1)
    assert row["width"] == pytest.approx(right - left, rel=1e-4)


def test_thresholds_between_points_of_the_grid_are_found():
    """Without ridge the peak has no width: it is found at features = samples, and samples = modes, and is infinite."""
    surface = random_features_risk(POWER, 99.7, np.geomspace(6, 4000, 17), 0.0)
    (row,) = surface.peaks().table.to_dict("records")
    assert (row["position"], row["height"], row["width"]) == (pytest.approx(99.7, rel=1e-14), np.inf, 0.0)
    kernel = random_features_risk(POWER, np.geomspace(6, 4000, 17), np.inf, 0.0)
    (row,) = kernel.peaks().table.to_dict("records")
    assert (row["position"], row["height"]) == (pytest.approx(500.0, rel=1e-14), np.inf)
    (row,) = mei_montanari_risk(3.0, np.geomspace(0.1, 100, 20), noise=0.1).peaks().table.to_dict("records")
    assert (row["position"], row["height"]) == (pytest.approx(3.0), np.inf)


def test_infinite_stretch_has_its_peak_in_the_middle():
    for surface in (
        isotropic_risk(40, np.arange(5, 100), noise=0.1),
        feature_subset_risk(np.ones(99), 40, np.arange(5, 100), noise=0.1),
    ):
        (row,) = surface.peaks().table.to_dict("records")
        assert row["position"] == pytest.approx(40.0)


@pytest.mark.long
def test_every_curve_of_a_map_has_its_row():
    surface = random_features_risk(POWER, [50, 100, 200], np.geomspace(5, 2000, 30), 1e-5)
    table = surface.peaks("features").table
    assert list(table["samples"]) == [50.0, 100.0, 200.0]
    single = random_features_risk(POWER, 100, np.geomspace(5, 2000, 30), 1e-5).peaks().table
    assert table["height"][1] == pytest.approx(single["height"][0], rel=1e-9)
    across = surface.at(samples=np.geomspace(5, 2000, 30), features=100.0).peaks("samples").table
    assert across["position"][0] == pytest.approx(100, rel=0.02)


def test_zero_and_infinity_have_no_place_on_the_axis():
    surface = random_features_risk(POWER, 100, [10, 50, 100, 200, np.inf], 1e-6)
    assert surface.peaks().table["position"][0] == pytest.approx(100, rel=0.01)
    flat = random_features_risk(POWER, 100, 50, [0.0, 1e-3, 1e-2])
    assert len(flat.peaks()) == 0


@pytest.mark.long
def test_height_falls_as_a_power_of_the_ridge():
    """Without ridge D is s (epsilon + eta) and both are sqrt(delta k / gamma): the peak's height goes as ridge^-1/2."""
    heights = [random_features_risk(POWER, 100, np.geomspace(5, 2000, 30), r).peaks().table["height"][0] for r in
               (1e-12, 1e-10, 1e-8)]  # fmt: skip
    slopes = np.diff(np.log(heights)) / np.log(100)
    np.testing.assert_allclose(slopes, -0.5, atol=2e-3)


def cubic(time, noise):
    """In x = ln t, x^3 - (1 - noise) x falls from a peak only while noise < 1."""
    x = np.log(np.asarray(time, dtype=float) / 3.0)
    return 10.0 + x**3 - (1.0 - noise) * x


@pytest.mark.parametrize("points", [12, 60])
def test_a_peak_vanishes_where_it_must(points):
    """Not where the grid loses it: peak and valley are 2 sqrt((1 - noise) / 3) apart, points up to 0.3.

    What hides it in the end is the distance of the added points, 0.3 / 16^3: 1 - noise of the order of 1e-8.
    """
    surface = surface_of(cubic, np.geomspace(3 * np.exp(-1.6), 3 * np.exp(1.6), points), noise=0.2)
    gone = peak_vanishing(surface, "time", "noise", (0.1, 3.0), tolerance=1e-9)
    assert gone.status == "vanishes"
    assert gone.value == pytest.approx(1.0, abs=1e-5)
    assert gone.interval[0] <= gone.value <= gone.interval[1]
    assert gone.position == pytest.approx(3.0, rel=0.01)


def test_of_two_peaks_the_higher_one_is_followed():
    """Bumps at 7 and 60, of heights 3 and 2 times the noise, on a floor that falls: both go, the higher one last."""

    def two(time, noise):
        x = np.log(np.asarray(time, dtype=float))
        bumps = [np.exp(-0.5 * ((x - np.log(place)) / 0.4) ** 2) for place in (7.0, 60.0)]
        return 10.0 - x + noise * (3.0 * bumps[0] + 2.0 * bumps[1])

    gone = peak_vanishing(surface_of(two, np.geomspace(0.5, 500, 40)), "time", "noise", (1e-3, 1.0))
    steepest = np.exp(-0.5) / 0.4  # of a bump of height one, where the floor's slope of one must be met
    assert gone.value == pytest.approx(1.0 / (3.0 * steepest), rel=0.02)
    assert gone.position == pytest.approx(7.0 * np.exp(-0.4), rel=0.05)
    stays = peak_vanishing(surface_of(two, np.geomspace(0.5, 500, 40)), "time", "noise", (0.9, 1.0))
    assert stays.status == "stays"
    assert stays.position == pytest.approx(7.0, rel=0.1)


@pytest.mark.long
def test_vanishing_of_a_risk_does_not_depend_on_the_grid():
    """The ridge at which the model-wise peak goes, on two grids; above it the slope is negative everywhere."""
    found = [
        peak_vanishing(
            random_features_risk(POWER, 100, np.geomspace(5, 2000, n), 1e-3), "features", "ridge", (1e-5, 10)
        )
        for n in (25, 90)
    ]
    assert found[0].value == pytest.approx(found[1].value, rel=1e-5)
    dense = np.geomspace(5, 2000, 20_000)
    above, below = (random_features_risk(POWER, 100, dense, found[0].value * f).risk.values for f in (1.001, 0.99))
    assert (np.diff(above) < 0).all()
    assert (np.diff(below) > 0).any()
    assert "ridge" in repr(found[0])


def test_peaks_that_stay_or_were_never_there():
    surface = random_features_risk(POWER, 100, np.geomspace(5, 2000, 25), 1e-3)
    assert peak_vanishing(surface, "features", "ridge", (1e-9, 1e-5)).status == "stays"
    gone = peak_vanishing(surface, "features", "ridge", (1.0, 10.0))
    assert gone.status == "absent"
    assert "absent" in repr(gone)


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda s: risk_peaks(s), "`axis` must be one of samples, features"),
        (lambda s: risk_peaks(s, "ridge"), "Unknown `axis` 'ridge'"),
        (lambda s: risk_peaks(s, "samples"), "at least three places, but samples has 2"),
        (lambda s: risk_peaks(s.data, "samples"), "`surface` must be a RiskSurface"),
        (
            lambda s: peak_vanishing(s, "features", "ridge", (1, 2)),
            "one row, `axis`, but has the rows samples, features",
        ),
        (lambda s: peak_vanishing(s.at(samples=3.0), "features", "width", (1, 2)), "Unknown `along` 'width'"),
        (lambda s: peak_vanishing(s.at(samples=3.0), "features", "ridge", (0, 2)), "`between` must be a number from"),
    ],
)
def test_bad_arguments_are_named(call, words):
    with pytest.raises(ArgumentError, match=words):
        call(random_features_risk(POWER, [5, 6], [3, 4, 5], 0.1))
