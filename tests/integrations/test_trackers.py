"""Trackers: real ones where they are installed, else objects with the signatures of the real ones.

The signatures are those of accelerate 1.x (its module `tracking`, which calls W&B, Trackio, Aim, MLflow, ClearML, Comet
and SwanLab), torchtitan (its `components.metrics` at 00fbaafa), ClearML (its `logger`: report_scalar) and Neptune Scale
(docs of log_metrics, 3.2025).
"""

import json
import logging
import math
import types
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eigenflow.core.errors import ArgumentError, FileError
from eigenflow.integrations.trackers import SafeTracker, Tracker, tracker_of

NAME = "eigenflow/forecast/value"


def feed(tracker: SafeTracker, steps=(10, 20, 30)) -> None:
    for step in steps:
        tracker.log({"forecast/value": 2.0 + 1.0 / step}, step)


def test_tensorboard(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(tmp_path))
    tracker = tracker_of(writer)
    feed(tracker)
    tracker.close()  # flushed, and still the user's
    writer.add_scalar("loss", 1.0, 40)
    writer.close()
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [(one.step, one.value) for one in events.Scalars(NAME)] == [
        (step, pytest.approx(2.0 + 1.0 / step, rel=1e-6)) for step in (10, 20, 30)
    ]
    assert [one.step for one in events.Scalars("loss")] == [40]


@pytest.mark.parametrize("part", ["whole", "tracker"])
def test_accelerate(tmp_path, part):
    from accelerate import Accelerator
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accelerator = Accelerator(cpu=True, log_with="tensorboard", project_dir=tmp_path)
    accelerator.init_trackers("project")
    feed(tracker_of(accelerator if part == "whole" else accelerator.get_tracker("tensorboard")))
    accelerator.end_training()
    (file,) = tmp_path.rglob("*tfevents*")
    events = EventAccumulator(str(file.parent))
    events.Reload()
    assert [one.step for one in events.Scalars(NAME)] == [10, 20, 30]


def test_lightning_csv(tmp_path):
    from lightning.pytorch.loggers import CSVLogger

    logger = CSVLogger(str(tmp_path), name="run", version=0)
    tracker = tracker_of(logger)
    feed(tracker)
    tracker.close()
    lines = (tmp_path / "run" / "version_0" / "metrics.csv").read_text().splitlines()
    assert lines[0].split(",") == [NAME, "step"]
    assert [line.split(",")[1] for line in lines[1:]] == ["10", "20", "30"]


def test_lightning_tensorboard(tmp_path):
    from lightning.pytorch.loggers import TensorBoardLogger
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorBoardLogger(str(tmp_path), name="run", version=0)
    tracker = tracker_of(logger)
    feed(tracker)
    with pytest.warns(RuntimeWarning, match="keeps no files"):
        tracker.artifact(tmp_path / "report.html")
    tracker.close()
    logger.finalize("success")
    events = EventAccumulator(logger.log_dir)
    events.Reload()
    assert [one.step for one in events.Scalars(NAME)] == [10, 20, 30]


class WandBRun:
    """The counter and the rows of a W&B run, as its documentation of `log` has them.

    Without a step a row is committed and the counter moves on, unless commit=False; a later step commits the row and
    moves the counter to it; an earlier one is dropped.
    """

    def __init__(self):
        self.step, self.rows, self.dropped, self.defined = 0, [], [], {}
        self._row = {}

    def define_metric(self, name, step_metric=None, step_sync=None, hidden=None, summary=None):
        self.defined[name] = step_metric

    def log(self, data, step=None, commit=None):
        if step is not None and step < self.step:
            self.dropped.append(data)
            return
        if step is not None and step > self.step:
            self._commit()
            self.step = step
        self._row |= data
        if commit or (commit is None and step is None):
            self._commit()
            self.step += 1

    def _commit(self):
        if self._row:
            self.rows.append({"_step": self.step, **self._row})
        self._row = {}

    def log_artifact(self, artifact_or_path, name=None, type=None, aliases=None):
        self.kept = (artifact_or_path, name, type)

    def finish(self):
        self._commit()


@pytest.mark.parametrize("style", ["no step", "updates", "epochs", "alone"])
def test_wandb_rows_of_the_user_are_never_dropped(style):
    """Whatever steps the user gives, none of its rows is lost, and none of ours."""
    run = WandBRun()
    tracker = tracker_of(run)
    for step in range(1, 41):
        if style == "no step":
            run.log({"loss": step})
        elif style == "updates":
            run.log({"loss": step}, step=step)
        elif style == "epochs" and step % 10 == 0:
            run.log({"loss": step}, step=step // 10)
        if step in (7, 20, 21, 33):
            feed(tracker, [step])
            if style == "updates":  # a second call of the user at the same step
                run.log({"accuracy": step}, step=step)
    tracker.close()
    run.finish()
    assert run.dropped == []
    assert [row["eigenflow/step"] for row in run.rows if NAME in row] == [7, 20, 21, 33]
    assert all(row[NAME] == 2.0 + 1.0 / row["eigenflow/step"] for row in run.rows if NAME in row)
    losses = {"no step": 40, "updates": 40, "epochs": 4, "alone": 0}[style]
    assert sum("loss" in row for row in run.rows) == losses
    assert run.defined == {"eigenflow/step": None, "eigenflow/*": "eigenflow/step"}
    tracker.artifact("report.html", "report")
    assert run.kept == ("report.html", "report", "report")


def test_wandb_module_uses_the_run_of_the_moment():
    module: Any = types.ModuleType("wandb")
    module.run, module.log, module.define_metric = None, lambda data: None, lambda name: None
    tracker = tracker_of(module)
    with pytest.warns(RuntimeWarning, match="wandb has no run"):
        feed(tracker, [1])
    module.run = WandBRun()
    feed(tracker, [2])
    module.run.finish()
    assert [row["eigenflow/step"] for row in module.run.rows] == [2]


class Seen:
    """Calls, as (step, metrics), and the file that was kept."""

    def __init__(self):
        self.calls: list[tuple[int | None, Any]] = []
        self.kept: Any = None


class Trackio(Seen):
    def log(self, metrics: dict, step: int | None = None):
        self.calls.append((step, metrics))


class SwanLab(Seen):
    def log(self, data: dict, step: int | None = None, print_to_console: bool = False):
        self.calls.append((step, data))


class Comet(Seen):
    def log_metrics(self, dic, prefix=None, step=None, epoch=None):
        self.calls.append((step, dic))

    def log_asset(self, file_data, file_name=None, overwrite=False, copy_to_tmp=True, step=None, metadata=None):
        self.kept = (file_data, file_name)


class NeptuneScale(Seen):
    def log_metrics(self, data, step, timestamp=None, preview=False, preview_completion=None):
        self.calls.append((step, data))

    def assign_files(self, files):
        self.kept = files


class TorchTitanLogger(Seen):
    def log(self, metrics: dict[str, object], step: int) -> None:
        self.calls.append((step, metrics))

    def close(self) -> None:
        raise AssertionError("what the user opened stays open")


class MetricsProcessor:
    def __init__(self):
        self.logger = TorchTitanLogger()

    def should_log(self, step: int) -> bool:
        return True

    def log(self, step, global_avg_loss, global_max_loss, grad_norm, ntokens_seen, extra_metrics=None):
        raise AssertionError("this takes other things")


class Aim(Seen):
    def track(self, value, name=None, step=None, epoch=None, *, context=None):
        self.calls.append((step, {name: value}))

    def __getitem__(self, key):
        raise KeyError(key)


class ClearMLLogger(Seen):
    def report_scalar(self, title, series, value, iteration):
        self.calls.append((iteration, {f"{title}/{series}": value}))

    def flush(self, wait=False):
        return True


class ClearMLTask:
    def __init__(self):
        self.logger = ClearMLLogger()

    def get_logger(self):
        return self.logger

    def upload_artifact(self, name, artifact_object, metadata=None):
        self.kept = (name, artifact_object)


class Neptune(Seen):
    """Of `neptune` 1.x: a series a path."""

    def __getitem__(self, path):
        run = self

        class Handler:
            def append(self, value, *, step=None, timestamp=None, wait=False):
                run.calls.append((step, {path: value}))

            def upload(self, value, *, wait=False):
                run.kept = (path, value)

        return Handler()

    def stop(self, *, seconds=None):
        raise AssertionError("what the user opened stays open")


class MlflowClient(Seen):
    def log_batch(self, run_id, metrics=(), params=(), tags=(), synchronous=None):
        raise AssertionError("one by one")

    def log_metric(self, run_id, key, value, timestamp=None, step=None, synchronous=None):
        self.calls.append((step, {key: value}))

    def log_artifact(self, run_id, local_path, artifact_path=None):
        self.kept = (run_id, local_path, artifact_path)


@pytest.mark.parametrize("make", [Trackio, SwanLab, Comet, NeptuneScale, TorchTitanLogger, Aim, ClearMLLogger, Neptune])
def test_one_line_each(make):
    target = make()
    tracker = tracker_of(target)
    feed(tracker)
    tracker.close()
    assert target.calls == [(step, {NAME: 2.0 + 1.0 / step}) for step in (10, 20, 30)]


def test_those_that_are_reached_by_a_way_round():
    task, processor, client = ClearMLTask(), MetricsProcessor(), MlflowClient()
    tracker = tracker_of([task, processor, (client, "abc")])
    feed(tracker, [5])
    for seen in (task.logger, processor.logger, client):
        assert seen.calls == [(5, {NAME: 2.2})]
    with pytest.warns(RuntimeWarning, match="torchtitan keeps no files"):
        tracker.artifact("r.html", "report")
    assert task.kept == ("report", "r.html")
    assert client.kept == ("abc", "r.html", "eigenflow")


def test_mlflow_module():
    module: Any = types.ModuleType("mlflow")
    seen = []

    def log_metrics(metrics, step=None, synchronous=None, run_id=None):
        seen.append((step, metrics))

    def log_artifact(local_path, artifact_path=None, run_id=None):
        seen.append((local_path, artifact_path))

    module.log_metrics, module.log_artifact = log_metrics, log_artifact
    tracker = tracker_of(module)
    assert repr(tracker) == "Tracker: mlflow"
    feed(tracker, [3])
    tracker.artifact(Path("report.html"))
    tracker.close()
    assert seen == [(3, {NAME: 2.0 + 1 / 3}), ("report.html", "eigenflow")]


def test_file_has_a_line_a_call_and_outlives_a_crash(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1, "cut o')  # as a killed process left it
    first, second = tracker_of(path), tracker_of(str(path))
    feed(first, [2])
    feed(second, [3])
    feed(first, [4])
    first.artifact("r.html", "report")
    lines = path.read_text().splitlines()
    rows = [json.loads(line) for line in lines[1:] if line]
    assert [row.get("step") for row in rows] == [2, 3, 4, None]
    assert rows[-1] == {"artifact": "report", "path": "r.html"}
    first.close()
    with pytest.warns(RuntimeWarning, match="was closed"):
        feed(first, [5])


def test_trouble_of_one_is_told_once_and_the_others_go_on():
    seen = []

    class Broken:
        def log(self, metrics, step=None):
            raise ConnectionError("no route to host")

        def close(self):
            raise ConnectionError("no route to host")

    tracker = tracker_of([Broken(), lambda metrics, step: seen.append(step)])
    with pytest.warns(RuntimeWarning, match="no route to host") as told:
        feed(tracker, range(1, 6))
    assert len(told) == 1
    assert seen == [1, 2, 3, 4, 5]
    tracker.close()


def test_interrupts_are_not_swallowed():
    def stop(metrics, step):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        feed(tracker_of(stop))


def test_numbers_that_are_none_are_left_out_and_said_once():
    import torch

    seen = []
    tracker = tracker_of(lambda metrics, step: seen.append(metrics))
    given = {"gap": math.nan, "eigenflow/kept": torch.tensor(1.5), "more": np.float32(2)}
    with pytest.warns(RuntimeWarning, match="`gap` is nan") as told:
        [tracker.log(given, 1) for _ in range(3)]
    assert len(told) == 1
    assert seen == [{"eigenflow/kept": 1.5, "eigenflow/more": 2.0}] * 3
    assert all(type(value) is float for value in seen[0].values())


def test_nothing_to_log_to():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tracker = tracker_of(None)
        feed(tracker)
        tracker.artifact("x")
        tracker.close()
    assert tracker_of(tracker) is tracker
    assert isinstance(tracker, Tracker)


@pytest.mark.rejects
@pytest.mark.parametrize("target", [5, logging.getLogger("x"), math, np, lambda: None, {"a": 1}, Trackio])
def test_what_is_none_is_refused(target):
    with pytest.raises(ArgumentError, match="`tracker` must be a TensorBoard SummaryWriter"):
        tracker_of(target)


@pytest.mark.rejects
def test_file_in_no_folder_is_refused(tmp_path):
    with pytest.raises(FileError, match="its folder does not exist"):
        tracker_of(tmp_path / "no" / "log.jsonl")
