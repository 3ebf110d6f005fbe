"""Who computes a forecast: this thread, at once; or another process, while training goes on."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import weakref
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Protocol, runtime_checkable

import eigenflow
from eigenflow.forecast.live.band import RestForecast
from eigenflow.forecast.live.rest import Question
from eigenflow.forecast.live.worker import answer
from eigenflow.forecast.schedules.schedule import Schedule

__all__ = ["Answer", "Background", "Engine", "Inline"]

COMMAND = "from eigenflow.forecast.live.worker import serve; serve()"
# A worker that dies is started again so often.
MOST_STARTS = 3


@dataclass(frozen=True)
class Answer:
    """What came of a question.

    Attributes:
        forecast: None if there is none.
        refused: Why.
        cpu_s: Processor seconds.
    """

    forecast: RestForecast | None
    refused: str
    cpu_s: float

    @classmethod
    def of(cls, form: dict[str, Any]) -> "Answer":
        """From what the worker writes."""
        if "forecast" in form:
            found = RestForecast.from_dict(form["forecast"])
            return cls(found, "", found.cpu_s)
        return cls(None, form["refused"], form["cpu_s"])


@runtime_checkable
class Engine(Protocol):
    """Takes one question at a time."""

    def ask(self, question: Question, schedule: Schedule | None) -> None:
        """Begin to answer."""
        ...

    def poll(self, wait_s: float = 0.0) -> Answer | None:
        """Give the answer if it is there, after waiting for it at most so long."""
        ...

    def close(self) -> None:
        """Abandon what is not answered."""
        ...


class Inline:
    """Answers at once, in the thread that asks."""

    def __init__(self) -> None:
        self._answer: Answer | None = None

    def ask(self, question: Question, schedule: Schedule | None) -> None:
        """Compute the answer."""
        # As from the worker, to the last bit.
        self._answer = Answer.of(answer(question.to_dict(), schedule))

    def poll(self, wait_s: float = 0.0) -> Answer | None:
        """Give the answer, once."""
        found, self._answer = self._answer, None
        return found

    def close(self) -> None:
        """Nothing is open."""


class Background:
    """Answers in another process; a thread of this one waits for it, and holds no lock of the interpreter meanwhile."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._schedule: Schedule | None = None
        self._starts = 0
        self._pending: tuple[Question, Schedule | None] | None = None
        self._questions: SimpleQueue[list[dict[str, Any]] | None] = SimpleQueue()
        self._answers: SimpleQueue[dict[str, Any]] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._finish: weakref.finalize[Any, Any] | None = None

    @property
    def pid(self) -> int | None:
        """Of the worker, None if there is none."""
        return None if self._process is None else self._process.pid

    def ask(self, question: Question, schedule: Schedule | None) -> None:
        """Send a question; returns at once."""
        self._pending = question, schedule
        messages: list[dict[str, Any]] = []
        if self._process is None or self._process.poll() is not None:
            self._start()
            self._schedule = None
        if schedule is not self._schedule:
            messages.append({"schedule": None if schedule is None else schedule.to_dict()})
            self._schedule = schedule
        self._questions.put([*messages, question.to_dict()])

    def poll(self, wait_s: float = 0.0) -> Answer | None:
        """Give the answer if it has come; a worker that died is asked again, a few times."""
        if self._pending is None:
            return None
        try:
            form = self._answers.get(timeout=wait_s) if wait_s > 0 else self._answers.get_nowait()
        except Empty:
            return None
        if "died" in form:
            if self._starts < MOST_STARTS:
                # Its pipes close before the system calls it dead: `ask` might take it for one that lives.
                self._stop()
                self.ask(*self._pending)
                return None
            form = {"refused": f"the process that computes forecasts {form['died']}", "cpu_s": 0.0}
        self._pending = None
        return Answer.of(form)

    def close(self) -> None:
        """End the worker."""
        self._pending = None
        self._stop()

    def _start(self) -> None:
        self._stop()
        source = str(Path(eigenflow.__file__).resolve().parents[1])
        path = os.pathsep.join(part for part in (source, os.environ.get("PYTHONPATH", "")) if part)
        one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", COMMAND],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **one_thread, "PYTHONPATH": path},
            text=True,
            encoding="utf-8",
        )
        self._starts += 1
        # At the end of the program, or where nobody closed this; never in a process that was forked from this one.
        self._finish = weakref.finalize(self, _kill, self._process, os.getpid())
        self._questions, self._answers = SimpleQueue(), SimpleQueue()
        waiting = (self._process, self._questions, self._answers)
        self._thread = threading.Thread(target=_converse, args=waiting, name="eigenflow-forecast", daemon=True)
        self._thread.start()

    def _stop(self) -> None:
        if self._process is not None and self._finish is not None:
            self._questions.put(None)
            self._finish()
            if self._thread is not None:
                self._thread.join(timeout=5.0)
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    _close_quietly(pipe)
        self._process = self._thread = None


def _converse(
    process: "subprocess.Popen[str]",
    questions: "SimpleQueue[list[dict[str, Any]] | None]",
    answers: "SimpleQueue[dict[str, Any]]",
) -> None:
    """Carry questions to the worker and answers back, until one of both ends."""
    if process.stdin is None or process.stdout is None:
        return
    while True:
        messages = questions.get()
        if messages is None:
            return
        try:
            process.stdin.write("".join(json.dumps(message) + "\n" for message in messages))
            process.stdin.flush()
            line = process.stdout.readline()
        except (OSError, ValueError):  # a broken pipe; closed by `close`
            line = ""
        if not line:
            answers.put({"died": "ended without an answer"})
            return
        answers.put(json.loads(line))


def _kill(process: "subprocess.Popen[str]", owner: int) -> None:
    if os.getpid() == owner:
        process.kill()
        process.wait(timeout=5.0)  # reaped: no zombie stays


def _close_quietly(pipe: Any) -> None:
    with contextlib.suppress(OSError):  # what was not yet sent to a process that is gone
        pipe.close()
