"""Buffers that move between the two states of an update: a named term of the budget, exact by construction.

The oracle forms M and e at all three states, (theta, b), (theta', b) and (theta', b'), by autograd and numpy alone.
"""

import numpy as np
import pytest
import torch
from torch import nn

import eigenflow as ef
from eigenflow.core.grid import shell_edges, shell_index
from eigenflow.linalg import ModeTracker
from eigenflow.trajectory import measure_step, measure_tracked_step
from eigenflow.trajectory.sums import buffer_sums, shell_sums
from problems import samples

# Identities: what is left is rounding, thousands of them.
ROUNDING = 1e-12
LOSSES = ("mse", "cross_entropy")


def batch_norm_update(loss="mse", rate=0.05, count=6, holdout=None):
    """One update in train mode, probe in eval mode: parameters and running statistics move."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 2)).double().eval()
    inputs, targets = samples(1, count=count)
    if loss == "cross_entropy":
        targets = targets.argmax(1)
    probe = ef.Probe(model, inputs, targets, loss=loss, holdout=holdout)
    model.train()
    before = probe.state()
    function = nn.functional.cross_entropy if loss == "cross_entropy" else nn.functional.mse_loss
    function(model(inputs), targets).backward()
    with torch.no_grad():
        for p in model.parameters():
            p -= rate * p.grad
    return probe, before, probe.state(), rate


def dense_state(probe, state):
    """Eigenpairs of M and e in numpy, by one reverse pass a row."""
    point = probe.at(state)
    rows = point.pull(torch.eye(probe.size, dtype=torch.float64))
    jacobian = torch.cat([g.reshape(probe.size, -1) for g in rows.values()], 1).numpy()
    values, vectors = np.linalg.eigh(jacobian @ jacobian.T)
    return values, vectors, point.error.numpy()


def shell_energy(values, vectors, error, edges):
    sums = np.zeros(len(edges) + 1)
    np.add.at(sums, shell_index(values, edges), (vectors.T @ error) ** 2)
    return sums


@pytest.mark.parametrize("loss", LOSSES)
def test_six_terms_close_the_budget_and_buffers_are_their_own(loss):
    probe, before, after, rate = batch_norm_update(loss)
    one = measure_step(probe, before, after, rate)
    edges = shell_edges(float(one.before.eigenvalues[0]))
    sums = {**shell_sums(one, edges), **buffer_sums(one, edges)}
    energy = float(sums["energy"].sum())
    explained = -sums["dissipation"] + sum(
        sums[name] for name in ("optimizer", "curvature", "transfer", "remainder", "buffers")
    )
    assert float((sums["energy_after"] - sums["energy"] - explained).abs().max()) <= ROUNDING * energy
    assert abs(float(sums["transfer"].sum())) <= ROUNDING * energy
    assert abs(float(sums["buffers_transfer"].sum())) <= ROUNDING * energy
    assert float(sums["buffers"].abs().sum()) > 1e-2 * energy  # it is no rounding


def test_terms_are_those_of_dense_projectors_at_the_three_states():
    probe, before, after, rate = batch_norm_update()
    one = measure_step(probe, before, after, rate)
    edges = shell_edges(float(one.before.eigenvalues[0]))
    found = {**shell_sums(one, edges), **buffer_sums(one, edges)}
    fixed, settled = dense_state(probe, (after[0], before[1])), dense_state(probe, after)
    parts = [shell_energy(*state, edges) for state in (fixed, settled)]
    carried = shell_energy(*settled[:2], fixed[2], edges)
    scale = ROUNDING * parts[0].sum()
    np.testing.assert_allclose(found["energy_after"], parts[1], rtol=0, atol=scale)
    np.testing.assert_allclose(found["buffers"], parts[1] - parts[0], rtol=0, atol=scale)
    np.testing.assert_allclose(found["buffers_transfer"], carried - parts[0], rtol=0, atol=scale)


@pytest.mark.parametrize("loss", LOSSES)
def test_identity_and_rates_are_those_at_fixed_buffers(loss):
    """What the update does does not depend on where buffers go after it.

    What equations/identities.md#eq-d1 leaves is rounding.
    """
    probe, before, after, rate = batch_norm_update(loss)
    moved, fixed = (measure_step(probe, before, state, rate) for state in (after, (after[0], before[1])))
    assert moved.identity_residual <= ROUNDING
    assert fixed.settled is None and moved.settled is not None
    assert moved.flow_residual == fixed.flow_residual
    assert torch.equal(moved.before.eigenvalue_rates, fixed.before.eigenvalue_rates)
    edges = shell_edges(float(moved.before.eigenvalues[0]))
    first, second = shell_sums(moved, edges), shell_sums(fixed, edges)
    for name in ("dissipation", "optimizer", "curvature", "transfer", "remainder"):
        assert torch.equal(first[name], second[name])


def test_tracked_modes_give_the_same_sums_above_their_cut():
    probe, before, after, rate = batch_norm_update(count=12)
    one = measure_tracked_step(probe, ModeTracker(8, tolerance=1e-12), before, after, rate)
    whole = measure_step(probe, before, after, rate)
    assert one.identity_residual <= ROUNDING
    assert one.buffers_norm == pytest.approx(float(torch.linalg.vector_norm(whole.last.error - whole.after.error)))
    for mine, dense in ((one.after_settled, whole.last.coefficients), (one.carried_settled, whole.carried_settled)):
        # Eigenpairs are certified to 1e-12, their components by the gaps to the next ones.
        np.testing.assert_allclose(mine.components.square(), dense[:8].square(), rtol=1e-6, atol=1e-12)
        assert mine.square == pytest.approx(float(dense.square().sum()), rel=1e-12)


@pytest.mark.long
@pytest.mark.parametrize("options", [{}, {"modes": 6, "method": "tracked"}])
def test_record_of_batch_norm_in_training_closes_and_is_read(tmp_path, options):
    """The usual loop: model.train() in the loop, probe in eval."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 2)).double().eval()
    inputs, targets = samples(0, count=8)
    probe = ef.Probe(model, inputs, targets, holdout=samples(5, count=4))
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    with ef.Recorder(tmp_path / "run", probe, range(12), **options) as recorder:
        for step in range(12):
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(inputs), targets)
            loss.backward()
            optimizer.step()
            recorder.step(step, loss=loss, learning_rate=0.05)
    run = ef.open_run(tmp_path / "run")
    data, budget = run.measurements, ef.shell_budget(run)
    energy = budget.energy.sum("shell").values
    assert run.status == "complete" and float(data["identity_residual"].max()) <= ROUNDING
    assert np.abs(budget.residual.values).max() <= ROUNDING * energy.max()
    assert np.abs(budget.buffers_transfer.values.sum(1)).max() <= ROUNDING * energy.max()
    # Neighbouring updates: where one ends, with its buffers moved, the next one begins.
    np.testing.assert_allclose(data["total_energy_after"][:-1], data["total_energy"][1:], rtol=1e-12)
    changes = (
        data[["holdout_gradient", "holdout_optimizer", "holdout_remainder", "holdout_buffers"]]
        .to_array()
        .sum("variable")
    )
    np.testing.assert_allclose(changes[:-1], np.diff(data["holdout_loss"]), rtol=0, atol=1e-12)
    assert float(np.abs(data["holdout_buffers"]).max()) > 0
    rows = {row.claim: row for row in ef.claims(run)}
    assert rows["C1.identity"].verdict == "supported" and rows["C3.closes"].verdict == "supported"


def test_folder_of_an_older_schema_keeps_the_buffers_in_its_remainder(tmp_path):
    """Its variables are fixed, so what is new goes where the older version had it, and the budget still closes."""
    from eigenflow.trajectory.variables import as_stored

    probe, before, after, rate = batch_norm_update()
    from eigenflow.trajectory.variables import step_variables

    one = measure_step(probe, before, after, rate)
    variables = step_variables(one, shell_edges(float(one.before.eigenvalues[0])), time=0.0, modes=4)
    names = frozenset(set(variables) - {"buffers", "buffers_transfer", "buffers_norm"})
    kept = as_stored(variables, names)
    assert set(kept) == names
    expected = variables["remainder"].values + variables["buffers"].values
    np.testing.assert_array_equal(kept["remainder"].values, expected)
