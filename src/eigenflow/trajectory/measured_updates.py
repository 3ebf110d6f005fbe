"""The measured updates of a run: each is measured and written as a whole, or leaves everything as it was."""

import numpy as np

from eigenflow.store import Variable
from eigenflow.tangent import Probe
from eigenflow.tangent.sharded import ShardedProbe
from eigenflow.trajectory.header import cut_rows
from eigenflow.trajectory.methods import AbstractMethod
from eigenflow.trajectory.pace import Pace
from eigenflow.trajectory.record_folder import RecordFolder
from eigenflow.trajectory.troubles import FarUpdates, Troubles
from eigenflow.trajectory.update import Update
from eigenflow.trajectory.variables import as_stored

__all__ = ["MeasuredUpdates"]


class MeasuredUpdates:
    """Measures by a method, and writes into a folder.

    Attributes:
        method: How; it carries modes from one measurement to the next.
        latest: Step of the last measurement, and its variables as they were written.
    """

    def __init__(self, probe: Probe | ShardedProbe, method: AbstractMethod, pace: Pace, folder: RecordFolder):
        self.method = method
        self.latest: tuple[int, dict[str, Variable]] | None = None
        self._probe, self._pace, self._folder = probe, pace, folder
        self._edges: np.ndarray | None = None
        self._stored: frozenset[str] | None = None
        self._far = FarUpdates()

    def measure(self, step: int, update: Update, troubles: Troubles) -> None:
        """Measure one and commit it.

        Args:
            step: Number of the update.
            update: What to measure.
            troubles: Where what goes wrong after the commit is told.

        Raises:
            EigenflowError: Whatever kept it from being measured or written.
        """
        kept, is_first = self.method.copy(), self._edges is None
        try:
            with self._pace.measuring():
                variables, edges = self.method.variables(self._probe, update, edges=self._edges)
            variables |= self._pace.variables()
            constants = {"edge": Variable(("edge",), edges, "1 / time", "shell edges in the eigenvalue")}
            # A run that an older version began goes on with what it has.
            variables = as_stored(variables, self._stored)
            with self._pace.beside():
                self._folder.append(step, variables, constants if is_first else None)
        except BaseException:
            self.method = kept
            raise
        self._edges, self.latest = edges, (step, variables)
        with (
            troubles.caught("The modes were not saved, so that a resumed run would begin with new labels"),
            self._pace.beside(),
        ):
            self._folder.save_method(self.method, self._probe.space.whole, step, is_first=is_first)
        if update.updates == 1 and "is_far" in variables:
            self._far.count(bool(variables["is_far"].values), troubles)

    def restore(self, next_step: int) -> float:
        """Go on from what the folder holds of `next_step` completed updates; returns the time then."""
        time, self._edges, self._stored, states = self._folder.restored(next_step)
        for state in states:
            self._probe.processes.each(
                lambda state=state: self.method.load_state(cut_rows(state, self._probe.space.part))
            )
        return time
