"""How often do alarms of a live forecast go off in healthy runs, and how soon when something is wrong?

Every healthy run is fed step by step to `LiveForecast`; then again with each trouble put in at a random place between
30 and 80 % of it, up to its first alarm behind that place. Rates of false alarms are told of whole runs, apart for the
sets that factors and thresholds were chosen on and for those that were held out (`_live_runs.HELD_OUT`).

Run:  python benchmarks/live_alarms.py [--data shared/data] [--sets NAME ...] [--runs 12] [--troubled 3] [--keep FOLDER]

`--keep` keeps forecasts by what they were made from, and the rows of finished runs: a long job can be done in parts,
and another threshold is judged in minutes (remove `rows-*.json` first). About 20 CPU-minutes.
"""

import argparse
import hashlib
import json
import pickle
import sys
import time
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import beta

from _live_runs import HELD_OUT, SETS, TROUBLES, LiveRun, runs_of
from _machine import write
from eigenflow.forecast.live import LiveForecast
from eigenflow.forecast.live.engines import Answer
from eigenflow.forecast.live.rest import Question
from eigenflow.forecast.live.worker import answer
from eigenflow.forecast.schedules.schedule import Schedule


class Cached:
    """Answers at once, or with what was computed before."""

    def __init__(self, folder: Path | None) -> None:
        self._folder, self._known, self._answer = folder, dict[str, Any](), None

    def ask(self, question: Question, schedule: Schedule | None) -> None:
        form = question.to_dict()
        key = hashlib.sha1(json.dumps([form, None if schedule is None else schedule.to_dict()]).encode()).hexdigest()
        path = None if self._folder is None else self._folder / f"{key}.pickle"
        if key not in self._known:
            if path is not None and path.exists():
                self._known[key] = pickle.loads(path.read_bytes())
            else:
                self._known[key] = answer(form, schedule)
                if path is not None:
                    path.write_bytes(pickle.dumps(self._known[key]))
        self._answer = Answer.of(self._known[key])

    def poll(self, wait_s: float = 0.0) -> Answer | None:
        found, self._answer = self._answer, None
        return found

    def close(self) -> None:
        pass


def watched(run: LiveRun, engine: Cached, losses: np.ndarray, until: int | None = None) -> LiveForecast:
    """Feed a run; up to the first alarm at or behind a step, if one is given."""
    live = LiveForecast(run.total, max_share=None, engine=engine)
    for step, loss, rate in zip(run.steps.tolist(), losses.tolist(), run.rates.tolist(), strict=True):
        news = live.add(step, loss, rate)
        if until is not None and news is not None and any(one.raised_at >= until for one in news.new_alarms):
            break
    return live


def healthy_row(run: LiveRun, live: LiveForecast) -> dict[str, Any]:
    now = live.now
    return {
        "set": run.group,
        "run": run.name,
        "losses": len(run.steps),
        "alarms": [[one.kind, one.pattern, one.raised_at / run.total, one.sentence] for one in now.alarms],
        "nearest": {name: float(value) for name, value in now.nearest.items()},
        "forecasts": len(live._forecasts),
        "events": len(now.events),
    }


def trouble_row(run: LiveRun, engine: Cached, name: str, rng: np.random.Generator) -> dict[str, Any]:
    at = int(rng.uniform(0.3, 0.8) * len(run.steps))
    losses = TROUBLES[name](run.steps, run.losses, at, rng)
    begin = int(run.steps[at])
    found = [one for one in watched(run, engine, losses, begin).now.alarms if one.raised_at >= begin]
    first = found[0] if found else None
    return {
        "set": run.group,
        "run": run.name,
        "trouble": name,
        "at": begin / run.total,
        "alarm": None if first is None else [first.kind, first.pattern],
        "sentence": None if first is None else first.sentence,
        "delay": None if first is None else (first.raised_at - begin) / run.total,
        "delay_losses": None if first is None else int(np.searchsorted(run.steps, first.raised_at)) - at,
        "since_error": None if first is None else (first.since - begin) / run.total,
    }


def of_run(run: LiveRun, is_troubled: bool, folder: Path | None, seed: int) -> dict[str, Any]:
    begun = time.process_time()
    engine = Cached(folder)
    healthy = healthy_row(run, watched(run, engine, run.losses))
    troubled = []
    if is_troubled and not healthy["alarms"]:
        for k, name in enumerate(TROUBLES):
            troubled.append(trouble_row(run, engine, name, np.random.default_rng([seed, k])))
    return {"healthy": healthy, "troubled": troubled, "cpu_s": time.process_time() - begun}


def thinned(runs: list[LiveRun], most: int) -> list[LiveRun]:
    """At most so many, evenly."""
    if len(runs) <= most:
        return runs
    return [runs[k] for k in np.unique(np.linspace(0, len(runs) - 1, most).astype(int))] if most else []


def binomial(hits: int, count: int) -> list[float]:
    """Share with its 90 % interval of Clopper and Pearson."""
    low = float(beta.ppf(0.05, hits, count - hits + 1)) if hits else 0.0
    high = float(beta.ppf(0.95, hits + 1, count - hits)) if hits < count else 1.0
    return [hits / max(count, 1), low, high]


def summary(rows: Sequence[Mapping[str, Any]], troubled: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    told = []
    for scope, is_in in (
        ("tuned", lambda row: row["set"] not in HELD_OUT),
        ("held out", lambda row: row["set"] in HELD_OUT),
    ):
        part = [row for row in rows if is_in(row)]
        hits = sum(bool(row["alarms"]) for row in part)
        told.append({"what": "healthy runs with an alarm", "scope": scope, "runs": len(part), "hits": hits,
                     "share": binomial(hits, len(part))})  # fmt: skip
        for name in TROUBLES:
            hurt = [row for row in troubled if is_in(row) and row["trouble"] == name]
            seen = [row for row in hurt if row["alarm"] is not None]
            delays = sorted(row["delay"] for row in seen)
            kinds: dict[str, int] = {}
            for row in seen:
                kind = " / ".join(part for part in row["alarm"] if part)
                kinds[kind] = kinds.get(kind, 0) + 1
            told.append({"what": name, "scope": scope, "runs": len(hurt), "hits": len(seen),
                         "share": binomial(len(seen), len(hurt)),
                         "delay_of_run": [float(np.quantile(delays, q)) for q in (0.5, 0.9)] if delays else None,
                         "kinds": kinds})  # fmt: skip
    for name in SETS:
        part = [row for row in rows if row["set"] == name]
        hits = sum(bool(row["alarms"]) for row in part)
        told.append({"what": "healthy runs with an alarm", "scope": f"set {name}", "runs": len(part), "hits": hits,
                     "share": binomial(hits, len(part))})  # fmt: skip
    return told


def rows_of(task: tuple[LiveRun, bool, int], kept: Path | None) -> dict[str, Any]:
    """Of one run, computed or kept."""
    run, is_troubled, seed = task
    name = hashlib.sha1(f"{run.group} {run.name} {is_troubled}".encode()).hexdigest()
    path = None if kept is None else kept / f"rows-{name}.json"
    if path is not None and path.exists():
        return json.loads(path.read_text())
    found = of_run(run, is_troubled, kept, seed)
    if path is not None:
        path.write_text(json.dumps(found))
    return found


def tasks_of(names: Sequence[str], data: Path, most: int, troubled: int) -> list[tuple[LiveRun, bool, int]]:
    """Runs of all sets, one of each in turn, so that a part of them is of all sets."""
    columns = []
    for name in names:
        runs = thinned(runs_of(name, data), most)
        chosen = {run.name for run in thinned(runs, troubled)}
        columns.append([(run, run.name in chosen, k) for k, run in enumerate(runs)])
    return [one for row in zip_longest(*columns) for one in row if one is not None]


def tell(rows: Sequence[Mapping[str, Any]], told: Sequence[Mapping[str, Any]]) -> None:
    """Print what is worth a look."""
    for row in rows:
        if row["alarms"]:
            print(f"{row['set']} {row['run']}: {row['alarms'][:2]}")
    for name in rows[0]["nearest"]:
        nearest = np.quantile([row["nearest"][name] for row in rows], [0.5, 0.9, 0.98, 1.0]).round(2)
        print(f"largest {name}, as a share of its threshold: median, 90 %, 98 %, all {nearest}")
    for row in told:
        if row["runs"]:
            share, delay = np.round(row["share"], 2), row.get("delay_of_run")
            print(f"{row['what']} | {row['scope']} | {row['hits']} of {row['runs']} {share} {delay} {row.get('kinds')}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("shared/data"))
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--runs", type=int, default=12, help="healthy runs of each set at most")
    parser.add_argument("--troubled", type=int, default=3, help="runs of each set that troubles are put into")
    parser.add_argument("--keep", type=Path, help="folder in which forecasts and rows are kept, and taken from")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no run after so many seconds")
    args = parser.parse_args()
    if args.keep is not None:
        args.keep.mkdir(parents=True, exist_ok=True)
    begun, found = time.monotonic(), []
    tasks = tasks_of(args.sets, args.data, args.runs, args.troubled)
    for task in tasks:
        if time.monotonic() - begun > args.seconds:
            break
        found.append(rows_of(task, args.keep))
    print(f"{len(found)} of {len(tasks)} runs", file=sys.stderr)
    rows = [one["healthy"] for one in found]
    troubled = [row for one in found for row in one["troubled"]]
    told = summary(rows, troubled)
    tell(rows, told)
    if len(found) == len(tasks):
        cpu_s = sum(one["cpu_s"] for one in found)
        write("live_alarms", told, "scipy", healthy=rows, troubled=troubled, cpu_s=cpu_s)


if __name__ == "__main__":
    main()
