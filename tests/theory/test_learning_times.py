"""When modes are learned, on systems whose energies are known at all times."""

import json

import numpy as np
import pytest

from eigenflow.core.errors import ArgumentError
from eigenflow.theory import learning_times
from eigenflow.theory.modes.learning_times import LEVELS, FallTimes
from synthetic_run import DatasetRun, measure, power_law_modes, riccati

pytestmark = pytest.mark.long

TIMES = np.append(0.0, np.geomspace(0.05, 300, 60))
LABELS = np.arange(1.0, 81) ** -1.5
PASSED = -np.log(np.array(list(LEVELS.values())))  # of 2 lambda tau


def scaling(rho):
    """Modes that grow as (1 + t)^(rho - 1) and never turn."""
    return DatasetRun(measure(power_law_modes(80, rho=rho, seed=0), TIMES, 1e-3))


def test_frozen_modes_are_learned_at_their_relaxation_times():
    """exp(-2 lambda t): straight lines of ln(energy) are exact, in either basis and for the frozen operator."""
    found = learning_times(scaling(1.0), by="rank")
    kept = np.searchsorted(-LABELS, -found.eigenvalues[:, 0])
    exact = PASSED / (2 * LABELS[kept, None])
    np.testing.assert_allclose(found.lazy, exact, rtol=1e-10)
    reached = exact <= TIMES[-1]
    assert 0 < reached.sum() < reached.size
    for basis in (found.fixed, found.moving):
        np.testing.assert_allclose(basis.time[reached], exact[reached], rtol=1e-9)
        assert np.isinf(basis.time[~reached]).all() and np.isinf(basis.before[~reached]).all()
    assert found.unknown <= 1e-9 and found.missing == ""


def test_growing_modes_are_learned_before_the_frozen_ones_and_between_the_measurements_given():
    """tau = ((1 + t)^rho - 1) / rho; lines of ln(energy) between 14 measurements a decade are right to 1 %."""
    rho = 1.5
    found = learning_times(scaling(rho), by="rank")
    kept = np.searchsorted(-LABELS, -found.eigenvalues[:, 0])
    exact = (1 + rho * PASSED / (2 * LABELS[kept, None])) ** (1 / rho) - 1
    reached = exact <= TIMES[-1]
    for basis in (found.fixed, found.moving):
        np.testing.assert_allclose(basis.time[reached], exact[reached], rtol=1e-2)
        assert (basis.after[reached] <= exact[reached]).all() and (exact[reached] <= basis.before[reached]).all()
    assert (found.lazy[reached] > exact[reached]).all()


def test_shells_hold_the_modes_of_their_eigenvalues():
    """Energies of a shell are sums of exponentials; the frozen time is where the sum has fallen."""
    run = scaling(1.0)
    found = learning_times(run)
    start = run.measurements["coefficient"].values[0] ** 2
    assert found.shares.sum() == pytest.approx(1.0)
    for (first, last), share, lazy in zip(found.ranks, found.shares, found.lazy, strict=True):
        modes = slice(first - 1, last)
        assert share == pytest.approx(start[modes].sum() / start.sum())
        left = (start[modes] * np.exp(-2 * LABELS[modes] * lazy[:, None])).sum(1) / start[modes].sum()
        np.testing.assert_allclose(left, list(LEVELS.values()), rtol=1e-9)
    few = learning_times(run, most=2)
    np.testing.assert_array_equal(few.shares, found.shares[:2])
    assert few.unknown == pytest.approx(1.0 - found.shares[:2].sum())
    finer = learning_times(run, shells_per_decade=16)
    assert len(finer.shares) > len(found.shares)


def test_turning_modes_fall_at_different_times_in_the_two_bases():
    """A rotating operator: energies along the first eigenvectors by hand, from the closed form of the error."""
    path, times = riccati(5, seed=2), np.linspace(0.0, 4.0, 200)
    run = DatasetRun(measure(path, times, 1e-3))
    found = learning_times(run, by="rank", most=10)
    frame = path(0.0).frame
    dense = np.linspace(0.0, 4.0, 4000)
    along = np.array([frame @ path(t).error for t in dense])[:, :10] ** 2
    for place, level in enumerate(LEVELS.values()):
        for rank in range(10):
            above = np.flatnonzero(along[:, rank] > level * along[0, rank])[-1]
            time = found.fixed.time[np.flatnonzero(found.ranks[:, 0] == rank + 1)[0], place]
            if above == len(dense) - 1:
                assert not np.isfinite(time)
            else:
                assert time == pytest.approx(dense[above], abs=2e-2)  # a spacing of the measurements
    both = np.isfinite(found.fixed.time) & np.isfinite(found.moving.time)
    assert np.abs(found.fixed.time - found.moving.time)[both].max() > 0.1


def test_a_mode_that_rises_again_counts_as_learned_when_it_stays():
    data = measure(power_law_modes(4, rho=1.0), np.arange(6.0), 1e-3)
    energy = np.array([1.0, 0.2, 0.6, 0.3, 0.1, 0.04])
    values = np.tile(np.sqrt(energy)[:, None], (1, 4))
    data = data.assign(initial_coefficient=(("step", "mode"), values), coefficient=(("step", "mode"), values))
    data["energy"][:] = 0.0
    data["energy"][:, -1] = 4 * energy
    found = learning_times(DatasetRun(data), by="rank")
    expected = 2 + np.log(0.6 * np.e) / np.log(0.6 / 0.3)
    np.testing.assert_allclose(found.fixed.time[:, 0], expected, rtol=1e-12)
    assert (found.fixed.after[:, 0] == 2.0).all() and (found.fixed.before[:, 0] == 3.0).all()


def test_runs_without_the_first_basis_are_told_by_the_moving_one_alone():
    whole = scaling(1.2)
    found = learning_times(DatasetRun(whole.measurements.drop_vars("initial_coefficient")))
    assert found.fixed is None and "initial_coefficient" in found.missing
    np.testing.assert_array_equal(found.moving.time, learning_times(whole).moving.time)
    assert not [name for name in found.to_dataframe() if name.startswith("fixed")]
    some = learning_times(DatasetRun(whole.measurements.isel(mode=slice(0, 5))))
    assert some.unknown > 0.1 and "not told" in repr(some)


def test_result_prints_itself_and_as_table_json_and_picture():
    import matplotlib as mpl

    mpl.use("Agg")
    found = learning_times(scaling(1.2))
    assert repr(found).startswith("Learning times by shell") and len(repr(found).splitlines()) <= 15
    frame = found.to_dataframe()
    assert len(frame) == len(found.shares) and isinstance(found.fixed, FallTimes)
    np.testing.assert_array_equal(frame["fixed_0.05"], found.fixed.time[:, 1])
    told = json.loads(json.dumps(found.to_dict(), default=lambda x: x.item(), allow_nan=False))
    assert (told["groups"][-1]["moving_0.05"] is None) == bool(np.isinf(found.moving.time[-1, 1]))
    ax = found.plot()
    assert "first measurement" in ax.get_xlabel()
    lines = [line.get_ydata() for line in ax.lines if line.get_label() == "first eigenbasis, 1/e"]
    np.testing.assert_array_equal(lines[0], found.fixed.time[np.isfinite(found.fixed.time[:, 0]), 0])


@pytest.mark.rejects
def test_bad_input_is_refused():
    run = scaling(1.0)
    with pytest.raises(ArgumentError, match="`by` must be 'shell' or 'rank', but is 'mode'"):
        learning_times(run, by="mode")
    with pytest.raises(ArgumentError, match="`most` must be 1 or more"):
        learning_times(run, most=0)
    with pytest.raises(ArgumentError, match="shells_per_decade"):
        learning_times(run, shells_per_decade=5)
    with pytest.raises(ArgumentError, match=r"two measurements of modes, but .* has 1 of 80"):
        learning_times(DatasetRun(run.measurements.isel(step=[0])))
