"""Shell budgets read from a folder whose every number is a formula."""

import numpy as np
import pytest

import eigenflow as ef
from eigenflow.core.errors import ArgumentError, RunFolderError
from report.recorded import GROWTH, MEASURED, MODES, STEP_SIZE, coefficients_at, eigenvalues_at, record_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("shells") / "run"
    record_run(path)
    return ef.open_run(path)


@pytest.mark.parametrize("per_decade", [1, 2, 4, 8, 16])
def test_merged_shells_hold_the_modes_between_their_edges(run, per_decade):
    budget = ef.shell_budget(run, shells_per_decade=per_decade)
    time = MEASURED[5] * STEP_SIZE
    lam, g = eigenvalues_at(time), coefficients_at(time)
    edges = np.concatenate([[0.0], budget.edges, [np.inf]])
    expected = np.histogram(lam, edges, weights=g**2)[0]
    # numpy's histogram subtracts cumulative sums, so its rounding is that of the whole energy.
    np.testing.assert_allclose(budget.energy[5], expected, rtol=0, atol=1e-14 * expected.sum())
    np.testing.assert_array_equal(budget.mode_count[5], np.histogram(lam, edges)[0])
    assert float(budget.mode_count[5].sum()) == MODES


def test_velocity_and_position_of_shells(run):
    """lambda ~ (1 + t)^0.1, so every shell moves at 0.1 lambda / (1 + t), at its mean eigenvalue."""
    budget = ef.shell_budget(run, shells_per_decade=2)
    held = budget.mode_count.values > 0
    speed = np.divide(budget.mean_rate.values, budget.mean_eigenvalue.values, where=held, out=np.zeros(held.shape))
    expected = GROWTH / (1 + budget.time.values[:, None])
    np.testing.assert_allclose(speed[held], np.broadcast_to(expected, held.shape)[held], rtol=1e-12)
    assert not speed[~held].any()


@pytest.mark.parametrize("per_decade", [1, 4, 16])
def test_merging_keeps_the_budget_the_flux_and_the_marginals(run, per_decade):
    """Sums of sums: rounding only. The flux through an edge is what all shells below it gain, per time."""
    budget, fine = (ef.shell_budget(run, shells_per_decade=n) for n in (per_decade, 16))
    scale = float(budget.energy.sum("shell").max())
    np.testing.assert_allclose(budget.residual.sum("shell"), fine.residual.sum("shell"), rtol=0, atol=1e-13 * scale)
    for k, edge in enumerate(budget.edges):
        j = int(np.flatnonzero(fine.edges == edge)[0])
        np.testing.assert_allclose(budget.flux[:, k], fine.flux[:, j], rtol=0, atol=1e-13 * scale)
    below = budget.transfer.values.cumsum(1)[:, :-1] / budget.step_size.values[:, None]
    np.testing.assert_allclose(budget.flux, below, rtol=0, atol=1e-13 * scale)
    total = budget.transfer_matrix.sum(("shell", "shell_from"))
    np.testing.assert_allclose(total, fine.transfer_matrix.sum(("shell", "shell_from")), rtol=1e-12)


@pytest.mark.rejects
def test_shells_that_cannot_be_had(run, tmp_path):
    with pytest.raises(ArgumentError, match="`shells_per_decade` must be 1, 2, 4, 8 or 16, but is 5"):
        ef.shell_budget(run, shells_per_decade=5)
    record_run(tmp_path / "empty", measured=())
    with pytest.raises(RunFolderError, match="holds no measurement"):
        ef.shell_budget(ef.open_run(tmp_path / "empty"))
