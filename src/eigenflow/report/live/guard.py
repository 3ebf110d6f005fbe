"""Who may look: the names under which the server answers, a token where others could reach it, and headers on all."""

import ipaddress
import secrets
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

__all__ = ["Access", "Guard", "is_loopback"]

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# Scripts, requests and pictures of this server alone. plotly sets styles of single elements, which needs
# 'unsafe-inline' for styles; no text of a log is ever one.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
METHODS = ("GET", "HEAD")
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that is bound to a host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Access:
    """Rules of who may look.

    Attributes:
        names: Host names under which the server answers. A page of a stranger whose name was turned to this machine's
            address (DNS rebinding) asks under the stranger's name.
        any_address: Whether bare addresses are answered, as they are no names that could be turned.
        token: What a viewer must know; None for no token.
        cookie: Name of the cookie that carries it after the first request.
    """

    names: frozenset[str]
    any_address: bool
    token: str | None
    cookie: str = field(default_factory=lambda: f"eigenflow-{secrets.token_hex(4)}")

    @classmethod
    def to(
        cls, host: str, *, own_names: Iterable[str] = (), allowed: Iterable[str] = (), wants_token: bool
    ) -> "Access":
        """The rules of a server that is bound to a host."""
        is_local = is_loopback(host)
        names = {*LOCAL_NAMES, *(name.lower() for name in allowed)}
        names |= set() if is_local else {host.lower(), *(name.lower() for name in own_names)}
        token = None if is_local and not wants_token else secrets.token_urlsafe(24)
        return cls(frozenset(names), not is_local, token)

    def knows_host(self, header: str) -> bool:
        """Whether a Host header is one of this server's."""
        name = host_of(header)
        if name in self.names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return self.any_address or address.is_loopback

    def knows(self, presented: str | None) -> bool:
        """Whether a token is the right one."""
        return self.token is None or secrets.compare_digest((presented or "").encode(), self.token.encode())


class Guard:
    """Lets through to an app only what reads, under a known name, with the token."""

    def __init__(self, app: App, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer or refuse one request."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await receive()
                await send({"type": "websocket.close", "code": 1008})
                return
            await self._app(scope, receive, send)
            return
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1 or not self._access.knows_host(hosts[0]):
            await refuse(send, 421, _foreign(hosts))
        elif scope["method"] not in METHODS:
            await refuse(send, 405, "This server only shows.", {"allow": ", ".join(METHODS)})
        elif self._access.token is None or self._access.knows(cookie_of(scope, self._access.cookie)):
            await self._app(scope, receive, guarded(send))
        else:
            await self._with_token(scope, receive, send)

    async def _with_token(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if not self._access.knows(given):
            await refuse(send, 403, "A token is needed: open the whole address that `eigenflow watch` has printed.")
        elif scope["path"] == "/":
            # The token leaves the address bar; a cookie for this place carries it on.
            cookie = f"{self._access.cookie}={self._access.token}; HttpOnly; SameSite=Lax"
            await refuse(send, 303, "", {"location": "./", "set-cookie": cookie})
        else:
            await self._app(scope, receive, guarded(send))


def guarded(send: Send) -> Send:
    """A `send` that adds the headers of safety."""

    async def sender(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            known = {name for name, _ in message.get("headers", [])}
            added = [(name.encode(), value.encode()) for name, value in HEADERS.items() if name.encode() not in known]
            message = {**message, "headers": [*message.get("headers", []), *added]}
        await send(message)

    return sender


async def refuse(send: Send, status: int, text: str, headers: dict[str, str] | None = None) -> None:
    """Answer with a line of plain text."""
    told = {"content-type": "text/plain; charset=utf-8", "cache-control": "no-store", **(headers or {})}
    start = {"type": "http.response.start", "status": status}
    lines = [(name.encode(), value.encode("latin-1", "replace")) for name, value in told.items()]
    await guarded(send)({**start, "headers": lines})
    await send({"type": "http.response.body", "body": f"{text}\n".encode() if text else b""})


def host_of(header: str) -> str:
    """The name in a Host header, without port and brackets."""
    header = header.strip().lower()
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.rpartition(":")[0] if header.count(":") == 1 else header


def cookie_of(scope: Scope, name: str) -> str | None:
    """A cookie of a request."""
    jar: SimpleCookie = SimpleCookie()
    for key, value in scope["headers"]:
        if key == b"cookie":
            try:
                jar.load(value.decode("latin-1"))
            except CookieError:
                continue
    return jar[name].value if name in jar else None


def _foreign(hosts: list[str]) -> str:
    came = ascii(host_of(hosts[0])[:80]) if len(hosts) == 1 else "none, or several"
    return f"This server does not answer under the name {came}. If it is a proxy of yours: --allow-host NAME."
