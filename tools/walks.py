"""Results and ways of one small example each, for `house.py --results`."""

import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from house import ROOT, SOURCE

import eigenflow as ef

LOGS = ROOT / "examples" / "logs"


def record(folder: Path) -> dict[str, Any]:
    """The README's network, recorded."""
    import torch

    torch.manual_seed(0)
    inputs = torch.randn(64, 5)
    targets = torch.sin(inputs.sum(1, keepdim=True))
    model = torch.nn.Sequential(torch.nn.Linear(5, 32), torch.nn.Tanh(), torch.nn.Linear(32, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    probe = ef.Probe(model, inputs, targets, loss="mse")
    snapshot = probe.measure(modes=16, drift=True)
    with ef.Recorder(folder, probe, schedule=ef.log_steps(200, count=20)) as recorder:
        for step in range(200):
            loss = torch.nn.functional.mse_loss(model(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            recorder.step(step, loss=loss, learning_rate=0.1)
    return {"probe": probe, "snapshot": snapshot}


def read(folder: Path) -> dict[str, Any]:
    run = ef.open_run(folder)
    budget = ef.shell_budget(run)
    return {"run": run, "budget": budget, "closure": ef.fit_closure(budget), "claims": ef.claims(run)}


def report(folder: Path) -> None:
    from eigenflow.report import analyse, write_report

    write_report(analyse(ef.open_run(folder)))


def solve() -> dict[str, Any]:
    problem = ef.TransportProblem(
        drift=ef.PowerDrift(c=0.5, b=2.0),
        dissipation=2.0,
        initial=lambda lam: lam**-0.5 * np.exp(-lam),
        domain=(1e-6, 1e2),
    )
    return {"problem": problem, "solution": ef.solve(problem, np.geomspace(1e-2, 1e4, 50))}


def forecast() -> dict[str, Any]:
    curves = ef.read_curves(LOGS / "curves.csv", schedules=LOGS / "schedules.csv").select(role=["fit"])
    fit = ef.fit_law(curves)
    schedule = ef.Schedule.cosine(total=24_000, warmup=500, peak=3e-4, end=3e-5)
    return {"curves": curves, "schedule": schedule, "fit": fit, "forecast": fit.predict(schedule, size=100e6)}


def study(curves: Any) -> dict[str, Any]:
    from eigenflow.forecast.design import fit_final_loss

    found = ef.fit_study(curves)
    design = ef.design_schedule(fit_final_loss(found.fits[0], peak=3e-4, size=100e6), steps=8000, peak=3e-4, warmup=500)
    return {"study": found, "design": design}


def plan() -> dict[str, Any]:
    from eigenflow.scaling import allocate, fit_scaling, read_scaling_table

    table = read_scaling_table(LOGS / "runs.csv")
    fit = fit_scaling(table)
    return {"table": table, "scaling fit": fit, "plan": allocate(fit, np.array([1e22]))}


def results() -> None:
    """Length of what every result prints of itself."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        every = {**record(Path(folder) / "run"), **read(Path(folder) / "run"), **solve(), **forecast()}
        every |= {**study(every["curves"]), **plan()}
        print("\nrepr of each result: characters, lines; other views")
        for name, value in every.items():
            text = repr(value)
            views = [view for view in ("_repr_html_", "to_dataframe", "to_dataset", "plot") if hasattr(value, view)]
            print(
                f"  {name:12} {type(value).__name__:18} {len(text):7} {text.count(chr(10)) + 1:4}  {', '.join(views)}"
            )


def walk(action: Callable[[], Any]) -> list[str]:
    """Modules in the order in which functions of theirs are first called."""
    seen: set[tuple[str, int]] = set()
    order: list[str] = []

    def called(frame: Any, event: str, _: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(str(SOURCE)) and code.co_name != "<module>":
            key = (code.co_filename, code.co_firstlineno)
            if key not in seen:
                seen.add(key)
                order.append(str(Path(code.co_filename).relative_to(SOURCE)))

    sys.setprofile(called)
    try:
        action()
    finally:
        sys.setprofile(None)
    return order


def path(places: list[str]) -> tuple[int, int]:
    """Places entered, and returns to one that had been left."""
    steps = [place for number, place in enumerate(places) if number == 0 or place != places[number - 1]]
    return len(set(steps)), len(steps) - len(set(steps))


def ways() -> None:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = Path(folder) / "run"

        def probe_to_report() -> None:
            record(run)
            report(run)

        print("\nways: functions; modules entered, returns; rooms entered, returns; packages entered, returns")
        for name, action in (
            ("probe to report", probe_to_report),
            ("curves to forecast", forecast),
            ("problem to solution", solve),
        ):
            modules = walk(action)
            rooms = [str(Path(module).parent) for module in modules]
            tops = [module.split("/")[0] for module in modules]
            counts = ", ".join(f"{a} {b}" for a, b in map(path, (modules, rooms, tops)))
            print(f"  {name:20} {len(modules):4}; {counts}")
