"""Figures of a run's course: losses, forecasts of the rest, eigenvalues. They draw finished results."""

import numpy as np
from jaxtyping import Float
from plotly.colors import sample_colorscale

from eigenflow.report.figures.canvas import (
    ACCENT,
    INK,
    MUTED,
    RATE,
    TIME,
    WARM,
    TimeAxis,
    log_axis,
    new_figure,
    positive,
    thinned,
)
from eigenflow.report.figures.figure import Figure
from eigenflow.report.methods import METHODS as METHODS
from eigenflow.store import Run
from eigenflow.theory import Observed
from eigenflow.theory.forecasts.rest_of_run import RestForecast

__all__ = ["METHODS", "eigenvalue_figure", "forecast_figure", "loss_figure"]

# What is forecast: `Observed.quantity`.
QUANTITIES = {"loss": "probe loss", "energy": "½ ‖e‖² of the symmetrised operator"}
TRUTH = "#c3cad2"
LOGGED_POINTS = 800
RANKS = 24
# Up to so many measurements they are marked, or a single one would not be seen.
FEW_POINTS = 16
BAR_TICKS = 5


def loss_figure(run: Run, *, axis: TimeAxis | None = None) -> Figure:
    """Draw the logged loss, and the measured losses of probe and holdout set, over time.

    For a loss that is not squared, half the energy of the symmetrised operator stands beside them.

    Args:
        run: With at least one measurement after time 0, which a logarithmic axis cannot show.
        axis: Of time; logarithmic by default.
    """
    axis = axis or TimeAxis()
    figure = new_figure("Loss over time")
    data = run.measurements
    drawn = [data["probe_loss"].values]
    times = [data["time"].values]
    if {"time", "loss"} <= set(run.losses.columns):
        step, time, loss = _logged(run, "step", "time", "loss", has_zero=axis.is_linear)
        _line(figure, "trained loss, logged", axis.places(time), loss, step, color="#8fb8d6", mode="lines")
        drawn.append(loss)
        times.append(time)
    steps = data["step"].values
    places = axis.places(data["time"].values)
    _line(figure, "probe loss", places, data["probe_loss"].values, steps, color=ACCENT)
    if not run.has_squared_loss:
        energy = 0.5 * data["total_energy"].values
        _line(figure, QUANTITIES["energy"], places, energy, steps, color="#009E73", symbol="square")
        drawn.append(energy)
    if "holdout_loss" in data:
        holdout = data["holdout_loss"].values
        _line(figure, "holdout loss", places, holdout, steps, color=WARM, symbol="diamond")
        drawn.append(holdout)
    figure.update_xaxes(**axis.settings(*times))
    figure.update_yaxes(title_text="loss" if run.has_squared_loss else "loss, half energy", **log_axis(*drawn))
    figure.update_layout(legend={"x": 0.01, "y": 0.02, "yanchor": "bottom"})
    return figure


def _logged(run: Run, *columns: str, has_zero: bool = False) -> list[Float[np.ndarray, " rows"]]:
    """Columns of the loss log where all are known and time is positive, or 0 too, thinned."""
    values = run.losses[list(columns)].to_numpy(dtype=np.float64)
    times = values[:, columns.index("time")]
    values = values[np.isfinite(values).all(1) & ((times >= 0) if has_zero else (times > 0))]
    return list(values[thinned(values, LOGGED_POINTS)].T)


def _line(
    figure: Figure,
    name: str,
    times: np.ndarray,
    values: np.ndarray,
    steps: np.ndarray,
    *,
    color: str,
    mode: str = "lines+markers",
    symbol: str = "circle",
) -> None:
    figure.add_scatter(
        x=times,
        y=positive(values),
        customdata=np.asarray(steps),
        name=name,
        mode=mode,
        line={"color": color, "width": 1.6},
        marker={"size": 5, "symbol": symbol},
        hovertemplate="step %{customdata}, t = %{x:.4g}<br>" + name + " %{y:.4g}<extra></extra>",
    )


def forecast_figure(forecasts: list[RestForecast]) -> Figure:
    """Draw what each method forecast from each cut, beside the truth.

    Args:
        forecasts: At least one; a panel for every cut among them.
    """
    cuts = sorted({forecast.observed.cut for forecast in forecasts})
    figure = new_figure(
        "Forecasts of the rest of the run",
        columns=len(cuts),
        height=460,
        titles=[f"{cut:.0%} of the steps known" for cut in cuts],
        shared_y=True,
        spacing=0.025,
    )
    shown, truth = [], []
    for column, cut in enumerate(cuts, start=1):
        of_cut = [forecast for forecast in forecasts if forecast.observed.cut == cut]
        observed = of_cut[0].observed
        is_near = observed.times >= observed.times[-1] / 10
        truth += [observed.losses[is_near], observed.later_losses]
        _truth_lines(figure, observed, column)
        for forecast in of_cut:
            _forecast_lines(figure, forecast, column)
            shown += [forecast.lower, forecast.loss, forecast.upper]
        figure.update_xaxes(
            title_text=TIME if len(cuts) < 2 else "time t",
            col=column,
            **log_axis(observed.times[is_near], observed.later_times),
        )
    quantity = QUANTITIES[forecasts[0].observed.quantity]
    _limit_losses(figure, shown, truth, {f.observed.cut: float(f.observed.times[-1]) for f in forecasts}, quantity)
    figure.update_layout(legend={"orientation": "h", "x": 0, "y": -0.16, "yanchor": "top"})
    figure.update_layout(margin_b=96)
    return figure


def _limit_losses(
    figure: Figure,
    shown: list[np.ndarray],
    truth: list[np.ndarray],
    last_known: dict[float, float],
    quantity: str,
) -> None:
    """One range for all panels, which holds the truth; a forecast far below it leaves the picture."""
    everything, true = positive(np.concatenate(shown)), positive(np.concatenate(truth))
    floor = np.nanmin(true, initial=np.inf) / 30
    settings = log_axis(np.concatenate([np.maximum(everything, floor), true]))
    figure.update_yaxes(**settings)
    figure.update_yaxes(title_text=quantity, col=1)
    low, high = settings.get("range", (0.0, 1.0))
    for column, cut in enumerate(sorted(last_known), start=1):
        figure.add_scatter(
            x=[last_known[cut]] * 2,
            y=[10.0**low, 10.0**high],
            name="last known value",
            legendgroup="last",
            showlegend=column == 1,
            mode="lines",
            line={"color": MUTED, "width": 1.2, "dash": "dot"},
            hoverinfo="skip",
            col=column,
        )


def _forecast_lines(figure: Figure, forecast: RestForecast, column: int) -> None:
    name, color, dash, fill = METHODS.get(forecast.method, (forecast.method, MUTED, "dot", "rgba(102,113,125,0.2)"))
    times = forecast.observed.later_times
    common = {"x": times, "legendgroup": forecast.method, "hoverinfo": "skip", "showlegend": False, "mode": "lines"}
    lower, upper = positive(forecast.lower), positive(forecast.upper)
    ends = {"lower": lower, "upper": upper}
    for end, values in ends.items():
        figure.add_scatter(
            y=values,
            line={"width": 0},
            fill="tonexty" if end == "upper" else None,
            fillcolor=fill,
            name=f"{forecast.method} {end}",
            col=column,
            **common,
        )
    common |= {"hoverinfo": None, "showlegend": column == 1}
    figure.add_scatter(
        y=positive(forecast.loss),
        name=name,
        line={"color": color, "dash": dash, "width": 2},
        hovertemplate=f"{name}<br>t = %{{x:.4g}}, %{{y:.4g}}<extra></extra>",
        col=column,
        **common,
    )


def _truth_lines(figure: Figure, observed: Observed, column: int) -> None:
    kept = thinned(observed.times, LOGGED_POINTS)
    figure.add_scatter(
        x=positive(observed.times[kept]),
        y=positive(observed.losses[kept]),
        name="known",
        legendgroup="known",
        showlegend=column == 1,
        mode="lines",
        line={"color": INK, "width": 2},
        hovertemplate="known<br>t = %{x:.4g}, %{y:.4g}<extra></extra>",
        col=column,
    )
    figure.add_scatter(
        x=observed.later_times,
        y=positive(observed.later_losses),
        name="truth, not seen by the forecasts",
        legendgroup="truth",
        showlegend=column == 1,
        mode="lines+markers",
        line={"color": TRUTH, "width": 7},
        marker={"color": TRUTH, "size": 8},
        hovertemplate="truth<br>t = %{x:.4g}, %{y:.4g}<extra></extra>",
        col=column,
    )


def eigenvalue_figure(run: Run, *, axis: TimeAxis | None = None) -> Figure:
    """Draw eigenvalues of log-spaced ranks over time, with the frontier 1 / (2 t) and the stability limit 2 / eta.

    Args:
        run: With at least one stored mode and a measurement after time 0.
        axis: Of time; logarithmic by default.
    """
    axis, data = axis or TimeAxis(), run.measurements
    eigenvalues, times = positive(data["eigenvalue"].values), axis.places(data["time"].values)
    count = eigenvalues.shape[1]
    ranks = np.unique(np.geomspace(1, count, RANKS).round().astype(int))
    figure = new_figure(f"Eigenvalues over time: {len(ranks)} of {count} stored ranks", height=500)
    share = np.log(ranks) / max(np.log(count), 1e-9)
    for rank, color in zip(ranks, sample_colorscale("Viridis", share * 0.93), strict=True):
        figure.add_scatter(
            x=times,
            y=eigenvalues[:, rank - 1],
            name=f"rank {rank}",
            mode="lines" if len(times) > FEW_POINTS else "lines+markers",
            showlegend=False,
            line={"color": color, "width": 1.5},
            marker={"size": 5},
            hovertemplate=f"rank {rank}<br>t = %{{x:.4g}}, λ = %{{y:.4g}}<extra></extra>",
        )
    _rank_bar(figure, count)
    limits = np.array([])
    if axis.is_clock:
        style = {"mode": "lines", "hoverinfo": "skip", "line": {"color": INK, "dash": "dash", "width": 2}}
        figure.add_scatter(x=times, y=1 / (2 * positive(times)), name="1 / (2t)", **style)
        limits = _stability_line(figure, run)
    figure.update_xaxes(**axis.settings(times))
    shown = eigenvalues[:, ranks - 1]
    # Rates that come to zero take their limit out of the picture; a decade beside the eigenvalues is enough to see it.
    is_near = (limits > np.nanmin(shown) / 10) & (limits < 10 * np.nanmax(shown))
    figure.update_yaxes(title_text=RATE, **log_axis(shown, limits[is_near]))
    figure.update_layout(legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1.0, "yanchor": "bottom"})
    return figure


def _stability_line(figure: Figure, run: Run) -> np.ndarray:
    if not {"time", "learning_rate"} <= set(run.losses.columns):
        return np.array([])
    time, learning_rate = _logged(run, "time", "learning_rate")
    limit = 2 / positive(learning_rate)
    figure.add_scatter(
        x=time,
        y=limit,
        name="2 / η",
        mode="lines",
        line={"color": WARM, "dash": "dot", "width": 2},
        hovertemplate="t = %{x:.4g}, 2 / η = %{y:.4g}<extra></extra>",
    )
    return limit


def _rank_bar(figure: Figure, count: int) -> None:
    """A colour bar for the ranks; lines cannot carry one."""
    marks = np.unique(np.geomspace(1, count, BAR_TICKS).round().astype(int))
    # A marker without a place: only its colour bar shows.
    figure.add_scatter(
        x=[None],
        y=[None],
        mode="markers",
        showlegend=False,
        hoverinfo="skip",
        marker={
            "color": [0.0],
            "colorscale": [[at / 10, sample_colorscale("Viridis", [0.093 * at])[0]] for at in range(11)],
            "cmin": 0.0,
            "cmax": max(float(np.log10(count)), 1e-9),
            "colorbar": {
                "title": {"text": "rank (1 = largest)", "side": "right", "font": {"size": 12}},
                "tickvals": np.log10(marks).tolist(),
                "ticktext": [str(mark) for mark in marks],
                "thickness": 14,
                "outlinewidth": 0,
            },
        },
    )
