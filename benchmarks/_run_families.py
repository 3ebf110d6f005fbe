"""Families of runs for `learn_priors.py`: one model, one data set, one peak learning rate, several schedules.

Read by path from a folder of the shared sets of loss curves (see benchmarks/README.md); nothing is copied.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from eigenflow.forecast import Curve, Schedule

__all__ = ["RunFamily", "run_families"]


@dataclass(frozen=True)
class RunFamily:
    """Runs that share all parameters of a law.

    Attributes:
        collection: The set they come from.
        series: Families of one series differ in size only, or in peak rate only.
        name: Of the family.
        size: Parameters of the model.
        peak: Peak learning rate.
        curves: At least one.
    """

    collection: str
    series: str
    name: str
    size: float
    peak: float
    curves: tuple[Curve, ...]


def run_families(data: Path) -> list[RunFamily]:
    """All families."""
    readers = (_multipowerlaw, _lr_schedules, _supercollapse, _gemstones, _gpt)
    return [family for reader in readers for family in reader(data)]


def _multipowerlaw(data: Path) -> Iterator[RunFamily]:
    rows = pd.read_csv(data / "multipowerlaw" / "curves.csv")
    shapes = pd.read_csv(data / "multipowerlaw" / "schedules.csv").set_index("curve")
    for size, part in rows.groupby("model_size_M"):
        curves = []
        for name, points in part.groupby("curve"):
            shape = shapes.loc[name]
            common = {"total": int(shape.total_steps), "warmup": int(shape.warmup_steps_linear_from_0)}
            common["peak"] = float(shape.peak_lr)
            if shape.schedule == "cosine":
                schedule = Schedule.cosine(**common, end=float(shape.end_lr))
            elif shape.schedule == "constant":
                schedule = Schedule.constant(**common)
            else:
                schedule = Schedule.two_stage(**common, end=float(shape.end_lr), change=int(shape.change_step))
            curves.append(Curve(str(name), points.step.to_numpy(), points.loss.to_numpy(), schedule))
        yield RunFamily("multipowerlaw", "multipowerlaw", f"{size}M", size * 1e6, 3e-4, tuple(curves))


def _lr_schedules(data: Path) -> Iterator[RunFamily]:
    runs = pd.read_csv(data / "lr_schedule_runs" / "runs.csv").set_index("run")
    logs = dict(iter(pd.read_parquet(data / "lr_schedule_runs" / "curves.parquet").groupby("run")))
    runs = runs[runs.scheduler != "wsd_twostage"]
    for key, members in runs.groupby(["dataset", "n_layer", "n_head", "peak_lr"]):
        curves = tuple(_lr_curve(str(name), run, logs[name]) for name, run in members.iterrows())
        if len(curves) > 1:
            dataset, layers, heads, peak = key
            series = f"lr_schedule_runs {dataset} L{layers} H{heads}"
            yield RunFamily("lr_schedule_runs", series, f"{series} {peak:g}", members.params.iloc[0], peak, curves)


def _lr_curve(name: str, run: pd.Series, log: pd.DataFrame) -> Curve:
    total, warmup, peak = int(run.iterations), int(run.warmup_steps), float(run.peak_lr)
    log = log[log.step > 0]
    if run.step_first == 0:
        known = log.dropna(subset=["lr"])
        known = known[known.step > warmup]
        later = np.interp(np.arange(total), [warmup, *known.step], [peak, *known.lr])
        ramp = peak * np.arange(total) / warmup
        schedule = Schedule.table(np.where(np.arange(total) < warmup, ramp, later), warmup=warmup)
    else:
        start = round(total * (1 - run.decay_fraction))
        decay = "sqrt" if run.decay_type == "sqrt" else "linear"
        schedule = Schedule.wsd(total=total, peak=peak, decay_start=start, warmup=warmup, decay=decay)
    points = log.dropna(subset=["val_loss"])
    return Curve(name, points.step.to_numpy(), points.val_loss.to_numpy(), schedule)


def _supercollapse(data: Path) -> Iterator[RunFamily]:
    rows = pd.read_parquet(data / "supercollapse_curves" / "curves.parquet")
    rows = rows[(rows.seed == 0) & (rows.step > 0)]
    for task, members in (
        ("c5m", ["c5m_schedules"]),
        ("chess", ["chess", "chess_const"]),
        ("mlp", ["mlp", "mlp_const", "mlp_schedules"]),
    ):
        part = rows[rows.set.isin(members)]
        for (width, size), group in part.groupby(["width", "params"]):
            curves = []
            for name, run in group.groupby("run"):
                steps = run.step.to_numpy()
                rates = np.interp(np.arange(steps[-1]), steps, run.lr.to_numpy())
                warmup = int(np.argmax(rates >= 0.999 * rates.max()))
                curves.append(
                    Curve(str(name), steps, run.test_loss.to_numpy(), Schedule.table(rates, warmup=warmup)).binned(200)
                )
            if len(curves) > 1:
                peak = float(group.lr.max())
                yield RunFamily(task, task, f"{task} {width}", float(size), peak, tuple(curves))


def _gemstones(data: Path) -> Iterator[RunFamily]:
    rows = pd.read_csv(data / "gemstones" / "points.csv")
    for model, part in rows.groupby("model"):
        stable = part[part.subset == "constant_lr"].sort_values("step")
        begins = part[part.subset == "cooldown_begin"].sort_values("step").step.to_numpy()
        ends = part[part.subset == "cooldown_end"].sort_values("step")
        if len(ends) < 8:
            continue
        # Rates are relative: the set does not say them, and warm-up is not in it.
        total = int(stable.step.max())
        curves = [
            Curve("stable", stable.step.to_numpy(), stable.loss.to_numpy(), Schedule.constant(total=total, peak=1.0))
        ]
        for begin, end, loss in zip(begins, ends.step, ends.loss, strict=True):
            schedule = Schedule.wsd(total=int(end), peak=1.0, decay_start=int(begin))
            curves.append(Curve(f"cooldown {end}", np.array([int(end)]), np.array([loss]), schedule))
        yield RunFamily("gemstones", "gemstones", f"gemstones {model}", part.params.iloc[0], 1.0, tuple(curves))


def _gpt(data: Path) -> Iterator[RunFamily]:
    rows = pd.read_parquet(data / "gpt100m_20b_schedules" / "cosine.parquet")
    steps = rows.step.to_numpy()
    schedule = Schedule.table(rows.lr.to_numpy(), warmup=0)
    curve = Curve("cosine", steps, rows.train_loss.to_numpy(), schedule).after(50).binned(200)
    yield RunFamily("gpt100m", "gpt100m", "gpt100m", 1e8, float(rows.lr.max()), (curve,))
