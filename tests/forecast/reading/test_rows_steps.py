"""Steps from what a log counts: updates, epochs, batches of an epoch, fractions of epochs, micro-batches."""

import numpy as np
import pandas as pd
import pytest

from eigenflow import read_curves
from eigenflow.core.errors import ArgumentError
from forecast.reading_tables import STEPS, loss_at, one_run, write_csv, write_lines


def epochs(first: int, count: int = 12, **columns: object) -> pd.DataFrame:
    number = np.arange(first, first + count)
    return pd.DataFrame({"epoch": number, "loss": loss_at(20 * (number - first + 1)), "lr": 1e-3}).assign(**columns)


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("columns", [None, {"step": "epoch"}])
def test_epochs_are_steps_and_one_that_counts_from_0_is_completed(first, columns):
    found = read_curves(epochs(first), columns=columns, warmup=0)
    np.testing.assert_array_equal(found[0].steps, np.arange(1, 13))
    note = next(note for note in found.notes if "steps are epochs (column 'epoch')" in note)
    assert ("counts from 0" in note) == (first == 0)


def test_updates_go_before_epochs():
    found = read_curves(one_run(epoch=np.repeat([0, 1], 10)), warmup=0)
    np.testing.assert_array_equal(found[0].steps, STEPS)


def test_a_constant_count_does_not_go_before_epochs():
    np.testing.assert_array_equal(read_curves(epochs(1, step=7), warmup=0)[0].steps, np.arange(1, 13))


def within_epochs(batches: np.ndarray, name: str, **columns: object) -> pd.DataFrame:
    number = np.repeat([1, 2, 3], len(batches))
    batch = np.tile(batches, 3)
    return pd.DataFrame({"epoch": number, name: batch, "loss": loss_at(100 * number + batch), "lr": 1e-3, **columns})


def test_batches_that_begin_anew_in_every_epoch_are_counted_through():
    """mmcv logs every 50th of 733 iterations: its log says that there are 700 to 749, of which 724 is the middle."""
    found = read_curves(within_epochs(np.arange(50, 701, 50), "iter"), warmup=0)
    expected = np.concatenate([np.arange(50, 701, 50) + k * 724 for k in range(3)])
    np.testing.assert_array_equal(found[0].steps, expected)
    assert any(
        "724 updates an epoch, of which the log says that they are between 700 and 749" in n for n in found.notes
    )


def test_every_batch_logged_says_how_many_there_are():
    """Batches 0 to 24: a row is the loss before its update."""
    found = read_curves(within_epochs(np.arange(25), "batch"), warmup=0)
    np.testing.assert_array_equal(found[0].steps, np.arange(75))
    assert any("25 updates an epoch" in note for note in found.notes)


def test_a_column_that_says_the_length_of_an_epoch_is_used():
    found = read_curves(within_epochs(np.arange(10, 97, 10), "step", steps_per_epoch=97), warmup=0)
    np.testing.assert_array_equal(found[0].steps, np.concatenate([np.arange(10, 97, 10) + k * 97 for k in range(3)]))


def test_validation_rows_do_not_lengthen_epochs(tmp_path):
    rows: list[dict[str, object]] = []
    for epoch in (1, 2, 3):
        rows += [
            {"mode": "train", "epoch": epoch, "iter": i, "lr": 0.01, "loss": 3.0 / epoch} for i in range(10, 41, 10)
        ]
        rows.append({"mode": "val", "epoch": epoch, "iter": 625, "lr": 0.01, "bbox_mAP": 0.1})
    found = read_curves(write_lines(tmp_path, rows), warmup=0)
    assert found[0].steps[-1] == 2 * 44 + 40  # between 40 and 49 updates an epoch


def test_rows_that_only_say_their_epoch_are_numbered():
    table = pd.DataFrame({"epoch": np.repeat([0, 1, 2], 10), "loss": loss_at(20 * np.arange(1, 31)), "lr": 1e-3})
    found = read_curves(table, warmup=0)
    np.testing.assert_array_equal(found[0].steps, np.arange(1, 31))
    assert any("each epoch ('epoch') has 10 rows" in note for note in found.notes)


def printed(rows: int, per_epoch: float, every: int, digits: int = 2) -> list[dict[str, object]]:
    """What the Hugging Face trainer prints: the epoch, rounded, and no step."""
    steps = every * np.arange(1, rows + 1)
    return [
        {"loss": float(loss_at(s)), "learning_rate": 1e-3 * (1 - s / 1000), "epoch": round(s / per_epoch, digits)}
        for s in steps
    ]


def test_fractions_of_epochs_become_updates_where_the_summary_says_how_many(tmp_path):
    """300 updates in 125 s are 2.4 a second, over 3.75 epochs of 80: a row is every tenth."""
    summary = {"train_runtime": 125.0, "train_steps_per_second": 2.4, "train_loss": 3.0, "epoch": 3.75}
    found = read_curves(write_lines(tmp_path, [*printed(30, 80, 10), summary]), warmup=0)
    np.testing.assert_array_equal(found[0].steps, np.arange(10, 301, 10))
    assert any("80 updates an epoch" in note and "one row every 10" in note for note in found.notes)


def test_fractions_of_epochs_become_updates_where_a_column_says_how_many(tmp_path):
    rows = [{**row, "steps_per_epoch": 80} for row in printed(30, 80, 10)]
    found = read_curves(write_lines(tmp_path, rows), warmup=0)
    np.testing.assert_array_equal(found[0].steps, np.arange(10, 301, 10))
    assert any("80 updates an epoch, (column 'steps_per_epoch')" in note for note in found.notes)


@pytest.mark.parametrize("per_epoch", [80, 33.3, 1234])
def test_fractions_of_epochs_without_a_summary_are_counted_by_the_row(per_epoch, tmp_path):
    found = read_curves(write_lines(tmp_path, printed(30, per_epoch, 10)), warmup=0)
    np.testing.assert_array_equal(found[0].steps, np.arange(1, 31))
    assert any("a step is one logged row" in note for note in found.notes)


def test_a_first_update_that_is_logged_apart_does_not_count_as_a_row(tmp_path):
    first = {"loss": 5.0, "learning_rate": 1e-3, "epoch": 0.01}
    found = read_curves(write_lines(tmp_path, [first, *printed(30, 80, 10)]), warmup=0)
    np.testing.assert_array_equal(found[0].steps, np.arange(1, 31))
    assert any("1 rows with a loss and no step (row 1 first) left out" in note for note in found.notes)


def test_irregular_fractions_of_epochs_are_scaled(tmp_path):
    at = np.array([0.1, 0.25, 0.5, 0.9, 1.4, 2.0, 3.0])
    table = pd.DataFrame({"epoch": at, "loss": loss_at(100 * at), "lr": 1e-3})
    found = read_curves(write_csv(tmp_path, table), warmup=0)
    np.testing.assert_array_equal(found[0].steps, [10, 25, 50, 90, 140, 200, 300])
    assert any("a step is 0.01 epochs" in note for note in found.notes)


def test_rows_at_one_rounded_epoch_follow_each_other_within_it(tmp_path):
    """Logged each 2 of 1000 updates, and from the middle on each 20: five rows share a hundredth, then one has two."""
    steps = np.array([*range(2, 101, 2), *range(120, 301, 20)])
    rows = [{"loss": float(loss_at(s)), "learning_rate": 1e-3, "epoch": s // 10 / 100} for s in steps.tolist()]
    found = read_curves(write_lines(tmp_path, rows), warmup=0)
    assert len(found[0]) == len(steps)
    # A step is a fifth of a hundredth, 2 updates; rounding down moves a row by less than a hundredth, 5 steps.
    assert np.abs(2 * found[0].steps - steps).max() < 10
    assert any("a step is 0.002 epochs" in note for note in found.notes)


@pytest.mark.parametrize("order", ["rank", "step"])
def test_losses_of_ranks_are_averaged(order):
    """Each rank logs the loss of its share of the batch: 0, 0.02, 0.04 and 0.06 above the curve, so 0.03 on average."""
    table = pd.concat([one_run(0.02 * rank, rank=rank) for rank in range(4)]).sort_values(order, kind="stable")
    found = read_curves(table, warmup=0)
    np.testing.assert_allclose(found[0].losses, loss_at(STEPS) + 0.03, rtol=1e-12)
    assert any("logged by 4 ranks (column 'rank'): their mean is taken" in line for line in found[0].changes)


def test_micro_batches_of_an_update_are_averaged():
    micro = np.arange(80)
    table = pd.DataFrame({"iter": micro, "step": 1 + micro // 4, "loss": loss_at(micro), "lr": 1e-3})
    found = read_curves(table, warmup=0)
    np.testing.assert_allclose(found[0].losses, loss_at(micro).reshape(20, 4).mean(axis=1), rtol=1e-12)
    assert any("logged 4 times, by its micro-batches (column 'iter')" in line for line in found[0].changes)


@pytest.mark.rejects
def test_a_step_with_two_losses_that_nothing_explains_is_refused():
    table = pd.concat([one_run(), one_run(0.1)]).sort_values("step", kind="stable")
    with pytest.raises(ArgumentError, match=r"step 20 occurs twice.*20 such pairs.*tells runs apart.*`rank`") as error:
        read_curves(table, warmup=0)
    assert "train and val" in str(error.value)


@pytest.mark.rejects
def test_fractions_in_a_column_of_steps_are_no_epochs():
    with pytest.raises(ArgumentError, match=r"must be a whole number of updates.*17\.5"):
        read_curves(one_run().assign(step=STEPS - 2.5), warmup=0)
