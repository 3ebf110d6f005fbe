"""Bad input is refused with file, row and the next step; nothing is fitted in silence."""

import json

import numpy as np
import pandas as pd
import pytest

import eigenflow as ef
from eigenflow.core.errors import ArgumentError, NonFiniteError
from eigenflow.forecast import Schedule, read_schedules
from forecast.logs import SCHEDULES, csv_of, rows, schedules_csv, study

pytestmark = pytest.mark.rejects
RUN = rows("cosine")
LONE = RUN[["step", "lr", "loss"]]


def refuses(tmp_path, frame, error, message, **options):
    path = csv_of(frame, tmp_path)
    with pytest.raises(error, match=message) as caught:
        ef.read_curves(path, **options)
    assert str(path) in str(caught.value)


def changed(row, **cells):
    frame = LONE.astype({"loss": object, "step": object, "lr": object})
    for name, cell in cells.items():
        frame.loc[row, name] = cell
    return frame


@pytest.mark.parametrize("missing", ["loss", "step"])
def test_missing_columns_are_named_with_those_there_are(tmp_path, missing):
    refuses(
        tmp_path, LONE.drop(columns=missing), ArgumentError, rf"no column of the {missing}.*'lr'.*--column {missing}="
    )


@pytest.mark.parametrize("cell", ["nan", "inf", "-inf"])
def test_losses_that_are_not_finite_are_refused_with_their_row(tmp_path, cell):
    refuses(tmp_path, changed(37, loss=cell), NonFiniteError, r"row 39: the loss is -?(nan|inf)")


@pytest.mark.parametrize("cell", [np.nan, ""])
def test_an_empty_loss_is_left_out_with_its_row(tmp_path, cell):
    """An empty cell is no NaN: the row of step 696 is left out, and named."""
    curve = ef.read_curves(csv_of(changed(37, loss=cell), tmp_path))[0]
    assert LONE.step[37] not in curve.steps and len(curve) == len(LONE) - 1
    assert any("1 rows with an empty loss (row 39 first) left out" in line for line in curve.changes)


def test_infinite_losses_of_other_formats_are_refused(tmp_path):
    path = tmp_path / "trainer_state.json"
    history = [{"step": s, "loss": float("nan") if s == 30 else 2.0, "learning_rate": 1e-3} for s in range(0, 100, 10)]
    path.write_text(json.dumps({"log_history": history}))
    with pytest.raises(NonFiniteError, match=r"trainer_state.json, row 4: the loss is nan"):
        ef.read_curves(path)
    frame = LONE.assign(loss=np.where(LONE.index == 3, np.inf, LONE.loss))
    frame.to_parquet(tmp_path / "p.parquet")
    with pytest.raises(NonFiniteError, match=r"p.parquet, row 4: the loss is inf"):
        ef.read_curves(tmp_path / "p.parquet")


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"loss": "three"}, r"row 7: 'loss' must be a number, but is 'three'"),
        ({"loss": -1.0}, r"row 7: the loss is -1"),
        ({"step": 17.5}, r"row 7: the step must be a whole number.*17.5.*epochs or tokens"),
        ({"step": -3}, r"row 7: the step must be a whole number.*-3"),
        ({"lr": "fast"}, r"row 7: 'lr' must be a number"),
        ({"lr": -1e-4}, r"row 7: 'lr' must not be negative"),
    ],
)
def test_cells_that_make_no_sense_are_refused_with_their_row(tmp_path, cells, message):
    refuses(tmp_path, changed(5, **cells), ArgumentError, message)


def test_unsorted_steps_are_no_restart(tmp_path):
    shuffled = LONE.sample(frac=1.0, random_state=1)
    refuses(
        tmp_path, shuffled, ArgumentError, r"row \d+: the step goes back from \d+ \(row \d+\) to \d+.*Sort the rows"
    )
    swapped = LONE.iloc[[0, 1, 3, 2, *range(4, len(LONE))]]
    refuses(tmp_path, swapped, ArgumentError, r"row 5: the step goes back from 152 \(row 4\) to 136")


def test_runs_that_are_not_told_apart_are_refused(tmp_path):
    both = pd.concat([LONE, rows("constant")[["step", "lr", "loss"]]]).sort_values("step", kind="stable")
    refuses(tmp_path, both, ArgumentError, r"rows 4 and 5: step 120 occurs twice.*column that tells runs apart")


def test_doubled_steps_are_refused_unless_they_say_the_same(tmp_path):
    doubled = pd.concat([LONE.iloc[:9], LONE.iloc[[8]].assign(loss=9.0), LONE.iloc[9:]])
    refuses(tmp_path, doubled, ArgumentError, r"rows 10 and 11: step 232 occurs twice, with losses .* and 9")
    same = ef.read_curves(csv_of(pd.concat([LONE.iloc[:9], LONE.iloc[8:]]), tmp_path))
    assert len(same[0]) == len(LONE) and any("repeat the one before" in note for note in same.notes)


def test_a_schedule_that_is_too_short_is_refused_with_the_row(tmp_path):
    short = {"cosine": SCHEDULES["cosine"].until(1000)}
    message = r"curve 'cosine' of size 25, row 59: step 1016 lies beyond its schedule, which has 1000"
    refuses(tmp_path, RUN, ArgumentError, message, schedules=short)


def test_tokens_in_the_column_of_steps_are_recognised(tmp_path):
    frame = RUN.assign(step=RUN.step * 524_288)
    refuses(tmp_path, frame, ArgumentError, "look like tokens.*--tokens-per-step", schedules=SCHEDULES)
    mixed = pd.concat([RUN, rows("constant").assign(step=lambda f: f.step * 4096)])
    refuses(tmp_path, mixed, ArgumentError, "units of the steps are mixed.*tokens")
    only = LONE.assign(tokens=LONE.step * 4096).drop(columns="step")
    refuses(tmp_path, only, ArgumentError, "no column of steps, only of tokens.*--tokens-per-step")


def test_a_run_without_a_schedule_is_refused(tmp_path):
    refuses(tmp_path, RUN.drop(columns="lr"), ArgumentError, "no learning rates.*'constant'")
    frame = study(sizes=(25,)).drop(columns="lr")
    named = {"cosine": SCHEDULES["cosine"], "other": SCHEDULES["constant"]}
    refuses(
        tmp_path,
        frame,
        ArgumentError,
        "curve 'constant' of size 25: no schedule of that name.*cosine, other",
        schedules=named,
    )


def test_a_schedule_that_contradicts_the_log_is_refused(tmp_path):
    wrong = {"cosine": Schedule.constant(total=2400, warmup=100, peak=3e-3)}
    refuses(
        tmp_path,
        RUN,
        ArgumentError,
        r"contradicts the learning rates.*at step \d+ the table has 0.003",
        schedules=wrong,
    )


def test_a_run_that_diverges_is_refused_with_the_row_to_cut_at(tmp_path):
    grown = LONE.assign(loss=LONE.loss + np.where(LONE.index > 90, 0.05 * (LONE.index - 90), 0.0))
    refuses(
        tmp_path,
        grown,
        NonFiniteError,
        r"diverges: its loss falls to .* \(row \d+\) and ends at .* Cut the table at row",
    )
    kept = ef.read_curves(pd.concat([grown.assign(run="bad"), LONE.assign(run="good")]), exclude=["bad"])
    assert kept.names == ["good"]


@pytest.mark.parametrize("count", [1, 2])
def test_two_points_are_no_curve(tmp_path, count):
    refuses(tmp_path, LONE.iloc[:count], ArgumentError, rf"only {count} points \(rows 2")


def test_bits_among_nats_are_recognised(tmp_path):
    frame = study(sizes=(25,))
    is_second = frame.curve == "constant"
    mixed = frame.assign(loss=np.where(is_second, frame.loss / np.log(2), frame.loss))
    refuses(tmp_path, mixed, ArgumentError, r"curve 'constant'.*row 146 on.*bits and nats.*0.6931.*--no-check-units")
    assert len(ef.read_curves(mixed, check_units=False)) == 3
    jump = LONE.assign(loss=np.where(LONE.index >= 70, LONE.loss / np.log(2), LONE.loss))
    refuses(tmp_path, jump, ArgumentError, r"row 72: the loss jumps .* nats and bits|diverges")
    said = LONE.assign(loss_unit=np.where(LONE.index < 10, "nats", "bits"))
    refuses(tmp_path, said, ArgumentError, r"row 12: the unit of the loss changes")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda d: ef.read_curves(d / "none.csv"), "does not exist"),
        (lambda d: ef.read_curves(d), "holds no logs"),
        (lambda d: ef.read_curves([]), "`source` is empty"),
        (lambda d: ef.read_curves(LONE, unit="shannons"), "'shannons'"),
        (lambda d: ef.read_curves(LONE, columns={"loss": "verlust"}), "'verlust', but the table has 'step'"),
        (lambda d: ef.read_curves(LONE, columns={"colour": "lr"}), r"'colour'.*learning_rate \(lr, .*curve \(run, "),
        (lambda d: ef.read_curves(LONE, columns={"lr": "lr", "learning_rate": "lr"}), "both are the learning_rate"),
        (lambda d: ef.read_curves(LONE.iloc[:0]), "no rows"),
        (lambda d: ef.read_curves(LONE, exclude=["curve"]), "No curve is left"),
        (lambda d: ef.read_curves(LONE.assign(lr=0.0)), "All logged learning rates are 0"),
        (lambda d: ef.read_curves(RUN.assign(model_size_M=-5)), "size.*must be positive"),
    ],
)
def test_wrong_calls_say_what_is_allowed(tmp_path, call, message):
    with pytest.raises(ArgumentError, match=message):
        call(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "cannot be read as a table"),
        ("a.jsonl", '{"step": 1}\nnot json\n', r"a.jsonl, row 2 is not JSON"),
        ("a.jsonl", "[1]\n", r"row 1 is no JSON object"),
        ("a.json", "[1, 2]", "holds no rows"),
        ("a.json", '{"step": [1], "loss": [1, 2]}', "different lengths"),
        ("a.json", "{", "is not JSON"),
        ("a.parquet", "no", "is not a Parquet file"),
        ("a.xyz", "no", "unknown kind of file"),
        ("trainer_state.json", '{"log_history": []}', "log_history. is empty"),
    ],
)
def test_files_that_are_not_what_they_say(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(ArgumentError, match=message):
        ef.read_curves(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("cosine,cosine,2400", "cosine,cosine,24.5"), r"row 2 \('cosine'\): `total_steps` must be a whole number"),
        (("cosine,cosine", "cosine,spiral"), r"row 2 \('cosine'\): Unknown schedule 'spiral'.*cosine"),
        (("9e-05,800", ",800"), r"row 4 \('two_stage'\).*needs `end_lr`"),
        (("9e-05,800", "9e-05,"), r"row 4.*needs `change_step`"),
        (("0.0003,0.0003", "fast,0.0003"), r"row 3.*`peak_lr` must be a number, but is 'fast'"),
        (("constant,constant", "cosine,constant"), r"row 3: the schedule's name 'cosine' is taken"),
        (("peak_lr", "height"), "no column for peak.*'height'"),
    ],
)
def test_wrong_tables_of_schedules_name_the_row(tmp_path, change, message):
    path = schedules_csv(tmp_path)
    path.write_text(path.read_text().replace(*change, 1))
    with pytest.raises(ArgumentError, match=message):
        read_schedules(path)


def test_wrong_long_tables_of_schedules_name_the_row(tmp_path):
    long = pd.DataFrame({"curve": "a", "step": [0, 1, 1], "lr": 1e-3})
    with pytest.raises(ArgumentError, match=r"s.csv, schedule 'a', row 4: step 1 comes after 1"):
        read_schedules(csv_of(long, tmp_path, "s.csv"))
    with pytest.raises(NonFiniteError, match=r"s.csv, row 3: the learning rate is nan"):
        read_schedules(csv_of(long.assign(step=[0, 1, 2], lr=[1e-3, np.nan, 1e-3]), tmp_path, "s.csv"))
