"""The process in which broken inputs are read: its memory is bounded, and it is ended when an input takes too long.

`python -m fuzz.worker` reads lines `{"reader", "seed", "index"}`, and answers each with a line of what happened;
without an index it gets ready for a reader.
"""

import json
import os
import resource
import select
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

from fuzz.registry import input_of, reader_named, samples_of

__all__ = ["SECONDS", "Worker", "write_sample"]

# Of one input; sound ones take well under one.
SECONDS = 20.0
START_SECONDS = 300.0
# Address space over what the process has once everything is imported.
MEMORY = 2**30
# Small limits, so that many inputs are cheap, and so that what lies beyond the limits shows in `MEMORY`.
LIMITS = {"file_bytes": 2**24, "rows": 200_000, "steps": 200_000, "curves": 2_000, "cells": 200_000}


class Worker:
    """A worker process, started when it is first needed and again after one that had to be ended."""

    def __init__(
        self, limits: dict[str, float] | None = None, *, memory: int = MEMORY, seconds: float = SECONDS
    ) -> None:
        self._settings = {"limits": LIMITS if limits is None else limits, "memory": memory}
        self._seconds = seconds
        self._known: set[str] = set()
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="fuzz-")

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        self._folder.cleanup()

    def read(self, reader: str, seed: int, index: int) -> tuple[str, str, float]:
        """Outcome, what was seen, and seconds of one input."""
        if self._process is None:
            self._process = self._start()
        if reader not in self._known:
            answer = self._asked({"reader": reader}, START_SECONDS)
            if not answer or json.loads(answer)["trouble"]:
                raise RuntimeError(f"A sample of {reader!r} is not sound: {(answer or b'no answer').decode()}")
            self._known.add(reader)
        begun = time.monotonic()
        answer = self._asked({"reader": reader, "seed": seed, "index": index}, self._seconds)
        if answer:
            return tuple(json.loads(answer)["came"])
        process, seconds = self._process, time.monotonic() - begun
        detail = f"more than {self._seconds:g} s" if answer is None else f"the process ended: status {process.wait()}"
        self._end()
        return ("hang" if answer is None else "foreign"), detail, seconds

    def _asked(self, task: dict[str, Any], seconds: float) -> bytes | None:
        """The answer; empty if the process has ended, None if it takes too long."""
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(json.dumps(task).encode() + b"\n")
        self._process.stdin.flush()
        return self._line(seconds)

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "fuzz.worker", json.dumps(self._settings), self._folder.name]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "ARROW_NUM_THREADS": "1"}
        return subprocess.Popen(
            command,
            cwd=Path(__file__).parents[1],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def _line(self, seconds: float) -> bytes | None:
        assert self._process is not None and self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], seconds)
        return self._process.stdout.readline() if ready else None

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None
            self._known.clear()


def write_sample(files: dict[str, bytes | None], folder: Path) -> None:
    """Write an input into an empty folder; content None is a folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.mkdir(exist_ok=True)
        else:
            path.write_bytes(content)


def _read(reader: str, seed: int, index: int, folder: Path) -> tuple[str, str]:
    from eigenflow.core.errors import EigenflowError

    sample, chosen = input_of(reader, seed, index), reader_named(reader)
    write_sample(sample.files, folder)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            chosen.read(folder / sample.target)
            outcome, detail = "right", ""
        except EigenflowError as error:
            outcome, detail = "refused", str(error)
        except MemoryError:
            outcome, detail = "memory", _place()
        except Exception:
            outcome, detail = "foreign", _place()
    wrong = [one for one in said if not chosen.may_warn(one.category, str(one.message))]
    if wrong and outcome in {"right", "refused"}:
        one = wrong[0]
        return "warning", f"{one.category.__name__} at {one.filename}:{one.lineno}: {one.message} (then {outcome})"
    return outcome, detail


def _place() -> str:
    """The exception, and where in eigenflow it came from."""
    kind, error, trace = sys.exc_info()
    ours = [frame for frame in traceback.extract_tb(trace) if "/eigenflow/" in frame.filename]
    place = f"{ours[-1].filename.rpartition('/eigenflow/')[2]}:{ours[-1].lineno}" if ours else "no place"
    return f"{kind.__name__ if kind else ''} at {place}: {str(error)[:300]}"


def _serve(settings: dict[str, Any], scratch: Path) -> None:
    from eigenflow.core.limits import limits

    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what readers print does not mix with answers
    for line in sys.stdin:
        task = json.loads(line)
        if "index" not in task:
            answer = {"trouble": _warm(task["reader"], scratch)}
            _bound_memory(settings["memory"])
        else:
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir(parents=True)
            begun = time.monotonic()
            with limits(**settings["limits"]):
                outcome, detail = _read(task["reader"], task["seed"], task["index"], scratch)
            answer = {"came": (outcome, detail, time.monotonic() - begun)}
        print(json.dumps(answer), file=answers, flush=True)


def _warm(reader: str, scratch: Path) -> str:
    """Read the sound inputs, so that what is imported late is not counted; says what went wrong.

    Unbounded, as other readers may come.
    """
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    try:
        for sample in samples_of(reader):
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir(parents=True)
            write_sample(sample.files, scratch)
            reader_named(reader).read(scratch / sample.target)
    except Exception:
        return traceback.format_exc()
    return ""


def _bound_memory(more: int) -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + more, resource.RLIM_INFINITY))


if __name__ == "__main__":
    _serve(json.loads(sys.argv[1]), Path(sys.argv[2]) / "input")
