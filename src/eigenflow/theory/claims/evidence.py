"""What the claims are judged by: a run, its shells, and the drift law fitted to them once."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xarray as xr

from eigenflow.shells import ShellBudget, shell_budget
from eigenflow.store import Run
from eigenflow.transport import Closure, fit_closure
from eigenflow.transport.closure import ForwardTest, forward_test

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
    def closure(self) -> Closure:
        """The drift law; raises ArgumentError where the run does not allow one."""
        return fit_closure(self.budget, seed=self.seed)

    @cached_property
    def forward(self) -> ForwardTest:
        """The closure's forecasts from several cuts; raises RunFolderError where the energy is not the loss."""
        return forward_test(self.data, self.budget)

    def rng(self) -> np.random.Generator:
        """A fresh generator, so that no claim depends on which others were tested before it."""
        return np.random.default_rng(self.seed)
