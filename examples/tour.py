"""A tour of eigenflow in ten cells: a marimo notebook, and a script.

Open it with `marimo edit examples/tour.py`, read it with `marimo run examples/tour.py`, or run all of its cells with
`python examples/tour.py`. It takes less than a minute of one core.
"""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="A tour of eigenflow")

with app.setup:
    import tempfile
    from pathlib import Path

    import marimo as mo
    import numpy as np
    import pandas as pd
    import plotly.graph_objects as go
    import torch
    from scipy.special import beta
    from torch import nn

    import eigenflow as ef
    from eigenflow.report.figures.lazy_rich import plane_figure
    from eigenflow.report.figures.run import eigenvalue_figure, loss_figure
    from eigenflow.theory import learning_times
    from eigenflow.theory.lazy_rich import lazy_rich

    torch.set_num_threads(1)  # the network is small


@app.cell(hide_code=True)
def _():
    mo.md("""
    # A tour of eigenflow

    The error of a network on some samples has modes, each with an eigenvalue: the rate at which training learns it.
    While a network learns, its modes move. This page records that, says what was learned when, forecasts a loss, and
    solves the equation behind it. Move a slider, and what follows from it is computed anew.
    """)
    return


@app.function
def record(scale: float, steps: int = 400):
    """A network of 32 units in a training loop of its own, measured at some twenty of its updates."""
    inputs = torch.randn(24, 5, generator=torch.Generator().manual_seed(0))
    targets = torch.sin(inputs.sum(1, keepdim=True))
    torch.manual_seed(0)
    model = Scaled(scale)
    rate = 0.1 / scale**2  # the scale multiplies the eigenvalues by its square
    optimizer = torch.optim.SGD(model.learner.parameters(), lr=rate)
    folder = Path(tempfile.mkdtemp()) / "run"
    probe = ef.Probe(model, inputs, targets, loss="mse")
    with ef.Recorder(folder, probe, schedule=ef.log_steps(steps, count=20)) as recorder:
        for step in range(steps):
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(inputs), targets)
            loss.backward()
            optimizer.step()
            recorder.step(step, loss=loss.item(), learning_rate=rate)
    return ef.open_run(folder)


@app.class_definition
class Scaled(nn.Module):
    """What a network has learned since its start, times a scale: the larger it is, the less its weights must move."""

    def __init__(self, scale: float):
        super().__init__()
        self.learner, self.start = (nn.Sequential(nn.Linear(5, 32), nn.Tanh(), nn.Linear(32, 1)) for _ in range(2))
        self.start.load_state_dict(self.learner.state_dict())
        self.start.requires_grad_(False)
        self.scale = scale

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.scale * (self.learner(inputs) - self.start(inputs))


@app.cell
def _():
    scale = mo.ui.slider(steps=[0.5, 1, 2, 4, 8], value=1, label="output scale: rich ↔ lazy", show_value=True)
    mo.vstack([mo.md("## A run, recorded while you wait"), scale])
    return (scale,)


@app.cell
def _(scale):
    run = record(scale.value)
    mo.vstack([loss_figure(run), eigenvalue_figure(run)])
    return (run,)


@app.cell
def _(run):
    place = lazy_rich(run.measurements, ef.shell_budget(run))
    told = mo.md(f"""
    ## Lazy or rich?

    The operator has gone **{place.coordinate:.3f}** of its own size: this run is **{place.regime}**. Below 0.1 the
    network is lazy, which means that its modes hardly move. Above 1 it is rich, which means that it learns features.
    """)
    mo.vstack([told, plane_figure({"this run": place})])
    return (place,)


@app.cell
def _(run):
    learned = learning_times(run, by="rank", most=8).to_dataframe()
    shown = learned[["first_rank", "eigenvalue_high", "energy_share", "fixed_1/e", "lazy_1/e"]]
    mo.vstack([mo.md("## Which modes were learned when? Time is the sum of learning rates."), mo.plain(shown)])
    return (learned,)


@app.cell
def _(run):
    claims = ef.claims(run)
    rows = claims.to_dataframe()[["statement", "estimate", "lower", "upper", "verdict"]]
    shorter = dict.fromkeys(("estimate", "lower", "upper"), "{:.3g}".format)
    listed = mo.ui.table(rows, selection=None, format_mapping=shorter, show_column_summaries=False)
    mo.vstack([mo.md("## Which claims of the theory hold on this run?"), listed])
    return (claims,)


@app.cell
def _():
    seen = mo.ui.slider(10, 80, 10, value=40, label="% of the run that is known", show_value=True)
    others = mo.ui.switch(value=True, label="and three shorter runs, with other learning rates")
    _told = mo.md("## How will a run end? The loss of a language model, in nats, from a sample log.")
    mo.vstack([_told, mo.hstack([seen, others], justify="start", gap=2)])
    return others, seen


@app.cell
def _(others, seen):
    logs = mo.notebook_dir() / "logs"
    table = pd.read_csv(logs / "curves.csv").query("model_size_M == 25")
    log = table[table["curve"] == "cosine_16000"]
    plan = ef.Schedule.cosine(total=16_000, warmup=500, peak=3e-4, end=3e-5)
    until = plan.total * seen.value // 100
    known = [log[log["step"] <= until], *([table[table["role"] == "fit"]] if others.value else [])]
    curves = ef.read_curves(pd.concat(known)[["curve", "step", "loss"]], schedules=logs / "schedules.csv")
    forecast = ef.fit_law(curves, law="transport").predict(plan, every=200)
    return forecast, log, until


@app.cell
def _(forecast, log, until):
    fan = go.Figure().update_layout(template="plotly_white", xaxis_title="updates", yaxis_title="loss [nats]")
    steps = np.concatenate([forecast.steps, forecast.steps[::-1]])
    around = np.concatenate([forecast.lower, forecast.upper[::-1]])
    fan.add_scatter(x=steps, y=around, fill="toself", line_width=0, name="90 % interval")
    fan.add_scatter(x=forecast.steps, y=forecast.loss, name="forecast")
    fan.add_scatter(x=log["step"], y=log["loss"], mode="markers", marker_size=4, name="what came")
    fan.add_vline(x=until, line_dash="dot").update_yaxes(range=[3.22, 3.6])
    end, low, high = forecast.loss[-1], forecast.lower[-1], forecast.upper[-1]
    came = log["loss"].iloc[-1]
    does = "holds it" if low <= came <= high else "misses it"
    told_end = mo.md(f"It ends at **{end:.3f}** [{low:.3f}, {high:.3f}]. What came is {came:.3f}: the interval {does}.")
    mo.vstack([told_end, fan])
    return


@app.cell
def _():
    drift = mo.ui.slider(0.1, 0.9, 0.1, value=0.5, label="strength c of the drift v = -c λ²", show_value=True)
    _told = mo.md("## The equation alone: ∂g/∂t + ∂(v g)/∂λ = -2 λ g, beside its closed form at g(0) = λ^-0.3")
    mo.vstack([_told, drift])
    return (drift,)


@app.cell
def _(drift):
    times = np.geomspace(1.0, 1e3, 20)
    problem = ef.TransportProblem(
        drift=ef.PowerDrift(c=drift.value, b=2.0), dissipation=2.0, initial=lambda lam: lam**-0.3, domain=(1e-12, 1e6)
    )
    solution = ef.solve(problem, times, cells=200)
    exact = (drift.value * times) ** -0.7 * beta(0.7, 2 / drift.value - 0.7)
    miss = float(np.abs(solution.total / exact - 1).max())
    energy = go.Figure().update_layout(
        template="plotly_white", xaxis_title="time", yaxis_title="energy: twice the loss"
    )
    energy.add_scatter(x=times, y=exact, name="closed form", line={"width": 6, "color": "lightgray"})
    energy.add_scatter(x=times, y=solution.total, name="solved", mode="markers")
    energy.update_xaxes(type="log").update_yaxes(type="log")
    mo.vstack([energy, mo.md(f"Solved and closed form differ by {miss:.0e} at most. {solution.reason}")])
    return miss, solution


if __name__ == "__main__":
    app.run()
