"""Kills a training again and again, lets it go on, and holds its record against the one of a run that nobody killed.

    report = killed_again_and_again("integrations.killed_plain:train", tmp_path, times=10, seed=0)
    for folder in report.finished:
        assert_same_record(folder / "run", report.whole / "run")

`train(folder)` begins a run in an empty folder, or goes on from the last checkpoint that it finds there, and returns
when the run is complete; its record is `folder / "run"`. One process imports everything once and forks one child an
attempt. It never trains itself, as threads do not live on in a fork.
"""

import importlib
import json
import os
import random
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import eigenflow as ef

# Attempts for each kill that is asked for: one that ends before its kill counts none.
MOST_ATTEMPTS = 8
POLL_S = 0.002


@dataclass(frozen=True)
class Killed:
    """What came of it.

    Attributes:
        whole: Folder of the run that nobody killed.
        finished: Folders of the runs that were killed on their way to the end.
        kills: Attempts that were really killed, in all.
        kills_of: Likewise, of each finished run.
        attempts: Processes that trained.
        whole_s: Seconds of the uninterrupted run.
    """

    whole: Path
    finished: tuple[Path, ...]
    kills: int
    kills_of: tuple[int, ...]
    attempts: int
    whole_s: float


def killed_again_and_again(
    train: str, folder: Path, times: int, seed: int, *, share: float = 1.0, limit_s: float = 300.0
) -> Killed:
    """Train without a kill, then with so many.

    A run is killed and goes on until it is complete; if more kills are wanted then, another one begins.

    Args:
        train: "module:function".
        folder: Empty; runs get folders in it.
        times: Kills.
        seed: Of the moments.
        share: Moments are drawn uniformly over this share of the uninterrupted run's duration, from the beginning of an
            attempt; with a small one the same run is killed many times.
        limit_s: Seconds after which all is given up.

    Raises:
        AssertionError: If an attempt fails by itself; with what it wrote.
    """
    paths = [str(Path(__file__).parents[1]), *sys.path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in paths if p), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, train, str(folder), str(times), str(seed), str(share)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=limit_s, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
    found = json.loads(done.stdout.splitlines()[-1])
    found |= {"whole": Path(found["whole"]), "finished": tuple(Path(one) for one in found["finished"])}
    return Killed(**{**found, "kills_of": tuple(found["kills_of"])})


def assert_same_record(path: Path, whole: Path, *, tolerance: float = 0.0) -> None:
    """Hold two run folders against each other.

    Args:
        path: The run that was killed.
        whole: The one that was not.
        tolerance: Of the largest entry of a variable; 0: bit for bit, the log of losses byte for byte.
    """
    run, other = ef.open_run(path), ef.open_run(whole)
    assert (run.status, run.gaps) == (other.status, other.gaps)
    assert run.measured_steps == other.measured_steps and len(run.measured_steps) > 1
    if tolerance == 0:
        assert (path / "losses.jsonl").read_bytes() == (whole / "losses.jsonl").read_bytes()
    assert list(run.losses.columns) == list(other.losses.columns)
    for name in run.losses.select_dtypes("number"):
        _assert_close(run.losses[name], other.losses[name], tolerance, name)
    ours, theirs = run.measurements.load(), other.measurements.load()
    assert set(ours.variables) == set(theirs.variables)
    largest = float(np.nanmax(theirs["eigenvalue"].values))
    for name in map(str, theirs.variables):
        # Bounds of errors are as small as rounding, and differ by as much: they are held against what they bound.
        least = largest if name.endswith("_bound") else 0.0
        _assert_close(ours[name].values, theirs[name].values, tolerance, name, least)


def _assert_close(ours, theirs, tolerance: float, name: str, least: float = 0.0) -> None:
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    if tolerance == 0 or ours.dtype.kind not in "fc":
        np.testing.assert_array_equal(ours, theirs, err_msg=name)
        return
    scale = np.nanmax(np.abs(theirs), initial=least)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * scale, err_msg=name)


def _serve(train: str, folder: Path, times: int, seed: int, share: float) -> Killed:
    module, _, name = train.partition(":")
    function = getattr(importlib.import_module(module), name)
    rng = random.Random(seed)
    # Modules that are imported late are imported once, too: a first run says which.
    _let_live(function, folder / "first", names=folder / "modules.txt")
    _import_all((folder / "modules.txt").read_text().split())
    began = time.perf_counter()
    _let_live(function, folder / "whole")
    whole_s = time.perf_counter() - began
    finished, kills_of, attempts = [], [0], 0
    while sum(kills_of) < times:
        attempts += 1
        assert attempts <= MOST_ATTEMPTS * times, f"{sum(kills_of)} kills in {attempts} attempts"
        run = folder / f"killed-{len(finished) + 1}"
        if _was_killed(function, run, rng.uniform(0, share * whole_s)):
            kills_of[-1] += 1
        elif kills_of[-1]:
            finished, kills_of = [*finished, run], [*kills_of, 0]
    if kills_of[-1]:
        _let_live(function, folder / f"killed-{len(finished) + 1}")
        finished.append(folder / f"killed-{len(finished) + 1}")
    kills_of = [count for count in kills_of if count]
    return Killed(folder / "whole", tuple(finished), sum(kills_of), tuple(kills_of), attempts + 3, whole_s)


def _let_live(function: Callable[[Path], None], folder: Path, names: Path | None = None) -> None:
    pid = _begun(function, folder, names)
    _, status = os.waitpid(pid, 0)
    _require_success(folder, status)


def _was_killed(function: Callable[[Path], None], folder: Path, delay_s: float) -> bool:
    """Train in a child and kill it after a while; False if it was done before, and then it is begun anew elsewhere."""
    pid, end = _begun(function, folder), time.perf_counter() + delay_s
    while time.perf_counter() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            _require_success(folder, status)
            return False
        time.sleep(POLL_S)
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return True
    _require_success(folder, status)
    return False


def _begun(function: Callable[[Path], None], folder: Path, names: Path | None = None) -> int:
    folder.mkdir(exist_ok=True, parents=True)
    log = folder.with_name(f"{folder.name}.log")
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, 1)
        os.dup2(file, 2)
        function(folder)
        if names is not None:
            names.write_text("\n".join(sys.modules))
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _require_success(folder: Path, status: int) -> None:
    if os.waitstatus_to_exitcode(status) != 0:
        log = folder.with_name(f"{folder.name}.log").read_text()
        raise AssertionError(f"an attempt failed by itself in {folder}:\n{log[-5000:]}")


def _import_all(names: list[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in names:
            if name not in sys.modules and not name.startswith("__"):
                try:
                    importlib.import_module(name)
                except Exception:  # made at run time, not by a file
                    continue


if __name__ == "__main__":
    report = _serve(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]))
    print(json.dumps(report.__dict__, default=str))
