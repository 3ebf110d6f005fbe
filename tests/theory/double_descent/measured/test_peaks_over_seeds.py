"""Peaks of measured curves: curves of known shape, and how often intervals hold what is true."""

import numpy as np
import pytest

from eigenflow.core.errors import ArgumentError, NonFiniteError, ShapeError
from eigenflow.theory.double_descent.measured.peaks_over_seeds import compare_curves, measured_curve
from eigenflow.theory.double_descent.peaks import risk_peaks
from eigenflow.theory.double_descent.surface import RiskSurface

PLACES = np.geomspace(1, 100, 21)


def bump(at=8.0, height=1.0, width=0.5, tilt=-0.05):
    """ln of a risk that falls slowly, with a peak."""
    x = np.log(PLACES)
    return tilt * x + height * np.exp(-((x - np.log(at)) ** 2) / (2 * width**2))


def drawn(logs, rng, seeds=8, spread=0.1, common=0.2):
    """Seeds with noise at each place, and noise of all places of a seed."""
    each = spread * rng.standard_normal((seeds, len(logs))) + common * rng.standard_normal((seeds, 1))
    return np.exp(logs + each)


def test_a_parabola_in_logarithms_is_found_to_rounding():
    """Three points determine it, so position and height are exact wherever the places lie."""
    x = np.log(PLACES)
    logs = 2.0 - 0.3 * (x - np.log(7.3)) ** 2
    found = measured_curve("width", PLACES, np.exp(np.array([logs, logs])), np.random.default_rng(0))
    assert found.position is not None and found.height is not None and found.width is not None
    assert found.position[0] == pytest.approx(7.3, rel=1e-9) and found.height[0] == pytest.approx(np.exp(2.0), rel=1e-9)
    assert found.verdict == "present" and found.shape == "peak"
    # Half of the prominence above the base, where the parabola of the logarithm is known.
    base = max(np.exp(logs[0]), np.exp(logs[-1]))
    reach = np.sqrt((2.0 - np.log(0.5 * (np.exp(2.0) + base))) / 0.3)
    assert found.base == pytest.approx(base) and found.width[0] == pytest.approx(2 * reach, rel=0.02)


def test_of_any_table_it_is_the_most_prominent_peak_that_is_found():
    """`risk_peaks` looks at every maximum; here the walk is random, so that there are many."""
    rng = np.random.default_rng(5)
    for _ in range(30):
        logs = np.cumsum(0.5 * rng.standard_normal(len(PLACES)))
        surface = RiskSurface.over(
            {"features": PLACES}, from_target=np.exp(logs), from_noise=0.0, noise=0.0, error=0.0, formula="walk"
        )
        table = risk_peaks(surface).table
        if not len(table) or (ratios := table["height"] / table["base"]).max() < 1.06:
            continue
        best = table.loc[ratios.idxmax()]
        found = measured_curve("features", PLACES, np.exp(np.array([logs] * 2)), rng)
        assert PLACES[found.top] == pytest.approx(best["position"]) and found.base == pytest.approx(best["base"])
        assert found.width is not None and found.width[0] == pytest.approx(best["width"], abs=1e-9)


@pytest.mark.parametrize(
    ("logs", "shape"),
    [
        (-0.3 * np.log(PLACES), "falls"),
        (0.3 * np.log(PLACES), "climbs"),
        (0.2 * (np.log(PLACES) - 2.0) ** 2, "rises"),
        (bump(height=0.02, tilt=0.0), "climbs"),  # of less than 5 %
    ],
)
def test_curves_without_a_peak_say_what_they_are(logs, shape):
    found = measured_curve("time", PLACES, np.exp(np.array([logs] * 3)), np.random.default_rng(0))
    expected = shape if np.ptp(logs) > 0.05 else "falls"
    assert found.shape == expected and found.verdict == "absent" and found.position is None


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    """Of 150 measurements of 8 seeds: a rate of .9 has a standard error of .025, and few seeds are hard."""
    rng = np.random.default_rng(1)
    truth = measured_curve("width", PLACES, np.exp(np.array([bump()] * 2)), rng)
    hits = []
    for _ in range(150):
        found = measured_curve("width", PLACES, drawn(bump(), rng), rng)
        assert found.position is not None and found.height is not None
        ends = [(found.height, truth.height), (found.position, truth.position)]
        hits.append([one[1] <= true[0] <= one[2] for one, true in ends if true is not None])
        middle = 3
        hits[-1].append(found.lower[middle] <= np.exp(bump()[middle]) <= found.upper[middle])
    rates = np.mean(hits, axis=0)
    assert (rates > 0.8).all() and rates[2] == pytest.approx(0.9, abs=0.08)


def test_noise_alone_is_seldom_called_a_peak_and_a_peak_in_noise_often_is():
    """One-sided at 5 %: of 100 flat curves at most 12 may be called so (three standard errors and a bit above 5)."""
    rng = np.random.default_rng(4)
    flat, tall = np.zeros(len(PLACES)), bump(height=0.5, tilt=0.0)
    called = [measured_curve("width", PLACES, drawn(flat, rng, seeds=6), rng).verdict for _ in range(100)]
    found = [measured_curve("width", PLACES, drawn(tall, rng, seeds=6), rng).verdict for _ in range(30)]
    assert called.count("present") <= 12 and found.count("present") >= 27


def test_what_drift_and_rotation_did_adds_up_and_is_what_was_put_in():
    rng = np.random.default_rng(2)
    common = 0.2 * rng.standard_normal((8, 1))
    made = {
        "measured": np.exp(bump(at=8.0, height=1.0) + 0.01 + common),
        "lazy": np.exp(bump(at=16.0, height=0.4) + common),
        "drift": np.exp(bump(at=16.0, height=0.9) + common),
        "full": np.exp(bump(at=8.0, height=1.0) + common),
    }
    moves = compare_curves("width", PLACES, made, rng)
    parts = [moves.height[name][0] for name in ("drift", "rotation", "quadrature")]
    assert sum(parts) == pytest.approx(moves.height["all"][0], abs=1e-12)
    assert parts[2] == pytest.approx(0.01, abs=1e-12)
    at = int(np.argmin(np.abs(PLACES - moves.place)))
    assert parts[0] == pytest.approx((bump(16.0, 0.9) - bump(16.0, 0.4))[at], abs=1e-12)
    shift = moves.position["rotation"]
    assert shift is not None and shift[0] == pytest.approx(np.log(0.5), abs=0.02)  # the parabola on a grid of .23
    assert "drift raises the risk there" in moves.sentence and len(repr(moves).splitlines()) <= 15


def test_a_peak_that_only_moving_kernels_have_is_said_to_be_made():
    rng = np.random.default_rng(3)
    flat, peak = np.exp(np.array([-0.3 * np.log(PLACES)] * 4)), np.exp(np.array([bump()] * 4))
    moves = compare_curves("width", PLACES, {"measured": peak, "lazy": flat, "drift": flat, "full": peak}, rng)
    assert "rotation makes the peak" in moves.sentence and moves.position["rotation"] is None
    gone = compare_curves("width", PLACES, {"measured": flat, "lazy": peak, "drift": peak, "full": flat}, rng)
    assert "rotation removes the peak" in gone.sentence
    assert gone.place == pytest.approx(PLACES[np.argmax(bump())])


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("places", "risk", "error", "message"),
    [
        (PLACES[:2], np.ones((3, 2)), ArgumentError, "three or more increasing numbers"),
        (PLACES[::-1], np.ones((3, 21)), ArgumentError, "three or more increasing numbers"),
        (PLACES, np.ones((1, 21)), ShapeError, r"two or more seeds.*\(1, 21\)"),
        (PLACES, np.zeros((3, 21)), NonFiniteError, "positive and finite"),
    ],
)
def test_bad_curves_are_refused(places, risk, error, message):
    with pytest.raises(error, match=message):
        measured_curve("width", places, risk, np.random.default_rng(0))
