"""Several runs in one source are several curves, named by what tells them apart; finished runs are none."""

from itertools import product

import numpy as np
import pandas as pd
import pytest

from eigenflow import read_curves
from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.reading.rows.hidden_runs import HiddenRunWarning
from forecast.reading_tables import STEPS, loss_at, one_run, several, write_csv


@pytest.mark.parametrize(
    "name",
    ["member", "seed", "fold", "trial", "trial_id", "run_seed", "model", "experiment", "job", "exp_name", "Sweep"],
)
@pytest.mark.parametrize("order", ["run", "step"])
def test_runs_are_told_apart_by_a_column_that_is_called_like_one(name, order, tmp_path):
    table = several(**{name: [1, 2, 3]})
    table = table.sort_values("step", kind="stable") if order == "step" else table
    found = read_curves(write_csv(tmp_path, table), warmup=0)
    assert found.names == [f"{name}={k}" for k in (1, 2, 3)]
    for k, curve in enumerate(found):
        np.testing.assert_allclose(curve.losses, loss_at(STEPS) + 0.1 * k, rtol=1e-9)
    assert any(f"3 runs, told apart by '{name}'" in note for note in found.notes)


def test_words_are_names_as_they_stand():
    assert read_curves(several(model=["small", "large"]), warmup=0).names == ["small", "large"]


@pytest.mark.parametrize(
    "columns",
    [
        {"seed": [0, 1], "lr": [1e-3, 3e-4]},
        {"fold": [1, 2, 3], "seed": [0, 1]},
        {"model": [1, 2], "optimizer": [1, 2], "seed": [0, 1]},
    ],
    ids=lambda columns: " x ".join(columns),
)
def test_columns_that_tell_runs_apart_only_together_name_them_together(columns):
    found = read_curves(several(**columns), warmup=0)
    expected = [{f"{k}={v}" for k, v in zip(columns, row, strict=True)} for row in product(*columns.values())]
    assert [set(name.split(", ")) for name in found.names] == expected
    assert found.points == 20 * len(expected)


def test_a_learning_rate_alone_tells_a_sweep_apart():
    found = read_curves(several(lr=[1e-3, 3e-4]), warmup=0)
    assert found.names == ["lr=0.001", "lr=0.0003"]
    assert [curve.schedule.peak for curve in found] == [1e-3, 3e-4]


def test_runs_of_one_name_are_told_apart_by_a_seed_as_well():
    found = read_curves(several(run=["a", "b"], seed=[0, 1]), warmup=0)
    assert found.names == ["a, seed=0", "a, seed=1", "b, seed=0", "b, seed=1"]


def test_folds_of_epochs_are_runs():
    parts = [
        pd.DataFrame({"fold": f, "epoch": range(12), "train_loss": loss_at(20 * np.arange(12)) + f}) for f in (1, 2)
    ]
    found = read_curves(pd.concat(parts), schedules="constant")
    assert found.names == ["fold=1", "fold=2"]
    assert all(curve.steps.tolist() == list(range(1, 13)) for curve in found)


@pytest.mark.parametrize(
    "columns",
    [{"seed": 4}, {"run_id": "x"}, {"id": range(20)}, {"run": range(20)}, {"name": [f"row{k}" for k in range(20)]}],
    ids=["constant seed", "constant run", "id of rows", "run of rows", "name of rows"],
)
def test_a_constant_or_a_number_of_rows_tells_nothing_apart(columns):
    found = read_curves(one_run(**columns), warmup=0)
    assert len(found) == 1 and len(found[0]) == 20
    is_numbered = not {"run", "name"}.isdisjoint(columns)
    assert any("numbers the rows of one run" in note for note in found.notes) == is_numbered


def test_a_restart_with_another_host_and_attempt_is_one_run():
    table = pd.concat([one_run(attempt=1, node="a"), one_run(0.01, attempt=2, node="b")[STEPS >= 200]])
    found = read_curves(table, warmup=0)
    assert len(found) == 1 and any("restarted at step 200" in line for line in found[0].changes)


def test_a_late_start_with_another_seed_is_another_run():
    """Steps 200 to 400 again with another seed: no restart of the first run, as its name says."""
    table = pd.concat([one_run(seed=0), one_run(0.1, seed=1)[STEPS >= 200]])
    assert [len(curve) for curve in read_curves(table, warmup=0)] == [20, 11]


def test_settings_that_tell_runs_apart_only_in_part_name_them_in_part():
    """Two weight decays, each with two peaks of a falling rate, which no column says."""
    falling = np.linspace(1.0, 0.05, 20)
    parts = [one_run(w + p, weight_decay=w, lr=p * falling) for w in (0.0, 0.1) for p in (0.01, 0.02)]
    found = read_curves(pd.concat(parts), warmup=0)
    assert found.names == [f"weight_decay={w}, run {k}" for w in (0.0, 0.1) for k in (1, 2)]


def test_a_loss_that_is_called_final_in_a_log_is_a_loss():
    found = read_curves(one_run().rename(columns={"loss": "final_loss"}), warmup=0)
    np.testing.assert_array_equal(found[0].losses, loss_at(STEPS))


def test_whole_runs_below_each_other_are_numbered_where_nothing_names_them():
    """Both reach step 400, with other losses: the second is no restart of the first."""
    found = read_curves(pd.concat([one_run(), one_run(0.1)]), warmup=0)
    assert found.names == ["run 1", "run 2"]
    assert found[1].losses[0] - found[0].losses[0] == pytest.approx(0.1)
    assert any("2 runs, of which some are told apart by nothing but their steps" in note for note in found.notes)
    within = read_curves(pd.concat([several(curve=["a", "b"]), one_run(0.3, curve="b")]), warmup=0)
    assert within.names == ["a", "b, run 1", "b, run 2"]


def test_epochs_of_several_runs_below_each_other_are_numbered():
    parts = [pd.DataFrame({"epoch": range(12), "loss": loss_at(20 * np.arange(12)) + k}) for k in (0, 1, 2)]
    found = read_curves(pd.concat(parts), schedules="constant")
    assert found.names == ["run 1", "run 2", "run 3"] and all(curve.steps[-1] == 12 for curve in found)


@pytest.mark.parametrize(
    "table",
    [pd.concat([one_run(0.1)[:10], one_run()]), pd.concat([one_run(), one_run()])],
    ids=["failed before", "written twice"],
)
def test_a_run_that_was_started_anew_or_written_twice_is_one(table):
    with pytest.warns(HiddenRunWarning):
        found = read_curves(table, warmup=0)
    assert len(found) == 1
    np.testing.assert_allclose(found[0].losses, loss_at(STEPS), rtol=1e-12)


def test_ranks_of_adapters_are_settings_and_not_processes():
    assert read_curves(several(rank=[4, 8, 16]), warmup=0).names == ["rank=4", "rank=8", "rank=16"]


def test_files_of_one_name_in_several_folders_are_runs(tmp_path):
    files = [write_csv(tmp_path, one_run(0.1 * k), f"version_{k}/metrics.csv") for k in range(3)]
    found = read_curves(files, warmup=0)
    assert found.names == ["version_0", "version_1", "version_2"]
    assert [round(curve.losses[0] - found[0].losses[0], 9) for curve in found] == [0.0, 0.1, 0.2]


def test_pieces_of_a_run_are_joined_in_the_order_of_their_steps(tmp_path):
    early = write_csv(tmp_path, one_run(run="x")[STEPS <= 200], "a.csv")
    late = write_csv(tmp_path, one_run(run="x")[STEPS > 200], "b.csv")
    for files in ([early, late], [late, early]):
        found = read_curves(files, warmup=0)
        assert found.names == ["x"]
        np.testing.assert_array_equal(found[0].steps, STEPS)


def test_runs_of_one_name_that_begin_anew_are_named_by_their_files(tmp_path):
    files = [write_csv(tmp_path, one_run(0.1 * k, run="x"), f"{name}.csv") for k, name in enumerate("ab")]
    found = read_curves(files, warmup=0)
    assert found.names == ["x (a)", "x (b)"]
    assert any("begin anew and are no pieces of one run" in note for note in found.notes)


def test_seeds_of_several_files_are_all_kept(tmp_path):
    files = [write_csv(tmp_path, several(seed=[0, 1]).assign(lr=rate), f"lr{rate}/log.csv") for rate in (0.1, 0.2)]
    found = read_curves(files, warmup=0)
    assert len(found) == 4 and len(set(found.names)) == 4 and found.points == 80


def test_the_log_of_an_earlier_checkpoint_is_read_once(tmp_path):
    whole, part = one_run(run="x"), one_run(run="x")[STEPS <= 200]
    files = [write_csv(tmp_path, part, "checkpoint-200.csv"), write_csv(tmp_path, whole, "checkpoint-400.csv")]
    found = read_curves(files, warmup=0)
    assert found.names == ["x"] and len(found[0]) == 20 and not any("restarted" in line for line in found[0].changes)
    assert any("its 10 points are all in" in note and "read once" in note for note in found.notes)


def test_frames_of_different_runs_are_named_by_their_place():
    found = read_curves([one_run(), one_run(0.1)], warmup=0)
    assert found.names == ["frame 1", "frame 2"]
    pieces = read_curves([one_run()[STEPS > 200], one_run()[STEPS <= 200]], warmup=0)
    np.testing.assert_array_equal(pieces["curve"].steps, STEPS)


def test_a_frame_of_one_metric_a_row_is_brought_into_form():
    parts = [one_run()[["step", name]].rename(columns={name: "value"}).assign(metric=name) for name in ("loss", "lr")]
    found = read_curves(pd.concat(parts), warmup=0)
    np.testing.assert_allclose(found[0].losses, loss_at(STEPS), rtol=1e-12)
    np.testing.assert_allclose(found[0].schedule.rates, 1e-3, rtol=1e-12)


FINISHED = {
    "names": pd.DataFrame({"Name": list("abc"), "step": [100, 200, 100], "loss": [3.0, 2.9, 2.8]}),
    "sizes": pd.DataFrame({"params": [1e6, 2e6, 4e6], "step": [100, 100, 100], "loss": [3.0, 2.9, 2.8], "lr": 1e-3}),
    "tokens": pd.DataFrame(
        {"run": list("abc"), "params": 1e6, "tokens": [1e9, 2e9, 4e9], "final_loss": [3.0, 2.9, 2.8]}
    ),
    "same step": pd.DataFrame({"step": [500] * 4, "loss": [3.0, 2.9, 2.8, 2.7], "lr": 1e-3}),
    "W&B": pd.DataFrame(
        {
            "Name": list("aab"),
            "State": ["finished", "crashed", "finished"],
            "Runtime": 9,
            "iter": [5, 5, 7],
            "loss": 3.0,
        }
    ),
    "MLflow": pd.DataFrame(
        {"run_id": list("abc"), "status": "FINISHED", "end_time": 1, "metrics.loss": [3.0, 2.9, 2.8]}
    ),
    "Optuna": pd.DataFrame({"number": range(3), "value": 3.0, "duration": "1", "state": "COMPLETE"}),
    "sweep": pd.DataFrame(
        {
            "iterations": np.tile([4000, 1000, 2000, 8000], 8),
            "lr": np.tile([1e-3, 2e-3], 16),
            "batch_size": np.repeat([8, 16, 32, 64], 8),
            "loss": np.linspace(3.0, 2.5, 32),
        }
    ),
}


@pytest.mark.rejects
@pytest.mark.parametrize("kind", FINISHED)
def test_a_table_of_finished_runs_is_sent_to_plan(kind, tmp_path):
    for source in (FINISHED[kind], write_csv(tmp_path, FINISHED[kind])):
        with pytest.raises(ArgumentError, match="one row a run: this is a table for `eigenflow forecast plan`") as e:
            read_curves(source)
        assert all(repr(name) in str(e.value) for name in FINISHED[kind].columns)


def test_a_log_that_says_its_state_in_every_row_is_a_log():
    assert len(read_curves(one_run(status="running", runtime=1.0), warmup=0)[0]) == 20


def test_a_run_without_losses_beside_others_is_left_out_and_named():
    table = pd.concat([one_run(curve="a"), one_run(curve="b").assign(loss=np.nan)])
    found = read_curves(table, warmup=0)
    assert found.names == ["a"] and any("left out: b" in note for note in found.notes)
