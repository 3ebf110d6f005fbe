"""Folders of runs: which files are logs, which belong together, and what each run is called."""

import json

import numpy as np
import pytest

import eigenflow as ef
from eigenflow.core.errors import ArgumentError
from forecast.reading.test_formats import CSV, LOSSES, RATES, ROWS, STEPS

LATER = "step,loss,lr\n" + "".join(f"{step + 200},{loss - 0.1:.4f},0.0005\n" for step, loss, _ in ROWS)
HISTORY = [{"step": step, "loss": loss, "learning_rate": rate} for step, loss, rate in ROWS]
STATE = json.dumps({"log_history": HISTORY, "max_steps": 900})
PRINTED = "".join(f"iter {step}: loss {loss}, lr {rate}, time 1ms\n" for step, loss, rate in ROWS)


def tree(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def names(source, **options):
    curves = ef.read_curves(source, **options)
    for curve in curves:
        np.testing.assert_array_equal(curve.steps, STEPS)
        np.testing.assert_array_equal(curve.losses, LOSSES)
    return curves.names


def test_files_of_one_name_are_called_by_their_folders(tmp_path):
    tree(tmp_path, {f"logs/version_{k}/metrics.csv": CSV for k in range(3)})
    tree(tmp_path, {f"logs/version_{k}/hparams.yaml": "lr: 1" for k in range(3)})
    expected = ["version_0", "version_1", "version_2"]
    assert names(tmp_path / "logs") == expected
    assert names([tmp_path / "logs" / name / "metrics.csv" for name in expected]) == expected
    assert any("3 files called 'metrics' begin anew" in note for note in ef.read_curves(tmp_path).notes)


def test_runs_are_called_by_all_that_differs(tmp_path):
    tree(tmp_path, {f"{a}/{b}/out/metrics.csv": CSV for a in "xy" for b in "12"})
    assert names(tmp_path) == ["x/1", "x/2", "y/1", "y/2"]


def test_a_file_that_goes_on_is_a_piece(tmp_path):
    tree(tmp_path, {"job1/metrics.csv": CSV, "job2/metrics.csv": LATER})
    curve = ef.read_curves([tmp_path / "job1/metrics.csv", tmp_path / "job2/metrics.csv"])["metrics"]
    np.testing.assert_array_equal(curve.steps, np.concatenate([STEPS, STEPS + 200]))


def test_a_folder_of_mixed_kinds(tmp_path):
    tree(
        tmp_path,
        {
            "a/trainer_state.json": STATE,
            "b/deep/er/metrics.csv": CSV,
            "c/log.txt": PRINTED,
            "c/config.json": '{"lr": 1}',
            "d/log.txt": "nothing of use\n",
            ".git/x.csv": CSV,
            "b/.hidden.csv": CSV,
            "e/checkpoint-5/x.csv": CSV,
            "e/__pycache__/x.csv": CSV,
        },
    )
    assert names(tmp_path) == ["a", "metrics", "log"]


def test_runs_of_the_trainer_in_folders_of_one_name(tmp_path):
    early = json.dumps({"log_history": HISTORY[:5], "max_steps": 900})
    tree(
        tmp_path,
        {
            "r1/out/checkpoint-50/trainer_state.json": early,
            "r1/out/checkpoint-200/trainer_state.json": STATE,
            "r2/out/checkpoint-200/trainer_state.json": STATE,
        },
    )
    assert names(tmp_path) == ["r1", "r2"]
    assert names([tmp_path / "r1" / "out", tmp_path / "r2" / "out"]) == ["r1", "r2"]


def test_files_without_a_curve_are_left_out_and_named(tmp_path):
    tree(tmp_path, {"curves.csv": CSV, "sub/labels.csv": "id,label\n1,2\n2,3\n"})
    assert names(tmp_path) == ["curves"]
    assert any(
        "without columns of a loss and its steps: sub/labels.csv" in note for note in ef.read_curves(tmp_path).notes
    )
    tree(tmp_path, {"curves.csv": CSV.replace("loss", "c4")})
    assert names(tmp_path, columns={"loss": "c4"}) == ["curves"]


def test_what_is_logged_twice_is_one_run(tmp_path):
    """mmcv and Detectron2 write rows of JSON beside what they print."""
    rows = [{"mode": "train", "iter": step, "loss": loss, "lr": rate} for step, loss, rate in ROWS]
    lines = "\n".join(map(json.dumps, rows))
    tree(tmp_path, {"2024.log.json": lines, "2024.log": PRINTED})
    assert names(tmp_path) == ["2024"]
    assert any("2024.log" in note and "left out" in note for note in ef.read_curves(tmp_path).notes)


def test_a_folder_of_printed_logs_has_a_curve_each(tmp_path):
    tree(tmp_path, {"train_a.log": PRINTED, "train_b.log": PRINTED})
    assert names(tmp_path) == ["train_a", "train_b"]


def test_a_pattern_reads_the_texts_of_a_folder(tmp_path):
    own = "".join(f"k={step} L={loss} eta={rate}\n" for step, loss, rate in ROWS)
    tree(tmp_path, {"a.log": own, "b.txt": own})
    assert names(tmp_path, pattern=r"k=(?P<step>\d+) L=(?P<loss>\S+) eta=(?P<lr>\S+)") == ["a", "b"]


def test_metrics_in_files_of_their_own(tmp_path):
    by_metric = {"train/loss": LOSSES, "lr": RATES}
    dvclive = {
        f"dvclive/plots/metrics/{name}.tsv": f"step\t{name}\n"
        + "".join(f"{step}\t{v}\n" for step, v in zip(STEPS, of, strict=True))
        for name, of in by_metric.items()
    }
    assert names(tree(tmp_path / "a", dvclive)) == ["dvclive"]
    mlflow = {
        f"mlruns/0/{run}/metrics/{name}": "".join(f"1 {v} {step}\n" for step, v in zip(STEPS, of, strict=True))
        for name, of in by_metric.items()
        for run in ("0a1", "0b2")
    }
    tree(tmp_path / "b", {**mlflow, "mlruns/0/0a1/tags/mlflow.runName": "nice", "mlruns/.trash/9/metrics/loss": "x"})
    assert names(tmp_path / "b") == ["nice", "0b2"]


def test_a_run_of_wandb_on_the_disk_is_read_from_what_it_printed(tmp_path):
    run = "wandb/run-2024-abc"
    tree(tmp_path, {f"{run}/run-abc.wandb": b":W&B\xe1\xbe\x00", f"{run}/files/output.log": PRINTED})
    assert names(tmp_path) == ["run-2024-abc"]


@pytest.mark.rejects
def test_folders_without_logs_say_so(tmp_path):
    tree(tmp_path / "a", {"x/readme.md": "hi", "x/.a.csv": CSV})
    with pytest.raises(ArgumentError, match="holds no logs"):
        ef.read_curves(tmp_path / "a")
    tree(tmp_path / "b", {"wandb/run-2024-abc/run-abc.wandb": b":W&B\xe1\xbe\x00"})
    with pytest.raises(ArgumentError, match="wandb sync"):
        ef.read_curves(tmp_path / "b")


@pytest.mark.rejects
def test_a_folder_of_very_many_files_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("eigenflow.forecast.reading.files.folders.MOST_ENTRIES", 20)
    tree(tmp_path, {f"images/{k}.png": b"" for k in range(21)})
    with pytest.raises(ArgumentError, match="more than 20 files and folders"):
        ef.read_curves(tmp_path)


def test_folders_that_hold_themselves_end(tmp_path):
    tree(tmp_path, {"a/metrics.csv": CSV})
    (tmp_path / "a" / "again").symlink_to(tmp_path, target_is_directory=True)
    assert names(tmp_path) == ["metrics"]
