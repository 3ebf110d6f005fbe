"""Whole runs to watch, as they would come step by step, and troubles that are put into them.

Real runs are read by path, nothing is copied. Those that a trainer logs every so many steps are fed as they were
logged. Cooldowns of `lr_schedule_runs` follow the constant run that they branched from, as one run. Thinned or noisy
copies stand beside some: real curves with the noise of single steps, every step, every 10 and every 100. Synthetic runs
have schedules that no real run here has: restarts, warm-up with linear decay, WSD.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.interpolate import PchipInterpolator
from scipy.signal import lfilter

from eigenflow.forecast import Schedule

__all__ = ["HELD_OUT", "SETS", "TROUBLES", "LiveRun", "runs_of"]

# No factor and no threshold was chosen with these in sight.
HELD_OUT = ("multipowerlaw", "gemstones", "openwebtext2", "chess", "noisy_real", "synthetic_new")
MOST = 24
STEPS_OF_NOISY = 12_000


@dataclass(frozen=True)
class LiveRun:
    """One run as it comes.

    Attributes:
        group: The set.
        name: Within it.
        steps: At which there is a loss.
        losses: There.
        rates: Learning rates there.
        total: Updates in all.
    """

    group: str
    name: str
    steps: np.ndarray
    losses: np.ndarray
    rates: np.ndarray
    total: int

    @property
    def is_held_out(self) -> bool:
        return self.group.split("/")[0] in HELD_OUT

    def every(self, count: int) -> "LiveRun":
        """As logged every so many losses."""
        kept = slice(count - 1, None, count)
        name = f"{self.name}, every {count}"
        return replace(self, name=name, steps=self.steps[kept], losses=self.losses[kept], rates=self.rates[kept])


def _some(runs: list[LiveRun], most: int = MOST) -> list[LiveRun]:
    if len(runs) <= most:
        return runs
    chosen = np.random.default_rng(0).choice(len(runs), most, replace=False)
    return [runs[k] for k in sorted(chosen)]


def _lr_schedule_runs(dataset: str, group: str) -> Callable[[Path], list[LiveRun]]:
    def read(data: Path) -> list[LiveRun]:
        folder = data / "lr_schedule_runs"
        runs = pd.read_csv(folder / "runs.csv")
        runs = runs[(runs.group == "main") & (runs.dataset == dataset)]
        logs = dict(iter(pd.read_parquet(folder / "curves.parquet").groupby("run")))
        setting = ["params", "peak_lr"]
        stable = {
            tuple(row[setting]): logs[row.run]
            for _, row in runs[(runs.scheduler == "wsd") & (runs.decay_fraction == 0)].iterrows()
        }
        found = []
        for _, row in runs.iterrows():
            log = logs[row.run]
            if row.step_first > 0:
                before = stable.get(tuple(row[setting]))
                if before is None or before.step.max() < row.step_first:
                    continue
                log = pd.concat([before[before.step < row.step_first], log])
            for kind in ("train_loss", "val_loss"):
                part = log.dropna(subset=kind)
                part = part[(part.step > 0)].drop_duplicates("step")
                every = log.dropna(subset="lr")
                rates = np.interp(part.step, every.step, every.lr)
                total = int(part.step.max())
                if len(part) >= 60:
                    name = f"{row.run} {row.scheduler} {row.decay_fraction} {kind}"
                    found.append(LiveRun(group, name, part.step.to_numpy(), part[kind].to_numpy(), rates, total))
        return _some(found, 2 * MOST)

    return read


def _supercollapse(*members: str, group: str) -> Callable[[Path], list[LiveRun]]:
    def read(data: Path) -> list[LiveRun]:
        table = pd.read_parquet(data / "supercollapse_curves" / "curves.parquet")
        found = []
        for (member, run), rows in table[table["set"].isin(members)].groupby(["set", "run"], observed=True):
            rows = rows.sort_values("step").drop_duplicates("step")
            rows = rows[rows.step > 0]
            name = f"{member} {rows.schedule.iloc[0]} {run}"
            columns = (rows[one].to_numpy(np.float64) for one in ("test_loss", "lr"))
            found.append(LiveRun(group, name, rows.step.to_numpy(), *columns, int(rows.step.max())))
        return _some(found)

    return read


def _gpt100m(data: Path) -> list[LiveRun]:
    rows = pd.read_parquet(data / "gpt100m_20b_schedules" / "cosine.parquet")
    columns = (rows[one].to_numpy(np.float64) for one in ("train_loss", "lr"))
    whole = LiveRun("gpt100m", "cosine", np.arange(1, len(rows) + 1), *columns, len(rows))
    # A shorter log of the same run: its first part is one of a longer run.
    return [whole, whole.every(10), whole.every(100)]


def _multipowerlaw(data: Path) -> list[LiveRun]:
    shapes = pd.read_csv(data / "multipowerlaw" / "schedules.csv").set_index("curve")
    found = []
    for (size, name), rows in pd.read_csv(data / "multipowerlaw" / "curves.csv").groupby(["model_size_M", "curve"]):
        columns = (rows[one].to_numpy() for one in ("step", "loss", "lr"))
        found.append(LiveRun("multipowerlaw", f"{size} {name}", *columns, int(shapes.loc[name].total_steps)))
    return found


def _gemstones(data: Path) -> list[LiveRun]:
    table = pd.read_csv(data / "gemstones" / "points.csv")
    found = []
    for (subset, model), rows in table[table.subset.isin(["constant_lr", "lr_halved"])].groupby(["subset", "model"]):
        rows = rows.sort_values("step").drop_duplicates("step")
        steps, losses = rows.step.to_numpy(), rows.loss.to_numpy()
        found.append(LiveRun("gemstones", f"{model} {subset}", steps, losses, np.full(len(rows), 1e-3), int(steps[-1])))
    return found


def _student(rng: np.random.Generator, count: int, noise: float, correlation: float) -> np.ndarray:
    white = rng.standard_t(5, count) / np.sqrt(5 / 3)
    return noise * lfilter([np.sqrt(1 - correlation**2)], [1.0, -correlation], white)


def _noisy(run: LiveRun, noise: np.ndarray, every: int, group: str) -> LiveRun:
    """A real curve at the steps of a shorter run, with the noise of single steps."""
    share = np.linspace(run.steps[0], run.steps[-1], len(noise))
    smooth = PchipInterpolator(np.log(run.steps), np.log(run.losses))(np.log(share))
    rates = np.interp(share, run.steps, run.rates)
    steps = np.arange(1, len(noise) + 1)
    made = LiveRun(group, f"{run.name}, noisy", steps, np.exp(smooth + noise), rates, len(noise))
    return made if every == 1 else made.every(every)


def _noisy_tuned(data: Path) -> list[LiveRun]:
    """Curves of sets that were tuned on, with noise of a Student's law."""
    rng, found = np.random.default_rng(1), []
    for k, run in enumerate([*SETS["c5m"](data)[:6], *SETS["mlp"](data)[:4]]):
        every = (1, 10, 100)[k % 3]
        steps = STEPS_OF_NOISY * (2 if every == 100 else 1)
        noise = _student(rng, steps, (0.01, 0.04)[k % 2], 0.2)
        found.append(_noisy(run, noise, every, "noisy_tuned"))
    return found


def _noisy_real(data: Path) -> list[LiveRun]:
    """Curves of held-out sets, with the noise of the per-step log, in blocks of which none is there twice.

    Blocks that overlap would repeat noise after some hundred steps, as batches that come again do.
    """
    gpt = _gpt100m(data)[0]
    values = np.log(gpt.losses[2000:])
    trend = np.convolve(values, np.full(801, 1 / 801), mode="valid")
    residuals = values[400:-400] - trend
    rng, found = np.random.default_rng(2), []
    sources = [*SETS["chess"](data)[:6], *SETS["multipowerlaw"](data)[:8:2], *SETS["gemstones"](data)[:4]]
    for k, run in enumerate(sources):
        every = (1, 10, 100)[k % 3]
        steps = STEPS_OF_NOISY * (2 if every == 100 else 1)
        blocks = residuals[: len(residuals) // 400 * 400].reshape(-1, 400)
        noise = blocks[rng.permutation(len(blocks))[: -(-steps // 400)]].reshape(-1)[:steps]
        found.append(_noisy(run, noise * (0.3, 1.0)[k % 2], every, "noisy_real"))
    return found


def _schedules(total: int) -> dict[str, Schedule]:
    common = {"total": total, "peak": 1e-3, "warmup": total // 40}
    return {
        "constant": Schedule.constant(**common),
        "cosine": Schedule.cosine(**common, end=1e-4),
        "linear": Schedule.linear_to_zero(**common),
        "wsd": Schedule.wsd(**common, decay_start=int(0.75 * total)),
        "wsd sqrt": Schedule.wsd(**common, decay_start=int(0.6 * total), decay="sqrt"),
        "restarts": Schedule.cyclic(**common, period=int(0.325 * total), end=1e-4),
        "steps": Schedule.multi_step(**common, changes=(total // 2, 3 * total // 4), factors=(0.316, 0.1)),
    }


def _synthetic(group: str, seeds: range) -> Callable[[Path], list[LiveRun]]:
    """A power of the summed rate, minus what annealing brings; none of the package's laws."""

    def read(data: Path) -> list[LiveRun]:
        found = []
        for seed in seeds:
            for kind, schedule in _schedules(9000 if seed % 2 else 20_000).items():
                rng = np.random.default_rng([seed, len(kind)])
                losses = _true_losses(schedule, rng)
                noise = _student(rng, schedule.total, float(10 ** rng.uniform(-2.3, -1.3)), rng.uniform(0, 0.6))
                steps = np.arange(1, schedule.total + 1)
                run = LiveRun(group, f"{kind} {seed}", steps, losses * np.exp(noise), schedule.rates, schedule.total)
                found.append(run if seed % 3 else run.every(10))
        return found

    return read


def _true_losses(schedule: Schedule, rng: np.random.Generator) -> np.ndarray:
    rates = schedule.rates / schedule.peak
    time = np.cumsum(rates) / (rng.uniform(0.005, 0.03) * len(rates))
    falls = -np.diff(rates, prepend=rates[0])
    kept = 1.0 - 1.0 / (rng.uniform(0.02, 0.1) * len(rates))
    annealing = np.cumsum(lfilter([1.0], [1.0, -kept], falls)) / len(rates)
    floor, drop, power = rng.uniform(1.5, 3.0), rng.uniform(1.0, 3.0), rng.uniform(0.25, 0.6)
    return floor + drop * (1.0 + time) ** -power - rng.uniform(0.1, 0.5) * annealing


SETS: dict[str, Callable[[Path], list[LiveRun]]] = {
    "slimpajama": _lr_schedule_runs("slimpajama", "slimpajama"),
    "c5m": _supercollapse("c5m", "c5m_schedules", group="c5m"),
    "mlp": _supercollapse("mlp", "mlp_const", "mlp_schedules", group="mlp"),
    "noisy_tuned": _noisy_tuned,
    "synthetic": _synthetic("synthetic", range(4)),
    "gpt100m": _gpt100m,
    "multipowerlaw": _multipowerlaw,
    "gemstones": _gemstones,
    "openwebtext2": _lr_schedule_runs("openwebtext2", "openwebtext2"),
    "chess": _supercollapse("chess", "chess_const", group="chess"),
    "noisy_real": _noisy_real,
    "synthetic_new": _synthetic("synthetic_new", range(100, 103)),
}


def runs_of(name: str, data: Path) -> list[LiveRun]:
    """The healthy runs of a set."""
    return SETS[name](data)


Trouble = Callable[[np.ndarray, np.ndarray, int, np.random.Generator], np.ndarray]


def _shift(size: float) -> Trouble:
    def put(steps: np.ndarray, losses: np.ndarray, at: int, rng: np.random.Generator) -> np.ndarray:
        return np.where(np.arange(len(losses)) >= at, losses * (1 + size), losses)

    return put


def _blow_up(grows: float) -> Trouble:
    """ln(loss) rises by a share of the run, ever faster: 0.7 after `grows` of the run."""

    def put(steps: np.ndarray, losses: np.ndarray, at: int, rng: np.random.Generator) -> np.ndarray:
        late = np.maximum(steps - steps[at], 0) / (grows * steps[-1])
        return losses * np.exp(np.minimum(0.7 * late**1.5, 3.0))

    return put


def _plateau(steps: np.ndarray, losses: np.ndarray, at: int, rng: np.random.Generator) -> np.ndarray:
    """The smooth curve stays where it is; noise goes on."""
    values = np.log(losses)
    width = max(len(values) // 100, 1)
    smooth = np.convolve(np.pad(values, width, mode="edge"), np.full(2 * width + 1, 1 / (2 * width + 1)), mode="valid")
    held = np.where(np.arange(len(values)) >= at, smooth[at], smooth)
    return np.exp(held + values - smooth)


def _noise(factor: float) -> Trouble:
    def put(steps: np.ndarray, losses: np.ndarray, at: int, rng: np.random.Generator) -> np.ndarray:
        values = np.log(losses)
        width = max(len(values) // 200, 2)
        kernel = np.full(2 * width + 1, 1 / (2 * width + 1))
        smooth = np.convolve(np.pad(values, width, mode="edge"), kernel, mode="valid")
        factors = np.where(np.arange(len(values)) >= at, factor, 1.0)
        return np.exp(smooth + factors * (values - smooth))

    return put


def _epochs(size: float) -> Trouble:
    """The loss falls by a step at every border of an epoch, of which there are five after the beginning."""

    def put(steps: np.ndarray, losses: np.ndarray, at: int, rng: np.random.Generator) -> np.ndarray:
        epoch = (steps[-1] - steps[at]) / 5
        passed = np.where(steps >= steps[at], np.floor((steps - steps[at]) / epoch) + 1, 0)
        return losses * (1 - size) ** passed

    return put


def _spike(size: float, left: float) -> Trouble:
    """A spike that decays over a hundredth of the run, to a part that stays."""

    def put(steps: np.ndarray, losses: np.ndarray, at: int, rng: np.random.Generator) -> np.ndarray:
        late = (steps - steps[at]) / (0.01 * steps[-1])
        return np.where(late >= 0, losses * (1 + left + size * np.exp(-np.maximum(late, 0))), losses)

    return put


def _repeated(steps: np.ndarray, losses: np.ndarray, at: int, rng: np.random.Generator) -> np.ndarray:
    """The same 150 batches come again and again."""
    values = np.log(losses)
    width = max(len(values) // 200, 2)
    kernel = np.full(2 * width + 1, 1 / (2 * width + 1))
    smooth = np.convolve(np.pad(values, width, mode="edge"), kernel, mode="valid")
    noise = values - smooth
    period = min(150, max(len(values) // 20, 5))
    again = noise[at : at + period][np.arange(len(values)) % period]
    mixed = np.where(np.arange(len(values)) >= at, 0.8 * again + 0.6 * rng.permutation(noise), noise)
    return np.exp(smooth + mixed)


def _not_finite(steps: np.ndarray, losses: np.ndarray, at: int, rng: np.random.Generator) -> np.ndarray:
    return np.where(np.arange(len(losses)) >= at, np.nan, losses)


# "spike, nothing stays" is healthy: an alarm there is a false one.
TROUBLES: dict[str, Trouble] = {
    "not finite": _not_finite,
    "blow up within 5 %": _blow_up(0.05),
    "blow up within 20 %": _blow_up(0.2),
    "up 1 %": _shift(0.01),
    "up 3 %": _shift(0.03),
    "up 10 %": _shift(0.1),
    "down 3 %": _shift(-0.03),
    "down 10 %": _shift(-0.1),
    "spike, 3 % stays": _spike(0.5, 0.03),
    "spike, nothing stays": _spike(0.5, 0.0),
    "plateau": _plateau,
    "noise x 2": _noise(2.0),
    "noise x 4": _noise(4.0),
    "epochs of 3 %": _epochs(0.03),
    "batches again": _repeated,
}
