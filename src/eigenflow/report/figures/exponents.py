"""Figures of exponents: regularity of what is not yet learned, and the loss exponent in time."""

from eigenflow.report.figures.canvas import ACCENT, MUTED, WARM, log_axis, new_figure
from eigenflow.report.figures.figure import Figure
from eigenflow.theory.exponents.regularity import Regularity

__all__ = ["exponents_figure"]

LEGEND = {"orientation": "h", "x": 0, "y": -0.2, "yanchor": "top"}
FILLS = {ACCENT: "rgba(0,114,178,0.18)", WARM: "rgba(213,94,0,0.18)"}


def exponents_figure(moving: Regularity, fixed: Regularity | None = None) -> Figure:
    """Draw the source and capacity exponents of the unlearned modes over training, with 90 % intervals.

    Args:
        moving: In the eigenbasis of M(t).
        fixed: In that of the first measurement, if the run holds it.
    """
    figure = new_figure(
        "Regularity of what is not yet learned",
        columns=3,
        height=420,
        titles=["source exponent σ", "change of σ on the same ranks", "capacity exponent"],
        spacing=0.075,
    )
    bases = [("moving basis", moving, ACCENT, "solid")]
    if fixed is not None:
        bases.append(("fixed basis", fixed, WARM, "dash"))
    for basis, found, color, dash in bases:
        _with_interval(figure, found, basis, color, dash)
    times = [found.times for _, found, _, _ in bases]
    figure.update_xaxes(title_text="t", **log_axis(*times, most_ticks=4))
    figure.update_yaxes(zeroline=True, zerolinecolor=MUTED, nticks=7)
    figure.update_layout(legend=LEGEND, margin_b=92)
    return figure


def _with_interval(figure: Figure, found: Regularity, basis: str, color: str, dash: str) -> None:
    """Draw the three exponents of one basis, each as a line in its band."""
    for column, name in enumerate(("source", "source_change", "capacity"), start=1):
        values, half = getattr(found, name), getattr(found, f"{name}_half_width")
        common = {"x": found.times, "mode": "lines", "legendgroup": basis, "col": column}
        edge = {"line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
        figure.add_scatter(y=values - half, name=f"{basis}, low", **edge, **common)
        figure.add_scatter(
            y=values + half, name=f"{basis}, high", fill="tonexty", fillcolor=FILLS[color], **edge, **common
        )
        figure.add_scatter(
            y=values,
            name=f"{basis}, 90 % interval",
            showlegend=column == 1,
            line={"color": color, "dash": dash, "width": 2},
            hovertemplate=f"{basis}<br>t = %{{x:.4g}}: %{{y:.3g}}<extra></extra>",
            **common,
        )
