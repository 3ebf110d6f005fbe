"""A run cut in two: what a forecast is given, and the truth that it is scored on."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from eigenflow.core.errors import ArgumentError, RunFolderError
from eigenflow.core.grid import first_steps
from eigenflow.core.rounding import WHOLE, above_rounding
from eigenflow.store import Run

__all__ = ["CUTS", "Observed", "observe_all", "observe_until"]

CUTS = (0.10, 0.25, 0.50)
SCORED_STEPS = 64
# Measurements and losses that a forecast needs.
LEAST = 3


@dataclass(frozen=True)
class Observed:
    """A run as it is known at a cut, and what came after.

    Attributes:
        cut: Share of the run's steps that is known.
        cut_step: Completed updates at the cut.
        measured: Measurements of updates made up to the cut.
        steps: Known steps with a loss; `times` and `losses` belong to them.
        times: Sums of learning rates.
        losses: Probe losses; where the loss is not squared, half the energy ||e||^2 of the symmetrised operator, which
            is what its modes carry and what decays with them.
        later_steps: Log-spaced steps after the cut, on which forecasts are scored.
        later_times: Their sums of learning rates, which follow from the known later learning rates.
        later_losses: The truth; no forecast sees it.
        source: Where the losses come from: "logged" every step, or "measured" where the logged ones are
            those of minibatches.
        quantity: What `losses` and `later_losses` are: "loss", or "energy" (half of it).
    """

    cut: float
    cut_step: int
    measured: xr.Dataset
    steps: Int[np.ndarray, " known"]
    times: Float[np.ndarray, " known"]
    losses: Float[np.ndarray, " known"]
    later_steps: Int[np.ndarray, " later"]
    later_times: Float[np.ndarray, " later"]
    later_losses: Float[np.ndarray, " later"]
    source: str
    quantity: Literal["loss", "energy"] = "loss"


def observe_until(run: Run, cut: float) -> Observed:
    """Cut a run at a share of its steps.

    Raises:
        ArgumentError: If `cut` is not between 0 and 1.
        RunFolderError: If there is no measurement before the cut, or no loss after it.
    """
    if not 0 < cut < 1:
        raise ArgumentError(f"`cut` must lie between 0 and 1, but is {cut}. It is the share of steps that is known.")
    steps, times, losses, source = _probe_losses(run)
    total = int(run.losses["step"].iloc[-1]) + 1 - run.first_step if len(run.losses) else 0
    cut_step = run.first_step + first_steps(cut, total)
    data = run.measurements
    # An update that starts at step k is known once k + 1 updates are made.
    measured = data.isel(step=slice(int(np.searchsorted(data["step"].values + 1, cut_step, side="right"))))
    # What is learned to rounding is neither known nor to be forecast.
    says = above_rounding(losses)
    known, later = says & (steps <= cut_step), np.flatnonzero(says & (steps > cut_step))
    if measured.sizes["step"] < LEAST or len(later) < LEAST:
        raise RunFolderError(
            f"Run `{run.path}` has {measured.sizes['step']} measurements before {cut:.0%} of its {total} steps and "
            f"{len(later)} losses after; a forecast needs {LEAST} of each. Measure more steps."
        )
    if len(later) > SCORED_STEPS:
        wanted = np.geomspace(steps[later[0]], steps[later[-1]], SCORED_STEPS)
        later = np.unique(later[0] + np.searchsorted(steps[later], np.floor(wanted * (1.0 + WHOLE))))
    return Observed(
        cut,
        cut_step,
        measured,
        steps[known],
        times[known],
        losses[known],
        steps[later],
        times[later],
        losses[later],
        source,
        "loss" if run.has_squared_loss else "energy",
    )


def observe_all(run: Run, reach: int, count: int) -> Observed:
    """A whole run, and steps beyond its end at its last learning rate; their losses are not known, NaN.

    Args:
        run: As from `open_run`.
        reach: The last of the later steps, in updates of the run.
        count: Number of later steps, log-spaced; the first is the end of the run.

    Raises:
        RunFolderError: If there are too few measurements or losses, or the rates have come to zero.
    """
    steps, times, losses, source = _probe_losses(run)
    data = run.measurements
    if data.sizes["step"] < LEAST or len(steps) < LEAST or times[-1] <= times[-2]:
        raise RunFolderError(
            f"Run `{run.path}` has {data.sizes['step']} measurements and {len(steps)} losses, the last after an update "
            f"of {times[-1] - times[-2] if len(times) > 1 else 0:g} in time; a forecast beyond its end needs {LEAST} "
            f"of each, and an update that moves."
        )
    length = (times[-1] - times[-2]) / (steps[-1] - steps[-2])
    end = int(steps[-1]) + 1
    first = run.first_step
    later = np.unique(np.geomspace(end - first, reach * (end - first), count).round().astype(np.int64)) + first
    quantity: Literal["loss", "energy"] = "loss" if run.has_squared_loss else "energy"
    later_times = times[-1] + length * (later - steps[-1])
    unknown = np.full(len(later), np.nan)
    return Observed(1.0, end, data, steps, times, losses, later, later_times, unknown, source, quantity)


def _probe_losses(run: Run) -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:
    """The loss on the probe set, or half its energy, at every step where it is known."""
    logged, data = run.losses, run.measurements
    if not run.has_squared_loss:
        return data["step"].values, data["time"].values, 0.5 * data["total_energy"].values, "measured"
    samples = run.header["probe"]["samples"]
    # Logged losses are the probe's only if every update saw all samples, and the trained loss is the probe's.
    is_full = len(logged) > 0 and "batch_size" in logged and bool((logged["batch_size"] == samples).all())
    logged = logged.dropna(subset=["loss"]) if "loss" in logged else logged  # null where it was not finite
    if is_full:
        at_measured = logged.set_index("step")["loss"].reindex(data["step"].values).to_numpy()
        is_known = np.isfinite(at_measured)
        is_full = bool(is_known.any()) and bool(
            np.allclose(at_measured[is_known], data["probe_loss"].values[is_known], rtol=1e-3, atol=0)
        )
    if is_full:
        return logged["step"].to_numpy(), logged["time"].to_numpy(), logged["loss"].to_numpy(), "logged"
    return data["step"].values, data["time"].values, data["probe_loss"].values, "measured"
