"""Every command that writes, under every fault: a sentence and its exit code, nothing lost, nothing left behind."""

import errno
import os
import random
import resource
import shutil
from types import SimpleNamespace

import pytest

from cli.program import eigenflow, make_inputs

# Words of the command, its option for a file, and what it reads that such a file could replace.
COMMANDS = {
    "fit": (
        ["forecast", "fit", "curves.csv", "--schedules", "schedules.csv"],
        "--out",
        ["curves.csv", "schedules.csv"],
    ),
    "fit picture": (
        ["forecast", "fit", "curves.csv", "--schedules", "schedules.csv", "--out", "again.json"],
        "--picture",
        ["curves.csv", "schedules.csv"],
    ),
    "predict": (
        ["forecast", "predict", "fit.json", "--schedules", "schedules.csv", "--every", "100"],
        "--out",
        ["fit.json", "schedules.csv"],
    ),
    "predict picture": (
        ["forecast", "predict", "fit.json", "--schedules", "schedules.csv", "--every", "100", "--out", "p.csv"],
        "--picture",
        ["fit.json", "schedules.csv"],
    ),
    "schedule": (
        ["forecast", "schedule", "fit.json", "--law", "power_time", "--steps", "400", "--peak", "3e-4"],
        "--out",
        ["fit.json"],
    ),
    "schedule picture": (
        ["forecast", "schedule", "fit.json", "--law", "power_time", "--steps", "400", "--peak", "3e-4"],
        "--picture",
        ["fit.json"],
    ),
    "plan picture": (["forecast", "plan", "finished.csv"], "--picture", ["finished.csv"]),
    "answer": (["forecast", "curves.csv", "--schedules", "schedules.csv"], "--out", ["curves.csv", "schedules.csv"]),
    "answer picture": (
        ["forecast", "curves.csv", "--schedules", "schedules.csv"],
        "--picture",
        ["curves.csv", "schedules.csv"],
    ),
    "page": (["forecast", "report", "fit.json"], "--out", ["fit.json"]),
    "compare": (["compare", "run", "other"], "--html", ["run/run.json", "other/losses.jsonl"]),
    "analyse": (["analyse", "run"], "--out", ["run/run.json", "run/losses.jsonl"]),
    "report": (["report", "run"], "--out", ["run/run.json", "run/losses.jsonl"]),
}
SOLVE = ["solve", "problem.toml"]
pytestmark = pytest.mark.usefixtures("computed_once")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    make_inputs(folder)
    return folder


@pytest.fixture(scope="module")
def computed_once(inputs):
    """What is fitted, designed, analysed and drawn is tested elsewhere and takes seconds; here it is a stand-in."""
    from eigenflow import report
    from eigenflow.forecast import Schedule, design, load_study, outlook
    from eigenflow.forecast.fitting import identification
    from eigenflow.forecast.outlook import picture as outlook_picture
    from eigenflow.forecast.study import study
    from eigenflow.plots import file as picture_file
    from eigenflow.report import comparison, comparison_page, html, outlook_page, summary

    def analysed(run):
        return SimpleNamespace(
            run=run, claims=[], forecasts=[], problems=[], learned=None, summary=lambda **_: {"told": "x" * 1000}
        )

    designed = SimpleNamespace(
        schedule=Schedule.constant(total=400, peak=1e-3), loss=[2.0], status=SimpleNamespace(value="ok"),
        agreeing_starts=1, rivals=[], cautions=(),
    )  # fmt: skip
    answered = SimpleNamespace(
        cautions=(), headline="it ends",
        run=SimpleNamespace(kind="constant", total=400, unit="updates", basis="the log says it"),
        target=None, endings=(), checked="not", baselines=(), runs=(), sizes=(),
    )  # fmt: skip
    fitted = load_study(inputs / "fit.json")
    stands_in = {
        (study, "fit_study"): lambda *_, **__: fitted,
        (identification, "profiles"): lambda *_: [],
        (design, "fit_final_loss"): lambda *_, **__: None,
        (design, "design_schedule"): lambda *_, **__: designed,
        (report, "analyse"): analysed,
        (summary, "analyse"): analysed,
        (html, "_render"): lambda *_: "page" * 1000,
        (comparison, "compare"): lambda *_, **__: comparison.Comparison([], {}, []),
        (comparison_page, "_render"): lambda *_: "page" * 1000,
        (picture_file, "picture_bytes"): lambda *_, **__: b"drawn" * 100,
        (outlook, "forecast_logs"): lambda *_, **__: answered,
        (outlook_page, "_render"): lambda *_: "page" * 1000,
        (outlook_picture, "outlook_figure"): lambda *_, **__: None,
    }
    with pytest.MonkeyPatch.context() as patch:
        for (module, name), what in stands_in.items():
            patch.setattr(module, name, what)
        yield


@pytest.fixture
def folder(request, inputs, tmp_path):
    """A copy of the inputs; run folders, of hundreds of files, for the commands that read them."""
    chosen = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    needs_runs = str(chosen.get("command", "report")) in ("compare", "analyse", "report")
    shutil.copytree(inputs, tmp_path / "in", ignore=None if needs_runs else shutil.ignore_patterns("run", "other"))
    return tmp_path / "in"


def contents(folder):
    """All files with their bytes; links as where they point."""
    return {
        path.relative_to(folder).as_posix(): str(path.readlink()) if path.is_symlink() else path.read_bytes()
        for path in folder.rglob("*")
        if (path.is_file() or path.is_symlink()) and path.name != ".lock"
    }


def name_of(option):
    return {"--picture": "new.png", "--html": "new.html"}.get(option, "new.file")


def refused(words, code, *messages, cwd, unchanged=None):
    """The command fails with a sentence, and every file is as it was."""
    before = contents(unchanged or cwd)
    done = eigenflow(*words, cwd=cwd)
    told = done.stderr.replace("\n", " ")
    assert done.code == code and "error: " in told, done
    assert all(message in told for message in messages), told
    assert contents(unchanged or cwd) == before
    return told


@pytest.mark.long
@pytest.mark.rejects
@pytest.mark.parametrize("command", COMMANDS)
def test_an_input_is_never_replaced(folder, command):
    words, option, read = COMMANDS[command]
    if option == "--picture":
        return  # below: a picture is told from a table by its ending
    for path in read:
        inside, name = (folder / path).parent, (folder / path).name
        link = inside / "soft"
        link.symlink_to(name)
        for other in (path, f"./{path}", f"../in/{path}", link.relative_to(folder)):
            refused([*words, option, other, "--force"], 2, f"`{option}`", "read", "would be lost", cwd=folder)
        link.unlink()


@pytest.mark.rejects
@pytest.mark.parametrize("command", [name for name in COMMANDS if name.endswith("picture")])
def test_a_picture_is_no_table_and_never_a_file_that_is_read(folder, command):
    words, option, read = COMMANDS[command]
    for path in read:
        refused([*words, option, path, "--force"], 2, "`--picture` must end in one of .png", cwd=folder)
        (folder / "link.png").unlink(missing_ok=True)
        (folder / "link.png").symlink_to(path)
        refused([*words, option, "link.png", "--force"], 2, "`--picture`", "would be lost", cwd=folder)


@pytest.mark.long
@pytest.mark.rejects
@pytest.mark.parametrize("command", COMMANDS)
def test_paths_that_cannot_or_must_not_be_written(folder, command):
    """Refused before any work: what is there without --force, folders, missing folders, links, long names."""
    words, option, _ = COMMANDS[command]
    name = name_of(option)
    (folder / name).write_text("old")
    refused([*words, option, name], 2, f"`{option}`", "exists already", "--force", cwd=folder)
    (folder / name).unlink()
    (folder / name).symlink_to("elsewhere")
    refused([*words, option, name], 2, "exists already", cwd=folder)
    (folder / name).unlink()
    (folder / name).mkdir()
    refused([*words, option, name, "--force"], 2, "must be a file", cwd=folder)
    refused([*words, option, f"no/such/{name}"], 2, "no folder", "mkdir -p", cwd=folder)
    refused([*words, option, f"curves.csv/{name}"], 2, "no folder", cwd=folder)
    refused([*words, option, f"{'n' * 300}{name}"], 1, "too long", cwd=folder)


@pytest.mark.long
@pytest.mark.parametrize("command", COMMANDS)
def test_force_replaces_a_link_and_not_what_it_points_to(folder, command):
    words, option, _ = COMMANDS[command]
    name = name_of(option)
    (folder / "victim").write_text("precious")
    (folder / name).symlink_to("victim")
    before = contents(folder)
    done = eigenflow(*words, option, name, "--force", cwd=folder)
    assert done.code == 0, done
    assert (folder / "victim").read_text() == "precious" and not (folder / name).is_symlink()
    assert (folder / name).stat().st_size > 300
    made = {"again.json"} if command == "fit picture" else {"p.csv"} if command == "predict picture" else set()
    assert set(contents(folder)) == set(before) | made


@pytest.mark.long
@pytest.mark.rejects
@pytest.mark.parametrize("command", COMMANDS)
def test_a_disk_that_refuses(folder, command, monkeypatch):
    words, option, _ = COMMANDS[command]
    whole = os.open
    number, told = random.Random(command).choice([(errno.EROFS, "read-only"), (errno.EACCES, "permission is missing")])

    def opened(path, flags, *more, **named):
        if flags & os.O_CREAT and ".tmp-" in str(path):
            raise OSError(number, os.strerror(number))
        return whole(path, flags, *more, **named)

    monkeypatch.setattr(os, "open", opened)
    refused([*words, option, name_of(option)], 1, "cannot be written", told, cwd=folder)


def fill_the_disk(rng, monkeypatch):
    """Let the system fail at one of the calls that write: in the middle of the content, at the sync, at the rename."""
    call = rng.choice(["write", "fsync", "replace", "link"])
    if call == "write":
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (rng.randrange(200), before[1]))
        return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, before)

    def full(*_args, **_named):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for name in {"fsync": ["fsync"], "replace": ["replace", "link"], "link": ["link", "replace"]}[call]:
        monkeypatch.setattr(os, name, full)
    return lambda: None


def on_full_disks(folder, command, tries):
    words, option, _ = COMMANDS[command]
    for attempt in range(tries):
        rng, name = random.Random(f"{command} {attempt}"), name_of(option)
        is_new = bool(attempt % 2)
        if not is_new:
            (folder / name).write_text("old")
        with pytest.MonkeyPatch.context() as patch:
            mend = fill_the_disk(rng, patch)
            try:
                refused([*words, option, name, *([] if is_new else ["--force"])], 1, "cannot be written", cwd=folder)
            finally:
                mend()
        (folder / name).unlink(missing_ok=True)


@pytest.mark.long
@pytest.mark.rejects
@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in ("fit picture", "predict picture")])
def test_a_full_disk_leaves_what_was_there_and_nothing_else(folder, command):
    on_full_disks(folder, command, 1)


@pytest.mark.slow
@pytest.mark.rejects
@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in ("fit picture", "predict picture")])
def test_full_disks_by_the_score(folder, command):
    on_full_disks(folder, command, 20)


@pytest.mark.rejects
@pytest.mark.parametrize("command", ["analyse", "report"])
def test_a_run_folder_on_a_read_only_disk_can_be_looked_at(folder, command, monkeypatch):
    whole = os.access

    def refuses_writing(path, mode, **named):
        return not (str(path).endswith("run") and mode & os.W_OK) and whole(path, mode, **named)

    monkeypatch.setattr(os, "access", refuses_writing)
    refused([command, "run"], 1, "permission is missing", "--out FILE", cwd=folder)
    assert eigenflow(command, "run", "--out", "seen", cwd=folder).code == 0 and (folder / "seen").stat().st_size > 1000


@pytest.mark.parametrize(("command", "name"), [("analyse", "summary.json"), ("report", "report.html")])
def test_a_run_folders_own_files_are_replaced_without_force(folder, command, name):
    (folder / "victim").write_text("precious")
    (folder / "run" / name).symlink_to(folder / "victim")
    if name == "summary.json":
        (folder / "run" / name).unlink()
    for _ in range(2):
        assert eigenflow(command, "run", cwd=folder).code == 0
    assert (folder / "run" / name).stat().st_size > 1000 and (folder / "victim").read_text() == "precious"


@pytest.mark.long
@pytest.mark.rejects
def test_default_names_obey_the_rule_and_two_outputs_are_two_files(folder):
    fit, predict = COMMANDS["fit"][0], COMMANDS["predict"][0]
    (folder / "predictions.csv").write_text("old")
    (folder / "forecast.html").write_text("old")
    refused(fit, 2, "'fit.json', which exists already", cwd=folder)
    refused(predict, 2, "'predictions.csv', which exists already", cwd=folder)
    refused(COMMANDS["page"][0], 2, "'forecast.html', which exists already", cwd=folder)
    same = ["--out", "a.png", "--picture", "./a.png"]
    refused([*fit, *same], 2, "`--picture` and `--out` must be two files", cwd=folder)
    refused([*predict, *same, "--force"], 2, "must be two files", cwd=folder)
    refused(["report", "run", "other", "--out", "a.html"], 2, "takes one report", cwd=folder)


@pytest.mark.rejects
def test_nothing_in_a_folder_that_is_read_is_replaced(folder):
    (folder / "logs").mkdir()
    shutil.move(folder / "curves.csv", folder / "logs" / "curves.csv")
    words = ["forecast", "fit", "logs", "--schedules", "schedules.csv", "--force", "--out"]
    refused([*words, "logs/curves.csv"], 2, "in the folder 'logs' that is read", cwd=folder)
    assert eigenflow(*words, "logs/fit.json", cwd=folder).code == 0


@pytest.mark.long
@pytest.mark.rejects
def test_solve_makes_a_folder_and_replaces_with_force_only(folder):
    assert eigenflow(*SOLVE, cwd=folder).code == 0
    assert sorted(path.name for path in (folder / "runs" / "small").iterdir()) == ["solution.nc", "solution.png"]
    refused(SOLVE, 1, "holds something", "--force", cwd=folder)
    (folder / "runs" / "small" / "mine").write_text("mine")
    (folder / "runs" / "small" / "solution.nc").write_text("old")
    assert eigenflow(*SOLVE, "--force", cwd=folder).code == 0
    assert (folder / "runs" / "small" / "mine").read_text() == "mine"
    assert (folder / "runs" / "small" / "solution.nc").stat().st_size > 300
    refused([*SOLVE, "--out", "run", "--force"], 1, "recorded run", cwd=folder)
    refused([*SOLVE, "--out", "curves.csv", "--force"], 1, "is a file", cwd=folder)
    refused([*SOLVE, "--out", "curves.csv/x"], 1, "not a folder", cwd=folder)
    (folder / "runs" / "small" / "solution.png").unlink()
    (folder / "runs" / "small" / "solution.png").symlink_to(folder / "cells.csv")
    refused([*SOLVE, "--force"], 2, "must not be a file that is read", cwd=folder)


@pytest.mark.rejects
@pytest.mark.parametrize("attempt", range(4))
def test_solve_on_a_full_disk_leaves_no_folder(folder, attempt):
    with pytest.MonkeyPatch.context() as patch:
        mend = fill_the_disk(random.Random(attempt), patch)
        try:
            refused([*SOLVE, "--out", "new"], 1, "cannot be written", cwd=folder)
        finally:
            mend()
    assert not (folder / "new").exists()
