"""Which column is what: by the names that trainers and trackers write, and by what is filled."""

import numpy as np
import pandas as pd
import pytest

from eigenflow import read_curves
from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.reading.columns.names import loss_rank, rate_rank, step_rank
from forecast.reading_tables import loss_at, one_run, write_csv

T = np.arange(10, 201, 10)
LOSS, RATE = loss_at(T), 1e-3
OFTEN, LAST = LOSS + 0.1, [np.nan] * 19 + [3.0]

# The columns of each program's log, and those of the loss, the step and the rate among them.
PROGRAMS: dict[str, tuple[dict[str, object], str, str]] = {
    "litgpt": (
        {"loss": LOSS, "iter": 4 * T, "step": T, "epoch": 0, "learning_rate": RATE, "val_loss": LAST},
        "loss",
        "step",
    ),
    "detectron2": ({"iteration": T, "total_loss": LOSS, "loss_cls": LOSS / 2, "lr": RATE}, "total_loss", "iteration"),
    "mmengine": (
        {"lr": RATE, "base_lr": 1.0, "loss": LOSS, "loss_cls": LOSS / 2, "iter": T, "epoch": 1},
        "loss",
        "iter",
    ),
    "olmo": (
        {"_step": T, "train/CrossEntropyLoss": LOSS, "train/Perplexity": 9.0, "optim/learning_rate_group0": RATE},
        "train/CrossEntropyLoss",
        "_step",
    ),
    "olmo-core": (
        {"_step": T, "train/CE loss": LOSS, "train/Z loss": 0.1, "optim/LR (group 0)": RATE},
        "train/CE loss",
        "_step",
    ),
    "megatron": (
        {"step": T, "lm loss": LOSS, "lm loss vs samples": 9.0, "learning-rate": RATE, "lm loss validation": OFTEN},
        "lm loss",
        "step",
    ),
    "bloom": (
        {"step": T, "lm-loss-training/lm loss": LOSS, "learning-rate/learning-rate": RATE, "loss-scale": 1.0},
        "lm-loss-training/lm loss",
        "step",
    ),
    "neox": (
        {"_step": T, "train/lm_loss": LOSS, "train/learning_rate": RATE, "validation/lm_loss": LAST},
        "train/lm_loss",
        "_step",
    ),
    "composer": (
        {"Step": T, "loss/train/total": LOSS, "lr-DecoupledAdamW/group0": RATE, "metrics/train/Perplexity": 9.0},
        "loss/train/total",
        "Step",
    ),
    "maxtext": ({"step": T, "learning/loss": LOSS, "learning/current_learning_rate": RATE}, "learning/loss", "step"),
    "torchtitan": (
        {"step": T, "loss_metrics/global_avg_loss": LOSS, "loss_metrics/global_max_loss": 9.0, "lr": RATE},
        "loss_metrics/global_avg_loss",
        "step",
    ),
    "nemo": ({"step": T, "reduced_train_loss": LOSS, "lr": RATE}, "reduced_train_loss", "step"),
    "nanotron": ({"iteration_step": T, "lm_loss": LOSS, "lr": RATE}, "lm_loss", "iteration_step"),
    "nanogpt": (
        {"_step": range(20), "iter": T, "train/loss": LOSS, "val/loss": OFTEN, "lr": RATE},
        "train/loss",
        "iter",
    ),
    "lightning": (
        {"epoch": 0, "step": T, "train_loss_step": LOSS, "train_loss_epoch": LAST, "lr-AdamW/pg1": RATE},
        "train_loss_step",
        "step",
    ),
    "momentum": (
        {"step": T, "train/loss_step": LOSS, "lr-SGD": RATE, "lr-SGD-momentum": 0.9},
        "train/loss_step",
        "step",
    ),
    "deepmd": (
        {"step": T, "rmse_val": OFTEN, "rmse_trn": LOSS, "rmse_e_trn": 0.1, "rmse_f_trn": 0.1, "lr": RATE},
        "rmse_trn",
        "step",
    ),
    "detection": (
        {"step": T, "Loss/total_loss": LOSS, "Loss/box_loss": 1.0, "learning rate": RATE},
        "Loss/total_loss",
        "step",
    ),
    "fairseq": (
        {"update": T / 50, "num_updates": T, "loss": LOSS, "nll_loss": LOSS - 1, "ppl": 9.0, "lr": RATE},
        "loss",
        "num_updates",
    ),
    "swift": ({"Train Loss": LOSS, "globalStep": T, "learningRate": RATE}, "Train Loss", "globalStep"),
    "one part": ({"step": T, "box_loss": LOSS, "train/lr": RATE}, "box_loss", "step"),
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_columns_of_programs_are_recognised(program, tmp_path):
    columns, loss, step = PROGRAMS[program]
    for source in (pd.DataFrame(columns), write_csv(tmp_path, pd.DataFrame(columns))):
        curve = read_curves(source, warmup=0)[0]
        np.testing.assert_allclose(curve.losses, np.asarray(columns[loss]), rtol=1e-12)
        np.testing.assert_array_equal(curve.steps, np.asarray(columns[step]))
        np.testing.assert_allclose(curve.schedule.rates, RATE, rtol=1e-12)


@pytest.mark.parametrize(
    "name",
    [
        "loss_scale",
        "best_val_loss",
        "grad_norm",
        "loss_unit",
        "accuracy",
        "lm loss vs tokens",
        "loss_weight",
        "policy_gradient",
    ],
)
def test_what_is_no_loss_by_its_name(name):
    assert loss_rank(name) is None


@pytest.mark.parametrize("name", ["max_steps", "step_time", "steps_per_second", "warmup_steps", "eval_steps"])
def test_what_counts_no_updates_by_its_name(name):
    assert step_rank(name) is None


@pytest.mark.parametrize("name", ["lr_scheduler", "peak_lr", "lr-Adam-momentum", "learning-rate vs tokens", "lr_decay"])
def test_what_is_no_rate_by_its_name(name):
    assert rate_rank(name) is None


def test_better_losses_come_first():
    """Steps before means of epochs, training before validation, sums before parts, losses before errors."""
    names = ["train_loss", "train_loss_epoch", "val_loss", "train/box_loss", "rmse", "perplexity", "policy_loss"]
    ranks = [loss_rank(name) for name in names]
    assert None not in ranks and ranks == sorted(ranks, key=float) and len(set(ranks)) == len(ranks)


def test_a_training_loss_goes_before_a_sparse_validation_loss_and_both_are_said():
    table = one_run().rename(columns={"loss": "train_loss"}).assign(val_loss=[*[np.nan] * 17, 3.0, 2.9, 2.8])
    found = read_curves(table, warmup=0)
    assert len(found[0]) == 20
    assert any("the loss is column 'train_loss'; val_loss not used" in note for note in found.notes)
    chosen = read_curves(table, warmup=0, columns={"loss": "val_loss"})
    np.testing.assert_array_equal(chosen[0].losses, [3.0, 2.9, 2.8])


def test_the_mean_of_a_whole_run_is_no_curve():
    """Hugging Face logs `train_loss` once; `eval_loss`, that was measured more often, is the curve."""
    table = one_run().rename(columns={"loss": "eval_loss"}).assign(train_loss=[*[np.nan] * 19, 3.0])
    found = read_curves(table, warmup=0)
    assert len(found[0]) == 20 and found[0].losses[0] == pytest.approx(loss_at(20))


def test_parts_of_a_loss_are_taken_one_at_a_time_and_said(tmp_path):
    """YOLO logs three parts and no sum; epochs are the steps, and the first group's rate is the rate."""
    rows = [f"{e},{loss_at(e):.5f},{loss_at(e) / 2:.5f},0.0,{1e-3 * e:.6f},{1e-3 * e:.6f}" for e in range(1, 21)]
    head = "epoch,train/box_loss,train/cls_loss,val/box_loss,lr/pg0,lr/pg1"
    found = read_curves(write_csv(tmp_path, "\n".join([head, *rows]), "results.csv"))
    np.testing.assert_array_equal(found[0].steps, np.arange(1, 21))
    np.testing.assert_allclose(found[0].losses, np.round(loss_at(np.arange(1, 21)), 5))
    said = "\n".join(found.notes)
    assert "'train/box_loss', a part of a loss whose sum is not logged" in said and "train/cls_loss" in said
    assert "the learning rate is column 'lr/pg0'; lr/pg1 not used" in said
    assert "steps are epochs (column 'epoch')" in said


def test_the_trainers_count_goes_before_the_trackers():
    """W&B's `_step` counts calls of log: two for every evaluation of a Trainer."""
    global_step = np.repeat(np.arange(10, 201, 10), 2)
    is_train = np.tile([True, False], 20)
    history = pd.DataFrame(
        {
            "_step": np.arange(40),
            "_runtime": 1.0,
            "train/global_step": global_step,
            "train/loss": np.where(is_train, loss_at(global_step), np.nan),
            "train/learning_rate": np.where(is_train, 1e-3, np.nan),
            "eval/loss": np.where(is_train, np.nan, 3.0),
        }
    )
    found = read_curves(history, warmup=0)
    np.testing.assert_array_equal(found[0].steps, np.arange(10, 201, 10))
    assert any("the step is column 'train/global_step'; _step not used" in note for note in found.notes)


def test_a_count_that_stands_beside_no_loss_is_not_the_step():
    table = one_run().rename(columns={"step": "iteration"}).assign(global_step=[np.nan] * 19 + [5.0])
    np.testing.assert_array_equal(read_curves(table, warmup=0)[0].steps, table["iteration"])


@pytest.mark.rejects
def test_all_missing_columns_are_named_at_once_with_the_options():
    table = one_run().rename(columns={"loss": "c4", "step": "done", "lr": "eta"})
    with pytest.raises(ArgumentError, match="no column of the loss, of the step and of the learning rate") as error:
        read_curves(table)
    assert "--column loss=c4 --column step=done --column learning_rate=eta" in str(error.value)
    mapped = read_curves(table, warmup=0, columns={"loss": "c4", "step": "done", "learning_rate": "eta"})
    np.testing.assert_array_equal(mapped[0].steps, table["done"])


@pytest.mark.rejects
def test_rates_are_not_missed_where_schedules_are_given():
    table = one_run().rename(columns={"loss": "c4"}).drop(columns="lr")
    with pytest.raises(ArgumentError, match=r"no column of the loss\. .*--column loss=c4") as error:
        read_curves(table, schedules="constant")
    assert "learning_rate" not in str(error.value)


@pytest.mark.rejects
def test_missing_rates_alone_are_named_with_what_may_be_them():
    with pytest.raises(ArgumentError, match=r"no learning rates.*If 'eta' holds them: --column learning_rate=eta"):
        read_curves(one_run().rename(columns={"lr": "eta"}))


@pytest.mark.rejects
def test_names_with_signs_are_quoted_for_the_shell():
    table = one_run().rename(columns={"loss": "error (val)"})
    with pytest.raises(ArgumentError, match=r"--column 'loss=error \(val\)'"):
        read_curves(table)


@pytest.mark.rejects
def test_scores_times_and_ids_are_not_offered_as_losses_or_steps():
    table = pd.DataFrame({"point_id": range(20), "elapsed_time": range(20), "accuracy": np.linspace(0.2, 0.8, 20)})
    with pytest.raises(ArgumentError, match="no column of the loss") as error:
        read_curves(table)
    assert "If you mean these" not in str(error.value)
