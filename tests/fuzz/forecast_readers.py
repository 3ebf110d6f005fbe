"""Readers of the forecast: tables and logs of every kind, schedules, tables of finished runs, and fit.json."""

import gzip
import io
import json
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

import eigenflow as ef
from eigenflow.forecast import Curve, load_study, read_fit, read_schedules, write_fit
from eigenflow.forecast.reading.rows.hidden_runs import HiddenRunWarning
from eigenflow.scaling.table import read_scaling_table
from fuzz.records import to_records
from fuzz.registry import Reader, Sample

__all__ = ["READERS"]

STEPS = np.arange(50, 1001, 50)


def _frame(name: str = "a", shift: float = 0.0) -> pd.DataFrame:
    schedule = ef.Schedule.two_stage(total=1000, warmup=20, peak=3e-4, end=1e-4, change=500)
    rates = schedule.rates[np.minimum(STEPS, 999)]
    losses = 2.0 + shift + 2.0 * (1 + schedule.times[STEPS] / 0.01) ** -0.5
    return pd.DataFrame({"curve": name, "step": STEPS, "loss": np.round(losses, 6), "lr": rates})


def _both() -> pd.DataFrame:
    return pd.concat([_frame(), _frame("b", 0.3)], ignore_index=True)


def _csv() -> Sequence[Sample]:
    text = _both().to_csv(index=False).encode()
    one = _frame().drop(columns="curve").rename(columns={"loss": "train_loss"})
    sized = _frame().assign(model_size_M=25, tokens=STEPS * 512, batch_size=512, role="fit", loss_unit="nats")
    tabs = one.to_csv(index=False, sep="\t").encode()
    return [
        Sample({"c.csv": text}, "c.csv"),
        Sample({"c.tsv": tabs}, "c.tsv"),
        Sample({"c.csv": sized.to_csv(index=False).encode()}, "c.csv"),
        Sample({"c.csv.gz": gzip.compress(text, mtime=0)}, "c.csv.gz"),
        Sample({"x/a.csv": text, "x/b.tsv": tabs}, "x"),
    ]


def _rows() -> list[dict[str, object]]:
    return json.loads(_frame().to_json(orient="records"))


def _json() -> Sequence[Sample]:
    metrics = [
        {"key": key, "value": row[key], "step": row["step"], "timestamp": 1}
        for row in _rows()
        for key in ("loss", "lr")
    ]
    columns = {key: [row[key] for row in _rows()] for key in ("step", "loss", "lr")}
    forms = (_rows(), columns, metrics, {"metrics": metrics}, {"history": _rows()})
    return [Sample({"c.json": json.dumps(form).encode()}, "c.json") for form in forms]


def _json_lines() -> Sequence[Sample]:
    text = "\n".join(json.dumps(row) for row in _rows()).encode()
    sparse = "\n".join(
        json.dumps(part)
        for row in _rows()
        for part in ({"step": row["step"], "loss": row["loss"]}, {"step": row["step"], "lr": row["lr"]})
    ).encode()
    return [Sample({"c.jsonl": text}, "c.jsonl"), Sample({"c.ndjson": sparse}, "c.ndjson")]


def _trainer() -> Sequence[Sample]:
    history: list[dict[str, object]] = [
        {"epoch": 0.1, "step": row["step"], "loss": row["loss"], "learning_rate": row["lr"], "grad_norm": 1.0}
        for row in _rows()
    ]
    history.append({"step": 1000, "train_loss": 3.0, "train_runtime": 12.0})
    state = json.dumps({"log_history": history, "logging_steps": 50, "max_steps": 1000, "global_step": 1000}).encode()
    return [
        Sample({"run/trainer_state.json": state}, "run/trainer_state.json"),
        Sample({"run/checkpoint-500/trainer_state.json": state, "run/checkpoint-9/trainer_state.json": state}, "run"),
    ]


def _parquet() -> Sequence[Sample]:
    buffer = io.BytesIO()
    _both().to_parquet(buffer, index=False)
    return [Sample({"c.parquet": buffer.getvalue()}, "c.parquet")]


def _events() -> Sequence[Sample]:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    events = [Event(file_version="brain.Event:2", wall_time=1.0).SerializeToString()]
    for row in _rows():
        values = [Summary.Value(tag=tag, simple_value=row[key]) for tag, key in (("train/loss", "loss"), ("lr", "lr"))]
        events.append(Event(step=row["step"], wall_time=1.0, summary=Summary(value=values)).SerializeToString())
    name = "events.out.tfevents.1.host"
    return [
        Sample({f"run/{name}": to_records(events)}, f"run/{name}"),
        Sample({f"run/{name}": to_records(events)}, "run"),
    ]


def _mlflow() -> Sequence[Sample]:
    files = {
        f"run/metrics/{key}": "".join(f"1700000000000 {row[key]} {row['step']}\n" for row in _rows()).encode()
        for key in ("loss", "lr")
    }
    return [
        Sample(dict(files), "run"),
        Sample({"runs/1/meta.yaml": b"a: 1\n", **{f"runs/1{k[3:]}": v for k, v in files.items()}}, "runs"),
    ]


def _wandb() -> Sequence[Sample]:
    frame = _frame()
    page = pd.DataFrame({"Step": STEPS, "run a - loss": frame["loss"], "run a - lr": frame["lr"]})
    page["run a - loss__MIN"] = frame["loss"]
    history = pd.DataFrame({"_step": STEPS, "_runtime": STEPS, "train/loss": frame["loss"], "train/lr": frame["lr"]})
    return [Sample({"w.csv": one.to_csv(index=False).encode()}, "w.csv") for one in (page, history)]


def _text_logs() -> Sequence[Sample]:
    """Lines of programs: one with steps, one with epochs and batches, one in bits, bars, and lines of no program."""
    forms = (
        "iter {step}: loss {loss}, lr {lr}, time 3.00ms\n",
        "03/25 23:58:44 - mmengine - INFO - Epoch(train) [1][ {step}/4309]  lr: {lr}  eta: 1:00  loss: {loss}\n",
        "| epoch 001:    {step} / 1891 loss={loss}, nll_loss={loss}, num_updates={step}, lr={lr}, gnorm=1.5\n",
        "\r 10%|#  | {step}/1000 [00:01<00:09]\r{{'loss': {loss}, 'learning_rate': {lr}, 'epoch': {step}e-3}}\n",
        "[step={step}/1000]\n    train/CrossEntropyLoss={loss}\n    optim/learning_rate_group0={lr}\n",
        "2024-05-01 12:00:00 INFO Step: {step}, Train Loss: {loss}, LR: {lr}\n",
    )
    return [Sample({"run.log": "".join(form.format(**row) for row in _rows()).encode()}, "run.log") for form in forms]


def _layouts() -> Sequence[Sample]:
    """Tables that are told by their content."""
    frame = _frame().drop(columns="curve")
    titles = "#  " + "  ".join(frame.columns) + "\n"
    blanks = titles + frame.to_csv(sep=" ", index=False, header=False)
    history = json.dumps({key: frame[key].tolist() for key in ("loss", "lr")}).encode()
    return [
        Sample({"t.log": frame.to_csv(index=False).encode()}, "t.log"),
        Sample({"t.csv": frame.to_csv(index=False, sep=";", decimal=",").encode()}, "t.csv"),
        Sample({"t.txt": frame.to_csv(index=False).encode("utf-16")}, "t.txt"),
        Sample({"lcurve.out": blanks.encode()}, "lcurve.out"),
        Sample({"history.json": history}, "history.json"),
        Sample({f"runs/v{k}/metrics.csv": frame.to_csv(index=False).encode() for k in range(3)}, "runs"),
    ]


def _contents() -> Sequence[Sample]:
    """Tables of several runs and phases, of epochs, and of numbers in other writing."""
    frame = _frame().drop(columns="curve")
    runs = pd.concat([frame.assign(seed=k, lr=r, loss=frame.loss + k / 9) for k in (0, 1) for r in (1e-3, 3e-4)])
    phases = pd.concat([frame.assign(split="train"), frame[::4].assign(split="val", lr=None)]).sort_values("step")
    epochs = frame.assign(epoch=np.repeat([0, 1], 10), batch=np.tile(np.arange(10), 2)).drop(columns="step")
    ranks = pd.concat([frame.assign(rank=k, loss=frame.loss + k / 99) for k in range(3)])
    parts = (
        frame.rename(columns={"loss": "train/box_loss", "lr": "lr/pg0"}).assign(epoch=range(20)).drop(columns="step")
    )
    fractions = frame.assign(epoch=(STEPS / 400).round(2)).drop(columns="step")
    written = frame.assign(step=[f"{step}/1000" for step in STEPS], lr=[f"{100 * r:g}%" for r in frame.lr])
    tables = (runs, phases, epochs, ranks, parts, fractions, written, pd.concat([frame, frame.assign(loss=2.5)]))
    return [Sample({"c.csv": table.to_csv(index=False).encode()}, "c.csv") for table in tables]


def _schedules() -> Sequence[Sample]:
    named = """curve,schedule,total_steps,warmup_steps_linear_from_0,peak_lr,end_lr,change_step,batch_size
cosine,cosine,2400,100,0.0003,3e-05,,
constant,constant,2400,100,0.0003,0.0003,,512
two_stage,two_stage,1600,100,0.0003,9e-05,800,
wsd,wsd_linear_decay,1600,100,0.0003,9e-05,800,
"""
    steps = "\n".join(["curve,step,lr", *(f"c,{k},{1e-3 if k < 20 else 5e-4}" for k in range(40))])
    coarse = "\n".join(["step,lr", *(f"{k},{min(k / 200, 1) * 1e-3:.6f}" for k in range(0, 2000, 50))])
    return [Sample({"s.csv": text.encode()}, "s.csv") for text in (named, steps, coarse)]


def _schedules_json() -> Sequence[Sample]:
    kinds = {
        "cosine": ef.Schedule.cosine(total=100, warmup=5, peak=3e-4, end=3e-5),
        "wsd": ef.Schedule.wsd(total=100, warmup=5, peak=3e-4, end=3e-5, decay_start=60, decay="sqrt"),
        "steps": ef.Schedule.multi_step(total=100, peak=3e-4, changes=[30, 60], factors=[0.5, 0.1]),
        "cyclic": ef.Schedule.cyclic(total=100, peak=3e-4, period=30).with_batch([8, 16], [0, 50]),
        "table": ef.Schedule.table([0.0, 1e-3, *[1e-3] * 20]),
    }
    forms = [{name: schedule.to_dict() for name, schedule in kinds.items()}, kinds["wsd"].to_dict()]
    return [Sample({"s.json": json.dumps(form).encode()}, "s.json") for form in forms]


def _scaling() -> Sequence[Sample]:
    rng = np.random.default_rng(0)
    size, tokens = (10 ** rng.uniform(low, low + 1.5, 12) for low in (7.0, 8.5))
    frame = pd.DataFrame({"size": size, "tokens": tokens, "loss": 1.7 + 400 * size**-0.34 + 400 * tokens**-0.28})
    other = frame.assign(flops=6 * size * tokens, unique_tokens=tokens / 2)
    buffer = io.BytesIO()
    frame.to_parquet(buffer)
    return [
        Sample({"t.csv": frame.to_csv(index=False).encode()}, "t.csv"),
        Sample({"t.csv": other.to_csv(index=False).encode()}, "t.csv"),
        Sample({"t.parquet": buffer.getvalue()}, "t.parquet"),
    ]


@cache
def _fits() -> Sequence[Sample]:
    made = []
    schedule = ef.Schedule.cosine(total=1000, warmup=50, peak=3e-4, end=3e-5)
    decay = (1 + schedule.times[STEPS] / 0.01) ** -0.5
    with tempfile.TemporaryDirectory() as folder:
        for law, sizes in (("power_time", (None,)), ("transport", (1e7, 4e7))):
            curves = [
                Curve("a", STEPS, 2.0 + 60 * (size or 1e7) ** -0.25 * decay, schedule, size=size) for size in sizes
            ]
            path = write_fit(ef.fit_law(curves, law, starts=1), Path(folder) / f"{law}.json")
            content = json.loads(path.read_bytes())
            made.append(Sample({"fit.json": json.dumps(content).encode()}, "fit.json"))
            # Without its checksum a file is taken as it stands, like those of earlier versions.
            del content["sha256"]
            made += [Sample({"fit.json": json.dumps(content).encode()}, "fit.json")] * 3
    return made


def _read_fit(path: Path) -> None:
    study = load_study(path)
    schedule = ef.Schedule.cosine(total=400, warmup=20, peak=3e-4, end=3e-5)
    size = next(iter(study.curves.sizes))
    found = study.predict(schedule, size=size, every=50)
    if not np.all(np.isfinite([found.loss, found.lower, found.upper])):
        raise AssertionError("A forecast that is not finite.")
    if len(study.fits) == 1:
        read_fit(path)


def _read_table(path: Path) -> None:
    table = read_scaling_table(path)
    if not np.all(np.isfinite([table.size, table.tokens, table.loss])):
        raise AssertionError("A table that is not finite.")


def _read_curves(path: Path) -> None:
    for curve in ef.read_curves(path):
        if not (np.all(np.isfinite(curve.losses)) and np.all(np.isfinite(curve.times))):
            raise AssertionError("A curve that is not finite.")


def _read_schedules(path: Path) -> None:
    for schedule in read_schedules(path).values():
        if not np.all(np.isfinite(schedule.times)):
            raise AssertionError("A schedule that is not finite.")


def _is_own_word(category: type[Warning], _: str) -> bool:
    """Broken tables may look like several runs in one, and that is said."""
    return category is HiddenRunWarning


READERS = (
    Reader("csv", _csv, _read_curves, may_warn=_is_own_word),
    Reader("json", _json, _read_curves, may_warn=_is_own_word),
    Reader("jsonl", _json_lines, _read_curves, may_warn=_is_own_word),
    Reader("trainer_state", _trainer, _read_curves, may_warn=_is_own_word),
    Reader("parquet", _parquet, _read_curves, may_warn=_is_own_word),
    Reader("events", _events, _read_curves, may_warn=_is_own_word),
    Reader("mlflow", _mlflow, _read_curves, may_warn=_is_own_word),
    Reader("wandb", _wandb, _read_curves, may_warn=_is_own_word),
    Reader("text_logs", _text_logs, _read_curves, may_warn=_is_own_word),
    Reader("layouts", _layouts, _read_curves, may_warn=_is_own_word),
    Reader("contents", _contents, _read_curves, may_warn=_is_own_word),
    Reader("schedules", _schedules, _read_schedules),
    Reader("schedules_json", _schedules_json, _read_schedules),
    Reader("scaling", _scaling, _read_table),
    Reader("fit", _fits, _read_fit),
)
