"""The quantum to which losses are printed, and what rounding may not be taken for."""

import numpy as np
import pandas as pd
import pytest

import eigenflow as ef
from eigenflow.core.errors import ArgumentError
from eigenflow.forecast import Curve, Schedule
from eigenflow.forecast.reading.judging.rounding import printed_quanta

RNG = np.random.default_rng(0)
STEPS = np.arange(25, 5025, 25)
# 0.4 down to 0.0002, with scatter of a factor of 1.5: a fine-tuning that has learned all there is.
TINY = (0.4 * np.exp(-STEPS / 400) + 2e-4) * np.exp(0.4 * RNG.standard_normal(200))
LOSSES = (1.0 + 4.0 * np.linspace(1, 0, 200) ** 2) * np.exp(0.02 * RNG.standard_normal(200))


def short_float(values, bits):
    """Values with so many significant bits, as bfloat16 (8) stores them."""
    mantissa, exponent = np.frexp(values)
    return np.ldexp(np.round(mantissa * 2.0**bits) / 2.0**bits, exponent)


def read(losses):
    return ef.read_curves(pd.DataFrame({"step": STEPS, "loss": losses, "lr": 1e-4}))[0]


@pytest.mark.parametrize("decimals", [1, 2, 3, 4])
@pytest.mark.parametrize("stored", [np.float64, np.float32])
def test_decimals_that_were_printed_are_found(decimals, stored):
    values = np.round(LOSSES, decimals).astype(stored).astype(np.float64)
    np.testing.assert_allclose(printed_quanta(values), 10.0**-decimals, rtol=1e-12)


@pytest.mark.parametrize("digits", [2, 3, 4])
def test_a_fixed_number_of_digits_has_a_quantum_in_every_decade(digits):
    values = np.array([float(f"{value:.{digits}g}") for value in 100 * LOSSES**2])  # 100 to 2500
    expected = 10.0 ** (np.floor(np.log10(values)) - digits + 1)
    np.testing.assert_allclose(printed_quanta(values), expected, rtol=1e-12)


def test_short_floats_have_a_quantum_in_every_octave():
    """bfloat16 keeps 8 bits: between 2 and 4 its numbers lie 1/64 apart."""
    values = short_float(LOSSES, 8)
    np.testing.assert_allclose(printed_quanta(values), 2.0 ** (np.floor(np.log2(values)) - 7), rtol=1e-12)


@pytest.mark.parametrize("values", [LOSSES, LOSSES.astype(np.float32).astype(np.float64), np.full(200, 2.0)])
def test_numbers_that_are_not_rounded_have_none(values):
    assert not printed_quanta(values).any()


def test_coarse_losses_are_said_with_their_share_of_the_level():
    curve = read(np.maximum(np.round(TINY, 4), 1e-4))
    (caution,) = curve.cautions
    level = float(np.median(curve.losses[-40:]))
    assert caution == f"losses are rounded to 0.0001 ({1e-4 / level:.0%} of the level at the end)"
    assert curve.rounding == pytest.approx(1e-4)
    assert 0.3 < 1e-4 / level < 1.01  # of 0.0002 or 0.0003


def test_rounding_makes_no_spikes():
    """0.0005 beside 0.0002 are three quanta; the same curve in full digits has no spike either."""
    coarse, full = read(np.maximum(np.round(TINY, 4), 1e-4)), read(TINY)
    assert len(coarse) == len(full) == len(STEPS)


def test_usual_digits_are_kept_without_a_word():
    curve = read(np.round(LOSSES, 4))
    assert curve.cautions == () and curve.rounding == pytest.approx(1e-4)
    assert read(LOSSES).rounding == 0.0


def test_rounding_is_in_the_unit_of_the_losses():
    frame = pd.DataFrame({"step": STEPS, "loss": np.round(LOSSES, 2), "lr": 1e-4})
    assert ef.read_curves(frame, unit="bits")[0].rounding == pytest.approx(0.01 * np.log(2))


def test_the_rounding_of_a_log_has_the_variance_of_a_quantum():
    """Values that fall evenly into their cells: quantum^2 / 12, whose estimate from 200 has a deviation of 6 %."""
    off = np.round(LOSSES, 2) - LOSSES
    assert np.var(off) == pytest.approx(read(np.round(LOSSES, 2)).rounding ** 2 / 12, rel=0.2)


@pytest.mark.rejects
def test_a_negative_rounding_is_refused():
    with pytest.raises(ArgumentError, match="`rounding`"):
        Curve("a", np.arange(3), np.ones(3), Schedule.constant(total=3, peak=1.0), rounding=-1.0)
