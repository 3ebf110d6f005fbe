"""Which velocities a run's law is fitted to: those of its claims."""

from eigenflow.closure.velocities import Velocities, rank_velocities, shell_velocities
from eigenflow.core.errors import RunFolderError
from eigenflow.shells import ShellBudget, ShellEnergies, shell_budget, shell_energies
from eigenflow.store import Run
from eigenflow.store.schema import STATES

__all__ = ["has_minibatches", "needs_ranks", "run_velocities"]


def has_minibatches(run: Run) -> bool:
    """Whether updates saw fewer samples than the probe holds, so that one alone says little of the drift."""
    losses, samples = run.losses, run.header.get("probe", {}).get("samples")
    return samples is not None and "batch_size" in losses and bool((losses["batch_size"] < samples).any())


def needs_ranks(run: Run) -> bool:
    """Whether single measured updates do not show the drift: minibatches, or states several updates apart."""
    return has_minibatches(run) or run.why_no_updates is not None


def run_velocities(run: Run, budget: ShellBudget | ShellEnergies | None = None) -> Velocities:
    """The velocities that claims, and `fit_closure(run)`, use.

    Args:
        run: As from `open_run`.
        budget: Its shells, by default 4 a decade.

    Returns:
        Of eigenvalues along measured updates; where these are minibatches', or lie several updates apart, or are not
        there, as in a record of states, of eigenvalues of equal rank between measurements, if modes were stored.

    Raises:
        ArgumentError: If the run shows too few velocities for a law.
        RunFolderError: If the record counts updates, so that there is no time to divide by.
    """
    if run.kind == STATES:
        if (why := run.why_no_clock) is not None:
            raise RunFolderError(f"Run `{run.path}` has no velocities: {why}.")
        return rank_velocities(run.modes, (shell_energies(run) if budget is None else budget).edges)
    budget = shell_budget(run) if budget is None else budget
    if needs_ranks(run) and "eigenvalue" in run.measurements:
        return rank_velocities(run.modes, budget.edges)
    assert isinstance(budget, ShellBudget)
    return shell_velocities(budget)
