"""What is measured prints itself: short, with its own numbers, and as tables that hold what the arrays hold."""

import matplotlib
import numpy as np
import pytest
import torch

import eigenflow as ef
from eigenflow.closure import (
    compare_forms,
    fit_drift_law,
    forward_test,
    mode_intervals,
    nonlocal_source,
    shell_velocities,
    velocity_dispersion,
)
from eigenflow.core.display import figure

pytestmark = pytest.mark.long

matplotlib.use("Agg")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    torch.manual_seed(0)
    inputs = torch.randn(48, 5)
    targets = torch.sin(inputs.sum(1, keepdim=True))
    model = torch.nn.Sequential(torch.nn.Linear(5, 32), torch.nn.Tanh(), torch.nn.Linear(32, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    probe = ef.Probe(model, inputs, targets, holdout=(inputs[:5], targets[:5]))
    snapshot = probe.measure(modes=8, drift=True)
    folder = tmp_path_factory.mktemp("results") / "run"
    with ef.Recorder(folder, probe, ef.log_steps(120, count=18)) as recorder:
        for step in range(120):
            loss = torch.nn.functional.mse_loss(model(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            recorder.step(step, loss=loss, learning_rate=0.1)
    run = ef.open_run(folder)
    budget = ef.shell_budget(run)
    return {
        "probe": probe,
        "snapshot": snapshot,
        "bare snapshot": probe.measure(drift=False),
        "run": run,
        "budget": budget,
        "closure": ef.fit_closure(budget),
    }


@pytest.fixture(scope="module")
def detailed(recorded):
    run, budget = recorded["run"], recorded["budget"]
    velocities = shell_velocities(budget)
    return {
        "velocities": velocities,
        "law": fit_drift_law(velocities, "power", draws=5),
        "forms": compare_forms(velocities),
        "intervals": mode_intervals(run.modes, budget.edges, draws=20),
        "dispersion": velocity_dispersion(run.modes, budget.edges),
        "source": nonlocal_source(budget),
        "forward": forward_test(run.measurements, budget),
    }


def assert_short(text):
    lines = text.splitlines()
    assert 1 < len(lines) <= 15 and max(map(len, lines)) <= 110


def test_every_result_prints_at_most_fifteen_lines(recorded, detailed):
    for result in (recorded | detailed).values():
        assert_short(repr(result))
        assert result._repr_html_().startswith("<div><strong>")


def test_cards_hold_the_results_own_numbers(recorded):
    snapshot, closure = recorded["snapshot"], recorded["closure"]
    assert f"{figure(float(snapshot.eigenvalues[0]), 3)} to" in repr(snapshot)
    assert "8 of 8 eigenvalues (converged)" in repr(snapshot) and "8 modes of 48" in repr(snapshot)
    assert f"b          {closure.b:.3g} [{closure.b_interval[0]:.3g}, {closure.b_interval[1]:.3g}]" in repr(closure)
    assert "complete" in repr(recorded["run"]) and "18 steps, 0 to 119" in repr(recorded["run"])
    assert "48: 48 samples x 1 output" in repr(recorded["probe"]) and "225 trainable" in repr(recorded["probe"])
    lost = figure(float(recorded["budget"].dissipation.sum()), 3)
    assert f"dissipation  {lost} over" in repr(recorded["budget"])


def test_tables_hold_what_the_arrays_hold(recorded):
    snapshot, budget, closure = recorded["snapshot"], recorded["budget"], recorded["closure"]
    table = snapshot.to_dataframe()
    np.testing.assert_array_equal(table["eigenvalue"], snapshot.eigenvalues)
    np.testing.assert_array_equal(table["eigenvalue_rate"], snapshot.eigenvalue_rates)
    assert "eigenvalue_rate" not in recorded["bare snapshot"].to_dataframe()
    grid = budget.to_dataframe().set_index(["step", "shell"])
    step = int(budget.energy.step[3])
    np.testing.assert_array_equal(grid.loc[step, "transfer"], budget.transfer.sel(step=step))
    gains = grid[["optimizer", "curvature", "transfer", "remainder", "buffers"]].sum(axis=1)
    change = grid["energy_after"] - grid["energy"] + grid["dissipation"] - gains
    # The identity of the budget, to the rounding of energies of order one.
    assert float(change.abs().max()) < 1e-14
    np.testing.assert_array_equal(closure.to_dataframe()["c"], closure.c())
    assert len(recorded["run"].to_dataframe()) == 120


def test_datasets_have_units(recorded):
    held = recorded["snapshot"].to_dataset()
    assert held["eigenvalue"].attrs["units"] == "1 / time" and held["eigenvector"].shape == (8, 48)
    np.testing.assert_array_equal(held["coupling"], recorded["snapshot"].couplings)
    assert "coupling" not in recorded["bare snapshot"].to_dataset()
    budget = recorded["budget"].to_dataset()
    assert budget["flux"].attrs["units"] == "energy / time"
    assert budget["edge_eigenvalue"].attrs["units"] == "1 / time"


@pytest.mark.parametrize("name", ["snapshot", "bare snapshot", "run", "budget", "closure"])
def test_pictures_are_drawn_into_the_axes_that_are_given(recorded, name):
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    assert recorded[name].plot(axes) is axes
    assert axes.get_xlabel() and axes.get_ylabel() and axes.lines
    own = recorded[name].plot()
    matplotlib.pyplot.close(own.figure)


def test_a_snapshot_of_nothing_left_to_learn_prints():
    model = torch.nn.Linear(2, 1).double()
    inputs = torch.eye(2, dtype=torch.float64)
    snapshot = ef.Probe(model, inputs, model(inputs).detach()).measure()
    assert_short(repr(snapshot))
    assert "- of ||e||^2 = 0" in repr(snapshot)
