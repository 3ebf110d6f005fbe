"""Tables and JSON are known by their content: every way to write a run down gives it back, with its lines."""

import bz2
import gzip
import json

import numpy as np
import pandas as pd
import pytest

import eigenflow as ef
from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.reading.files.one_file import load_file

ROWS = [(10 * k, round(2.0 + 3.0 / k, 4), round(1e-3 * min(1.0, 1.5 - k / 20), 6)) for k in range(1, 21)]
STEPS, LOSSES, RATES = (np.array(column) for column in zip(*ROWS, strict=True))
CSV = "step,loss,lr\n" + "".join(f"{step},{loss},{rate}\n" for step, loss, rate in ROWS)
BLANKS = "".join(f"  {step}   9.9e+00  {loss}   {rate}\n" for step, loss, rate in ROWS)
TITLE = "#  step      rmse_trn    loss         lr\n"
OBJECTS = [{"step": step, "loss": loss, "lr": rate} for step, loss, rate in ROWS]
NESTED = "\n".join(json.dumps({"step": step, "train": {"loss": loss, "lr": rate}}) for step, loss, rate in ROWS)
LINES = "\n".join(json.dumps(row) for row in OBJECTS)


def assert_is_the_run(table, rows=None):
    names = {str(name).strip().lower(): name for name in table.frame.columns}
    for name, expected in (("step", STEPS), ("loss", LOSSES), ("lr", RATES)):
        column = next(own for short, own in names.items() if short.rpartition("/")[2] == name)
        found = pd.to_numeric(table.frame[column], errors="coerce").dropna()
        np.testing.assert_array_equal(np.unique(found), np.unique(expected))
        if len(found) == len(expected):
            np.testing.assert_array_equal(found, expected)
    if rows is not None:
        assert table.rows.tolist() == list(rows)


@pytest.mark.parametrize(
    ("name", "content", "first"),
    [
        ("a.log", CSV.encode(), 2),
        ("a.txt", CSV.encode(), 2),
        ("a.dat", CSV.encode(), 2),
        ("a", CSV.encode(), 2),
        ("a.csv", CSV.replace(",", ";").encode(), 2),
        ("a.csv", CSV.replace(",", ";").replace(".", ",").encode(), 2),
        ("a.csv", CSV.replace(",", "\t").encode(), 2),
        ("a.tsv", CSV.encode(), 2),
        ("a.txt", CSV.replace(",", "\t").encode(), 2),
        ("a.csv", b"\xef\xbb\xbf" + CSV.encode(), 2),
        ("a.csv", CSV.encode("utf-16"), 2),
        ("a.csv", b"\xfe\xff" + CSV.encode("utf-16-be"), 2),
        ("a.csv", CSV.encode("utf-16-le"), 2),
        ("a.csv", CSV.replace("\n", "\r\n").encode(), 2),
        ("a.csv", CSV.replace("\n", "\r").encode(), 2),
        ("a.csv", gzip.compress(CSV.encode()), 2),
        ("a.log.gz", gzip.compress(CSV.encode()), 2),
        ("a.csv", bz2.compress(CSV.encode()), 2),
        ("a.csv", f"# made by x, seed 3\n# rates, too\n{CSV}".encode(), 4),
        ("a.csv", f"#{CSV}".encode(), 2),
        ("a.csv", f"sep=;\n{CSV.replace(',', ';')}".encode(), 3),
        ("a.csv", f"\n\n{CSV}".encode(), 4),
        ("a.txt", CSV.replace(",", "   ").encode(), 2),
        ("lcurve.out", (TITLE + BLANKS).encode(), 2),
        ("lcurve.out", (TITLE + "# If there is no reference, rmse_*_{val,trn} will print nan\n" + BLANKS).encode(), 3),
        ("a.json", LINES.encode(), 1),
        ("a.log.json", LINES.encode(), 1),
        ("a.log", LINES.encode(), 1),
        ("a.txt", LINES.encode(), 1),
        ("a.log", json.dumps(OBJECTS, indent=1).encode(), 1),
        ("a.json", json.dumps({"step": STEPS.tolist(), "loss": LOSSES.tolist(), "lr": RATES.tolist()}).encode(), 1),
        ("a.json", json.dumps({"epochs": 3, "history": OBJECTS}).encode(), 1),
        ("a.jsonl", NESTED.encode(), 1),
    ],
)
def test_a_run_is_read_whatever_its_file_is_called(tmp_path, name, content, first):
    path = tmp_path / name
    path.write_bytes(content)
    (table,) = load_file(path)
    assert_is_the_run(table, range(first, first + len(ROWS)))
    assert table.name == "a" or name == "lcurve.out"


def test_what_was_done_to_a_table_is_said(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(CSV.replace(",", ";").replace(".", ","))
    notes = ef.read_curves(path).notes
    assert any("separated by semicolons" in note for note in notes) and any("decimal commas" in note for note in notes)


def test_titles_that_are_repeated_are_no_rows(tmp_path):
    """Programs that append to their log write the names of the columns at every start."""
    lines = CSV.splitlines()
    path = tmp_path / "a.csv"
    path.write_text("\n".join([*lines[:11], lines[0], *lines[11:]]))
    (table,) = load_file(path)
    assert_is_the_run(table, [*range(2, 12), *range(13, 23)])
    assert any("1 rows repeat the names of the columns (row 12 first)" in note for note in table.notes)
    path = tmp_path / "lcurve.out"
    blanks = BLANKS.splitlines(keepends=True)
    path.write_text("".join([TITLE, *blanks[:10], TITLE, *blanks[10:]]))
    assert_is_the_run(load_file(path)[0], [*range(2, 12), *range(13, 23)])


def test_a_table_without_names_gets_some_and_says_so(tmp_path):
    two, four = tmp_path / "two.dat", tmp_path / "four.out"
    two.write_text("".join(f"{step}\t{loss}\n" for step, loss, _ in ROWS))
    four.write_text(BLANKS)
    (table,) = load_file(two)
    assert table.frame.columns.tolist() == ["step", "loss"] and table.rows[0] == 1
    assert any("no line names the columns" in note for note in table.notes)
    (table,) = load_file(four)
    assert table.frame.columns.tolist() == ["step", "column_2", "column_3", "column_4"]
    columns = {"loss": "column_3", "lr": "column_4"}
    np.testing.assert_array_equal(ef.read_curves(four, columns=columns)[0].losses, LOSSES)


def test_tables_in_markdown_are_those_of_model_cards(tmp_path):
    path = tmp_path / "card.md"
    shown = [("No log" if step == 10 else loss, step) for step, loss, _ in ROWS]
    rows = "".join(f"| {loss} | {step / 100} | {step} | 9.5 |\n" for loss, step in shown)
    path.write_text(f"| Training Loss | Epoch | Step | Validation Loss |\n|:---:|:---:|:---:|:---:|\n{rows}")
    (table,) = load_file(path)
    assert [name.strip() for name in table.frame.columns] == ["Training Loss", "Epoch", "Step", "Validation Loss"]
    assert table.rows.tolist() == list(range(3, 23))
    before = "# A model\n\nIt was trained.\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n"
    path.write_text(f"{before}{path.read_text()}\n### Versions\n- x | y\n")
    (table,) = load_file(path)
    assert table.rows.tolist() == list(range(11, 31))
    curve = ef.read_curves(path, schedules="constant")[0]
    np.testing.assert_array_equal(curve.steps, STEPS[1:])
    np.testing.assert_array_equal(curve.losses, LOSSES[1:])


def test_rows_of_settings_and_a_cut_last_line_are_left_out(tmp_path):
    path = tmp_path / "a.log.json"
    path.write_text('{"env_info": "x", "seed": 0}\n' + LINES + '\n{"step": 210, "lo')
    (table,) = load_file(path)
    assert_is_the_run(table, range(2, 22))
    assert any("first 1 rows have no step" in note for note in table.notes)
    assert any("row 22: the last line is cut" in note for note in table.notes)


@pytest.mark.parametrize(
    "form",
    [
        {"loss": LOSSES.tolist(), "lr": RATES.tolist()},
        {"loss": dict(enumerate(LOSSES.tolist())), "lr": dict(enumerate(RATES.tolist()))},
        {"history": {"loss": LOSSES.tolist(), "lr": RATES.tolist()}, "params": {"epochs": 20}},
        {"loss": LOSSES.tolist(), "lr": RATES.tolist(), "epochs": 20},
    ],
    ids=["columns", "pandas", "history", "beside settings"],
)
def test_a_history_of_keras_counts_epochs(tmp_path, form):
    path = tmp_path / "history.json"
    path.write_text(json.dumps(form))
    curve = ef.read_curves(path)["history"]
    np.testing.assert_array_equal(curve.steps, np.arange(1, 21))
    np.testing.assert_array_equal(curve.losses, LOSSES)


def test_nothing_but_losses_counts_them(tmp_path):
    text, listed = tmp_path / "text.txt", tmp_path / "listed.json"
    text.write_text("".join(f"{loss}\n" for loss in LOSSES))
    listed.write_text(json.dumps(LOSSES.tolist()))
    for path in (text, listed):
        (table,) = load_file(path)
        assert table.frame["step"].astype(int).tolist() == list(range(1, 21))
        assert table.frame["loss"].astype(float).tolist() == LOSSES.tolist()
        assert any("losses of steps 1, 2, ..." in note for note in table.notes)


def test_an_object_that_python_printed_is_read(tmp_path):
    path = tmp_path / "history.txt"
    values = ", ".join(f"np.float32({loss})" for loss in LOSSES[:-1])
    path.write_text(
        f"{{'loss': [{values}, nan], 'val_loss': {[None] * 10 + LOSSES.tolist()[10:]}, 'lr': {RATES.tolist()}}}\n"
    )
    (table,) = load_file(path)
    assert table.frame["epoch"].tolist() == list(range(1, 21))
    assert table.frame["loss"].tolist() == [*LOSSES.tolist()[:-1], "nan"]
    assert table.frame["lr"].tolist() == RATES.tolist()


def test_steps_beside_values_are_columns_where_there_are_more(tmp_path):
    """`value` may be the loss of a critic."""
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"step": STEPS.tolist(), "loss": LOSSES.tolist(), "value": RATES.tolist()}))
    assert load_file(path)[0].frame.columns.tolist() == ["step", "loss", "value"]


def test_iterations_of_detectron2_count_from_0(tmp_path):
    path = tmp_path / "metrics.json"
    rows = [{"eta_seconds": 9.5, "iteration": step - 1, "lr": rate, "total_loss": loss} for step, loss, rate in ROWS]
    path.write_text("\n".join(map(json.dumps, rows)))
    (table,) = load_file(path)
    assert table.frame["iteration"].tolist() == STEPS.tolist()
    assert any("count from 0" in note for note in table.notes)


@pytest.mark.parametrize(("name", "columns"), [("train_loss", None), ("export", {"loss": "value"})])
def test_one_metric_in_a_file_is_called_by_it(tmp_path, name, columns):
    """Neptune's export; a file whose name says nothing keeps its column."""
    path = tmp_path / f"{name}.csv"
    path.write_text("step,value,timestamp\n" + "".join(f"{step},{loss},9\n" for step, loss, _ in ROWS))
    curve = ef.read_curves(path, columns=columns, schedules="constant")[name]
    np.testing.assert_array_equal(curve.losses, LOSSES)


SACRED = {
    name: {"steps": STEPS.tolist(), "timestamps": ["x"] * 20, "values": values.tolist()}
    for name, values in (("training.loss", LOSSES), ("lr", RATES))
}
CLEARML = {
    name: {"train": {"name": "train", "x": STEPS.tolist(), "y": values.tolist()}}
    for name, values in (("loss", LOSSES), ("lr", RATES))
}
COMET = [
    {"metricName": name, "metricValue": str(value), "step": step, "timestamp": 1, "runContext": "train"}
    for step, loss, rate in ROWS
    for name, value in (("loss", loss), ("lr", rate))
]


@pytest.mark.parametrize("form", [SACRED, CLEARML, COMET], ids=["Sacred", "ClearML", "Comet"])
def test_what_trackers_write_as_json(tmp_path, form):
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(form))
    curve = ef.read_curves(path)[0]
    np.testing.assert_array_equal(curve.steps, STEPS)
    np.testing.assert_array_equal(curve.losses, LOSSES)
    assert curve.schedule.peak == RATES.max()


@pytest.mark.parametrize(
    "text",
    [
        "run.name,metric.name,metric.context.subset,step,value\n"
        + "".join(f"e,loss,train,{step},{loss}\ne,lr,,{step},{rate}\n" for step, loss, rate in ROWS),
        "step,tag,value\n" + "".join(f"{step},loss,{loss}\n{step},lr,{rate}\n" for step, loss, rate in ROWS),
        "train/global_step,e - train/loss,e - train/loss__MIN,e - train/loss__MAX,e - train/learning_rate\n"
        + "".join(f"{step},{loss},{loss},{loss},{rate}\n" for step, loss, rate in ROWS),
    ],
    ids=["Aim", "tbparse", "W&B page by global step"],
)
def test_exports_of_trackers(tmp_path, text):
    path = tmp_path / "export.csv"
    path.write_text(text)
    curve = ef.read_curves(path)[0]
    np.testing.assert_array_equal(curve.steps, STEPS)
    np.testing.assert_array_equal(curve.losses, LOSSES)
    assert curve.schedule.peak == RATES.max()


def test_exports_of_tensorboards_page_are_one_run(tmp_path):
    files = []
    for tag, values in (("train_loss", LOSSES), ("lr", RATES)):
        files.append(tmp_path / f"run-A-tag-{tag}.csv")
        rows = "".join(f"1.5,{step},{value}\n" for step, value in zip(STEPS, values, strict=True))
        files[-1].write_text(f"Wall time,Step,Value\n{rows}")
    for source in (files, tmp_path):
        curves = ef.read_curves(source)
        assert curves.names == ["A"]
        np.testing.assert_array_equal(curves["A"].losses, LOSSES)
        assert curves["A"].schedule.peak == RATES.max()


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("mlruns.db", b"SQLite format 3\x00" + bytes(50), r"database \(SQLite\).*get_metric_history"),
        ("run-x.wandb", b":W&B\xe1\xbe\x00abc", r"not sent yet.*wandb sync"),
        ("history.pkl", b"\x80\x04\x95abc", r"pickle.*JSON or CSV"),
        ("losses.npy", b"\x93NUMPY\x01\x00abc", "numpy.savetxt"),
        ("a.h5", b"\x89HDF\r\n\x1a\n", "HDF5"),
        ("a.npz", b"PK\x03\x04abc", "archive"),
        ("a.xlsx", b"PK\x03\x04abc", "spreadsheet.*CSV"),
        ("a.bin", bytes(range(256)), "unknown kind of file. It is no text"),
        ("wandb-summary.json", b'{"_step": 10, "loss": 2.3}', r"summary of a finished run.*history"),
        ("a.ipynb", b'{"cells": [], "nbformat": 4}', "notebook.*training cell printed"),
        ("all.csv", b'"Relative Time (Process)","e - train/loss"\n1,2\n2,2\n3,2\n', r"not by step.*x axis to Step"),
        ("a.log", b"hello\nworld\n", r"(?s)unknown kind of file.*\| hello\n.*\| world\n.*--pattern 'step \(\?P<step>"),
        ("a.log", b"", r"nothing but blanks"),
        (
            "a.log",
            b"a\nb\nc\nd\ne\nf\nthe \x1b[31mloss is good\n",
            r"(?s)\| a\n.*\| e\n  \.\.\.\n  \| the loss is good",
        ),
        ("a.csv", gzip.compress(CSV.encode())[:-20], "cannot be unpacked"),
    ],
)
def test_files_that_are_no_logs_say_what_to_do(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ArgumentError, match=message):
        ef.read_curves(path)


OWN = "".join(f"k={step:,} L={loss} eta={rate}\n" for step, loss, rate in ROWS)


def test_a_pattern_of_the_user_reads_any_lines(tmp_path):
    path = tmp_path / "own.txt"
    path.write_text("a title\n" + OWN)
    curve = ef.read_curves(path, pattern=r"k=(?P<step>[\d,]+) L=(?P<loss>\S+) eta=(?P<learning_rate>\S+)")["own"]
    np.testing.assert_array_equal(curve.steps, STEPS)
    np.testing.assert_array_equal(curve.losses, LOSSES)
    assert curve.schedule.peak == RATES.max() and curve.origin.first_row == 2


def test_a_pattern_may_find_its_groups_on_several_lines(tmp_path):
    path = tmp_path / "own.txt"
    path.write_text("".join(f"== {step} ==\nrate {rate}\nloss {loss}\n" for step, loss, rate in ROWS))
    pattern = r"== (?P<step>\d+) ==|loss (?P<loss>\S+)|rate (?P<lr>\S+)"
    curve = ef.read_curves(path, pattern=pattern)["own"]
    np.testing.assert_array_equal(curve.losses, LOSSES)
    assert curve.schedule.peak == RATES.max()


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("k=(", "no regular expression: missing"),
        (r"k=(?P<step>\d+)", r"groups `step` \(or `epoch`\) and `loss`, but has step"),
        (r"k=(\d+) L=(\S+)", "but has none"),
        (r"q=(?P<step>\d+) L=(?P<loss>\S+)", r"(?s)finds nothing in .*own.txt.*\| k=10 L=5.0"),
        (r"k=(?P<step>\d+) (?P<loss>\S+)", r"row 1: group 'loss'.*must find a number, but found 'L=5.0'"),
        (3, "must be a regular expression"),
    ],
)
def test_a_pattern_that_cannot_serve_is_refused(tmp_path, pattern, message):
    path = tmp_path / "own.txt"
    path.write_text(OWN)
    with pytest.raises(ArgumentError, match=message):
        ef.read_curves(path, pattern=pattern)
