"""The shared sets of loss curves as the forecast benchmarks read them: by path, nothing copied.

A family is a `CurveSet` with what may be hidden in it. Points before the end of warm-up or before 2 % of a run are left
out, long logs are thinned to about `POINTS` a curve (a per-step training loss is averaged first), and of
large sets a fixed random part is used, so that the whole table stays a matter of minutes.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from eigenflow.forecast import Curve, CurveSet, Schedule

__all__ = ["FOLDERS", "NOT_LEARNED", "SETS", "Family", "repeats_of"]

POINTS, FIRST_SHARE = 60, 0.02
# The log of gpt100m shows no warm-up; its first updates are left out.
FIRST_SHARE_OF_LOG = 640


@dataclass(frozen=True)
class Family:
    """Curves, and what to hide, as the keys of `_forecast_kinds.PROTOCOLS`; of many splits at most `most` are asked."""

    name: str
    curves: CurveSet
    hide: tuple[str, ...]
    most: int = 12


def _curve(name: str, steps: np.ndarray, losses: np.ndarray, schedule: Schedule, **more: object) -> Curve:
    curve = Curve(name, np.asarray(steps, dtype=np.int64), np.asarray(losses, dtype=np.float64), schedule, **more)
    begin = max(FIRST_SHARE * curve.steps[-1], schedule.warmup + 1, 1)
    kept = np.flatnonzero(curve.steps >= begin)
    if len(kept) > POINTS:
        # Half of them even in the logarithm, half in the step: early decay and late annealing are both resolved.
        last = curve.steps[-1]
        ladder = np.concatenate([np.geomspace(begin, last, POINTS // 2), np.linspace(begin, last, POINTS // 2)])
        kept = np.unique(np.clip(np.searchsorted(curve.steps, ladder), kept[0], kept[-1]))
    return replace(curve, steps=curve.steps[kept], losses=curve.losses[kept])


def _some(items: Iterable[Curve], most: int, seed: int = 0) -> tuple[Curve, ...]:
    every = list(items)
    if len(every) <= most:
        return tuple(every)
    chosen = np.random.default_rng(seed).choice(len(every), most, replace=False)
    return tuple(every[index] for index in sorted(chosen))


def multipowerlaw(data: Path) -> Iterator[Family]:
    folder = data / "multipowerlaw"
    shapes = pd.read_csv(folder / "schedules.csv").set_index("curve")
    curves = []
    for (size, name), rows in pd.read_csv(folder / "curves.csv").groupby(["model_size_M", "curve"]):
        shape = shapes.loc[name]
        common = {"total": int(shape.total_steps), "warmup": int(shape.warmup_steps_linear_from_0)}
        peak, end = float(shape.peak_lr), float(shape.end_lr)
        schedule = {
            "cosine": lambda c=common, p=peak, e=end: Schedule.cosine(**c, peak=p, end=e),
            "constant": lambda c=common, p=peak: Schedule.constant(**c, peak=p),
            "two_stage": lambda c=common, p=peak, e=end, s=shape: Schedule.two_stage(
                **c, peak=p, end=e, change=int(s.change_step)
            ),
        }[shape.schedule]()
        branch = 0 if np.isnan(shape.change_step) else int(shape.change_step)
        role = str(rows.role.iloc[0])
        curves.append(_curve(name, rows.step, rows.loss, schedule, size=size * 1e6, branch=branch, role=role))
    yield Family("all", CurveSet(tuple(curves)), ("rest", "schedule"))
    yield Family("some", CurveSet(tuple(curves[1::2])), ("few", "noisy"))


def lr_schedule_runs(data: Path) -> Iterator[Family]:
    folder = data / "lr_schedule_runs"
    runs = pd.read_csv(folder / "runs.csv")
    runs = runs[runs.group == "main"].set_index("run")
    logs = dict(iter(pd.read_parquet(folder / "curves.parquet").groupby("run")))
    whole, groups, ladder = [], {}, []
    for name, run in runs.iterrows():
        curve = _lr_schedule_curve(str(name), run, logs[name])
        is_many = run.params == 123587328
        groups.setdefault((run.dataset, run.params, run.peak_lr if is_many else 0.0), []).append(curve)
        if run.step_first == 0:
            whole.append(curve)
        if run.dataset == "slimpajama" and run.scheduler == "cos" and run.peak_lr == (1e-3 if is_many else 2e-3):
            ladder.append(curve)
    yield Family("rests", CurveSet(_some(whole, 10)), ("rest",))
    yield Family("some rests", CurveSet(_some(whole, 5, seed=1)), ("few", "noisy"))
    for (dataset, size, peak), group in groups.items():
        if len(group) > 3:
            yield Family(f"{dataset}-{size / 1e6:.0f}M-{peak:g}", CurveSet(_some(group, 8)), ("schedule",), 5)
    yield Family("cosine of five sizes", CurveSet(_longest_of_each_size(ladder)), ("size", "pair"))
    for dataset in ("slimpajama", "openwebtext2"):
        yield Family(f"sizes of {dataset}", CurveSet(_longest_of_each_kind(groups, dataset)), ("both",))
    peaks = [curve for (dataset, size, peak), group in groups.items() if peak for curve in group[:4]]
    yield Family("peak rates", CurveSet(tuple(peaks)), ("peak",))


def _longest_of_each_size(curves: list[Curve]) -> tuple[Curve, ...]:
    return tuple({curve.size: curve for curve in sorted(curves, key=lambda curve: curve.steps[-1])}.values())


def _longest_of_each_kind(groups: dict[tuple[str, float, float], list[Curve]], dataset: str) -> tuple[Curve, ...]:
    """The longest cosine and the longest other run of every size."""
    found: dict[tuple[object, ...], Curve] = {}
    for (name, _, _), group in groups.items():
        for curve in group if name == dataset else ():
            key = (curve.size, curve.role)
            if key not in found or curve.steps[-1] > found[key].steps[-1]:
                found[key] = curve
    return tuple(found.values())


def _lr_schedule_curve(name: str, run: pd.Series, rows: pd.DataFrame) -> Curve:
    logged = rows.dropna(subset="lr")
    steps, rates = logged.step.to_numpy(), logged.lr.to_numpy()
    if run.scheduler == "wsd" and run.decay_fraction == 0:
        steps, rates = steps[:-1], rates[:-1]  # the scheduler's value after the last update is logged as zero
    updates = np.arange(int(run.iterations))
    every = np.interp(updates, np.concatenate([[0], steps]), np.concatenate([[0.0], rates]))
    if steps[0] > run.warmup_steps:  # the log starts at the cooldown: its history is the constant-rate run
        early = np.minimum(1.0, (updates + 1) / run.warmup_steps) * run.peak_lr
        every = np.where(updates < steps[0], early, every)
    observed = rows.dropna(subset="val_loss")
    observed = observed[observed.step > 0]
    decay = 0.0 if np.isnan(run.decay_fraction) else run.decay_fraction
    branch = int(run.iterations * (1 - decay)) if run.scheduler == "wsd" and decay > 0 else 0
    schedule = Schedule.table(every, warmup=int(run.warmup_steps))
    kind = f"{run.scheduler}"
    return _curve(name, observed.step, observed.val_loss, schedule, size=float(run.params), branch=branch, role=kind)


def supercollapse(*members: str) -> Callable[[Path], Iterator[Family]]:
    """Make the reader of some of the sets in `supercollapse_curves`: the first seed of each setting."""

    def read(data: Path) -> Iterator[Family]:
        curves = [curve for curve, seed in _supercollapse_curves(data, members) if seed == 0]
        yield Family("rests", CurveSet(_some(curves, 7)), ("rest",))
        yield Family("some rests", CurveSet(_some(curves, 2, seed=1)), ("few", "noisy"))
        if "schedules" in members[0]:
            yield Family("schedules", CurveSet(tuple(curves)), ("schedule",))
        elif len(members) > 1:
            yield Family("schedules", CurveSet(tuple(curves)), ("one schedule", "both"))
        for member in () if "schedules" in members[0] else members[:1]:
            ladder = tuple(curve for curve in curves if curve.name.startswith(member + "/"))
            yield Family(f"sizes of {member}", CurveSet(ladder), ("size", "pair"))

    return read


def _supercollapse_curves(data: Path, members: tuple[str, ...]) -> Iterator[tuple[Curve, int]]:
    table = pd.read_parquet(data / "supercollapse_curves" / "curves.parquet")
    table = table[table["set"].isin(members)]
    seeds: dict[tuple[object, ...], int] = {}
    for (member, run), rows in table.groupby(["set", "run"], observed=True):
        rows = rows.sort_values("step").drop_duplicates("step")
        steps, rates = rows.step.to_numpy(), rows.lr.to_numpy(np.float64)
        first = rows.iloc[0]
        setting = (member, first.width, first.schedule, steps[-1])
        seeds[setting] = seeds.get(setting, -1) + 1
        schedule = Schedule.table(np.maximum(np.interp(np.arange(steps[-1]) + 0.5, steps, rates), 0.0))
        kept = steps > 0
        role = str(first.schedule)
        name = f"{member}/{first.schedule}/{run}"
        yield (
            _curve(name, steps[kept], rows.test_loss.to_numpy()[kept], schedule, size=float(first.params), role=role),
            seeds[setting],
        )


def gpt100m(data: Path) -> Iterator[Family]:
    rows = pd.read_parquet(data / "gpt100m_20b_schedules" / "cosine.parquet")
    losses, window = rows.train_loss.to_numpy(np.float64), 128
    whole = len(losses) // window
    means = losses[: whole * window].reshape(whole, window).mean(axis=1)
    steps = np.arange(whole) * window + window // 2
    schedule = Schedule.table(rows.lr.to_numpy(np.float64))
    yield Family("cosine", CurveSet((_curve("cosine", steps, means, schedule, size=1e8),)), ("rest", "few"))
    # As it was logged, every sixteenth update: what a person without an average of their own has.
    some = slice(FIRST_SHARE_OF_LOG, None, 16)
    raw = Curve("every 16th step", rows.step.to_numpy()[some], losses[some], schedule, size=1e8)
    yield Family("raw", CurveSet((raw,)), ("rest",))


def gemstones(data: Path) -> Iterator[Family]:
    curves, constant = _gemstones_curves(data)
    yield Family("rests", CurveSet(_some(curves, 12)), ("rest",))
    yield Family("some rests", CurveSet(_some(curves, 4, seed=1)), ("few", "noisy"))
    yield Family("sizes of constant_lr", CurveSet(_some(constant, 8)), ("size",))
    for model, cooldowns in _cooldowns(data).items():
        yield Family(f"cooldowns of {model}", CurveSet(cooldowns), ("schedule",), 2)


def _cooldowns(data: Path) -> dict[str, tuple[Curve, ...]]:
    """Of some models: the run at a constant rate up to the last cooldown, and the ends of cooldowns, a point each."""
    table = pd.read_csv(data / "gemstones" / "points.csv")
    found: dict[str, tuple[Curve, ...]] = {}
    for model, rows in table.groupby("model"):
        stable = rows[rows.subset == "constant_lr"].sort_values("step")
        begins = rows[rows.subset == "cooldown_begin"].sort_values("step").step.to_numpy()
        ends = rows[rows.subset == "cooldown_end"].sort_values("step")
        if len(ends) < 8:
            continue
        size, last = float(rows.params.iloc[0]), int(stable.step.max())
        whole = _curve("stable", stable.step, stable.loss, Schedule.constant(total=last, peak=1.0), size=size)
        branches = []
        for begin, end, loss in zip(begins, ends.step, ends.loss, strict=True):
            schedule = Schedule.wsd(total=int(end), peak=1.0, decay_start=int(begin))
            branches.append(Curve(f"cooldown {end}", np.array([int(end)]), np.array([loss]), schedule, size=size))
        found[str(model)] = (whole, *branches[1::2])
    return dict(list(found.items())[::3])


def gemstones_shapes(data: Path) -> Iterator[Family]:
    yield Family("sizes of constant_lr", CurveSet(_some(_gemstones_curves(data)[1], 8)), ("pair",))


def _gemstones_curves(data: Path) -> tuple[list[Curve], list[Curve]]:
    """All curves, and those of a constant rate."""
    table = pd.read_csv(data / "gemstones" / "points.csv")
    curves = []
    for (subset, model), rows in table[table.subset.isin(["constant_lr", "lr_halved"])].groupby(["subset", "model"]):
        rows = rows.sort_values("step")
        # The rate is not logged: the peak rate is the unit of time here.
        rate = 1.0 if subset == "constant_lr" else 0.5
        schedule = Schedule.table(np.full(int(rows.step.iloc[-1]), rate))
        curves.append(_curve(f"{model}/{subset}", rows.step, rows.loss, schedule, size=float(rows.params.iloc[0])))
    return curves, [curve for curve in curves if curve.name.endswith("constant_lr")]


def misfitting(data: Path) -> Iterator[Family]:
    table = pd.read_csv(data / "misfitting_checkpoints" / "checkpoints.csv")
    long, groups, ladder = [], {}, []
    for (size, peak, total), rows in table.groupby(["N", "peak_lr", "total_steps"]):
        # Decay is not documented in the source: cosine to a tenth is assumed, without the short warm-up.
        schedule = Schedule.cosine(total=int(total), peak=float(peak), end=0.1 * float(peak))
        runs = [run.sort_values("current_steps").drop_duplicates("current_steps") for _, run in rows.groupby("run_id")]
        for run in sorted(runs, key=len, reverse=True)[:1]:
            if len(run) < 4 or run.current_steps.iloc[-1] > total:
                continue
            name = f"lr{peak:g}-{total}"
            curve = _curve(name, run.current_steps, run.c4_eval_loss, schedule, size=float(size))
            groups.setdefault(peak, []).append(curve)
            if len(curve) >= 24:
                long.append(curve)
            if peak == 2e-3 and total in (1000, 1250):
                ladder.append(curve)
    yield Family("rests", CurveSet(_some(long, 12)), ("rest",))
    yield Family("some rests", CurveSet(_some(long, 4, seed=1)), ("few",))
    sizes = (62052928.0, 113718400.0)
    yield Family("lr 0.002", CurveSet(tuple(c for c in groups[2e-3] if c.size in sizes)), ("schedule",))
    yield Family("sizes at lr 0.002", CurveSet(tuple(ladder)), ("size", "pair"))
    every = tuple(curve for group in groups.values() for curve in group if curve.size in sizes)
    yield Family("peak rates", CurveSet(every), ("peak",))


def repeats_of(data: Path) -> dict[str, list[list[tuple[np.ndarray, np.ndarray]]]]:
    """Give, for the sets with seeds, the runs of every setting, thinned to the same steps."""
    found: dict[str, list[list[tuple[np.ndarray, np.ndarray]]]] = {}
    for member in ("c5m", "chess", "chess_const", "mlp"):
        settings: dict[tuple[float | None, str], list[tuple[np.ndarray, np.ndarray]]] = {}
        for curve, _ in _supercollapse_curves(data, (member,)):
            key = (curve.size, curve.name.split("/")[1])
            settings.setdefault(key, []).append((curve.steps.astype(float), curve.losses))
        found[member] = list(settings.values())
    return found


SETS: dict[str, Callable[[Path], Iterator[Family]]] = {
    "multipowerlaw": multipowerlaw,
    "lr_schedule_runs": lr_schedule_runs,
    "c5m": supercollapse("c5m"),
    "c5m_schedules": supercollapse("c5m_schedules"),
    "chess": supercollapse("chess", "chess_const"),
    "mlp": supercollapse("mlp", "mlp_const"),
    "mlp_schedules": supercollapse("mlp_schedules"),
    "gpt100m": gpt100m,
    "gemstones": gemstones,
    "gemstones_shapes": gemstones_shapes,
    "misfitting": misfitting,
}
# Two models that differ in width and depth, at nearly one size, do not tell a trend in size. Forecasts from such pairs
# are scored, but no calibration learns from them: intervals from two sizes are for families that are scaled in one way.
NOT_LEARNED = ("gemstones_shapes",)
# Sets of one source are left out together when intervals are calibrated.
FOLDERS = {name: name for name in SETS}
FOLDERS |= dict.fromkeys(("c5m", "c5m_schedules", "chess", "mlp", "mlp_schedules"), "supercollapse")
FOLDERS |= {"gemstones_shapes": "gemstones"}
