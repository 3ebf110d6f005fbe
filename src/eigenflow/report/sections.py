"""The report's pictures with their captions; where a run does not allow one, the reason instead."""

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from eigenflow.core.errors import EigenflowError
from eigenflow.report import state_sections, theory_sections
from eigenflow.report.figures.drift import strength_figure, velocity_figure
from eigenflow.report.figures.figure import Figure
from eigenflow.report.figures.run import eigenvalue_figure, forecast_figure, loss_figure
from eigenflow.report.figures.shells import energy_figure, flux_figure, populated, terms_figure, transfer_figure
from eigenflow.report.picture import Picture as Picture
from eigenflow.report.summary import Analysis
from eigenflow.report.words import interval_text, number, short_energy_words
from eigenflow.shells import ShellBudget

__all__ = ["Picture", "pictures"]


def pictures(analysis: Analysis) -> dict[str, Picture]:
    """All pictures of a report, by key."""
    if analysis.budget is None:
        return state_pictures(analysis)
    makers: dict[str, Callable[[Analysis], tuple[Figure | None, str]]] = {
        "loss": _loss,
        "forecast": _forecast,
        "eigenvalues": _eigenvalues,
        "energy": _energy,
        "flux": _flux,
        "terms": _terms,
        "velocity": _velocity,
        "strength": _strength,
        "transfer": _transfer,
    }
    found = {key: Picture(key, *make(analysis)) for key, make in makers.items()}
    return found | _of_theory(analysis, theory_sections.MAKERS)


def state_pictures(analysis: Analysis) -> dict[str, Picture]:
    """Those of a record of states, without those that need updates, or a clock where there is none."""
    makers = state_sections.MAKERS | ({"strength": _strength} if analysis.closure is not None else {})
    found = {key: Picture(key, *make(analysis)) for key, make in makers.items()}
    if analysis.run.clock == "updates" or len(analysis.evidence.data["step"]) < state_sections.FEWEST:
        return found
    wanted = {key: make for key, make in theory_sections.MAKERS.items() if key in state_sections.OF_THEORY}
    return found | {key: one for key, one in _of_theory(analysis, wanted).items() if one.figure is not None}


def _of_theory(analysis: Analysis, makers: Mapping[str, theory_sections.Maker]) -> dict[str, Picture]:
    found = {}
    for key, make in makers.items():
        try:
            found[key] = Picture(key, *make(analysis.evidence))
        except EigenflowError as error:
            found[key] = Picture(key, None, str(error))
    return found


def _budget(analysis: Analysis) -> ShellBudget:
    assert analysis.budget is not None
    return analysis.budget


def _loss(analysis: Analysis) -> tuple[Figure | None, str]:
    run = analysis.run
    if not _has_later_times(analysis):
        return None, _TOO_EARLY
    holdout = "" if "holdout_loss" in run.measurements else " No holdout set was measured."
    return loss_figure(run), (
        f"Points are measurements ({len(run.measured_steps)}), the pale line the loss of the trained batches "
        f"({len(run.losses)} logged, at most 800 drawn). Time 0 has no place on a logarithmic axis.{holdout}"
        + ("" if run.has_squared_loss else f" {short_energy_words(run)}")
    )


def _forecast(analysis: Analysis) -> tuple[Figure | None, str]:
    if not analysis.forecasts:
        return None, "There is no forecast: " + (
            _joined(problem for problem in analysis.problems if problem.startswith("forecast"))
            or "the run does not allow any."
        )
    modes = {f.basis for f in analysis.forecasts if f.method != "power_law"}
    kind = " and ".join(sorted({forecast.observed.source for forecast in analysis.forecasts}))
    return forecast_figure(analysis.forecasts), (
        "Left of the dotted line a forecast knows everything, right of it only the learning rates; the "
        "pale line is the truth that it is scored on. Bands are 90 % intervals from the uncertainty of "
        "each method’s own parameter "
        f"alone (the lazy limit has none). Behind lazy and transport are {_joined(map(str, sorted(modes)), ' or ')} "
        f"modes; the values are the {kind} ones.{_forecast_quantity(analysis)}"
    )


def _eigenvalues(analysis: Analysis) -> tuple[Figure | None, str]:
    run = analysis.run
    if not _has_later_times(analysis):
        return None, _TOO_EARLY
    if run.measurements.sizes.get("mode", 0) == 0:
        return None, "The run stores no mode one by one, only shells."
    return eigenvalue_figure(run), (
        "Lines join eigenvalues of equal rank, not of equal eigenvector. By time t, modes above the dashed line "
        "1 / (2t) have learned (resolution frontier); above the dotted line 2 / η plain gradient descent is "
        f"unstable. {len(run.measured_steps)} measurements of {run.measurements.sizes['mode']} modes."
    )


def _energy(analysis: Analysis) -> tuple[Figure | None, str]:
    budget = _budget(analysis)
    shells = populated(budget)
    if shells.start == shells.stop or not (budget.energy_after.values[:, shells] > 0).any():
        return None, "No bounded shell holds energy."
    energy = budget.energy_after.values
    outside = energy.sum(1) - energy[:, shells].sum(1)
    share = float((outside / np.maximum(energy.sum(1), np.finfo(float).tiny)).max())
    note = f" Up to {share:.2g} of the energy lies in open shells, which are not drawn." if share > 1e-12 else ""
    return energy_figure(budget), (
        f"{short_energy_words(analysis.run)} Each column is the state after one measured update, each row a shell "
        f"({shells.stop - shells.start} shells, {_modes(analysis)} modes, {len(budget.time)} measurements); energies "
        "more than ten decades below the largest share the darkest colour, white is none. In the lazy limit energy "
        f"dies above the frontier 1 / (2t).{note}{_below_cut(budget)}"
    )


def _flux(analysis: Analysis) -> tuple[Figure | None, str]:
    budget = _budget(analysis)
    shells = populated(budget)
    if shells.start == shells.stop:
        return None, "No bounded shell holds an eigenvalue, so there is no edge to flow through."
    if not (np.nan_to_num(budget.flux.values).any() or budget.dissipation.values.any()):
        return None, "Flux and dissipation are zero at every measured update."
    return flux_figure(budget), (
        "Left, blue is energy that flows down, towards small eigenvalues, and orange is energy that flows up. Right, "
        "blue is energy that gradient descent removes, on the same scale; orange there means a step beyond the edge "
        f"of stability. {len(budget.time)} measured updates, {_modes(analysis)} modes; the colour scale is "
        f"logarithmic on both sides of zero, and white is below a 100 000th of its end.{_below_cut(budget)}"
    )


def _terms(analysis: Analysis) -> tuple[Figure | None, str]:
    budget = _budget(analysis)
    return terms_figure(budget), (
        "Each term is the sum of absolute values over shells: dissipation by the gradient-descent step, transfer "
        "between shells, the optimizer beyond gradient descent, and the nonlinear remainder"
        f"{_curvature_words(analysis)}. Close to zero, right, means absent up to rounding. {len(budget.time)} measured "
        "updates."
    )


def _velocity(analysis: Analysis) -> tuple[Figure | None, str]:
    law = analysis.closure
    if law is None:
        return None, _no_law(analysis)
    positions = np.unique(np.linspace(0, len(law.times) - 1, 6).round().astype(int)[1:-1]).tolist()
    return velocity_figure(_budget(analysis), law, positions), (
        f"Points are shells of at least 3 eigenvalues (larger points hold more); above zero eigenvalues grow. The "
        f"line is the one law of all times, b = {law.b:.3g}, whose strength alone is free at each time; its band is "
        f"the 90 % interval of the strength. {law.points} shell velocities at {len(law.times)} times are behind it. "
        "Mind that each panel has its own scale."
    )


def _strength(analysis: Analysis) -> tuple[Figure | None, str]:
    law = analysis.closure
    if law is None:
        return None, _no_law(analysis)
    decay = f"{number(-law.decay, 2)} (90 % interval {interval_text((-law.decay_interval[1], -law.decay_interval[0]))})"
    return strength_figure(law), (
        f"κ(t) = c(t) λ^(b−1) at λ = {law.reference:.3g}; above zero modes move down, below zero eigenvalues grow. "
        f"|κ| goes as t to the power {decay}; a horizontal line here would be c ∝ 1 / t. {len(law.times)} times."
    )


def _transfer(analysis: Analysis) -> tuple[Figure | None, str]:
    budget = _budget(analysis)
    shells = populated(budget)
    if shells.stop - shells.start < 2:
        return None, "Fewer than two bounded shells hold eigenvalues, so nothing can pass between them."
    count = len(budget.time)
    positions = sorted({count // 4, count // 2, (3 * count) // 4})
    carried = budget.transfer_matrix.isel(step=positions).values[:, shells, shells]
    if not (carried * (1 - np.eye(carried.shape[-1]))).any():
        return None, "Nothing is carried between shells by the updates that would be drawn."
    return transfer_figure(budget, positions), (
        "Entry (a, b) is l′P′(a)P(b)l off the diagonal, l the error of the linearised network: the energy that one "
        "update carries from shell b (across) to shell a (up), over the whole energy. Blue adds to shell a, orange "
        "takes from it: overlap terms have a sign. "
        f"No choice of eigenvectors enters. Single updates out of {count}, {_modes(analysis)} modes."
    )


def _forecast_quantity(analysis: Analysis) -> str:
    """What is forecast, where it is not the loss."""
    if analysis.run.has_squared_loss:
        return ""
    return (
        " Forecast is half the energy of the symmetrised operator, which is what its modes carry, not the loss; lazy "
        "and transport let the curvature of the loss stand still, so they miss what it does to the energy."
    )


def _curvature_words(analysis: Analysis) -> str:
    if analysis.run.has_squared_loss:
        return ""
    return (
        "; curvature is what the changing Hessian of the loss does to the energy. Half of dissipation less optimizer "
        "is the fall of the loss, to first order"
    )


def _below_cut(budget: ShellBudget) -> str:
    """What a run of tracked modes leaves out, in words."""
    if budget.cut is None:
        return ""
    energy = budget.energy_after.values
    share = float((energy[:, 0] / np.maximum(energy.sum(1), np.finfo(float).tiny)).max())
    low, high = float(budget.cut.min()), float(budget.cut.max())
    return (
        f" Only shells above the cut, which lies between {low:.3g} and {high:.3g}, hold all of their modes; what lies "
        f"below is one shell, which is not drawn (up to {share:.2g} of the energy)."
    )


_TOO_EARLY = "All measurements are of time 0, which a logarithmic axis cannot show."


def _has_later_times(analysis: Analysis) -> bool:
    return bool((analysis.run.measurements["time"].values > 0).any())


def _modes(analysis: Analysis) -> int:
    return int(_budget(analysis).mode_count.sum("shell").max())


def _no_law(analysis: Analysis) -> str:
    return "There is no drift law: " + (
        _joined(problem for problem in analysis.problems if problem.startswith("drift"))
        or "the run does not allow a fit."
    )


def _joined(texts: Iterable[str], between: str = " ") -> str:
    return between.join(texts)
