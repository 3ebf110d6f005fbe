"""The phase diagram of pure transport as a picture: loss exponent over (b, p), growth beside decay."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap

from eigenflow.core.errors import ArgumentError

__all__ = ["PhaseArrays", "plot_phase_diagram", "plot_phase_diagrams"]

# Relative to s: lighter is slower than lazy, darker is faster.
_COLOURS = LinearSegmentedColormap.from_list(
    "loss exponent", ["#f6e3c5", "#dfe9f2", "#9ec3e0", "#4f93c4", "#1f5f99", "#0b2f5c"]
)
_INFINITE = "#3b1f4a"
_LINE = "#b3261e"
_BOX = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.2}

_WORDS = {
    "lazy": "lazy\n" + r"$L \sim t^{-s}$",
    "plateau": "plateau\n" + r"$L \to L_\infty > 0$",
    "arrest at zero": "arrest at zero\n" + r"$L \to L_\infty > 0$",
    "escape": "escape\n" + r"$L \sim t^{-s\beta}$",
    "faster than any power": "faster than\nany power\n" + r"$L \sim \exp(-t^{\,x})$",
}


@dataclass(frozen=True)
class PhaseArrays:
    """What a picture of a phase diagram needs.

    Attributes:
        b: Drift exponents, evenly spaced.
        p: Decay exponents of c(t), evenly spaced.
        loss_exponent: Limit of -d ln L / d ln t; infinite where L falls faster than any power.
        regions: Where each regime is, by its name; those with words in the picture are "lazy", "plateau",
            "arrest at zero", "escape" and "faster than any power".
        s: Exponent of the start.
        is_growth: Whether modes move up.
    """

    b: Float[np.ndarray, " b"]
    p: Float[np.ndarray, " p"]
    loss_exponent: Float[np.ndarray, "b p"]
    regions: Mapping[str, Bool[np.ndarray, "b p"]]
    s: float
    is_growth: bool


def plot_phase_diagrams(diagrams: Sequence[PhaseArrays], *, axes: Sequence[Axes]) -> Sequence[Axes]:
    """Draw several diagrams with one colour scale, and the scale beside the last.

    Args:
        diagrams: For example growth and decay on the same grid.
        axes: One for each. The caller makes, sizes, shows and saves the figure.

    Returns:
        The same axes.
    """
    if len(diagrams) != len(axes) or not len(axes):
        raise ArgumentError(
            f"`axes` must be as many as `diagrams`, at least one, but they are {len(axes)} and {len(diagrams)}."
        )
    top = 3.0 * max(diagram.s for diagram in diagrams)
    for diagram, ax in zip(diagrams, axes, strict=True):
        plot_phase_diagram(diagram, ax=ax, most=top)
    figure = axes[-1].figure
    bar = figure.colorbar(axes[-1].images[0], ax=list(axes), extend="max", pad=0.015, fraction=0.03)
    bar.set_label("loss exponent  −d ln L / d ln t  as t → ∞;  violet: infinite")
    return axes


def plot_phase_diagram(diagram: PhaseArrays, *, ax: Axes, most: float | None = None) -> Axes:
    """Draw the loss exponent as colour, the dividing lines, and the regimes in words.

    Args:
        diagram: Its arrays.
        ax: Axes to draw into.
        most: Exponent at the dark end of the scale; 3 s if not given.

    Returns:
        The same `ax`, b to the right and p upwards, both without unit.
    """
    b, p = diagram.b, diagram.p
    half_b, half_p = 0.5 * (b[1] - b[0]), 0.5 * (p[1] - p[0])
    exponent = np.ma.masked_invalid(diagram.loss_exponent.T)
    colours = _COLOURS.with_extremes(bad=_INFINITE, over=_COLOURS(1.0))
    ax.imshow(
        exponent,
        origin="lower",
        aspect="auto",
        extent=(b[0] - half_b, b[-1] + half_b, p[0] - half_p, p[-1] + half_p),
        cmap=colours,
        vmin=0.0,
        vmax=3.0 * diagram.s if most is None else most,
        interpolation="nearest",
    )
    _draw_levels(diagram, ax)
    _draw_lines(diagram, ax)
    _name_regimes(diagram, ax)
    word, sign = ("growth", "+") if diagram.is_growth else ("decay", "-")
    ax.set_title(
        rf"{word}: $v = {sign}|c(t)|\,\lambda^b$, start $\lambda^{{s-1}}$ with $s = {diagram.s:g}$", fontsize=11
    )
    ax.set_xlabel("drift exponent b (no unit)")
    ax.set_ylabel(r"p of $c(t) \sim t^{-p}$ (no unit)")
    return ax


def _draw_levels(diagram: PhaseArrays, ax: Axes) -> None:
    """Draw where the loss falls 1.5, 2 and 3 times as steeply as in the lazy limit, if it does."""
    if "escape" not in diagram.regions:
        return
    exponent = np.ma.masked_where(~diagram.regions["escape"], diagram.loss_exponent).T
    levels = [factor * diagram.s for factor in (1.5, 2.0, 3.0)]
    if exponent.count() and exponent.min() < levels[0] < exponent.max():
        lines = ax.contour(diagram.b, diagram.p, exponent, levels, colors="white", linewidths=0.7)
        ax.clabel(lines, fmt=lambda level: f"{level:.3g}", fontsize=8)


def _draw_lines(diagram: PhaseArrays, ax: Axes) -> None:
    left, right = ax.get_xlim()
    bottom, top = ax.get_ylim()
    style = {"color": _LINE, "linewidth": 1.6}
    ax.axvline(1.0, **style)
    ax.axhline(1.0, **style, linestyle="--")
    for ends, width in ((np.array([left, min(1.0, right)]), 0.7), (np.array([max(1.0, left), right]), 1.6)):
        ax.plot(ends, 2.0 - ends, color=_LINE, linewidth=width)
    ax.plot(1.0, 1.0, "o", color=_LINE, markersize=6)
    ax.set_xlim(left, right)
    ax.set_ylim(bottom, top)
    is_growth = diagram.is_growth
    below = r"$e^{-s\,C(t)}$" if is_growth else "plateau"
    clock = r"$t^{-s(1+|\gamma|)}$" if is_growth else r"$t^{-s(1-\gamma)}$"
    notes = [
        (1.0, bottom, f"b = 1: {below} below p = 1", (-4, 6), "right", "bottom", 90.0),
        (right, 1.0, "p = 1", (-5, 4), "right", "bottom", 0.0),
        (1.0, 1.0, f"b = p = 1: {clock}", (-8, -6), "right", "top", 0.0),
    ]
    for x, y, words, shift, across, up, angle in notes:
        if left <= x <= right and bottom <= y <= top:
            ax.annotate(
                words,
                (x, y),
                xytext=shift,
                textcoords="offset points",
                rotation=angle,
                ha=across,
                va=up,
                fontsize=8,
                color=_LINE,
                bbox=_BOX,
            )
    _name_diagonal(diagram, ax)


def _name_diagonal(diagram: PhaseArrays, ax: Axes) -> None:
    """Write along beta = 1, in its part right of b = 1, in the middle of what is shown."""
    left, right = ax.get_xlim()
    bottom, top = ax.get_ylim()
    low, high = max(1.0, 2.0 - top, left), min(right, 2.0 - bottom)
    if low >= high:
        return
    middle = 0.55 * low + 0.45 * high
    law = "$t^{-s}$" if diagram.is_growth else r"$t^{-\min(s,\,2\kappa)}$"
    ax.text(
        middle,
        2.0 - middle,
        rf"$\beta = 1$: self-similar, {law}",
        rotation=-45.0,
        rotation_mode="anchor",
        transform_rotates_text=True,
        ha="center",
        va="center",
        fontsize=8,
        color=_LINE,
        bbox=_BOX,
    )


def _name_regimes(diagram: PhaseArrays, ax: Axes) -> None:
    """Write each regime that fills an area into the middle of its larger part beside p = 1; the parts are convex."""
    least = 0.02 * diagram.loss_exponent.size
    for regime, words in _WORDS.items():
        is_dark = regime in ("faster than any power", "escape")
        inside = diagram.regions.get(regime, np.zeros(diagram.loss_exponent.shape, bool))
        parts = [inside & side for side in (diagram.p > 1, diagram.p < 1)]
        widest = max(parts, key=np.count_nonzero)
        if np.count_nonzero(widest) < least:
            continue
        rows, columns = np.nonzero(widest)
        ax.text(
            diagram.b[rows].mean(),
            diagram.p[columns].mean(),
            words,
            ha="center",
            va="center",
            fontsize=10.5,
            color="white" if is_dark else "#222222",
            bbox={"facecolor": "#1f5f99", "edgecolor": "none", "pad": 1.5} if regime == "escape" else None,
        )
