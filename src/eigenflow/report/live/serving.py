"""A watched run on a port: reader, forecasts, server, from start to Ctrl-C."""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass

import uvicorn

from eigenflow.core.errors import ArgumentError
from eigenflow.report.live.app import make_app
from eigenflow.report.live.board import Board
from eigenflow.report.live.guard import Access, is_loopback
from eigenflow.report.live.sources import Source
from eigenflow.report.live.watcher import Watcher

__all__ = ["Place", "serve"]

# Seconds that open connections have to end in.
ENDS_S = 2
LOOKS_S = 0.1
WAITING_CONNECTIONS = 256


@dataclass(frozen=True)
class Place:
    """Where to listen, and who may look.

    Attributes:
        host: Address to bind to.
        port: 0 for any that is free.
        allowed: More names under which to answer, such as that of a proxy.
        wants_token: Whether a token is needed on this machine's own address too; elsewhere it always is.
    """

    host: str = "127.0.0.1"
    port: int = 0
    allowed: tuple[str, ...] = ()
    wants_token: bool = False


def serve(
    source: Source,
    place: Place,
    *,
    started: Callable[[str], None],
    every_s: float = 1.0,
    total: int | None = None,
    law: str = "transport",
) -> None:
    """Watch a run and show it until Ctrl-C.

    Args:
        source: The run.
        place: Where to listen.
        started: Called with the address, token included, when the server listens.
        every_s: Seconds between two looks at the run.
        total: Updates in all, where the user says it.
        law: The law that forecasts fit.

    Raises:
        ArgumentError: If the system lets nobody listen there.
    """
    listening = listen(place.host, place.port)
    port = listening.getsockname()[1]
    own_names = () if is_loopback(place.host) else (socket.gethostname(), socket.getfqdn())
    access = Access.to(place.host, own_names=own_names, allowed=place.allowed, wants_token=place.wants_token)
    board = Board()
    watcher = Watcher(source, board.publish, every_s=every_s, total=total, law=law)
    config = uvicorn.Config(
        make_app(board, access),
        log_level="critical",
        access_log=False,
        lifespan="off",
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=ENDS_S,
        h11_max_incomplete_event_size=16_384,
    )
    watcher.start()
    try:
        started(address_of(place.host, port, access.token))
        asyncio.run(_serve(uvicorn.Server(config), listening, board))
    except KeyboardInterrupt:
        pass
    finally:
        watcher.close()
        listening.close()


async def _serve(server: uvicorn.Server, listening: socket.socket, board: Board) -> None:
    """Serve until a signal comes; streams are ended first, or the server would wait for them."""

    async def end_streams() -> None:
        while not server.should_exit:
            await asyncio.sleep(LOOKS_S)
        board.close()

    ending = asyncio.create_task(end_streams())
    await server.serve(sockets=[listening])
    await ending


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        ArgumentError: If the system refuses.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=WAITING_CONNECTIONS)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ArgumentError(
            f"Nothing can listen on `--host` {host} `--port` {port}: {reason}. Take another port, or --port 0 for any "
            f"that is free."
        ) from None


def address_of(host: str, port: int, token: str | None) -> str:
    """What to open in a browser."""
    name = socket.gethostname() if host in ("0.0.0.0", "::") else host
    place = f"http://[{name}]:{port}/" if ":" in name else f"http://{name}:{port}/"
    return place if token is None else f"{place}?token={token}"
