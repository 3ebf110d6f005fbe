"""Many viewers in one thread: each reads events from a socket of its own, drops it at times, and comes back."""

import asyncio
import contextlib
import json
import time
from dataclasses import dataclass, field
from typing import Any

from eigenflow.report.live.board import changed

__all__ = ["AsyncViewer"]

LONGEST = 2**24


@dataclass
class AsyncViewer:
    """A viewer of a live page's events.

    Attributes:
        port: Of the server, on this machine.
        seen: Kind and number of every event, and when it came, in the order of arrival.
        state: That the events make.
        received: Bytes.
        connections: How often it has connected.
        wrong: What must not happen: a change that does not follow the one before it.
    """

    port: int
    seen: list[tuple[str, int, float]] = field(default_factory=list)
    state: dict[str, Any] = field(default_factory=dict)
    received: int = 0
    connections: int = 0
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._id: str | None = None
        self._is_wanted = True
        self._writer: asyncio.StreamWriter | None = None

    @property
    def number(self) -> int:
        """Of the last event."""
        return self.seen[-1][1] if self.seen else 0

    async def watch(self) -> None:
        """Read until `leave`; what breaks off is taken up again with the last id."""
        while self._is_wanted:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self._once()
            await asyncio.sleep(0.05)

    def drop(self) -> None:
        """Lose the connection, as a browser whose network fails."""
        if self._writer is not None:
            self._writer.transport.abort()

    def leave(self) -> None:
        """End."""
        self._is_wanted = False
        self.drop()

    async def _once(self) -> None:
        reader, self._writer = await asyncio.open_connection("127.0.0.1", self.port, limit=LONGEST)
        self.connections += 1
        brought = "" if self._id is None else f"Last-Event-ID: {self._id}\r\n"
        self._writer.write(f"GET /events HTTP/1.1\r\nHost: localhost\r\n{brought}\r\n".encode())
        kind, place = "", ""
        try:
            while line := await reader.readline():
                self.received += len(line)
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name == "event":
                    kind = value
                elif name == "id":
                    place = value
                elif name == "data" and kind in ("state", "change"):
                    self._take(kind, place, json.loads(value))
        finally:
            self._writer.close()

    def _take(self, kind: str, place: str, value: Any) -> None:
        number = int(place.partition("-")[2])
        if kind == "change" and number != self.number + 1:
            self.wrong.append(f"change {number} after {self.number}")
        if kind == "state" and number < self.number:
            self.wrong.append(f"state {number} after {self.number}")
        self._id = place
        self.seen.append((kind, number, time.monotonic()))
        self.state = value if kind == "state" else changed(self.state, value)
