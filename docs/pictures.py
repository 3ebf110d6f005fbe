"""Draw the pictures of the guides and of the gallery into `docs/images`.

Those of the gallery are made by the very commands that `docs/index.md` prints below them.

Run:  python docs/pictures.py [NAME ...]        (names of files in docs/images; without any: all, some four minutes)
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl

mpl.use("agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import eigenflow as ef
from eigenflow.scaling import allocate, fit_scaling, read_scaling_table

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
LOGS = ROOT / "examples" / "logs"
INDEX = ROOT / "docs" / "index.md"


@dataclass(frozen=True)
class Finding:
    """A picture of the gallery and the line that makes it."""

    image: str
    command: str

    @property
    def words(self) -> list[str]:
        """The command, in words."""
        return shlex.split(self.command)

    @property
    def made(self) -> str:
        """The file that the command writes."""
        return self.words[-1]


def read_findings(page: Path = INDEX) -> list[Finding]:
    """The gallery, as a page prints it: each picture is followed by a block with one line."""
    found = re.findall(
        r"images/(gallery_\w+\.png)(?:(?!images/).)*?```bash\n([^\n]+)\n```", page.read_text(encoding="utf-8"), re.S
    )
    return [Finding(image, command) for image, command in found]


def make_finding(finding: Finding) -> None:
    """Run the line in an empty folder that has the examples, as a reader has them."""
    program = {"eigenflow": ["-m", "eigenflow"], "python": []}[finding.words[0]]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "examples").symlink_to(ROOT / "examples")
        command = [sys.executable, *program, *finding.words[1:]]
        subprocess.run(command, cwd=folder, check=True, env={**os.environ, "MPLBACKEND": "agg"})
        shutil.copyfile(Path(folder) / finding.made, IMAGES / finding.image)
    print(IMAGES / finding.image)


def solve_example() -> ef.TransportProblem:
    return ef.TransportProblem(
        drift=ef.PowerDrift(c=0.5, b=2.0),
        dissipation=2.0,
        initial=lambda lam: lam**-0.5 * np.exp(-lam),
        domain=(1e-8, 1e2),
    )


def draw_density(ax: Axes) -> None:
    """The energy per e-fold of the eigenvalue at a few times."""
    times = np.array([1e-3, 1.0, 1e1, 1e2, 1e3])
    solution = ef.solve(solve_example(), times, cells=300)
    centres = np.sqrt(solution.edges[1:] * solution.edges[:-1])
    shades = mpl.colormaps["viridis"](np.linspace(0, 0.85, len(times)))
    for mass, time, shade in zip(solution.mass, times, shades, strict=True):
        ax.loglog(centres, mass / np.diff(np.log(solution.edges)), color=shade, label=f"t = {time:g}")
    ax.set(xlim=(1e-5, 20), ylim=(1e-4, 1), xlabel="eigenvalue λ [1 / time]", ylabel="energy per e-fold of λ")
    ax.legend(frameon=False)


def draw_forecast(ax: Axes) -> None:
    """Fitted curves, the forecast of a longer run, and what it then did."""
    curves = ef.read_curves(LOGS / "curves.csv", schedules=LOGS / "schedules.csv")
    fitted = curves.select(role=["fit"])
    fit = ef.fit_law(fitted)
    plan = ef.Schedule.cosine(total=16_000, warmup=500, peak=3e-4, end=3e-5)
    forecast = fit.predict(plan, size=100e6, every=100)
    for curve in fitted:
        if curve.size == 100e6:
            ax.plot(curve.steps, curve.losses, color="0.75", linewidth=1)
    (truth,) = [curve for curve in curves.select(role=["test"]) if curve.size == 100e6]
    ax.plot(truth.steps[::4], truth.losses[::4], ".", color="C3", markersize=4, label="what the run then did")
    ax.fill_between(forecast.steps, forecast.lower, forecast.upper, color="C0", alpha=0.3)
    ax.plot(forecast.steps, forecast.loss, color="C0", label="forecast, 90 %")
    ax.plot([], [], color="0.75", label="runs that were fitted")
    ax.set(ylim=(2.9, 3.6), xlabel="step", ylabel="loss [nats]")
    ax.legend(frameon=False)


def draw_plan(ax: Axes) -> None:
    """The best size for a budget, with its interval."""
    fit = fit_scaling(read_scaling_table(LOGS / "runs.csv"))
    budgets = np.geomspace(1e19, 1e24, 40)
    best = allocate(fit, budgets)
    ax.fill_between(budgets, best.size_lower, best.size_upper, alpha=0.3)
    ax.loglog(budgets, best.size, label="best size, 90 %")
    ax.set(xlabel="compute [FLOP]", ylabel="parameters")
    twin = ax.twinx()
    twin.semilogx(budgets, best.loss, "C1--", label="loss there")
    twin.set_ylabel("final loss [nats]")
    lines = [*ax.get_lines(), *twin.get_lines()]
    ax.legend(lines, [str(line.get_label()) for line in lines], frameon=False, loc="upper center")


def draw_modes(axes: np.ndarray) -> None:
    """Eigenvalues and energies of the modes of the README's network while it trains."""
    import torch

    torch.manual_seed(0)
    inputs = torch.randn(64, 5)
    targets = torch.sin(inputs.sum(1, keepdim=True))
    model = torch.nn.Sequential(torch.nn.Linear(5, 32), torch.nn.Tanh(), torch.nn.Linear(32, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    probe = ef.Probe(model, inputs, targets, loss="mse")
    folder = Path(tempfile.mkdtemp()) / "run"
    with ef.Recorder(folder, probe, schedule=ef.log_steps(2000, count=40)) as recorder:
        for step in range(2000):
            loss = torch.nn.functional.mse_loss(model(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            recorder.step(step, loss=loss, learning_rate=0.1)
    modes = ef.open_run(folder).modes
    shades = mpl.colormaps["viridis"](np.linspace(0, 0.9, 12))
    for mode, shade in zip(range(0, 60, 5), shades, strict=True):
        axes[0].loglog(modes["time"][1:], modes["eigenvalue"][1:, mode], color=shade)
        axes[1].loglog(modes["time"][1:], modes["coefficient"][1:, mode] ** 2, color=shade)
    for ax, label in zip(axes, ("eigenvalue λ [1 / time]", "energy of the mode"), strict=True):
        ax.set(xlabel="time (sum of learning rates)", ylabel=label)


def save(figure: Figure, name: str) -> None:
    figure.savefig(IMAGES / name, dpi=100)
    plt.close(figure)
    print(IMAGES / name)


def make_guide(draw: Callable[[Axes], None], name: str) -> None:
    figure, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
    draw(ax)
    save(figure, name)


def make_modes() -> None:
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    draw_modes(axes)
    save(figure, "modes.png")


def main(names: list[str]) -> None:
    mpl.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    makers: dict[str, Callable[[], None]] = {"modes.png": make_modes}
    for name, draw in (("equation.png", draw_density), ("loss_curves.png", draw_forecast), ("plan.png", draw_plan)):
        makers[name] = lambda name=name, draw=draw: make_guide(draw, name)
    for finding in read_findings():
        makers[finding.image] = lambda finding=finding: make_finding(finding)
    unknown = [name for name in names if name not in makers]
    if unknown:
        sys.exit(f"NAME must be one of {', '.join(makers)}, but is {', '.join(unknown)}.")
    for name in names or makers:
        makers[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
