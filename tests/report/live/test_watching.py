"""What is known of a run that goes on, of every kind of log. Looks are made by hand, with no thread and no server."""

import json
import shutil

import numpy as np
import pytest

from eigenflow.core.errors import FileError
from eigenflow.forecast.live.engines import Inline
from eigenflow.forecast.reading.growing import read_growing
from eigenflow.report.live.history import HEAD, MOST, Course
from eigenflow.report.live.sources import ChosenSource
from eigenflow.report.live.sources.log import LogOptions
from eigenflow.report.live.watcher import Watcher
from eigenflow.store import RunWriter, Variable
from report.live.watched import Refusing, losses, see
from report.recorded import EDGES, STEP_SIZE, eigenvalues_at

STEPS = np.arange(1, 201)
LOSSES = losses(STEPS)


class Watch:
    """A watcher whose looks are made by hand; `sees` looks once."""

    def __init__(self, path, engine=Refusing, **options):
        self.states, self.now = [], 1.9e9  # far later than any file: its last line is taken for whole
        self.source = ChosenSource(path, LogOptions(**options), clock=lambda: self.now)
        self.watcher = Watcher(self.source, self.states.append, clock=lambda: self.now, make_engine=engine)

    def sees(self):
        """Look once, and catch up."""
        see(self.watcher)
        return self.states[-1]


@pytest.fixture(autouse=True)
def _no_rests(monkeypatch):
    monkeypatch.setattr("eigenflow.report.live.sources.log.RESTS", 0.0)


def json_lines(steps, values):
    return "".join(
        json.dumps({"step": int(s), "loss": float(v), "lr": 1e-3}) + "\n" for s, v in zip(steps, values, strict=True)
    )


def points(state):
    return [(row[0], row[1]) for row in state["curve"]]


def expected(steps, values):
    return [(int(s), pytest.approx(float(v), rel=1e-5)) for s, v in zip(steps, values, strict=True)]


def test_waits_for_what_is_not_there_yet(tmp_path):
    watch = Watch(tmp_path / "later.jsonl")
    assert watch.sees()["status"] == "waiting" and "later.jsonl" in watch.sees()["problem"]
    (tmp_path / "later.jsonl").write_text(json_lines(STEPS[:20], LOSSES[:20]))
    state = watch.sees()
    assert state["status"] == "running" and not state["problem"] and points(state) == expected(STEPS[:20], LOSSES[:20])


@pytest.mark.parametrize("whole", [True, False])
def test_half_written_last_line_is_waited_for(tmp_path, whole):
    path = tmp_path / "a.jsonl"
    text = json_lines(STEPS[:50], LOSSES[:50])
    watch = Watch(path)
    for cut in (1, 5, 12, 25, len(text.splitlines()[-1])):
        path.write_text(text[:-cut] if whole else text[:-cut].rstrip("\n"))
        watch.now = path.stat().st_mtime  # it is being written
        assert watch.sees()["step"] in (48, 49)
    path.write_text(text)
    assert points(watch.sees()) == expected(STEPS[:50], LOSSES[:50])


def test_a_number_cut_in_the_middle_is_never_taken_for_a_number(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("step,loss\n1,3.5\n2,3.25\n3,3.125\n4,30625")
    watch = Watch(path)
    watch.now = path.stat().st_mtime
    assert points(watch.sees())[-1] == (3, 3.125)
    path.write_text("step,loss\n1,3.5\n2,3.25\n3,3.125\n4,3062500e-6\n")
    assert points(watch.sees())[-1] == (4, 3.0625)


def test_a_last_line_without_an_end_counts_once_the_log_rests(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("step,loss\n1,3.5\n2,3.25\n3,3.125\n4,3.0625")
    watch = Watch(path)
    watch.now = path.stat().st_mtime
    assert watch.sees()["step"] == 3
    watch.now += 60
    assert watch.sees()["step"] == 4


def test_what_is_written_while_a_log_is_read_is_not_taken_in_half(tmp_path, monkeypatch):
    path = tmp_path / "a.csv"
    path.write_text("step,loss\n1,3.5\n2,3.25\n3,3.125\n")

    def read_late(*arguments, **options):
        with path.open("a") as file:
            file.write("4,30")
        return read_growing(*arguments, **options)

    watch = Watch(path)
    with monkeypatch.context() as patch:
        patch.setattr("eigenflow.report.live.sources.log.read_growing", read_late)
        assert points(watch.sees())[-1] == (3, 3.125)
    path.write_text("step,loss\n1,3.5\n2,3.25\n3,3.125\n4,3.0625\n")
    assert points(watch.sees())[-1] == (4, 3.0625)


def csv_text(count):
    return "step,train_loss,lr\n" + "".join(
        f"{s},{v:.6f},0.001\n" for s, v in zip(STEPS[:count], LOSSES[:count], strict=True)
    )


def text_log(count):
    return "".join(
        f"step {s} | loss {v:.6f} | lr 1.00e-03\n" for s, v in zip(STEPS[:count], LOSSES[:count], strict=True)
    )


def trainer_state(count):
    history = [
        {"step": int(s), "loss": float(v), "learning_rate": 1e-3, "epoch": s / 100}
        for s, v in zip(STEPS[:count], LOSSES[:count], strict=True)
    ]
    return json.dumps({"log_history": history, "max_steps": 200, "logging_steps": 1})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.jsonl", lambda count: json_lines(STEPS[:count], LOSSES[:count])),
        ("a.csv", csv_text),
        ("a.log", text_log),
        ("trainer_state.json", trainer_state),
    ],
)
def test_logs_of_every_kind_are_followed(tmp_path, name, text):
    """A log that is appended to, and one that is written anew each time."""
    path = tmp_path / name
    watch = Watch(path)
    for count in (20, 21, 90, 200):
        path.write_text(text(count))
        state = watch.sees()
        assert state["kind"] == "log" and state["rows"] == count and state["step"] == count and not state["problem"]
        assert points(state)[:HEAD] == expected(STEPS[:count], LOSSES[:count])[:HEAD]
        assert state["rate"] == 1e-3
    assert state["generation"] == 1 and state["happened"] == []


def test_what_the_log_says_of_its_length_is_told(tmp_path):
    path = tmp_path / "trainer_state.json"
    watch = Watch(path)
    path.write_text(trainer_state(50))
    assert watch.sees()["total"] == 200
    path.write_text(trainer_state(200))
    assert watch.sees()["status"] == "complete"


def test_a_file_that_is_half_rewritten_leaves_the_last_state(tmp_path):
    path = tmp_path / "trainer_state.json"
    watch = Watch(path)
    path.write_text(trainer_state(50))
    assert watch.sees()["step"] == 50
    path.write_text(trainer_state(60)[:900])
    state = watch.sees()
    assert state["step"] == 50 and "trainer_state.json" in state["problem"]
    path.write_text(trainer_state(60))
    state = watch.sees()
    assert state["step"] == 60 and not state["problem"]


def test_a_log_that_goes_back_replaces_what_it_goes_back_over(tmp_path):
    path = tmp_path / "a.jsonl"
    watch = Watch(path)
    path.write_text(json_lines(STEPS[:80], LOSSES[:80]))
    watch.sees()
    again = losses(STEPS, seed=1)
    path.write_text(json_lines(STEPS[:80], LOSSES[:80]) + json_lines(STEPS[40:100], again[40:100]))
    state = watch.sees()
    assert points(state) == expected(STEPS[:100], [*LOSSES[:40], *again[40:100]])
    assert state["generation"] == 1 and "step 40" in state["happened"][-1]["text"]


def test_another_log_under_the_same_name_begins_anew(tmp_path):
    path = tmp_path / "a.jsonl"
    watch = Watch(path)
    path.write_text(json_lines(STEPS[:80], LOSSES[:80]))
    watch.sees()
    path.write_text(json_lines(STEPS[:30], losses(STEPS, seed=2)[:30]))
    state = watch.sees()
    assert state["generation"] == 2 and points(state) == expected(STEPS[:30], losses(STEPS, seed=2)[:30])
    assert "another run" in state["happened"][-1]["text"]


def test_of_several_runs_the_one_that_grows_is_watched(tmp_path):
    path = tmp_path / "runs.csv"

    def write(counts):
        rows = [f"{name},{s},{LOSSES[s - 1]:.6f}" for name, count in counts.items() for s in range(1, count + 1)]
        path.write_text("run,step,loss\n" + "\n".join(rows) + "\n")

    watch, chosen = Watch(path), Watch(path, run="a")
    write({"a": 30, "b": 20})
    assert watch.sees()["name"] == "b" and chosen.sees()["name"] == "a"
    write({"a": 30, "b": 25})
    assert watch.sees()["step"] == 25 and chosen.sees()["step"] == 30
    assert Watch(path, run="c").sees()["problem"].startswith("`--run` must be a run of the log, a, b")


def begin(path):
    return RunWriter.create(
        path, header={"config": {"name": "small", "train": {"steps": 400}}, "probe": {"checksum": "a"}}
    )


def log(writer, first, last, seed=0, flush=True):
    for step in range(first, last):
        writer.log(
            {"step": step, "loss": float(losses(np.array([step + 1]), seed=seed)[0]), "learning_rate": STEP_SIZE}
        )
    if flush:
        writer.flush()


def measure(writer, step):
    values = {"eigenvalue": Variable(("mode",), eigenvalues_at(step * STEP_SIZE), "1 / time", "eigenvalue")}
    writer.append(step, values, constants={"edge": Variable(("edge",), EDGES, "1 / time", "edges")})


def logged(path):
    """The file itself, by Python's own parser."""
    rows = [json.loads(line) for line in (path / "losses.jsonl").read_text().splitlines()]
    return [row["step"] + 1 for row in rows], [row["loss"] for row in rows]


def test_a_run_folder_is_followed_row_by_row(tmp_path):
    path = tmp_path / "run"
    watch = Watch(path)
    assert watch.sees()["status"] == "waiting"
    with begin(path) as writer:
        assert watch.sees()["status"] == "running"
        measure(writer, 0)
        log(writer, 0, 10)
        state = watch.sees()
        assert points(state) == expected(*logged(path)) and (state["total"], state["name"]) == (400, "small")
        measure(writer, 10)
        log(writer, 10, 60)
        state = watch.sees()
        assert points(state) == expected(*logged(path)) and state["rows"] == 60
    assert watch.sees()["status"] == "complete"
    assert [row[0] for row in state["modes"]] == [0, 10]
    for row in state["modes"]:
        # Gradient descent with rate eta is unstable above 2 / eta.
        assert row[1] == 2.0 / STEP_SIZE
        assert row[2:] == [pytest.approx(one, rel=1e-5) for one in eigenvalues_at(row[0] * STEP_SIZE)[: len(row) - 2]]


def test_a_row_that_is_being_written_is_waited_for(tmp_path):
    path = tmp_path / "run"
    watch = Watch(path)
    with begin(path) as writer:
        log(writer, 0, 20)
        whole = (path / "losses.jsonl").read_bytes()
        for cut in range(1, 60):
            (path / "losses.jsonl").write_bytes(whole[:-cut])
            assert Watch(path).sees()["step"] == 19
        (path / "losses.jsonl").write_bytes(whole[:-30])
        assert watch.sees()["step"] == 19
        (path / "losses.jsonl").write_bytes(whole)
        assert points(watch.sees()) == expected(*logged(path))


def test_a_run_that_is_killed_and_resumed_from_before(tmp_path):
    path = tmp_path / "run"
    watch = Watch(path)
    writer = begin(path)
    measure(writer, 0)
    log(writer, 0, 50)
    measure(writer, 50)
    log(writer, 50, 70)
    assert watch.sees()["status"] == "running"
    writer.close()  # no status: as after a kill
    assert watch.sees()["status"] == "interrupted"
    with RunWriter.resume(path, start=40) as writer:
        state = watch.sees()
        assert state["step"] == 40 and points(state) == expected(*logged(path))
        log(writer, 40, 90, seed=3)
        state = watch.sees()
        assert state["status"] == "running" and state["generation"] == 1
        assert points(state) == expected(*logged(path)) and [row[0] for row in state["modes"]] == [0]
        assert "resumed from 40 completed updates" in state["happened"][-1]["text"]
    # Who begins to watch now sees the same.
    other = Watch(path).sees()
    assert points(other) == points(watch.sees()) and other["modes"] == state["modes"]


def test_rows_of_a_resumed_run_that_came_between_two_looks(tmp_path):
    """The log is as long as before, or longer, and yet another one."""
    path = tmp_path / "run"
    watch = Watch(path)
    writer = begin(path)
    log(writer, 0, 60)
    watch.sees()
    writer.close()
    with RunWriter.resume(path, start=30) as writer:
        log(writer, 30, 100, seed=4)
    state = watch.sees()
    assert points(state) == expected(*logged(path)) and state["rows"] == 100


def test_a_look_between_the_two_writes_of_a_resume(tmp_path):
    """The header says first from where it goes on; the log is cut a moment later."""
    path = tmp_path / "run"
    watch = Watch(path)
    writer = begin(path)
    log(writer, 0, 70)
    watch.sees()
    writer.close()
    before = (path / "losses.jsonl").read_bytes()
    with RunWriter.resume(path, start=40) as writer:
        after = (path / "losses.jsonl").read_bytes()
        (path / "losses.jsonl").write_bytes(before)
        assert watch.sees()["step"] == 70
        (path / "losses.jsonl").write_bytes(after)
        assert points(watch.sees()) == expected(*logged(path))
        log(writer, 40, 80, seed=6)
    state = watch.sees()
    assert points(state) == expected(*logged(path)) and state["generation"] == 1
    assert len(state["happened"]) == 1


def test_a_folder_that_is_replaced_by_a_new_run_begins_anew(tmp_path):
    path = tmp_path / "run"
    watch = Watch(path)
    with begin(path) as writer:
        measure(writer, 0)
        log(writer, 0, 50)
    assert watch.sees()["step"] == 50
    shutil.rmtree(path)
    state = watch.sees()
    assert state["status"] == "waiting" and state["step"] == 50  # what was seen stays until there is something new
    with begin(path) as writer:
        log(writer, 0, 5, seed=5)
        state = watch.sees()
        assert state["generation"] == 2 and points(state) == expected(*logged(path)) and state["modes"] == []
        assert "another run" in state["happened"][-1]["text"]


def test_losses_that_are_no_numbers_raise_the_alarm(tmp_path):
    path = tmp_path / "run"
    watch = Watch(path)
    with begin(path) as writer:
        log(writer, 0, 50)
        assert watch.sees()["alarms"] == []
        for step in range(50, 54):
            writer.log({"step": step, "loss": None, "reason": "not finite", "learning_rate": STEP_SIZE})
        writer.flush()
        state = watch.sees()
    (alarm,) = state["alarms"]
    assert alarm["kind"] == "divergence" and alarm["since"] == 51 and state["bad"] == [51, 52, 53, 54]
    assert state["happened"][-1]["alarm"] and state["happened"][-1]["text"].startswith("divergence")


@pytest.mark.parametrize("bad", ["NaN", '"nan"', "Infinity"])
def test_so_do_they_in_a_log(tmp_path, bad):
    """A reader for forecasts would leave out the end of a run that diverged."""
    path = tmp_path / "a.jsonl"
    path.write_text(
        json_lines(STEPS[:60], LOSSES[:60])
        + "".join(f'{{"step": {k}, "loss": {bad}, "lr": 0.001}}\n' for k in (61, 62, 63))
    )
    state = Watch(path).sees()
    assert [one["kind"] for one in state["alarms"]] == ["divergence"] and state["bad"] == [61, 62, 63]


@pytest.mark.long
def test_forecasts_of_the_past_are_made_as_if_it_had_been_watched(tmp_path):
    """The log's law is known: a forecast of its end must hold it, and tighten."""
    path = tmp_path / "a.jsonl"
    steps = np.arange(1, 1001)
    path.write_text(json_lines(steps, losses(steps, noise=0.002)))
    watch = Watch(path, Inline)
    watch.watcher._total = 2000
    watch.watcher._begin()
    state = watch.sees()
    trail = np.array(state["trail"])
    assert trail[:, 0].tolist() == [100, 200, 300, 500, 700, 1000] and set(trail[:, 1]) == {2000}
    truth = losses(np.array([2000]), noise=0.0)[0]
    assert trail[-1, 3] <= truth <= trail[-1, 4] and truth == pytest.approx(trail[-1, 2], rel=0.02)
    widths = np.log(trail[:, 4] / trail[:, 3])
    assert widths[-1] < 0.5 * widths[0]
    band = np.array(state["forecast"]["path"])
    assert band[-1, 0] == 2000 and np.all(band[:, 2] < band[:, 3])


@pytest.mark.long
def test_after_a_resume_forecasts_are_those_of_the_rows_that_stayed(tmp_path):
    """The same as of one who never saw the rows that were replaced."""
    path, steps = tmp_path / "a.jsonl", np.arange(1, 41)
    first, second = losses(steps, noise=0.002), losses(steps, noise=0.002, seed=7) * 1.02
    path.write_text(json_lines(steps, first))
    watch = Watch(path, Inline)
    before = watch.sees()["trail"]
    path.write_text(json_lines(steps, [*first[:20], *second[20:]]))
    state = watch.sees()
    kept = [row for row in before if row[0] <= 20]
    assert state["step"] == 40 and kept and state["trail"][: len(kept)] == kept and state["trail"] != before
    assert state["trail"] == Watch(path, Inline).sees()["trail"]


def test_a_long_run_takes_little_room_and_keeps_its_means():
    count = 200_000
    values = losses(np.arange(1, count + 1), noise=0.1)
    course = Course()
    for step, value in enumerate(values, start=1):
        course.add(step, float(value))
    rows = np.array(course.points())
    assert HEAD + MOST // 2 <= len(rows) <= HEAD + MOST + 1 and course.count == count and rows[-1, 0] == count
    assert rows[:HEAD, 1] == pytest.approx(values[:HEAD], rel=1e-5)
    begin = rows[HEAD - 1 : -1, 0].astype(int)
    for low, high, row in zip(begin, rows[HEAD:, 0].astype(int), rows[HEAD:], strict=True):
        part = values[low:high]
        assert row[1:] == pytest.approx([np.exp(np.log(part).mean()), part.min(), part.max()], rel=1e-5)


@pytest.mark.parametrize("cut", [0, 5, 99, 100, 101, 1234, 4999, 5000])
def test_a_course_that_is_cut_and_goes_on_is_as_if_nothing_had_been_there(cut):
    values = losses(np.arange(1, 5001), noise=0.1)
    course, other = Course(most=64), Course(most=64)
    for step, value in enumerate(values, start=1):
        course.add(step, float(value))
        if step <= cut:
            other.add(step, float(value))
    course.cut(cut)
    for step in range(max(course.last + 1, 1), cut + 1):  # rows are given again
        course.add(step, float(values[step - 1]))
    assert course.last == other.last and course.count == other.count
    ours, theirs = (np.array(one.points()).reshape(-1, 4) for one in (course, other))
    assert ours[:100].tolist() == theirs[:100].tolist()
    if cut > 100:  # blocks may be longer than without the cut part, but hold the same
        assert ours[100:, 2].min() == theirs[100:, 2].min() and ours[100:, 3].max() == theirs[100:, 3].max()


def test_texts_of_files_are_made_harmless_and_short(tmp_path):
    path = tmp_path / "run"
    name = "\x1b]0;title\x07<script>alert(1)</script>\u202e" + "x" * 1000
    with RunWriter.create(path, header={"config": {"name": name}, "probe": {"checksum": "a"}}) as writer:
        log(writer, 0, 5)
    state = Watch(path).sees()
    assert state["name"].startswith("<script>alert(1)</script>xxx") and len(state["name"]) < 500


def test_what_a_strange_reader_raises_is_told_and_the_next_look_comes(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(json_lines(STEPS[:20], LOSSES[:20]))
    watch = Watch(path)
    look = watch.source.look
    for error in (FileError("the disk is gone."), ZeroDivisionError("odd")):
        watch.source.look = lambda error=error: (_ for _ in ()).throw(error)
        assert str(error) in watch.sees()["problem"]
    watch.source.look = look
    state = watch.sees()
    assert state["step"] == 20 and not state["problem"]


def test_the_loss_that_is_told_is_that_of_the_last_hundredth():
    """Not of single batches; and of the picture, however far behind forecasts are."""
    values = losses(np.arange(1, 50_001), noise=0.2)
    course = Course()
    for step, value in enumerate(values, start=1):
        course.add(step, float(value))
    # Blocks are equally long, so the last hundredth of them ends with the last loss.
    assert course.recent() == pytest.approx(np.exp(np.log(values[-600:]).mean()), rel=0.02)
    assert Course().recent() is None


def test_the_picture_is_there_before_the_forecasts_of_the_past(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(json_lines(STEPS, LOSSES))

    class Slow(Inline):
        def ask(self, question, schedule):
            pass

    watch = Watch(path, Slow)
    watch.watcher.look()
    for _ in range(3):
        watch.watcher.catch_up()
    state = watch.watcher.state()
    assert state["is_catching_up"] and state["step"] == 200 and state["trail"] == [] and state["expected"] is None
    assert points(state)[-1][0] == 200 and state["loss"] == pytest.approx(float(LOSSES[-3:].mean()), rel=0.05)
    path.write_text(json_lines(STEPS, LOSSES) + json_lines([201], [2.5]))
    watch.watcher.look()  # losses go on coming meanwhile
    assert watch.watcher.state()["step"] == 201
