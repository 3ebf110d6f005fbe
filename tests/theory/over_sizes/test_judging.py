"""Rows about exponents over sizes, and about curves without a free number."""

import numpy as np
import pytest

from eigenflow.core.errors import ArgumentError, ShapeError
from eigenflow.theory.exponents.ranges import ExponentRange
from eigenflow.theory.over_sizes import SizeSweep, curve_row, exponent_row, finite_exponent_row
from eigenflow.theory.verdicts import Verdict

SIZES = 16.0 * 2.0 ** np.arange(8)


def sweep_of(exact: np.ndarray, scatter: float = 0.005, seed: int = 0, resource: str = "width") -> SizeSweep:
    noise = np.exp(scatter * np.random.default_rng(seed).standard_normal((len(exact), 4)))
    repeats = np.tile(np.arange(4), len(exact))
    return SizeSweep(resource, np.repeat(SIZES, 4), (exact[:, None] * noise).ravel(), repeats)


def around(value: float, share: float = 0.02) -> ExponentRange:
    return ExponentRange(value, value / (1 + share), value * (1 + share))


def test_the_law_of_the_predicted_exponent_is_supported():
    row = exponent_row(sweep_of(0.1 + (SIZES / 16) ** -0.5), around(0.5))
    assert row.verdict is Verdict.SUPPORTED and row.claim == "C6.width"
    assert row.estimate == pytest.approx(0.0, abs=0.05)
    assert "floor" in row.reason and "best rival" in row.reason


@pytest.mark.parametrize("wrong", [0.7, 1.4])
def test_another_exponent_is_contradicted(wrong: float):
    row = exponent_row(sweep_of((SIZES / 16) ** -0.5), around(0.5 * wrong))
    assert row.verdict is Verdict.CONTRADICTED
    assert row.estimate == pytest.approx(wrong - 1.0, abs=0.05)


def test_both_intervals_count():
    """Nothing scatters but the prediction: the interval is its own, in ratio to what is fitted exactly."""
    row = exponent_row(sweep_of((SIZES / 16) ** -0.5, scatter=1e-6), ExponentRange(0.5, 0.25, 1.0))
    assert row.interval == pytest.approx((-0.5, 1.0), abs=0.02)
    assert row.verdict is Verdict.UNDECIDED


def test_a_prediction_without_a_lower_end_supports_nothing():
    row = exponent_row(sweep_of((SIZES / 16) ** -0.5), ExponentRange(0.5, 0.0, 0.6))
    assert row.interval is not None and np.isfinite(row.interval).all()
    assert row.verdict is Verdict.UNDECIDED


def test_an_exponential_approach_loses_to_its_own_law():
    row = exponent_row(sweep_of(0.05 + np.exp(-3 * SIZES / SIZES[-1])), around(0.5))
    assert row.verdict is Verdict.CONTRADICTED


@pytest.mark.parametrize("losses", [np.ones(8), (SIZES / 16) ** 0.2])
def test_a_loss_that_does_not_fall_decides_nothing(losses: np.ndarray):
    row = exponent_row(sweep_of(losses, scatter=0.0), around(0.5))
    assert row.verdict is Verdict.UNDECIDED and row.estimate is None


@pytest.mark.parametrize(
    ("resource", "key"), [("width", "width"), ("data", "data"), ("time", "sizes_time"), ("compute", "compute")]
)
def test_every_resource_has_its_row(resource: str, key: str):
    sweep = sweep_of((SIZES / 16) ** -0.5, resource=resource)
    assert exponent_row(sweep, around(0.5)).claim == f"C6.{key}"
    assert curve_row(sweep, sweep.means).claim == f"C6.{resource}_curve"


@pytest.mark.parametrize(
    ("factor", "verdict"), [(1.03, Verdict.SUPPORTED), (1.3, Verdict.CONTRADICTED), (0.7, Verdict.CONTRADICTED)]
)
def test_a_curve_is_held_to_a_tenth(factor: float, verdict: Verdict):
    """A constant factor is its own root mean square in ln, up to the scatter of the means."""
    exact = 0.1 + (SIZES / 16) ** -0.5
    row = curve_row(sweep_of(exact), factor * exact)
    assert row.verdict is verdict and not row.decides
    assert row.estimate == pytest.approx(abs(np.log(factor)), abs=0.01)


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, Verdict.SUPPORTED), (1.4, Verdict.CONTRADICTED)])
def test_a_curve_s_exponent_is_held_to_a_tenth_whatever_its_size(factor: float, verdict: Verdict):
    """The formula's losses are seven times too large, which is no matter to their exponent."""
    x = SIZES / 16
    row = finite_exponent_row(sweep_of(0.1 + x**-0.5, scatter=0.002), 7.0 * (0.1 + x ** (-0.5 * factor)))
    assert row.verdict is verdict and row.claim == "C6.width_finite" and not row.decides


def test_an_exponent_that_runs_leave_open_decides_nothing():
    row = finite_exponent_row(sweep_of(np.ones(8), scatter=0.0), (SIZES / 16) ** -0.5)
    assert row.verdict is Verdict.UNDECIDED and row.estimate is None


@pytest.mark.rejects
def test_what_cannot_be_judged_is_refused():
    sweep = sweep_of((SIZES / 16) ** -0.5)
    with pytest.raises(ArgumentError, match="`predicted` must be an ExponentRange"):
        exponent_row(sweep, 0.5)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ArgumentError, match="`predicted` must be > 0 and lie in its interval"):
        exponent_row(sweep, ExponentRange(0.0, 0.0, 0.1))
    with pytest.raises(ShapeError, match="one loss for each of the 8 sizes"):
        curve_row(sweep, np.ones(3))
    with pytest.raises(ArgumentError, match="`formula` must be finite and > 0"):
        curve_row(sweep, np.full(8, np.inf))
