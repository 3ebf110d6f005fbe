"""What all viewers see: the newest state, and the last changes by number, in bounded memory.

A viewer is a place in this list, not a queue: who is a little behind gets exactly the changes that were missed, who is
far behind the newest state, and nothing ever waits in memory for a slow one.
"""

import json
import secrets
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["Board", "Event", "changed", "changes"]

# Changes that are kept, and their size in all.
MOST_EVENTS, MOST_BYTES = 256, 4 * 2**20


class Event(NamedTuple):
    """A message to viewers.

    Attributes:
        number: Of the change after which it holds.
        content: As a server-sent event.
    """

    number: int
    content: bytes


class Board:
    """Holds the state; one thread publishes, any number reads.

    Args:
        most_events: Changes that are kept.
    """

    def __init__(self, most_events: int = MOST_EVENTS) -> None:
        # Tells numbers of this server from those of one that ran before.
        self._boot = secrets.token_hex(4)
        self._lock = threading.Lock()
        self._events: deque[Event] = deque(maxlen=most_events)
        self._bytes = 0
        self._state: dict[str, Any] = {}
        self._whole: Event | None = None
        self._listeners: list[Callable[[], None]] = []
        self.number = 0
        self.is_closed = False

    @property
    def state(self) -> dict[str, Any]:
        """The newest state; not to be changed."""
        return self._state

    @property
    def kept_bytes(self) -> int:
        """Size of the changes that are kept."""
        return self._bytes

    def publish(self, state: dict[str, Any]) -> None:
        """Take a state; viewers are told if it differs from the last one."""
        with self._lock:
            change = changes(self._state, state)
            if not change:
                return
            self._state, self._whole, self.number = state, None, self.number + 1
            event = Event(self.number, self._encoded("change", self.number, change))
            if len(self._events) == self._events.maxlen:
                self._bytes -= len(self._events.popleft().content)
            self._events.append(event)
            self._bytes += len(event.content)
            while self._bytes > MOST_BYTES and len(self._events) > 1:
                self._bytes -= len(self._events.popleft().content)
        self._tell()

    def close(self) -> None:
        """Tell viewers that the server ends."""
        self.is_closed = True
        self._tell()

    def listen(self, listener: Callable[[], None]) -> None:
        """Have something called, from any thread, whenever there is news."""
        self._listeners.append(listener)

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()

    def after(self, number: int | None) -> list[Event]:
        """What a viewer needs who has seen the change of a number, or nothing: changes, or the whole state."""
        with self._lock:
            if number == self.number:
                return []
            oldest = self._events[0].number if self._events else self.number + 1
            if number is not None and oldest - 1 <= number < self.number:
                return [event for event in self._events if event.number > number]
            if self._whole is None:
                self._whole = Event(self.number, self._encoded("state", self.number, self._state))
            return [self._whole]

    def number_of(self, last_event_id: str | None) -> int | None:
        """The number in an id that a viewer brings back; None if it is not one of this server."""
        boot, _, number = (last_event_id or "").partition("-")
        if boot != self._boot or not (number.isascii() and number.isdigit()) or len(number) > 15:
            return None
        return int(number) if int(number) <= self.number else None

    def _encoded(self, kind: str, number: int, value: dict[str, Any]) -> bytes:
        # JSON has no line ends, so an event is one line, whatever texts hold.
        text = json.dumps(value, allow_nan=False, separators=(",", ":"))
        return f"event: {kind}\nid: {self._boot}-{number}\ndata: {text}\n\n".encode()


def changes(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """What leads from one state to the next.

    Args:
        before: A state.
        now: The next one, which has all of its keys.

    Returns:
        New values by key under `set`; under `grow`, of lists that share their beginning, how many entries stay and
        which come after them. Nothing where nothing changed.
    """
    told: dict[str, Any] = {}
    for key, value in now.items():
        old = before.get(key)
        if key in before and old == value:
            continue
        if isinstance(value, list) and isinstance(old, list):
            told.setdefault("grow", {})[key] = [kept := _common(old, value), value[kept:]]
        else:
            told.setdefault("set", {})[key] = value
    return told


def changed(before: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """The state after a change; what the page does, too."""
    grown = {key: [*before[key][:kept], *added] for key, (kept, added) in change.get("grow", {}).items()}
    return {**before, **change.get("set", {}), **grown}


def _common(old: list[Any], new: list[Any]) -> int:
    count = min(len(old), len(new))
    return next((k for k in range(count) if old[k] != new[k]), count)
