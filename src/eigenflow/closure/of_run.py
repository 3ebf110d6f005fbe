"""Which velocities a run's law is fitted to: those of its claims."""

from eigenflow.closure.velocities import Velocities, rank_velocities, shell_velocities
from eigenflow.shells import ShellBudget, shell_budget
from eigenflow.store import Run

__all__ = ["has_minibatches", "needs_ranks", "run_velocities"]


def has_minibatches(run: Run) -> bool:
    """Whether updates saw fewer samples than the probe holds, so that one alone says little of the drift."""
    losses, samples = run.losses, run.header.get("probe", {}).get("samples")
    return samples is not None and "batch_size" in losses and bool((losses["batch_size"] < samples).any())


def needs_ranks(run: Run) -> bool:
    """Whether single measured updates do not show the drift: minibatches, or states several updates apart."""
    return has_minibatches(run) or run.why_no_updates is not None


def run_velocities(run: Run, budget: ShellBudget | None = None) -> Velocities:
    """The velocities that claims, and `fit_closure(run)`, use.

    Args:
        run: As from `open_run`.
        budget: Its shells, by default 4 a decade.

    Returns:
        Of eigenvalues along measured updates; where these are minibatches', or lie several updates apart, of
        eigenvalues of equal rank between measurements, if modes were stored.

    Raises:
        ArgumentError: If the run shows too few velocities for a law.
    """
    budget = shell_budget(run) if budget is None else budget
    if needs_ranks(run) and "eigenvalue" in run.measurements:
        return rank_velocities(run.modes, budget.edges)
    return shell_velocities(budget)
