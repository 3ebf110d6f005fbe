"""Pictures of what was measured on a network: spectra, losses, energies of shells, the drift law."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int
from matplotlib.axes import Axes

from eigenflow.plots.axes import plain_if_short

__all__ = ["plot_drift_strength", "plot_learning_times", "plot_run_losses", "plot_shell_energies", "plot_spectrum"]

SHOWN_TIMES = 6


def plot_spectrum(
    eigenvalues: Float[np.ndarray, " mode"],
    energies: Float[np.ndarray, " mode"],
    *,
    ax: Axes,
    is_converged: Bool[np.ndarray, " mode"] | None = None,
) -> Axes:
    """Draw the energy of each mode over its eigenvalue; hollow where the eigenvalue is not certified.

    Args:
        eigenvalues: lambda_u, 1 / time. Those of zero have no place on the axis.
        energies: g_u^2.
        ax: Axes to draw into.
        is_converged: Whether the eigenvalue is certified; None: all are.
    """
    shown = (eigenvalues > 0) & (energies > 0)
    certain = shown if is_converged is None else shown & is_converged
    ax.loglog(eigenvalues[certain], energies[certain], "o", color="#0072b2", markersize=4, label="certified")
    open_ones = shown & ~certain
    if open_ones.any():
        ax.loglog(
            eigenvalues[open_ones],
            energies[open_ones],
            "o",
            mfc="none",
            mec="#d55e00",
            markersize=5,
            label="not certified",
        )
        ax.legend(frameon=False, fontsize=8)
    ax.set_xlabel("eigenvalue λ [1 / time]")
    ax.set_ylabel("energy of the mode, g²")
    return ax


def plot_run_losses(
    steps: Int[np.ndarray, " step"],
    losses: Float[np.ndarray, " step"],
    *,
    ax: Axes,
    measured: Int[np.ndarray, " measured"] | None = None,
) -> Axes:
    """Draw a run's logged loss over its updates, with marks where the operator was measured.

    Args:
        steps: Updates completed; step 0 has no place on a logarithmic axis.
        losses: The logged loss; what is not positive or not finite is left out.
        ax: Axes to draw into.
        measured: Steps at which the operator was measured.
    """
    shown = (steps > 0) & np.isfinite(losses) & (losses > 0)
    ax.loglog(steps[shown], losses[shown], color="#0072b2", linewidth=1.0, label="logged loss")
    if measured is not None and len(measured):
        inside = measured[measured > 0]
        ax.plot(
            inside,
            np.full(len(inside), 0.02),
            "|",
            color="#555555",
            transform=ax.get_xaxis_transform(),
            label="measured",
        )
    plain_if_short(ax)
    ax.set_xlabel("updates")
    ax.set_ylabel("loss")
    ax.legend(frameon=False, fontsize=8)
    return ax


def plot_shell_energies(
    times: Float[np.ndarray, " step"],
    centres: Float[np.ndarray, " shell"],
    energies: Float[np.ndarray, "step shell"],
    *,
    ax: Axes,
    count: int = SHOWN_TIMES,
) -> Axes:
    """Draw the energy of the bounded shells over their eigenvalue at a few times, early to late.

    Args:
        times: Measured times, in sums of learning rates.
        centres: Eigenvalue of each shell, 1 / time.
        energies: E_B of each.
        ax: Axes to draw into.
        count: Number of times, spread evenly over the measured ones.
    """
    from matplotlib import colormaps

    shown = np.unique(np.linspace(0, len(times) - 1, count).round().astype(int))
    for index, colour in zip(shown, colormaps["viridis"](np.linspace(0, 0.9, len(shown))), strict=True):
        held = np.where(energies[index] > 0, energies[index], np.nan)
        ax.loglog(centres, held, "o-", color=colour, markersize=3, linewidth=1.0, label=f"t = {times[index]:.3g}")
    ax.set_xlabel("eigenvalue λ [1 / time]")
    ax.set_ylabel("energy of the shell")
    ax.legend(frameon=False, fontsize=8)
    return ax


def plot_drift_strength(
    times: Float[np.ndarray, " time"],
    strength: Float[np.ndarray, " time"],
    lower: Float[np.ndarray, " time"],
    upper: Float[np.ndarray, " time"],
    *,
    ax: Axes,
) -> Axes:
    """Draw t kappa(t), the drift's strength without unit, with its 90 % interval; below zero eigenvalues grow.

    Args:
        times: Measured times.
        strength: Signed kappa(t), 1 / time.
        lower: Lower ends of its intervals.
        upper: Upper ends.
        ax: Axes to draw into.
    """
    ax.fill_between(times, times * lower, times * upper, color="#d55e00", alpha=0.2, linewidth=0)
    ax.semilogx(times, times * strength, "o-", color="#d55e00", markersize=3, linewidth=1.0)
    ax.axhline(0.0, color="#333333", linewidth=0.8)
    ax.set_xlabel("time, sum of learning rates")
    ax.set_ylabel("t κ(t); below 0: growth")
    return ax


def plot_learning_times(
    eigenvalues: Float[np.ndarray, " group"],
    times: Mapping[str, Float[np.ndarray, "group level"]],
    lazy: Float[np.ndarray, "group level"],
    levels: Sequence[str],
    *,
    end: float,
    ax: Axes,
) -> Axes:
    """Draw when modes have lost their energy, over the eigenvalue; hollow at the end of the run where they have not.

    Args:
        eigenvalues: lambda of each group of modes, 1 / time.
        times: By the name of the basis, for each group and level; infinite where a group has not by the end.
        lazy: The same if the operator had stood still.
        levels: What the energy has fallen to, for the legend.
        end: Of the run.
        ax: Axes to draw into.
    """
    colours, markers = ("#0072b2", "#d55e00"), ("o", "s")
    order = np.argsort(eigenvalues)
    for place, level in enumerate(levels):
        shade = 1.0 if place == 0 else 0.55
        ax.loglog(
            eigenvalues[order],
            lazy[order, place],
            ":",
            color="#555555",
            alpha=shade,
            linewidth=1.2,
            label=f"frozen operator, {level}",
        )
        for number, (name, found) in enumerate(times.items()):
            colour, marker = colours[number % 2], markers[place % 2]
            is_known = np.isfinite(found[:, place])
            x, y = eigenvalues[is_known], found[is_known, place]
            ax.loglog(x, y, marker, color=colour, alpha=shade, markersize=4, label=f"{name}, {level}")
            rest = eigenvalues[~is_known]
            ax.loglog(rest, np.full(len(rest), end), marker, mfc="none", mec=colour, alpha=shade, markersize=4)
    ax.axhline(end, color="#999999", linewidth=0.8)
    ax.set_xlabel("eigenvalue λ at the first measurement [1 / time]")
    ax.set_ylabel("time since the first measurement")
    ax.legend(frameon=False, fontsize=7)
    return ax
