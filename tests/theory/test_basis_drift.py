"""Angles between shells, on operators whose rotation is known."""

import numpy as np
import pytest

from eigenflow.core.errors import RunFolderError
from eigenflow.theory.modes.basis import basis_drift
from synthetic_run import from_matrix, measure, power_law_modes

LARGE, SMALL = 2.0, 2e-3


def turning(t):
    """Two planes of one large and one small eigenvalue, each turned by its own angle."""
    M = np.zeros((4, 4))
    for plane, speed in ((slice(0, 2), 0.3), (slice(2, 4), 0.5)):
        c, s = np.cos(speed * t), np.sin(speed * t)
        turn, own = np.array([[c, -s], [s, c]]), np.diag([LARGE, SMALL]) * (1.0 if plane.start == 0 else 0.99)
        M[plane, plane] = turn @ own @ turn.T
    return from_matrix(M, np.zeros((4, 4)), np.ones(4))


def test_angles_are_those_of_the_rotation():
    """cos^2 adds up over the two planes of a shell; the other shell is three decades away."""
    times = np.linspace(0, 1.2, 5)
    drift = basis_drift(measure(turning, times, 1e-6), shells_per_decade=1)
    for k in range(1, 5):
        for angles, span in ((drift.since_start, times[k]), (drift.since_before, times[k] - times[k - 1])):
            expected = np.mean(np.cos(np.array([0.3, 0.5]) * span) ** 2)
            there = ~np.isnan(angles.near[k])
            assert there.sum() == 2
            np.testing.assert_allclose(angles.near[k, there], expected, rtol=1e-12)
            np.testing.assert_allclose(angles.kept[k, there], expected, rtol=1e-12)
            np.testing.assert_allclose(angles.angle[k, there], np.arccos(np.sqrt(expected)), rtol=1e-10)
            assert angles.whole[k] == pytest.approx(expected, rel=1e-12)
            assert angles.shift[k] == 0
    assert np.isnan(drift.since_before.whole[0])


def test_part_outside_of_the_first_basis_has_its_closed_form():
    times = np.linspace(0, 1.2, 5)
    drift = basis_drift(measure(turning, times, 1e-6))
    kept = np.zeros(5)
    for speed, scale in ((0.3, 1.0), (0.5, 0.99)):
        c, s = np.cos(speed * times) ** 2, np.sin(speed * times) ** 2
        kept += scale**2 * ((c * LARGE + s * SMALL) ** 2 + (s * LARGE + c * SMALL) ** 2)
    expected = 1 - kept / ((1 + 0.99**2) * (LARGE**2 + SMALL**2))
    np.testing.assert_allclose(drift.outside, expected, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(drift.outside_lower, drift.outside, atol=1e-12)


def test_spectrum_that_scales_does_not_turn():
    """Eigenvalues grow twentyfold, by more than a decade: modes change shells, none of them turns."""
    drift = basis_drift(measure(power_law_modes(60, rho=1.6), np.geomspace(0.1, 150, 9), 1e-6))
    assert drift.since_start.shift[-1] in (5, 6)  # 4 ln(20)/ln(10) = 5.2
    np.testing.assert_allclose(drift.since_start.whole[1:], 1.0, atol=1e-12)
    assert np.nanmin(drift.since_start.kept[-1]) < 0.9
    np.testing.assert_allclose(drift.outside, 0.0, atol=1e-12)


def test_fewer_stored_modes_bound_the_part_outside():
    data = measure(turning, np.linspace(0, 1.2, 5), 1e-6)
    whole = basis_drift(data)
    some = basis_drift(data.isel(mode=slice(2)))
    assert (some.outside >= whole.outside - 1e-14).all() and (some.outside_lower <= whole.outside + 1e-14).all()
    assert some.outside[-1] - some.outside_lower[-1] > 0.01


def test_overlap_with_a_lost_measurement_counts_for_nothing():
    times = np.linspace(0, 1.2, 5)
    data = measure(turning, times, 1e-6)
    data["frame_time"] = ("step", np.append(times[:1], times[:-1]))
    drift = basis_drift(data.isel(step=[0, 1, 3, 4]))
    assert np.isnan(drift.since_before.whole[[0, 2]]).all() and not np.isnan(drift.since_before.whole[[1, 3]]).any()


@pytest.mark.rejects
def test_older_run():
    data = measure(turning, np.array([0.0, 0.1]), 1e-6).drop_vars("shell_overlap_initial")
    with pytest.raises(RunFolderError, match=r"does not hold shell_overlap_initial: .*older version\. Record it again"):
        basis_drift(data)
