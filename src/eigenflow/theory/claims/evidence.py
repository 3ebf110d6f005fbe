"""What the claims are judged by: a run, its shells, and the drift law fitted to them once."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xarray as xr

from eigenflow.closure import (
    Closure,
    FormComparison,
    ForwardTest,
    Velocities,
    compare_forms,
    fit_closure,
    forward_test,
    rank_velocities,
    shell_velocities,
)
from eigenflow.shells import ShellBudget, shell_budget
from eigenflow.store import Run

__all__ = ["Evidence"]


@dataclass(frozen=True)
class Evidence:
    """A measured run as every claim sees it.

    Attributes:
        run: As from `open_run`.
        seed: Of every bootstrap.
    """

    run: Run
    seed: int = 0

    @cached_property
    def data(self) -> xr.Dataset:
        """All measurements, in memory."""
        return self.run.measurements

    @cached_property
    def budget(self) -> ShellBudget:
        """The shells, 4 a decade."""
        return shell_budget(self.run)

    @cached_property
    def has_minibatches(self) -> bool:
        """Whether updates saw fewer samples than the probe holds, so that one alone says little of the drift."""
        losses, samples = self.run.losses, self.run.header.get("probe", {}).get("samples")
        return samples is not None and "batch_size" in losses and bool((losses["batch_size"] < samples).any())

    @cached_property
    def why_no_updates(self) -> str | None:
        """Why the measured changes are not those of single updates, in words; None if they are, as far as is known."""
        return self.run.why_no_updates

    @cached_property
    def has_clock(self) -> bool:
        """Whether times are known: not if states far apart were recorded as neighbours."""
        return not self.run.has_unsaid_updates

    @cached_property
    def velocities(self) -> Velocities:
        """Of eigenvalues along measured updates; of ranks between measurements where those are minibatches' or none."""
        if self._needs_ranks and "eigenvalue" in self.data:
            return rank_velocities(self.run.modes, self.budget.edges)
        return shell_velocities(self.budget)

    @cached_property
    def closure(self) -> Closure:
        """The drift law; raises ArgumentError where the run does not allow one."""
        return fit_closure(self.velocities, seed=self.seed)

    @cached_property
    def forms(self) -> FormComparison:
        """The power form against others on later times."""
        return compare_forms(self.velocities, seed=self.seed)

    @cached_property
    def forward(self) -> ForwardTest:
        """Forecasts from several cuts; of energy velocities, or of ranks where updates are minibatches'."""
        return forward_test(self.data, self.budget, velocities=self.velocities if self._needs_ranks else None)

    @property
    def _needs_ranks(self) -> bool:
        return self.has_minibatches or self.why_no_updates is not None

    def rng(self) -> np.random.Generator:
        """A fresh generator, so that no claim depends on which others were tested before it."""
        return np.random.default_rng(self.seed)
