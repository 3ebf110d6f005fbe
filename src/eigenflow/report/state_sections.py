"""The report's pictures of a record of states, with their captions."""

from collections.abc import Callable

import numpy as np

from eigenflow.core.errors import EigenflowError
from eigenflow.report.figures.canvas import TIME, TimeAxis
from eigenflow.report.figures.figure import Figure
from eigenflow.report.figures.run import eigenvalue_figure, loss_figure
from eigenflow.report.figures.shells import energy_figure, populated
from eigenflow.report.figures.states import since_start_figure
from eigenflow.report.summary import Analysis
from eigenflow.store import Run

__all__ = ["FEWEST", "MAKERS", "OF_THEORY"]

Made = tuple[Figure | None, str]
# Pictures of the theory that states allow; those that a record does not are left out.
OF_THEORY = ("collapse", "frontier", "exponents", "clocks", "index", "limits")
UPDATES = "completed updates"
NEAR = 30.0  # ratio of the last to the first time after 0, up to which an axis is linear
FEWEST = 8  # states for pictures of the theory


def _axis(run: Run) -> TimeAxis:
    """Linear, unless late states are far later than the first ones."""
    times = run.measurements["time"].values
    later = times[times > 0]
    is_linear = len(later) == 0 or float(later.max() / later.min()) <= NEAR
    is_clock = run.clock != "updates"
    return TimeAxis(TIME if is_clock else UPDATES, is_linear, is_clock)


def _zero(run: Run) -> str:
    """What is not drawn."""
    is_lost = not _axis(run).is_linear and bool((run.measurements["time"].values <= 0).any())
    return " The state at 0 has no place on a logarithmic axis." if is_lost else ""


def _loss(analysis: Analysis) -> Made:
    run = analysis.run
    logged = int(np.isfinite(run.losses["loss"].to_numpy(float)).sum()) if "loss" in run.losses else 0
    told = f"; the pale line is the training loss as it was given with {logged} of them" if logged else ""
    return loss_figure(run, axis=_axis(run)), f"Points are states ({len(run.measured_steps)}){told}.{_zero(run)}"


def _eigenvalues(analysis: Analysis) -> Made:
    run = analysis.run
    if run.measurements.sizes.get("mode", 0) == 0:
        return None, "The run stores no mode one by one, only shells."
    frontier = (
        " By time t, modes above the dashed line 1 / (2t) have learned if training is gradient descent."
        if _axis(run).is_clock
        else " There is no frontier: the sums of learning rates are not known."
    )
    return eigenvalue_figure(run, axis=_axis(run)), (
        f"Lines join eigenvalues of equal rank, not of equal eigenvector, over {len(run.measured_steps)} states of "
        f"{run.measurements.sizes['mode']} modes.{frontier}{_zero(run)}"
    )


def _since_start(analysis: Analysis) -> Made:
    run = analysis.run
    if len(run.measured_steps) < 2:
        return None, "There is one state, so nothing has moved since."
    try:
        basis = analysis.evidence.basis
    except EigenflowError as error:
        return None, str(error)
    return since_start_figure(analysis.evidence.data, basis, axis=_axis(run)), (
        "How much of the first state is left. Near its shell: share of the modes that lie in the shell where they were "
        "at first or in a neighbour of it, after the shift of the spectrum as a whole; no choice of eigenvectors "
        "enters. Aligned: cosine of M and the first M, 1 for an operator that only grows. Distance: ‖M − M₀‖ / ‖M₀‖; "
        "below 0.1 is lazy, above 1 rich. The last two need all modes." + _zero(run)
    )


def _energy(analysis: Analysis) -> Made:
    run, energies = analysis.run, analysis.shells
    shells, is_shown = populated(energies), np.isfinite(_axis(run).places(energies.time.values))
    if shells.start == shells.stop or not (energies.energy.values[is_shown][:, shells] > 0).any():
        return None, "No bounded shell holds energy."
    below = ""
    if energies.cut is not None:
        energy = energies.energy.values
        share = float((energy[:, 0] / np.maximum(energy.sum(1), np.finfo(float).tiny)).max())
        below = f" What lies below the cut of the tracked modes is one shell, not drawn: up to {share:.2g} of it."
    quantity = "twice the loss" if run.has_squared_loss else "‖e‖² of the symmetrised operator, not twice the loss"
    return energy_figure(energies, axis=_axis(run)), (
        f"Each column is a state, each row a shell; energy is {quantity}. Energies more than ten decades below the "
        f"largest share the darkest colour, white is none.{below}{_zero(run)}"
    )


MAKERS: dict[str, Callable[[Analysis], Made]] = {
    "loss": _loss,
    "eigenvalues": _eigenvalues,
    "since_start": _since_start,
    "energy": _energy,
}
