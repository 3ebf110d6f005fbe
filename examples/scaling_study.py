"""
Scaling laws predicted from a measured spectrum
===============================================

Networks of many widths, trained on training sets of many sizes, and the spectrum of the same network on the population.

Three tasks with squared loss and gradient descent (the middle of natural-image patches, a photograph from the places of
its pixels, handwritten digits), in NTK and in maximal-update parametrisation and in the limit of infinite width, and a
small transformer on source text. The spectrum predicts how the test loss falls with width, samples, time and compute;
the runs say how it does. docs/validation/predictions.md shows and discusses what comes out.

``record`` trains, about twenty minutes of one core for all; ``status`` says what is there; ``judge`` fits exponents and
holds the predicted ones against them:

.. code-block:: bash

    python examples/scaling_study.py record runs/scaling
    python examples/scaling_study.py judge runs/scaling
"""

# sphinx_gallery_thumbnail_path = "images/predictions_regime.png"
import argparse
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

SEEDS = (0, 1, 2)
RIDGES = np.logspace(-8, 0, 25)  # of the formula; a network that stops at time t has at least about 1 / t


class Kind(NamedTuple):
    """A task with its networks.

    Attributes:
        task: Arguments of `SizeTask`.
        steps: Updates of the runs over samples, and of those over widths.
        counts: Training samples (sequences of "source") of the runs over samples.
        widths: Of the runs over widths; of a limit, features.
        width: Of the runs over samples.
        samples: Of the runs over widths.
    """

    task: dict[str, Any]
    steps: tuple[int, int] = (1000, 800)
    counts: tuple[int, ...] = (50, 100, 200, 400, 800, 1600)
    widths: tuple[int, ...] = (8, 16, 32, 64, 128)
    width: int = 128
    samples: int = 1000


DIGITS = (37, 75, 150, 300, 600, 1200)
FEATURES = (8, 16, 32, 64, 128, 256, 512)
RICH = {"parametrisation": "maximal_update", "learning_rate": 0.2}
ADAMW = {"name": "source", "optimizer": "adamw", "loss": "cross_entropy", "learning_rate": 0.002}
KINDS: dict[str, Kind] = {
    "patches, limit": Kind({"name": "patches"}, widths=FEATURES, samples=1600),
    "photograph, limit": Kind({"name": "photograph"}, widths=FEATURES, samples=800),
    "digits, limit": Kind({"name": "digits"}, widths=FEATURES, samples=1200),
    "patches, lazy": Kind({"name": "patches"}),
    "patches, rich": Kind({"name": "patches", **RICH}),
    "photograph, lazy": Kind({"name": "photograph"}, counts=(50, 100, 200, 400, 800)),
    "digits, lazy": Kind({"name": "digits"}, counts=DIGITS),
    "digits, rich": Kind({"name": "digits", **RICH}, counts=DIGITS),
    "source, adamw": Kind(ADAMW, (500, 500), (128, 256, 512, 1024, 2048, 4096), (8, 16, 32, 64), 32, 4096),
    "source, squares": Kind({"name": "source", "learning_rate": 0.01}, (1000, 0), (4096,), (), 32, 4096),
}


def is_limit(name: str) -> bool:
    """Whether its networks are infinitely wide: kernels in closed form, and random features with a trained readout."""
    return name.endswith("limit")


def jobs(names: list[str]) -> Iterator[tuple[str, str, int, int, int]]:
    """What is trained: kind, "samples" or "width", width, training samples, seed; one seed after the other."""
    for seed in SEEDS:
        for name in names:
            kind = KINDS[name]
            if is_limit(name):
                yield name, "limit", 0, kind.samples, seed
                continue
            yield from ((name, "samples", kind.width, count, seed) for count in kind.counts)
            yield from ((name, "width", width, kind.samples, seed) for width in kind.widths)


def folder_of(out: Path, name: str) -> Path:
    return out / name.replace(", ", "-")


def path_of(out: Path, job: tuple[str, str, int, int, int]) -> Path:
    name, resource, width, count, seed = job
    stem = f"width-s{seed}" if resource == "limit" else f"{resource}-w{width}-n{count}-s{seed}"
    return folder_of(out, name) / f"{stem}.csv"


def record(out: Path, names: list[str]) -> None:
    """Train what is not there yet: a CSV a run, and spectra of the first and, for one seed, of the trained network."""
    import torch

    torch.set_num_threads(1)
    for job in jobs(names):
        path = path_of(out, job)
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        start = time.process_time()
        table = _record(job, path.parent)
        spent = time.process_time() - start
        table.assign(seed=job[-1], cpu_s=spent).to_csv(path, index=False)
        print(f"{job[0]}, {path.stem}: test {table['test'].iloc[-1]:.4g}, {spent:.1f} s", flush=True)


def _record(job: tuple[str, str, int, int, int], folder: Path) -> pd.DataFrame:
    from eigenflow.lab.size_runs import SizeTask, layer_limits, network_spectrum, train_size

    name, resource, width, count, seed = job
    kind = KINDS[name]
    task = SizeTask(**kind.task)
    if resource == "limit":
        spectra, table = layer_limits(task, count, kind.widths, seed)
        for which, one in spectra.items():
            np.savez(folder / f"{which}-s{seed}.npz", **one)  # pyright: ignore[reportArgumentType]
        return table.assign(resource="width")
    table, model = train_size(task, width, count, kind.steps[resource == "width"], seed)
    if resource == "samples" and count == max(kind.counts):
        inputs, targets = task.tensors(task.draw(37, seed)[0])
        first = task.network(inputs.shape[1], 24 if task.is_source else targets.shape[-1], width, seed)
        nets = {"first": first, **({"trained": model} if seed == SEEDS[0] else {})}
        for which, net in nets.items():
            np.savez(folder / f"{which}-s{seed}.npz", **network_spectrum(task, net, seed))  # pyright: ignore
    return table.assign(resource=resource, width=width, samples=count)


def read_runs(out: Path, name: str) -> pd.DataFrame:
    """All measured losses of a kind."""
    paths = sorted(folder_of(out, name).glob("*.csv"))
    return pd.concat([pd.read_csv(path) for path in paths], ignore_index=True) if paths else pd.DataFrame()


def read_spectra(out: Path, name: str, which: str) -> list[dict[str, np.ndarray]]:
    """The spectra of all seeds: "first" or "trained", of limits "ntk" or "features"."""
    return [dict(np.load(path)) for path in sorted(folder_of(out, name).glob(f"{which}-s*.npz"))]


def predicted(spectra: list[dict[str, np.ndarray]]) -> list[Any]:
    """Predicted exponents of each seed's spectrum."""
    from eigenflow.theory.exponents.predicted import predict_exponents

    found = []
    for one in spectra:
        values = one["eigenvalues"]
        seen = values > 1e-12 * values[0]
        found.append(predict_exponents(values[seen], one["energies"][seen], samples=len(values)))
    return found


def range_of(found: list[Any], resource: str, is_rich: bool) -> Any:
    """Mean over seeds of an exponent and of its ends, or None where some seed has none."""
    from eigenflow.theory.exponents.ranges import ExponentRange

    parts = [one.rich if is_rich else one.lazy for one in found]
    if not parts or any(part is None for part in parts):
        return None
    ends = [(r.value, r.lower, r.upper) for r in (getattr(part, resource) for part in parts)]
    return ExponentRange(*np.mean(ends, axis=0).tolist())


def best_of(table: pd.DataFrame, size: str, resource: str) -> Any:
    """Least test loss of each run over its time, as by stopping early."""
    from eigenflow.theory.over_sizes import SizeSweep

    best = table.groupby([size, "seed"], as_index=False)["test"].min()
    return SizeSweep(resource, best[size].to_numpy(float), best["test"].to_numpy(), best["seed"].to_numpy())


def data_of_regressions(spectra: list[dict[str, np.ndarray]]) -> Any:
    """Least loss of regression over ridges, at each number of samples."""
    from eigenflow.theory.over_sizes import SizeSweep

    frames = [
        pd.DataFrame({key[11:]: one[key] for key in one if key.startswith("regression_")}).assign(seed=seed)
        for seed, one in enumerate(spectra)
    ]
    best = pd.concat(frames).groupby(["samples", "seed"], as_index=False)["loss"].min()
    return SizeSweep("data", best["samples"].to_numpy(), best["loss"].to_numpy(), best["seed"].to_numpy())


def in_time(table: pd.DataFrame, spectra: list[dict[str, np.ndarray]]) -> Any:
    """Test losses of the largest training set from the time on at which eight modes are learned."""
    from eigenflow.theory.over_sizes import SizeSweep

    own = table[table["samples"] == table["samples"].max()]
    own = own[own["time"] >= 1.0 / np.mean([one["eigenvalues"][7] for one in spectra])]
    return SizeSweep("time", own["time"].to_numpy(), own["test"].to_numpy(), own["seed"].to_numpy())


def curve(spectra: list[dict[str, np.ndarray]], sweep: Any, ridges: Any, samples: int | None = None) -> Any:
    """The formula's loss for measured spectra, best over ridges: over samples, or over features of given samples."""
    from eigenflow.core.errors import ArgumentError
    from eigenflow.theory.over_sizes import measured_task

    tasks = [measured_task(one["eigenvalues"], one["energies"], len(one["eigenvalues"])) for one in spectra]

    def loss(task: Any, size: float, ridge: float) -> float:
        try:
            return 0.5 * (task.risk(size, ridge=ridge) if samples is None else task.risk(samples, size, ridge))
        except ArgumentError:  # beyond what the pool tells
            return np.inf

    return np.array(
        [np.mean([min(loss(task, size, ridge) for ridge in ridges) for task in tasks]) for size in sweep.places]
    )


def curve_in_time(spectra: list[dict[str, np.ndarray]], sweep: Any, samples: int) -> np.ndarray:
    """The formula's loss at each time t, with the ridge 1 / t: a flow that stops there leaves about as much."""
    return np.array([curve(spectra, _at(samples), (1.0 / time,))[0] for time in sweep.places])


def _at(samples: int) -> Any:
    """A stand-in for a sweep of one size."""
    return SimpleNamespace(places=np.array([float(samples)]))


def rows_of(out: Path, name: str) -> Iterator[tuple[str, Any, Any]]:
    """Rows of one kind: where the exponents come from, what is judged with the row, and the curve beside it."""
    from eigenflow.lab.size_runs import RIDGES as REGRESSED
    from eigenflow.theory.exponents.predicted import PowerStatus
    from eigenflow.theory.over_sizes import exponent_row

    table, is_rich = read_runs(out, name), "rich" in name
    for which in ("ntk", "features") if is_limit(name) else ("first", "trained"):
        spectra = read_spectra(out, name, which)
        if table.empty or not spectra:
            continue
        found = predicted(spectra)
        is_power = all(one.status is not PowerStatus.NO_POWER_LAW for one in found)
        for label, sweep in sweeps_of(name, which, table, spectra).items():
            # Where features were learned, the rich formula is for the first kernel; the trained one stands still.
            told = range_of(found, sweep.resource, is_rich and which == "first" and label != "regression")
            row = None if told is None or not told.value > 0 else exponent_row(sweep, told, is_power_law=is_power)
            beside = None
            if label in ("regression", "data") and "regression_loss" in spectra[0]:
                stopped = RIDGES[RIDGES * table["time"].max() >= 1.0] if label == "data" else REGRESSED
                beside = _curve_row(sweep, curve(spectra, sweep, stopped))
            elif label == "time" and "regression_loss" in spectra[0]:
                beside = _curve_row(sweep, curve_in_time(spectra, sweep, int(table["samples"].max())))
            elif label == "width" and is_limit(name):
                beside = _curve_row(sweep, curve(spectra, sweep, (0.0,), int(table["samples"].max())))
            yield f"{which}: {label}", (sweep, told, row, found), beside


def sweeps_of(name: str, which: str, table: pd.DataFrame, spectra: list[dict[str, np.ndarray]]) -> dict[str, Any]:
    """What is judged by a spectrum; a sweep that the runs do not give is left out."""
    from eigenflow.core.errors import EigenflowError
    from eigenflow.theory.over_sizes import compute_frontier

    runs, widths = (table[table["resource"] == resource] for resource in ("samples", "width"))
    makers: dict[str, Callable[[], Any]] = {}
    if "regression_loss" in spectra[0]:
        makers["regression"] = partial(data_of_regressions, spectra)
    if not is_limit(name):
        makers["data"] = partial(best_of, runs, "samples", "data")
        makers["time"] = partial(in_time, runs, spectra)
        makers["compute"] = partial(compute_frontier, widths.rename(columns={"test": "loss", "seed": "repeat"}))
    if which != "ntk":
        makers["width"] = partial(best_of, widths, "width", "width")
    found = {}
    for label, make in makers.items():
        try:
            found[label] = make()
        except EigenflowError:
            continue
    return found


def _curve_row(sweep: Any, values: np.ndarray) -> Any:
    """Of the sizes that the pool tells of."""
    from eigenflow.theory.over_sizes import curve_row, finite_exponent_row

    known = np.isfinite(values)
    kept = sweep.up_to(sweep.places[known].max()) if known.sum() >= 4 else None
    return None if kept is None else (curve_row(kept, values[known]), finite_exponent_row(kept, values[known]))


def judge(out: Path, names: list[str]) -> pd.DataFrame:
    """All rows as a table, written as CSV."""
    from eigenflow.theory.over_sizes import fit_size_law

    rows = []
    for name in names:
        for label, (sweep, told, row, found), beside in rows_of(out, name):
            law = fit_size_law(sweep)
            rows.append(
                {
                    "system": name,
                    "row": label,
                    "spectrum": ", ".join(sorted({str(one.status) for one in found})),
                    "capacity": np.mean([one.capacity.value for one in found]),
                    "source": np.mean([one.source.value for one in found]),
                    **_ends("predicted", told),
                    **_ends("fitted", law.exponent),
                    "fit": str(law.status),
                    "floor_share": law.floor_share,
                    "sizes": len(sweep.places),
                    "runs": len(sweep),
                    "ratio": None if row is None else row.estimate,
                    "ratio_lower": None if row is None or row.interval is None else row.interval[0],
                    "ratio_upper": None if row is None or row.interval is None else row.interval[1],
                    "verdict": "no exponent" if row is None else row.verdict.value,
                    "finite": None if beside is None else beside[1].estimate,
                    "finite_lower": None if beside is None or beside[1].interval is None else beside[1].interval[0],
                    "finite_upper": None if beside is None or beside[1].interval is None else beside[1].interval[1],
                    "finite_verdict": None if beside is None else beside[1].verdict.value,
                    "curve": None if beside is None else beside[0].estimate,
                    "curve_verdict": None if beside is None else beside[0].verdict.value,
                    "reason": "" if row is None else row.reason,
                }
            )
    table = pd.DataFrame(rows)
    table.to_csv(out / "table.csv", index=False)
    return table


def _ends(name: str, one: Any) -> dict[str, float | None]:
    ends = ("value", "lower", "upper")
    return {name if end == "value" else f"{name}_{end}": None if one is None else getattr(one, end) for end in ends}


def status(out: Path, names: list[str]) -> str:
    """A line a kind: how many runs are there, whether all losses are finite. No number of their results."""
    lines = []
    for name in names:
        table = read_runs(out, name)
        paths = [path_of(out, job) for job in jobs([name])]
        finite = bool(table.empty or np.isfinite(table["test"]).all())
        there = sum(path.exists() for path in paths)
        lines.append(f"{name}: {there} of {len(paths)} runs{'' if finite else ', NOT all finite'}")
    return "\n".join(lines)


def main(command: str, out: str, names: list[str] | None = None) -> pd.DataFrame | None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    chosen, folder = names or list(KINDS), Path(out)
    if command == "status":
        print(status(folder, chosen))
        return None
    if command == "record":
        record(folder, chosen)
        return None
    table = judge(folder, [name for name in chosen if folder_of(folder, name).exists()])
    print(table.drop(columns="reason").to_string(index=False, float_format=lambda x: f"{x:.3g}"))
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["record", "status", "judge"])
    parser.add_argument("out", nargs="?", default="runs/scaling")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), metavar="NAME", help=f"Some of: {'; '.join(KINDS)}")
    given = parser.parse_args()
    main(given.command, given.out, given.kinds)
