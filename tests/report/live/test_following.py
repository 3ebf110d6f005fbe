"""`report --follow`: when it writes, when it does not, and what it survives. The run is moved on while it sleeps."""

import json
import shutil

import pytest

from cli.program import eigenflow
from eigenflow.core.errors import ArgumentError, RunFolderError
from eigenflow.report.live import follow_report
from eigenflow.store import RunWriter
from report.recorded import MODES, record_run

pytestmark = pytest.mark.long

REFRESH = 'http-equiv="refresh"'


class Going:
    """A run that goes on a little whenever the follower sleeps."""

    def __init__(self, folder, *moves):
        self.folder, self.moves, self.lines, self.slept = folder, list(moves), [], []
        self.at_updates = []

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.at_updates.append(sum(line.startswith("Update") for line in self.lines))
        if not self.moves:
            raise KeyboardInterrupt
        self.moves.pop(0)(self)

    def follow(self, **options):
        return follow_report(self.folder, every_s=2.0, say=self.lines.append, sleep=self.sleep, **options)


def begin(steps):
    """Write a whole run up to a step, as one that was killed: its status stays "running", and nobody holds it."""

    def move(going):
        shutil.rmtree(going.folder, ignore_errors=True)
        record_run(going.folder, measured=tuple(range(0, steps, 10)))
        header = going.folder / "run.json"
        assert json.loads(header.read_text())["status"] == "complete"
        with RunWriter.resume(going.folder, start=steps) as writer:
            writer.set_status("interrupted")

    return move


def nothing(going):
    pass


def finish(going):
    start = len((going.folder / "losses.jsonl").read_text().splitlines())
    with RunWriter.resume(going.folder, start=start) as writer:
        writer.log({"step": start, "loss": 0.1, "learning_rate": 0.5, "batch_size": MODES})


def test_waits_for_the_folder_writes_what_is_new_and_ends_with_the_run(tmp_path):
    going = Going(tmp_path / "run", nothing, begin(60), nothing, nothing, begin(120), finish)
    found = going.follow()
    # Looks: not there, not there, 60 steps, the same, the same, 120 steps, complete.
    assert going.at_updates == [0, 0, 1, 1, 1, 2]
    assert found.updates == 3 and found.path == tmp_path / "run" / "report.html"
    assert going.lines[0].startswith("Waiting") and "does not exist" in going.lines[0]
    assert sum(line.startswith("Waiting") for line in going.lines) == 1
    assert "complete" in going.lines[-1] and str(found.path) in going.lines[-1]
    assert not [one for one in (tmp_path / "run").iterdir() if one.name.startswith(".tmp")]


def test_the_page_loads_itself_again_until_the_run_has_ended(tmp_path):
    seen = []

    def look(going):
        seen.append((going.folder / "report.html").read_text())

    going = Going(tmp_path / "run", begin(60), look, finish)
    going.follow()
    assert f'{REFRESH} content="2"' in seen[0] and "http-equiv" in seen[0].partition("</head>")[0]
    assert REFRESH not in (tmp_path / "run" / "report.html").read_text()


def test_ctrl_c_ends_it_cleanly_and_the_report_stays(tmp_path):
    going = Going(tmp_path / "run", begin(60))
    found = going.follow()
    assert found.path is not None and found.path.exists()
    assert going.lines[-1].startswith("Stopped")
    assert any("killed or interrupted" in line for line in going.lines)


def test_a_rest_is_at_least_as_long_as_an_update_took(tmp_path, monkeypatch):
    clock = iter(range(0, 1000, 7))
    monkeypatch.setattr("eigenflow.report.live.following.process_time", lambda: float(next(clock)))
    going = Going(tmp_path / "run", begin(60), nothing)
    found = going.follow()
    assert found.cpu_s == 7.0 and going.slept == [2.0, 7.0, 7.0]
    assert any("took 7.0 processor seconds, at most 50% of a core" in line for line in going.lines)


def test_a_run_that_ended_without_a_measurement_is_an_error(tmp_path):
    with RunWriter.create(tmp_path / "run", header={}) as writer:
        writer.log({"step": 0, "loss": 1.0})
    with pytest.raises(RunFolderError):
        Going(tmp_path / "run").follow()


def test_command_says_what_it_does_on_stderr(tmp_path):
    record_run(tmp_path / "run")
    done = eigenflow("report", "run", "--follow", "30", "--out", "page.html", "--json", cwd=tmp_path)
    assert done.code == 0 and json.loads(done.stdout) == ["page.html"]
    assert "Following run every 30 s" in done.stderr and "processor seconds" in done.stderr
    assert "Lazy or rich" in (tmp_path / "page.html").read_text()


@pytest.mark.rejects
def test_follows_one_run_at_a_sane_pace(tmp_path):
    record_run(tmp_path / "run")
    assert eigenflow("report", "run", "run", "--follow", "30", cwd=tmp_path).code == 2
    with pytest.raises(ArgumentError, match="every_s"):
        follow_report(tmp_path / "run", every_s=0.0, say=print)
