"""Server-sent events: each viewer goes through the board at its own pace."""

import asyncio
import json
import time
from typing import Any

from eigenflow.report.live.board import Board

__all__ = ["EventStream"]

# Seconds between signs of life; after as many without being able to send, a viewer is given up.
BEATS_S, GIVES_UP_S = 10.0, 60.0
# After so many milliseconds a browser comes again when the connection is lost.
RETRY_MS = 2000
MOST_VIEWERS = 500

HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
    (b"connection", b"keep-alive"),
)


class EventStream:
    """Answers requests for events, as an ASGI app.

    Args:
        board: What is shown.
        beats_s: Seconds between signs of life.
    """

    def __init__(self, board: Board, beats_s: float = BEATS_S) -> None:
        self._board, self._beats_s = board, beats_s
        self._loop: asyncio.AbstractEventLoop | None = None
        self._news = asyncio.Event()
        self.viewers = 0
        board.listen(self._from_thread)

    def _from_thread(self) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        # Who waits keeps the old event, who comes later waits for the new one.
        self._news.set()
        self._news = asyncio.Event()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Send events until the viewer goes or the server ends."""
        self._loop = asyncio.get_running_loop()
        if self.viewers >= MOST_VIEWERS:
            headers = [(b"retry-after", b"30"), (b"content-type", b"text/plain")]
            await send({"type": "http.response.start", "status": 503, "headers": headers})
            await send({"type": "http.response.body", "body": f"{MOST_VIEWERS} viewers are the most.\n".encode()})
            return
        await send({"type": "http.response.start", "status": 200, "headers": list(HEADERS)})
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body", "body": b""})
            return
        brought = next((value.decode("latin-1") for key, value in scope["headers"] if key == b"last-event-id"), None)
        self.viewers += 1
        sending = asyncio.ensure_future(self._send_all(send, self._board.number_of(brought)))
        leaving = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.viewers -= 1
            for task in (sending, leaving):
                task.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)

    async def _send_all(self, send: Any, number: int | None) -> None:
        await self._sent(send, f"retry: {RETRY_MS}\n\n".encode())
        while not self._board.is_closed:
            news = self._news  # before the board is read, so that nothing falls between
            events = self._board.after(number)
            if events:
                number = events[-1].number
                await self._sent(send, b"".join(event.content for event in events))
                continue
            try:
                await asyncio.wait_for(news.wait(), self._beats_s)
            except TimeoutError:
                await self._sent(send, self._beat())
        await send({"type": "http.response.body", "body": b"event: end\ndata: {}\n\n", "more_body": False})

    async def _sent(self, send: Any, content: bytes) -> None:
        # Returns when the system has taken it; until then nothing more is prepared for this viewer.
        message = {"type": "http.response.body", "body": content, "more_body": True}
        await asyncio.wait_for(send(message), GIVES_UP_S)

    def _beat(self) -> bytes:
        return f"event: beat\ndata: {json.dumps({'now': round(time.time(), 1)})}\n\n".encode()


async def _left(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
