"""A live page's server on a real socket, a viewer of its events, and runs that go on."""

import asyncio
import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import uvicorn

from eigenflow.forecast.live.engines import Answer, Inline
from eigenflow.report.live.app import make_app
from eigenflow.report.live.board import Board, changed
from eigenflow.report.live.guard import Access
from eigenflow.report.live.serving import listen
from eigenflow.report.live.watcher import Watcher

WAIT_S = 20.0


def until(condition: Callable[[], Any], what: str, seconds: float = WAIT_S) -> Any:
    """Wait until something is true, and give it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.01)
    raise AssertionError(f"in {seconds:g} s there was not: {what}")


@contextlib.contextmanager
def served(
    board: Board,
    *,
    access: Access | None = None,
    beats_s: float = 10.0,
    buffer_bytes: int | None = None,
    port: int = 0,
) -> Iterator[int]:
    """Serve a board on a port of this machine, any that is free by default; gives the port."""
    listening = listen("127.0.0.1", port)
    if buffer_bytes is not None:  # what the system takes for a viewer who does not read
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer_bytes)
    app = make_app(board, access or Access.to("127.0.0.1", wants_token=False), beats_s=beats_s)
    config = uvicorn.Config(app, log_level="critical", lifespan="off", ws="none", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listening])))
    thread.start()
    try:
        until(lambda: server.started, "a server")
        yield listening.getsockname()[1]
    finally:
        board.close()
        server.should_exit = True
        thread.join(10)
        listening.close()


def get(port: int, path: str = "/", *, method: str = "GET", host: str | None = None, **headers: str) -> Any:
    """One request; gives status, headers (names in lower case) and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        connection.request(method, path, headers={**sent, **({} if host is None else {"Host": host})})
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


@dataclass
class Viewer:
    """Reads events as a browser does, from a thread; keeps ids and the state that they make."""

    port: int
    last_id: str | None = None
    state: dict[str, Any] = field(default_factory=dict)
    events: list[tuple[str, str, Any]] = field(default_factory=list)
    beats: int = 0

    def __post_init__(self) -> None:
        self.is_open = False

    def connect(self) -> "Viewer":
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S)
        headers = {} if self.last_id is None else {"Last-Event-ID": self.last_id}
        self.connection.request("GET", "/events", headers=headers)
        self.answer = self.connection.getresponse()
        assert self.answer.status == 200
        self.is_open = True
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()
        return self

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError, AttributeError, http.client.HTTPException):
            kind = number = ""
            while self.is_open:
                raw = self.answer.readline()
                if not raw:
                    return
                name, _, value = raw.decode().rstrip("\n").partition(": ")
                if name == "event":
                    kind = value
                elif name == "id":
                    number = value
                elif name == "data":
                    self._take(kind, number, json.loads(value))

    def _take(self, kind: str, number: str, value: Any) -> None:
        if kind == "beat":
            self.beats += 1
        elif kind in ("state", "change"):
            self.events.append((kind, number, value))
            self.last_id = number
            self.state = value if kind == "state" else changed(self.state, value)

    def drop(self) -> None:
        """Lose the connection."""
        self.is_open = False
        with contextlib.suppress(OSError, AttributeError):
            self.connection.sock.shutdown(socket.SHUT_RDWR)
        self.thread.join(5)
        self.answer.close()
        self.connection.close()


def see(watcher: Watcher) -> None:
    """Look once, bring forecasts to where the picture is, and publish; what the watcher's thread does in time."""
    watcher.look()
    watcher.catch_up()
    until(lambda: watcher.catch_up() or not watcher.is_catching_up, "an end of catching up", 120.0)
    watcher.catch_up()
    watcher.publish()


def numbers(viewer: Viewer) -> list[int]:
    return [int(number.partition("-")[2]) for _, number, _ in viewer.events]


def losses(steps: np.ndarray, *, seed: int = 0, noise: float = 0.01) -> np.ndarray:
    """A power law with noise."""
    return (2 + 6 * (steps + 40.0) ** -0.5) * np.exp(noise * np.random.default_rng(seed).normal(size=len(steps)))


class Refusing(Inline):
    """Forecasts nothing: for tests of everything else."""

    def ask(self, question, schedule) -> None:
        self._answer = Answer(None, "not in this test", 0.0)
