"""The balance between measurements, on systems whose energy is known at any time."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import eigenflow as ef
from eigenflow.core.errors import RunFolderError
from eigenflow.shells import integrated_balance
from eigenflow.store import Run
from synthetic_run import from_modes, measure, power_law_modes, riccati

LABELS, START = np.array([3.0, 0.8, 0.2, 0.03]), np.array([1.0, -0.7, 0.5, 0.4])


class Held(Run):
    """A run that is not in a folder."""

    def __init__(self, data):
        self._path = Path("run")
        self.__dict__["measurements"] = data

    @property
    def header(self):
        return {}

    @property
    def measured_steps(self):
        return tuple(self.measurements["step"].values.tolist())


def budget_of(data, *, shells_per_decade=1):
    return ef.shell_budget(Held(data), shells_per_decade=shells_per_decade)


def balance_of(path, times, step_size, *, shells_per_decade=1):
    return integrated_balance(budget_of(measure(path, times, step_size), shells_per_decade=shells_per_decade))


def frozen(time):
    return from_modes(LABELS, 0 * LABELS, START * np.exp(-LABELS * time))


@pytest.mark.long
def test_dissipation_integrates_to_the_change_at_fourth_order():
    """Frozen modes in shells of their own: nothing is transported, so all of it is error of the quadrature."""
    errors = []
    for count in (17, 33, 65):
        found = balance_of(frozen, np.geomspace(0.1, 5.0, count), 1e-9)
        errors.append(np.abs(found.transported.values).sum())
        # The bars are those of a straight line, of second order: they hold with room to spare.
        assert (np.abs(found.transported) <= found.transported_error + 1e-9).all()
        assert (np.abs(found.residual) <= found.error + 1e-9).all()
    assert np.log2(np.array(errors[:-1]) / np.array(errors[1:])) == pytest.approx(4.0, abs=0.4)


def test_neighbouring_updates_are_exact():
    """Gradient descent measured at every update: sums of the steps' own budgets, no quadrature."""
    rate = 0.2
    path = lambda t: from_modes(LABELS, 0 * LABELS, START * (1 - rate * LABELS) ** round(t / rate))  # noqa: E731
    found = balance_of(path, rate * np.arange(6), rate)
    np.testing.assert_allclose(found.transported, 0, atol=1e-15)
    np.testing.assert_array_equal(found.error, 0)


def test_many_updates_are_a_sum_and_not_an_integral():
    """Ten updates of eta lambda up to 0.06 between measurements: energy falls by a sum over their starts."""
    rate = 0.02
    path = lambda t: from_modes(LABELS, 0 * LABELS, START * (1 - rate * LABELS) ** round(t / rate))  # noqa: E731
    found = balance_of(path, rate * 10 * np.arange(12), rate)
    assert (np.abs(found.residual) <= found.error).all()
    # An integral would miss half an update at either end.
    energies = START**2 * (1 - rate * LABELS) ** (20 * np.arange(12)[:, None])
    rates = ((2 * LABELS - rate * LABELS**2) * energies).sum(1)
    assert (np.abs(found.residual)[5:10] < 0.2 * 0.5 * rate * np.abs(np.diff(rates))[5:10]).all()


@pytest.mark.long
def test_crossing_eigenvalues_carry_their_energy_over_edges():
    """Modes that scale: what a shell got is what crossed its edges, which the balance finds between measurements."""
    path = power_law_modes(200, rho=1.6)
    times = np.geomspace(0.5, 20, 24)
    found = balance_of(path, times, 1e-6, shells_per_decade=4)
    edges, labels = np.concatenate([[0.0], found.edges, [np.inf]]), np.arange(1, 201) ** -1.5
    crossed = np.zeros((23, len(edges) - 1))
    for k, u in np.ndindex(23, 200):
        old, new = (np.searchsorted(edges, path(t).eigenvalues[u], side="right") for t in times[k : k + 2])
        for edge in range(old, new):
            time = (edges[edge] / labels[u]) ** (1 / 0.6) - 1  # lambda = label (1 + t)^0.6
            energy = path(time).coefficients[u] ** 2
            crossed[k, edge - 1] -= energy
            crossed[k, edge] += energy
    moved = found.transported.values
    miss, whole = np.abs(moved - crossed).sum(), np.abs(crossed).sum()
    # When a mode crosses between two measurements is not known, and so which shell it dissipates in: some per cent.
    assert miss < 0.1 * whole and miss < 1.5 * float(found.transported_error.sum())
    flux = found.flux.values * np.diff(times)[:, None]
    np.testing.assert_allclose(flux, np.cumsum(moved, axis=1)[:, :-1], atol=float(found.error.max()))
    assert (flux.min(1) < 0).all()  # eigenvalues grow: energy goes up through the edges
    # Measured updates hit next to none of the crossings.
    assert np.abs(found.sampled_transfer).sum() < 0.05 * whole


@pytest.mark.long
def test_rotation_is_transported_too():
    """Balanced Riccati: the whole energy balances to fourth order, while shells exchange by rotation."""
    found = [balance_of(riccati(3, seed=1), np.linspace(0, 2, c), 1e-9) for c in (11, 21, 41)]
    misses = np.array([float(np.abs(one.residual).sum()) for one in found])
    assert np.log2(misses[:-1] / misses[1:]) == pytest.approx(4.0, abs=0.3)
    moved = float(np.abs(found[-1].transported).sum())
    assert moved > 100 * float(found[-1].error.sum())


@pytest.mark.long
def test_gap_and_changed_step_are_marked_and_widen_the_error():
    times = np.geomspace(0.1, 5.0, 40)
    whole = balance_of(frozen, times, 1e-3)
    kept = np.delete(np.arange(40), [20, 21, 22, 23])
    broken = balance_of(frozen, times[kept], 1e-3)
    assert not whole.is_gap.any() and list(np.flatnonzero(broken.is_gap)) == [19]
    assert float(broken.error[19]) > 4 * float(whole.error[19:24].sum())
    assert float(np.abs(broken.residual[19])) <= float(broken.error[19])
    changed = balance_of(frozen, times, np.where(np.arange(40) < 20, 1e-3, 2e-3))
    assert list(np.flatnonzero(changed.is_step_changed)) == [19]
    assert float(changed.error[19]) > 4 * float(whole.error[19])


@pytest.mark.rejects
def test_one_measurement():
    with pytest.raises(RunFolderError, match=r"at least two, but the run has 1\. Measure more"):
        balance_of(frozen, np.array([0.5]), 1e-3)


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("name", "values"), [("time", [0.1, 0.4, 0.2]), ("step", [0, 200, 100]), ("time", [0.1, 0.2, 0.2])]
)
def test_measurements_that_do_not_increase(name, values):
    data = measure(frozen, np.array([0.1, 0.2, 0.4]), 1e-3).assign_coords(step=[0, 100, 300])
    data[name] = ("step", values)
    with pytest.raises(RunFolderError, match=r"must increase in step and time, but step \d+ at time .* follows step"):
        integrated_balance(budget_of(data))


def test_tracked_run_is_balanced_above_its_highest_cut():
    """All below it is one shell: what the others got is unchanged, and the whole too."""
    budget = budget_of(measure(riccati(3, seed=1), np.linspace(0, 2, 15), 1e-6))
    counts = budget.mode_count.sum("step").values
    shell = int(np.flatnonzero(counts)[-2])  # above it all but the lowest modes
    cut = xr.full_like(budget.time, budget.edges[shell - 1])
    cut[0] = budget.edges[0]
    whole, tracked = integrated_balance(budget), integrated_balance(replace(budget, cut=cut))
    for name in ("transported", "change"):
        mine, theirs = (getattr(one, name).values for one in (tracked, whole))
        np.testing.assert_allclose(mine[:, shell:], theirs[:, shell:], atol=1e-14)
        np.testing.assert_allclose(mine[:, 0], theirs[:, :shell].sum(1), atol=1e-13)
        assert not mine[:, 1:shell].any()
    np.testing.assert_allclose(tracked.residual, whole.residual, atol=1e-12)
