"""Is the first error a power of lambda? Against spectra drawn from powers, and others whose change is known."""

import numpy as np
import pytest
import xarray as xr

from eigenflow.core.errors import ArgumentError
from eigenflow.theory.exponents.source_form import source_form

NU, TIMES = 1.4, np.concatenate([[0.0], np.geomspace(1.0, 1e5, 40)])


def resting(eigenvalues, energies, times=TIMES):
    """A run whose operator stands still."""
    left = energies * np.exp(-2.0 * eigenvalues * times[:, None])
    return xr.Dataset(
        {
            "time": ("step", times),
            "eigenvalue": (("step", "mode"), np.tile(eigenvalues, (len(times), 1))),
            "coefficient": (("step", "mode"), np.sqrt(left)),
            "probe_loss": ("step", 0.5 * left.sum(1)),
        },
        coords={"step": np.arange(len(times))},
    )


def spectrum(modes, sigma, change=0.0):
    """lambda = k^-nu and energies lambda^s of each e-fold, s = sigma + change log10(lambda / middle)."""
    rank = np.arange(1.0, modes + 1.0)
    lam = rank**-NU
    x = np.log(lam) - 0.5 * np.log(lam[-1])
    return lam, np.exp(sigma * x + 0.5 * change / np.log(10.0) * x**2) / rank


@pytest.mark.parametrize("change", [0.0, -0.6, 0.4])
def test_a_smooth_spectrum_has_its_change(change):
    """Pieces of a sixth of a decade count modes; that of the first holds one or two: a few per cent."""
    found = source_form(resting(*spectrum(2000, 0.6, change)))
    assert found.change == pytest.approx(change, abs=0.04)
    assert found.modes == 2000 and found.decades == pytest.approx(NU * np.log10(2000.0))
    if change == 0.0:
        assert found.source == pytest.approx(0.6, abs=0.04)


@pytest.mark.long
@pytest.mark.parametrize(("modes", "kind"), [(300, "squares"), (1000, "squares"), (1000, "alike")])
def test_the_interval_holds_the_truth_as_often_as_it_says(modes, kind):
    """200 draws of squared Gaussians, alone or five outputs of one size: 90 % within 3 standard errors, 6.4 points."""
    rng = np.random.default_rng(5)
    lam, mean = spectrum(modes, 0.6)
    held = 0
    for _ in range(200):
        factor = rng.normal(size=modes) ** 2
        if kind == "alike":
            factor = factor * np.repeat(rng.normal(size=modes // 5) ** 2, 5)
        found = source_form(resting(lam, mean * factor))
        held += abs(found.change) <= found.change_half_width
    assert 0.83 <= held / 200 <= 0.97


def test_a_smooth_target_is_no_power():
    lam = np.arange(1.0, 601.0) ** -NU
    found = source_form(resting(lam, np.exp(-np.arange(600) / 60.0)))
    assert found.change + found.change_half_width < -1.0


@pytest.mark.rejects
def test_runs_that_sweep_little_are_refused():
    with pytest.raises(ArgumentError, match="sweeps 20 modes over"):
        source_form(resting(*spectrum(20, 0.6)))
    narrow = np.linspace(1.0, 0.9, 100)
    with pytest.raises(ArgumentError, match="decades of eigenvalues"):
        source_form(resting(narrow, np.ones(100)))
    with pytest.raises(ArgumentError, match="sweeps 0 modes"):
        source_form(resting(*spectrum(100, 0.6), times=TIMES[:1]))
