"""Rows about peaks of the test risk on surfaces of known truth, both ways."""

from dataclasses import replace

import numpy as np
import pytest

from eigenflow.core.errors import ArgumentError
from eigenflow.theory.controls.peaks import PEAK_CONTROLS
from eigenflow.theory.double_descent.measured.comparison import DoubleDescentComparison, NetworksRow
from eigenflow.theory.double_descent.measured.judging import FEWEST, peak_rows
from eigenflow.theory.double_descent.measured.peaks_over_seeds import compare_curves


@pytest.mark.long
@pytest.mark.parametrize("control", PEAK_CONTROLS, ids=lambda control: control.name)
def test_rows_are_right_on_controls(control):
    """Three draws, six seeds each: no row is wrong, and at least two of three say what is true (20 of 20 elsewhere)."""
    for key in control.true | control.false:
        verdicts = [control.judge(6, seed)[key].verdict.value for seed in (1, 2, 3)]
        right, wrong = ("supported", "contradicted") if key in control.true else ("contradicted", "supported")
        assert wrong not in verdicts
        assert verdicts.count(right) >= 2


def surface(shift, height, seeds=5, curves=4):
    """Bumps in ln(width) of known place and height; the drift's are shifted and scaled, scatter is shared by all."""
    rng = np.random.default_rng(0)
    places = np.geomspace(2.0, 200.0, 15)
    rows = []
    for curve in range(curves):
        centre = np.log(20.0 * 1.1**curve)

        def bump(at, factor):
            return factor * (0.2 + np.exp(-2.0 * (np.log(places) - at) ** 2))

        scatter = np.exp(0.05 * rng.normal(size=(seeds, 1)))
        measured, drift = bump(centre, 1.0) * scatter, bump(centre + shift, height) * scatter
        risks = {"measured": measured, "lazy": drift, "drift": drift, "full": measured}
        moves = compare_curves("width", places, risks, rng)
        rows.append(NetworksRow("width", {"samples": 10.0 + curve}, threshold=None, fits=None, moves=moves))
    return DoubleDescentComparison(rows)


def test_estimates_are_the_logarithms_of_ratios():
    """A parabola finds a bump within a few per cent of the spacing, .33; heights compare at one width."""
    there, place, height = peak_rows(surface(0.33, 0.5))
    assert there.estimate == 1.0 and "4 of 4 curves with a sure peak have it both" in there.reason
    assert place.estimate == pytest.approx(-0.33, abs=0.03)
    top = np.exp(-2.0 * 0.33**2)
    assert height.estimate == pytest.approx(np.log(1.2 / (0.5 * (0.2 + top))), abs=0.06)
    assert place.verdict == "contradicted" and height.verdict == "contradicted"


def test_the_whole_prediction_is_the_network():
    for row in peak_rows(surface(0.33, 0.5), prediction="full"):
        assert row.verdict == "supported" or row.claim == "C6.peaks"
        assert row.estimate == pytest.approx(1.0 if row.claim == "C6.peaks" else 0.0, abs=1e-12)


def test_few_curves_and_refused_ones_leave_rows_undecided():
    few = surface(0.0, 1.0, curves=FEWEST - 1)
    lost = replace(few, networks=[*few.networks, NetworksRow("time", {"width": 3.0}, None, None, None, "not finite")])
    for row in peak_rows(lost):
        assert row.verdict == "undecided" and row.interval is None and "more curves" in row.would_change


@pytest.mark.rejects
def test_unknown_predictions_are_named():
    with pytest.raises(ArgumentError, match=r"Unknown `prediction` 'rotation'.*'drift', 'full', 'lazy'"):
        peak_rows(surface(0.0, 1.0), prediction="rotation")
