"""Which rows of a log are points: not those of another phase, no summary, no empty cells, nothing after a NaN."""

import json

import numpy as np
import pandas as pd
import pytest

from eigenflow import read_curves
from eigenflow.core.errors import ArgumentError, NonFiniteError
from forecast.reading_tables import STEPS, loss_at, one_run, write_csv, write_lines


def with_losses(losses) -> pd.DataFrame:
    return one_run().assign(loss=pd.Series(losses, dtype=object))


def sparse() -> pd.DataFrame:
    """Training and validation in rows of their own; the rate beside the first."""
    train = one_run().rename(columns={"loss": "train_loss"})
    val = (
        train.iloc[::4]
        .drop(columns="lr")
        .rename(columns={"train_loss": "val_loss"})
        .assign(val_loss=lambda f: f.val_loss + 0.2)
    )
    return pd.concat([train, val]).sort_values("step", kind="stable").reset_index(drop=True)


SPARSE = {
    "frame": lambda folder: sparse(),
    "csv": lambda folder: write_csv(folder, sparse()),
    "csv that writes nan": lambda folder: write_csv(folder, sparse(), empty="nan"),
    "csv that writes NULL": lambda folder: write_csv(folder, sparse(), empty="NULL"),
    "lines that lack keys": lambda folder: write_lines(
        folder, [row.dropna().to_dict() for _, row in sparse().iterrows()]
    ),
    "lines of null": lambda folder: write_lines(folder, json.loads(sparse().to_json(orient="records"))),
    "lines of NaN": lambda folder: write_lines(folder, sparse().to_dict("records")),
}


@pytest.mark.parametrize("kind", SPARSE)
def test_rows_of_another_phase_are_skipped_in_every_format(kind, tmp_path):
    source = SPARSE[kind](tmp_path)
    found = read_curves(source, warmup=0)
    np.testing.assert_allclose(found[0].losses, loss_at(STEPS), rtol=1e-9)
    np.testing.assert_allclose(found[0].schedule.rates, 1e-3, rtol=1e-9)
    val = read_curves(source, columns={"loss": "val_loss"}, schedules="constant")
    np.testing.assert_allclose(val[0].losses, loss_at(STEPS[::4]) + 0.2, rtol=1e-9)
    if kind != "lines that lack keys":
        assert any("5 rows without a loss" in note for note in found.notes)
        assert any("20 rows without a loss" in note for note in val.notes)


def test_rates_in_rows_of_their_own_count(tmp_path):
    """Lightning's monitor of learning rates logs beside neither loss."""
    rows = "".join(f"0,{1e-3 * step:.6f},{step},,\n0,,{step},{loss_at(step):.6f},\n" for step in STEPS)
    found = read_curves(write_csv(tmp_path, "epoch,lr-AdamW,step,train_loss,val_loss\n" + rows))
    np.testing.assert_array_equal(found[0].steps, STEPS)
    np.testing.assert_allclose(found[0].schedule.rates[STEPS[:-1]], 1e-3 * STEPS[:-1], rtol=1e-9)


@pytest.mark.parametrize("cell", [None, "nan", "inf", "NaN"])
def test_a_run_that_ends_in_nan_diverged_and_is_read_up_to_there(cell, tmp_path):
    """Empty cells at the end may have been NaN; written ones were."""
    losses = [*loss_at(STEPS[:15]), *[cell] * 5]
    found = read_curves(write_csv(tmp_path, with_losses(losses)), warmup=0)
    np.testing.assert_array_equal(found[0].steps, STEPS[:15])
    said = "\n".join(found[0].changes)
    if cell is None:
        assert "the last 5 rows have an empty loss (row 17, step 320 first)" in said and "the run diverged" in said
    else:
        assert "the run diverged: its loss is" in said and "at step 320 (row 17)" in said


@pytest.mark.rejects
@pytest.mark.parametrize("cell", ["nan", "inf"])
def test_a_nan_in_the_middle_is_refused_with_its_row(cell, tmp_path):
    losses = [*loss_at(STEPS[:5]), cell, *loss_at(STEPS[6:])]
    with pytest.raises(NonFiniteError, match=r"row 7: the loss is (nan|inf)"):
        read_curves(write_csv(tmp_path, with_losses(losses)), warmup=0)


@pytest.mark.rejects
def test_a_run_of_nothing_but_nan_is_refused(tmp_path):
    with pytest.raises(NonFiniteError, match=r"row 2: the loss is nan, and 19 more"):
        read_curves(write_csv(tmp_path, one_run(loss="nan")))
    with pytest.raises(ArgumentError, match="column 'loss' is empty"):
        read_curves(one_run(loss=np.nan))


def test_nan_that_a_restart_went_back_over_is_replaced(tmp_path):
    """NaN from step 320 on; started again from a checkpoint at step 260."""
    first = with_losses([*loss_at(STEPS[:15]), *["nan"] * 5])
    second = one_run(0.01)[STEPS >= 260]
    found = read_curves(write_csv(tmp_path, pd.concat([first, second])), warmup=0)
    np.testing.assert_allclose(found[0].losses, loss_at(STEPS) + 0.01 * (STEPS >= 260), rtol=1e-9)
    assert any("5 losses that are not finite (row 17 first) left out" in line for line in found[0].changes)


SUMMARIES = {
    "of its own": {"step": 400, "train_runtime": 5.0, "train_loss": 2.9},
    "under the name of the loss": {"step": 400, "train_runtime": 5.0, "loss": 2.9},
    "under a tracker's names": {"step": 401, "train/train_runtime": 5.0, "loss": 2.9},
    "of a prediction": {"predict_loss": 3.3, "predict_runtime": 1.0},
    "without a step": {"loss": 3.3, "best": 1.0},
}


@pytest.mark.parametrize("kind", SUMMARIES)
@pytest.mark.parametrize("form", ["csv", "lines"])
def test_a_summary_is_no_point(kind, form, tmp_path):
    rows = [*one_run().to_dict("records"), SUMMARIES[kind]]
    source = write_lines(tmp_path, rows) if form == "lines" else write_csv(tmp_path, pd.DataFrame(rows))
    found = read_curves(source, warmup=0)
    np.testing.assert_allclose(found[0].losses, loss_at(STEPS), rtol=1e-9)
    np.testing.assert_array_equal(found[0].steps, STEPS)


def test_the_last_row_of_nulls_is_left_out(tmp_path):
    """LLaMA-Factory ends with a row of null loss and null rate."""
    row = {"eval_loss": None, "total_steps": 500}
    rows = [{**row, "current_steps": int(s), "loss": float(loss_at(s)), "lr": 1e-3} for s in STEPS]
    rows.append({**row, "current_steps": 500, "loss": None, "lr": None})
    found = read_curves(write_lines(tmp_path, rows, "trainer_log.jsonl"), warmup=0)
    np.testing.assert_array_equal(found[0].steps, STEPS)
    assert any("1 rows without a loss (row 21 first)" in note for note in found.notes)


def test_a_phase_that_only_validations_say_is_one(tmp_path):
    rows: list[dict[str, object]] = []
    for step in STEPS:
        rows.append({"step": int(step), "loss": float(loss_at(step)), "lr": 1e-3})
        if step % 100 == 0:
            rows.append({"step": int(step), "loss": 9.0, "type": "eval"})
    found = read_curves(write_lines(tmp_path, rows), warmup=0)
    np.testing.assert_allclose(found[0].losses, loss_at(STEPS), rtol=1e-12)
    assert any("4 rows (row 6 first) are of another phase (type: eval)" in note for note in found.notes)


PHASES = {
    "split": ("split", "train", "val"),
    "phase": ("Phase", "Training", "Validation"),
    "event": ("event", "train_step", "eval_end"),
    "MACE": ("mode", "opt", "eval"),
    "truth": ("is_train", True, False),
    "its opposite": ("is_eval", "False", "True"),
}


@pytest.mark.parametrize("kind", PHASES)
def test_losses_of_validation_under_one_name_are_told_by_a_column(kind, tmp_path):
    """The validation counts its own steps and shows a rate, and sets neither."""
    name, train, val = PHASES[kind]
    other = pd.DataFrame({"step": [1, 2, 3], "loss": 9.0, "lr": 0.5, name: val})
    points = one_run(**{name: train})
    table = pd.concat([points[:8], other[:1], points[8:15], other[1:2], points[15:], other[2:]])
    found = read_curves(write_csv(tmp_path, table), warmup=0)
    np.testing.assert_allclose(found[0].losses, loss_at(STEPS), rtol=1e-9)
    np.testing.assert_allclose(found[0].schedule.rates, 1e-3, rtol=1e-9)
    assert any(f"3 rows (row 10 first) are of another phase ({name}: {val})" in note for note in found.notes)


def test_a_role_that_is_constant_in_each_run_tells_no_phase():
    table = pd.concat([one_run(curve="a", role="train"), one_run(0.1, curve="b", role="test")])
    found = read_curves(table, warmup=0)
    assert [(curve.name, len(curve), curve.role) for curve in found] == [("a", 20, "train"), ("b", 20, "test")]


def test_validation_rows_without_a_loss_set_no_rate(tmp_path):
    """mmcv: `iter` of a validation counts its batches, and its row shows a rate; no column says the phase here."""
    rows: list[dict[str, object]] = []
    for step in STEPS:
        rows.append({"iter": int(step), "lr": 1e-3, "loss": float(loss_at(step))})
        if step % 100 == 0:
            rows.append({"iter": 4, "lr": 0.7, "mIoU": 0.5})
    found = read_curves(write_lines(tmp_path, rows, "work.log.json"), warmup=0)
    np.testing.assert_array_equal(found[0].steps, STEPS)
    np.testing.assert_allclose(found[0].schedule.rates, 1e-3, rtol=1e-9)
    assert any("4 rows without a loss" in note and "count other steps" in note for note in found.notes)


@pytest.mark.rejects
def test_a_loss_without_a_step_amid_others_is_refused(tmp_path):
    table = one_run().astype({"step": object})
    table.loc[7, "step"] = ""
    with pytest.raises(NonFiniteError, match=r"row 9: the step is nan.*Every row with a loss needs one"):
        read_curves(write_csv(tmp_path, table), warmup=0)
