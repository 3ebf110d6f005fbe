"""Every format gives back the run that was written into it; pieces, spikes and rows of other metrics are reported."""

import json

import numpy as np
import pandas as pd
import pytest

import eigenflow as ef
from eigenflow.forecast import Schedule, read_schedules
from forecast.logs import PEAK, SCHEDULES, WARMUP, csv_of, loss_of, rows, schedules_csv, study

RUN = rows("cosine")[["step", "lr", "loss"]]


def assert_is_the_run(curve, frame=RUN, atol=0.0):
    np.testing.assert_array_equal(curve.steps, frame.step)
    np.testing.assert_allclose(curve.losses, frame.loss, rtol=0, atol=atol)


def test_a_table_of_several_sizes_with_its_sidecar_is_read_as_is(tmp_path):
    frame = study()
    curves = ef.read_curves(csv_of(frame, tmp_path), schedules=schedules_csv(tmp_path))
    assert curves.names == list(SCHEDULES) and curves.sizes == [25e6, 1e8] and curves.size_unit == 1e6
    for curve in curves:
        assert_is_the_run(curve, frame[(frame.curve == curve.name) & (frame.model_size_M == curve.size / 1e6)])
        assert curve.schedule == SCHEDULES[curve.name] and curve.role == "fit"
    assert (curves[1].origin.first_row, curves[1].origin.last_row) == (146, 289)  # lines of the file
    assert ef.read_curves(frame, schedules=SCHEDULES)[2].origin.file == "the frame"


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet", "jsonl", "json", "csv.gz"])
def test_every_kind_of_table_gives_the_same_curve(tmp_path, ending):
    path = tmp_path / f"cosine.{ending}"
    if ending == "parquet":
        RUN.to_parquet(path)
    elif ending == "jsonl":
        path.write_text("\n".join(json.dumps(row) for row in RUN.to_dict("records")) + "\n\n")
    elif ending == "json":
        path.write_text(json.dumps(RUN.to_dict("list")))
    else:
        RUN.to_csv(path, index=False, sep="\t" if ending == "tsv" else ",")
    curve = ef.read_curves(path)["cosine"]
    assert_is_the_run(curve)


def test_a_folder_of_tables_has_a_curve_a_file(tmp_path):
    for name in SCHEDULES:
        rows(name)[["step", "lr", "loss"]].rename(columns={"loss": "train_loss"}).to_parquet(
            tmp_path / f"{name}.parquet"
        )
    curves = ef.read_curves(tmp_path)
    assert sorted(curves.names) == sorted(SCHEDULES)
    assert_is_the_run(curves["constant"], rows("constant"))


def test_trainer_state_of_hugging_face(tmp_path):
    history = [
        {"epoch": 0.1, "grad_norm": 1.0, "learning_rate": r.lr, "loss": r.loss, "step": int(r.step)}
        for r in RUN.itertuples()
    ]
    history.insert(5, {"epoch": 0.2, "eval_loss": 9.0, "step": 168})
    history.append({"epoch": 1.0, "step": 2400, "train_loss": 3.3, "train_runtime": 10.0, "total_flos": 1e9})
    for step, length in ((1000, 40), (2400, len(history))):
        folder = tmp_path / "my-model" / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        state = {"log_history": history[:length], "logging_steps": 16, "max_steps": 2400}
        (folder / "trainer_state.json").write_text(json.dumps(state))
    curves = ef.read_curves(tmp_path / "my-model")  # the last checkpoint has the whole history
    assert_is_the_run(curves["my-model"])
    assert any("mean over the 16 steps" in note for note in curves.notes)


def test_event_files_of_tensorboard(tmp_path):
    events = pytest.importorskip("tensorboard.summary.writer.event_file_writer")
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    writer = events.EventFileWriter(str(tmp_path / "run-7"))
    for row in RUN.itertuples():
        for tag, value in (("train/loss", row.loss), ("train/learning_rate", row.lr)):
            summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
            writer.add_event(Event(step=int(row.step), wall_time=1.0 + row.step, summary=summary))
    writer.close()
    for source in (tmp_path / "run-7", tmp_path):  # the run, and the folder of runs
        curve = ef.read_curves(source)["run-7"]
        assert_is_the_run(curve, atol=5e-7)  # event files hold 32-bit floats
        assert curve.schedule.peak == pytest.approx(RUN.lr.max(), rel=1e-6)


def test_a_run_folder_of_eigenflow(tmp_path):
    from eigenflow.store import RunWriter

    with RunWriter.create(tmp_path / "a", header={}) as writer:
        for row in RUN.itertuples():
            writer.log({"step": int(row.step), "loss": row.loss, "learning_rate": row.lr})
    assert_is_the_run(ef.read_curves(tmp_path / "a")["a"])


def test_history_and_page_exports_of_weights_and_biases(tmp_path):
    history = pd.DataFrame({"_step": RUN.step, "_runtime": 1.0, "train/loss": RUN.loss, "train/lr": RUN.lr})
    extra = pd.DataFrame({"_step": [2401], "_runtime": [2.0], "eval/accuracy": [0.5]})
    assert_is_the_run(ef.read_curves(csv_of(pd.concat([history, extra]), tmp_path, "history.csv"))["history"])
    page = pd.DataFrame({"Step": RUN.step})
    for run in ("cosine", "constant"):
        frame = rows(run)
        for end in ("", "__MIN", "__MAX"):
            page[f"{run} - train/loss{end}"] = frame.loss
        page[f"{run} - train/lr"] = frame.lr
    curves = ef.read_curves(csv_of(page, tmp_path, "page.csv"))
    assert_is_the_run(curves["constant"], rows("constant"))
    assert_is_the_run(curves["cosine"])


def test_stores_and_exports_of_mlflow(tmp_path):
    metrics = tmp_path / "run1" / "metrics" / "train"
    metrics.mkdir(parents=True)
    for name, values in (("loss", RUN.loss), ("lr", RUN.lr)):
        (metrics / name).write_text(
            "".join(f"170{i} {v} {s}\n" for i, (s, v) in enumerate(zip(RUN.step, values, strict=True)))
        )
    assert_is_the_run(ef.read_curves(tmp_path / "run1")["run1"])
    history = [
        {"key": key, "value": value, "timestamp": 1, "step": int(step)}
        for key, values in (("loss", RUN.loss), ("lr", RUN.lr))
        for step, value in zip(RUN.step, values, strict=True)
    ]
    path = tmp_path / "exported.json"
    path.write_text(json.dumps({"metrics": history}))
    assert_is_the_run(ef.read_curves(path)["exported"])
    csv = csv_of(pd.DataFrame(history).assign(run_id="r1"), tmp_path, "exported.csv")
    assert_is_the_run(ef.read_curves(csv)["r1"])


def test_columns_are_mapped_and_other_losses_are_named(tmp_path):
    frame = RUN.rename(columns={"loss": "c4", "step": "done"}).assign(val_loss=9.0, who="x")
    curves = ef.read_curves(
        csv_of(frame, tmp_path), columns={"loss": "c4", "step": "done", "curve": "who"}, schedules=SCHEDULES["cosine"]
    )
    assert_is_the_run(curves["x"])
    both = ef.read_curves(csv_of(RUN.assign(val_loss=9.0), tmp_path))
    assert_is_the_run(both[0])
    assert any("val_loss not used" in note for note in both.notes)


def test_rows_of_another_metric_are_left_out_and_counted(tmp_path):
    frame = RUN.assign(val_loss=np.where(np.arange(len(RUN)) % 4 == 0, 2.5, np.nan), loss=RUN.loss)
    frame.loc[::4, "loss"] = np.nan
    curves = ef.read_curves(csv_of(frame, tmp_path))
    assert len(curves[0]) == len(RUN) - len(RUN[::4])
    assert any("rows without a loss (row 2 first)" in note for note in curves.notes)


def test_sizes_without_a_unit_count_parameters_and_tokens_become_steps(tmp_path):
    frame = RUN.assign(params=7_000_000, tokens=RUN.step * 4096).drop(columns="step")
    curve = ef.read_curves(csv_of(frame, tmp_path), tokens_per_step=4096)[0]
    assert curve.size == 7e6 and curve.tokens_per_step == 4096
    assert_is_the_run(curve)
    beside = ef.read_curves(csv_of(RUN.assign(tokens=RUN.step * 4096), tmp_path))[0]
    assert beside.tokens_per_step == 4096


def test_bits_become_nats(tmp_path):
    curve = ef.read_curves(csv_of(RUN.assign(loss=RUN.loss / np.log(2)), tmp_path), unit="bits")[0]
    np.testing.assert_allclose(curve.losses, RUN.loss, rtol=1e-14)


def test_the_later_piece_of_a_restarted_run_stays(tmp_path):
    first, second = RUN[RUN.step <= 1200], RUN[RUN.step >= 1000].assign(loss=lambda f: f.loss + 1e-3)
    for source in (csv_of(pd.concat([first, second]), tmp_path), [csv_of(first, tmp_path, "a.csv"), second]):
        columns = None
        if isinstance(source, list):  # pieces in two files, joined by the name of the run
            source = [
                csv_of(first.assign(run="x"), tmp_path, "a.csv"),
                csv_of(second.assign(run="x"), tmp_path, "b.csv"),
            ]
        curve = ef.read_curves(source, columns=columns)[0]
        assert_is_the_run(curve, pd.concat([first[first.step < 1000], second]))
        line = next(line for line in curve.changes if "restarted" in line)
        assert f"restarted at step {second.step.iloc[0]}" in line
        assert f"{(first.step >= 1000).sum()} points of the earlier piece" in line


def test_single_spikes_are_left_out_and_named(tmp_path):
    frame = RUN.copy()
    frame.loc[[50, 90], "loss"] *= 1.3
    path = csv_of(frame, tmp_path)
    curve = ef.read_curves(path)[0]
    assert_is_the_run(curve, RUN.drop(index=[50, 90]))
    (line,) = (line for line in curve.changes if "spike" in line)
    assert f"step {RUN.step[50]} (row 52" in line
    assert_is_the_run(ef.read_curves(path, keep_spikes=True)[0], frame)


def test_a_noisy_curve_with_a_drop_keeps_all_points():
    """A spike is eight times the spread: none among 2000 normal deviates; a new rate makes a step, no spike."""
    rng = np.random.default_rng(0)
    steps = np.arange(1, 2001)
    losses = (2 + 3 * steps**-0.4) * np.exp(0.02 * rng.standard_normal(2000)) * np.where(steps > 1200, 0.9, 1.0)
    curve = ef.read_curves(pd.DataFrame({"step": steps, "lr": 1e-3, "loss": losses}))[0]
    assert len(curve) == 2000


def test_a_shared_history_is_marked():
    curves = ef.read_curves(study(sizes=(25,)), schedules=SCHEDULES)
    assert curves["constant"].branch == 0 and curves["two_stage"].branch == 792
    assert any("up to step 792 are those of 'constant'" in line for line in curves["two_stage"].changes)


def test_a_cooldown_that_begins_at_its_branch_takes_the_history_of_the_constant_run():
    trunk = rows("constant", every=8, start=8).drop(columns="role")
    whole = Schedule.wsd(total=2000, warmup=WARMUP, peak=PEAK, decay_start=1600)
    steps = np.arange(1608, 2001, 8)
    part = pd.DataFrame(
        {"model_size_M": 25, "curve": "cooldown", "step": steps, "lr": np.append(whole.rates, 0.0)[steps]}
    )
    part["loss"] = loss_of(whole, steps)
    curve = ef.read_curves(pd.concat([part, trunk]))["cooldown"]
    assert curve.branch == 1608 and curve.schedule.warmup == WARMUP
    # The update of the branch point itself is not logged: one grid step of 8 updates at up to 2 % of the peak is open.
    np.testing.assert_allclose(curve.times, whole.times[steps], rtol=0, atol=8 * 0.02 * PEAK)
    assert any("history before is that of 'constant'" in line for line in curve.changes)


def test_batch_sizes_that_change_make_a_batch_schedule(tmp_path):
    frame = RUN.assign(batch_size=np.where(RUN.step < 1000, 64, 128))
    schedule = ef.read_curves(csv_of(frame, tmp_path))[0].schedule
    first = int(RUN.step[RUN.step >= 1000].iloc[0])
    assert set(schedule.batch[:first]) == {64.0} and set(schedule.batch[first:]) == {128.0}


def test_tables_of_schedules_named_long_and_json(tmp_path):
    named = read_schedules(schedules_csv(tmp_path))
    assert named == SCHEDULES
    long = pd.concat(
        [pd.DataFrame({"curve": n, "step": np.arange(s.total), "lr": s.rates}) for n, s in SCHEDULES.items()]
    )
    for path in (tmp_path / "long.csv", tmp_path / "long.parquet"):
        long.to_csv(path, index=False) if path.suffix == ".csv" else long.to_parquet(path)
        for name, schedule in read_schedules(path).items():
            np.testing.assert_array_equal(schedule.rates, SCHEDULES[name].rates)
            assert schedule.warmup in (WARMUP, 0)
    (tmp_path / "all.json").write_text(json.dumps({name: s.to_dict() for name, s in SCHEDULES.items()}))
    assert read_schedules(tmp_path / "all.json") == SCHEDULES
    alone = read_schedules(long[long.curve == "cosine"].drop(columns="curve"))
    np.testing.assert_array_equal(alone["schedule"].rates, SCHEDULES["cosine"].rates)


def test_kinds_of_named_schedules(tmp_path):
    path = tmp_path / "s.csv"
    path.write_text(
        "name,kind,total,warmup,peak,end,change,decay_fraction,changes,factors,period\n"
        "a,wsd_exponential_decay,1000,10,1e-3,1e-4,800,,,,\n"
        "b,wsd_linear_decay,1000,10,1e-3,0,800,,,,\n"
        "c,wsd_sqrt,1000,10,1e-3,0,,0.2,,,\n"
        "d,multi_step,1000,10,1e-3,,,,800;900,0.316;0.1,\n"
        "e,linear_to_zero,1000,10,1e-3,,,,,,\n"
        "f,cyclic,1000,10,1e-3,1e-4,,,,,99\n"
        "g,linear,1000,10,1e-3,1e-4,,,,,\n"
    )
    common = {"total": 1000, "warmup": 10, "peak": 1e-3}
    assert read_schedules(path) == {
        "a": Schedule.wsd(**common, end=1e-4, decay_start=800, decay="exponential"),
        "b": Schedule.wsd(**common, decay_start=800),
        "c": Schedule.wsd(**common, decay_start=800, decay="sqrt"),
        "d": Schedule.multi_step(**common, changes=[800, 900], factors=[0.316, 0.1]),
        "e": Schedule.linear_to_zero(**common),
        "f": Schedule.cyclic(**common, end=1e-4, period=99),
        "g": Schedule.wsd(**common, decay_start=10, end=1e-4),
    }


@pytest.mark.parametrize(
    "keys", [("step", "learning_rate", "loss"), ("iteration", "lr", "train_loss"), ("Step", "LR", "nll")]
)
def test_a_quantity_is_mapped_under_any_name_by_which_it_is_recognised(keys):
    frame = RUN.rename(columns={"step": "upto", "lr": "lr_now", "loss": "misfit"})
    columns = dict(zip(keys, ("upto", "lr_now", "misfit"), strict=True))
    curve = ef.read_curves(frame, columns=columns)[0]
    assert_is_the_run(curve)
    assert curve.schedule == ef.read_curves(RUN)[0].schedule
