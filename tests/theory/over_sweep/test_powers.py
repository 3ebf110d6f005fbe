"""Powers over a sweep: one for all settings where they share it, one each where they do not."""

import numpy as np
import pytest
import xarray as xr

from eigenflow.theory.over_sweep.powers import fit_powers

pytestmark = pytest.mark.long

WIDTHS = np.array([32, 64, 128, 256])
KINDS = np.array(["ntk", "maximal_update"])
KEYS = {"width": ("width", WIDTHS), "kind": ("kind", KINDS)}


def fitted(powers, *, seed, spread=0.05, levels=(1.0, 4.0)):
    noise = np.random.default_rng(seed).normal(0.0, spread, (4, 2, 3))
    logs = np.log(levels) + np.log(WIDTHS)[:, None] * np.array(powers)
    data = xr.Dataset({"distance": (("width", "kind", "repeat"), np.exp(logs[..., None] + noise))})
    return fit_powers(data, KEYS, ["distance"])


def test_settings_with_powers_of_their_own_get_them():
    """As of NTK parametrisation and maximal update; the intervals hold what was put in."""
    found, missing = fitted((-0.85, -0.15), seed=0)
    assert not missing and [one.where for one in found] == [{"kind": "ntk"}, {"kind": "maximal_update"}]
    for one, true in zip(found, (-0.85, -0.15), strict=True):
        assert one.lower < true < one.upper and one.runs == 12
        assert one.value == pytest.approx(true, abs=4 * 0.05 / np.sqrt(12 * np.log(WIDTHS).var()))


def test_settings_that_share_a_power_have_one():
    """Told apart by chance in one of a hundred: of 400, four expected, with a standard deviation of two."""
    apart = sum(len(fitted((-0.5, -0.5), seed=seed)[0]) > 1 for seed in range(400))
    assert apart <= 12
    found, _ = fitted((-0.5, -0.5), seed=1)
    assert [one.where for one in found] == [{}] and found[0].runs == 24


def test_interval_of_a_shared_power_is_that_of_scipy():
    from scipy.stats import linregress, t

    rng = np.random.default_rng(3)
    values = np.exp(-0.4 * np.log(WIDTHS)[:, None] + rng.normal(0, 0.1, (4, 5)))
    data = xr.Dataset({"distance": (("width", "repeat"), values)})
    (one,), _ = fit_powers(data, {"width": ("width", WIDTHS)}, ["distance"])
    line = linregress(np.repeat(np.log(WIDTHS), 5), np.log(values).ravel())
    half = line.stderr * t.ppf(0.95, 18)
    np.testing.assert_allclose([one.value, one.lower, one.upper], [line.slope, line.slope - half, line.slope + half])
