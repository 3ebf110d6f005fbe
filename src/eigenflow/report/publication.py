"""Every picture of a run for print: drawn by `plots`, sized by its paper style, one file each."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from eigenflow.core.errors import ArgumentError, EigenflowError
from eigenflow.plots import (
    PAPER_DPI,
    PAPER_WIDTHS,
    paper_style,
    plot_claims,
    plot_eigenvalues,
    plot_lazy_rich,
    plot_rest_forecasts,
    plot_run_losses,
    screen_style,
    write_picture,
)
from eigenflow.report.answers.questions import place_of
from eigenflow.report.figures.run import METHODS, QUANTITIES
from eigenflow.report.summary import Analysis
from eigenflow.theory.lazy_rich import LAZY, RICH

__all__ = ["FORMATS", "PICTURES", "PrintedFigures", "course_figure", "run_figure", "write_figures"]

FORMATS = ("pdf", "png", "svg", "eps")
# Of a line of a label, upwards, and across by columns.
UPWARDS, ACROSS = 24, {1: 44, 2: 100}
ROW_INCHES, HEAD_INCHES = 0.19, 0.75  # of a table of verdicts
TALLEST = 9.0  # inches of a page


@dataclass(frozen=True)
class PrintedFigures:
    """What was written of a run.

    Attributes:
        files: By name of the picture.
        left_out: By name of the picture, why the run does not allow it.
    """

    files: dict[str, Path]
    left_out: dict[str, str]


def _loss(analysis: Analysis, ax: Axes) -> None:
    losses = analysis.run.losses
    if "loss" not in losses or not len(losses):
        raise ArgumentError("No loss was logged.")
    steps = losses["step"].to_numpy(int) + 1
    plot_run_losses(steps, losses["loss"].to_numpy(float), ax=ax, measured=np.array(analysis.run.measured_steps, int))


def _forecast(analysis: Analysis, ax: Axes) -> None:
    if not analysis.forecasts:
        raise ArgumentError("The rest of the run was not forecast: it is too short, or a record of states.")
    cuts = sorted({one.observed.cut for one in analysis.forecasts})
    shown = [one for one in analysis.forecasts if one.observed.cut == cuts[len(cuts) // 2]]
    seen = shown[0].observed
    found = {METHODS[one.method][0]: (one.loss, one.lower, one.upper) for one in shown}
    known = (seen.steps.astype(float), seen.losses)
    truth = (seen.later_steps.astype(float), seen.later_losses)
    plot_rest_forecasts(known, truth, found, ax=ax, quantity=QUANTITIES[seen.quantity])


def _eigenvalues(analysis: Analysis, ax: Axes) -> None:
    data = analysis.run.measurements
    if data.sizes.get("mode", 0) == 0:
        raise ArgumentError("The run stores no mode one by one, only shells.")
    times = data["time"].values.astype(float)
    if not (times > 0).any():
        raise ArgumentError("All measurements are of time 0.")
    plot_eigenvalues(times, data["eigenvalue"].values, ax=ax, has_frontier=analysis.run.clock != "updates")


def _energy(analysis: Analysis, ax: Axes) -> None:
    analysis.shells.plot(ax)


def _drift(analysis: Analysis, ax: Axes) -> None:
    if analysis.closure is None:
        raise ArgumentError("No drift law could be fitted.")
    analysis.closure.plot(ax)


def _learned(analysis: Analysis, ax: Axes) -> None:
    if analysis.learned is None:
        raise ArgumentError("The run does not say when its modes were learned.")
    analysis.learned.plot(ax)


def _lazy_rich(analysis: Analysis, ax: Axes) -> None:
    place = place_of(analysis)
    if isinstance(place, str):
        raise ArgumentError(place)
    if place.flux_share is None:
        raise ArgumentError("Records of states do not tell how much energy changes its shell.")
    name = analysis.run.path.resolve().name
    plot_lazy_rich({name: (place.distance, place.flux_share)}, ax=ax, lazy=LAZY, rich=RICH)


def _claims(analysis: Analysis, ax: Axes) -> None:
    plot_claims({analysis.run.path.resolve().name: [row for row in analysis.claims if not row.is_assertion]}, ax=ax)


def _assertions(analysis: Analysis, ax: Axes) -> None:
    plot_claims({analysis.run.path.resolve().name: analysis.claims}, ax=ax)


PICTURES: dict[str, Callable[[Analysis, Axes], None]] = {
    "loss": _loss,
    "forecast": _forecast,
    "eigenvalues": _eigenvalues,
    "energy": _energy,
    "drift": _drift,
    "learned": _learned,
    "lazy_rich": _lazy_rich,
    "claims": _claims,
    "assertions": _assertions,
}


def run_figure(name: str, analysis: Analysis, *, columns: int = 1) -> Figure:
    """Draw one picture of a run for print. Save it within `paper_style` too: fonts are embedded when it is saved.

    Args:
        name: One of `PICTURES`.
        analysis: As from `analyse`.
        columns: Of a page, 1 or 2.

    Raises:
        ArgumentError: If there is no such picture, or the run does not allow it.
    """
    if name not in PICTURES:
        raise ArgumentError(f"`name` must be one of {', '.join(PICTURES)}, but is {name!r}.")
    with paper_style(columns, height=_height(name, analysis)) as size:
        figure = Figure(figsize=size, layout="constrained")
        ax = figure.subplots()
        PICTURES[name](analysis, ax)
        ax.set_ylabel(_broken(ax.get_ylabel(), UPWARDS))
        ax.set_xlabel(_broken(ax.get_xlabel(), ACROSS[columns]))
        _place_legend(figure, ax)
    return figure


def course_figure(analysis: Analysis) -> Figure:
    """Draw the loss of a run and its eigenvalues beside each other, for a screen; what it lacks is left out.

    Args:
        analysis: As from `analyse`.
    """
    with screen_style():
        figure = Figure(figsize=(9.0, 3.6), layout="constrained")
        for ax, draw in zip(figure.subplots(1, 2), (_loss, _eigenvalues), strict=True):
            try:
                draw(analysis, ax)
            except ArgumentError as error:
                ax.set_axis_off()
                ax.set_title(fill(str(error), ACROSS[1]))
    return figure


def _broken(label: str, letters: int) -> str:
    """A label in lines that fit; a unit stays whole."""
    words, bracket, unit = label.partition(" [")
    if len(label) <= letters or not bracket:
        return fill(label, letters)
    return f"{fill(words, letters)}\n[{unit}"


def _height(name: str, analysis: Analysis) -> float | None:
    """Of a table of verdicts, by its rows; None for the usual one."""
    if name not in ("claims", "assertions"):
        return None
    rows = [row for row in analysis.claims if name == "assertions" or not row.is_assertion]
    return min(TALLEST, HEAD_INCHES + ROW_INCHES * len(rows))


def _place_legend(figure: Figure, ax: Axes) -> None:
    """Below the axes, where it covers nothing."""
    legend = ax.get_legend()
    if legend is None:
        return
    handles = [handle for handle in legend.legend_handles if handle is not None]
    labels = [text.get_text() for text in legend.get_texts()]
    legend.remove()
    is_wide = figure.get_figwidth() > PAPER_WIDTHS[1]
    columns = min(len(labels), 3 if is_wide or max(map(len, labels)) < 14 else 2)
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False, columnspacing=1.0)


def write_figures(
    analysis: Analysis, folder: Path, *, kind: str = "pdf", columns: int = 1, replace: bool = False
) -> PrintedFigures:
    """Write every picture that a run allows, one file each, in a folder that is made where it is missing.

    Args:
        analysis: As from `analyse`.
        folder: Where the files go.
        kind: "pdf", "png" (300 pixels an inch), "svg" or "eps".
        columns: Of a page: 1 for 3.3 inches, 2 for 6.9.
        replace: Whether existing files may be replaced.

    Raises:
        ArgumentError: If there is no such kind or column, or a file exists and must not be replaced.
    """
    if kind not in FORMATS:
        raise ArgumentError(f"`kind` must be one of {', '.join(FORMATS)}, but is {kind!r}.")
    files, left_out = {}, {}
    folder.mkdir(parents=True, exist_ok=True)
    with paper_style(columns):
        for name in PICTURES:
            try:
                figure = run_figure(name, analysis, columns=columns)
            except EigenflowError as error:
                left_out[name] = str(error)
                continue
            path = folder / f"{name}.{kind}"
            files[name] = write_picture(figure, path, replace=replace, dpi=PAPER_DPI)
    return PrintedFigures(files, left_out)
