"""Who may look, and what they get: real requests to a real server on this machine."""

import asyncio
import gzip
import json
import socket
import time

import pytest

from eigenflow.report.live.app import make_app
from eigenflow.report.live.board import Board
from eigenflow.report.live.guard import Access
from report.live.watched import Viewer, get, numbers, served, until

STATE = {"name": "a run", "step": 1, "curve": [[1, 2.0]], "alarms": []}
FOREIGN = [
    "evil.example",
    "evil.example:80",
    "127.0.0.1.evil.example",
    "localhost.evil.example:8765",
    "[::2]",
    "10.0.0.9",
    "",
]
KNOWN = ["127.0.0.1", "localhost", "LOCALHOST:1", "[::1]:8080", "127.0.0.1:9000"]


@pytest.fixture
def board():
    made = Board()
    made.publish(STATE)
    return made


@pytest.fixture
def port(board):
    with served(board) as number:
        yield number


@pytest.mark.parametrize("host", FOREIGN)
def test_foreign_names_are_refused(port, host):
    """A page of a stranger whose name points here asks under that name."""
    for path in ("/", "/state.json", "/events", "/plotly.js", "/nothing"):
        status, headers, body = get(port, path, host=host)
        assert status == 421 and b"a run" not in body and b"does not answer" in body
        assert "default-src 'none'" in headers["content-security-policy"]


def test_without_a_host_or_with_two_nothing_is_shown(port):
    for lines in (b"", b"Host: localhost\r\nHost: evil.example\r\n"):
        with socket.create_connection(("127.0.0.1", port), timeout=5) as raw:
            raw.sendall(b"GET /state.json HTTP/1.1\r\n" + lines + b"Connection: close\r\n\r\n")
            answer = b"".join(iter(lambda: raw.recv(4096), b""))
        assert answer.split()[1] in (b"400", b"421") and b"a run" not in answer


def test_two_names_are_refused_whatever_server_stands_before(board):
    """uvicorn refuses them itself; another server may hand them on."""
    guard, sent = make_app(board, Access.to("127.0.0.1", wants_token=False)), []
    scope = {"type": "http", "method": "GET", "path": "/state.json", "query_string": b""}
    headers = [(b"host", b"localhost"), (b"host", b"evil.example")]

    async def send(message):
        sent.append(message)

    asyncio.run(guard({**scope, "headers": headers}, None, send))
    assert sent[0]["status"] == 421


@pytest.mark.parametrize("host", KNOWN)
def test_this_machines_names_are_known_under_any_port(port, host):
    """Over SSH a browser asks for the port of its own end."""
    assert get(port, "/state.json", host=host)[0] == 200


def test_a_name_that_is_allowed_is_known(board):
    with served(board, access=Access.to("127.0.0.1", allowed=["Hub.example.org"], wants_token=False)) as port:
        assert get(port, host="hub.example.org:443")[0] == 200
        assert get(port, host="other.example.org")[0] == 421


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "MKCOL"])
def test_nothing_can_be_written(port, board, method):
    for path in ("/", "/state.json", "/events", "/live.js", "/new"):
        assert get(port, path, method=method)[0] == 405
    assert board.state == STATE


def test_every_answer_has_a_strict_policy(port):
    for path in ("/", "/live.css", "/live.js", "/plotly.js", "/state.json", "/nothing"):
        _, headers, _ = get(port, path)
        policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
        assert policy["default-src"] == "'none'" and policy["script-src"] == "'self'"
        assert policy["connect-src"] == "'self'" and policy["base-uri"] == policy["form-action"] == "'none'"
        assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in headers


def test_paths_lead_nowhere_but_to_the_routes(port):
    for path in (
        "/../../etc/passwd",
        "/%2e%2e/pyproject.toml",
        "/templates/live.js",
        "//evil.example/",
        "/state.json/",
    ):
        status, headers, body = get(port, path)
        assert status == 404 and b"root:" not in body, path


def test_page_asks_for_relative_addresses_only(port):
    """So it works below any path of a proxy."""
    page = get(port)[2].decode()
    script = get(port, "/live.js")[2].decode()
    assert 'href="live.css"' in page and 'src="live.js"' in page and 'src="plotly.js?' in page
    assert 'new EventSource("events")' in script
    assert "://" not in page + script and 'src="/' not in page and 'href="/' not in page


def test_script_never_makes_markup_of_text(port):
    script = get(port, "/live.js")[2].decode()
    for way in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "new Function",
        'setAttribute("on',
    ):
        assert way not in script


def test_plotly_is_served_packed_from_the_package(port):
    status, headers, body = get(port, "/plotly.js", Accept_Encoding="gzip")
    assert status == 200 and headers["content-encoding"] == "gzip"
    assert gzip.decompress(body) == get(port, "/plotly.js")[2] and b"plotly.js v" in gzip.decompress(body)[:300]


TOKENS = ["", "?token=", "?token=wrong", "?token=%00", "?other=1"]


def test_a_token_is_needed_once_and_then_a_cookie(board):
    access = Access.to("0.0.0.0", own_names=["node17"], wants_token=False)
    assert access.token is not None and len(access.token) >= 32
    with served(board, access=access) as port:
        for query in TOKENS:
            for path in ("/", "/events", "/state.json", "/plotly.js"):
                status, _, body = get(port, path + query, host="node17:80")
                assert status == 403 and b"a run" not in body and access.token.encode() not in body
        status, headers, _ = get(port, f"/?token={access.token}", host="node17")
        cookie, *rules = headers["set-cookie"].split("; ")
        assert status == 303 and headers["location"] == "./" and {"HttpOnly", "SameSite=Lax"} <= set(rules)
        assert get(port, host="node17")[0] == 403
        assert get(port, host="node17", Cookie=cookie)[0] == 200
        assert json.loads(get(port, "/state.json", Cookie=f"x=1; {cookie}")[2]) == STATE
        assert get(port, f"/state.json?token={access.token}")[0] == 200
        assert get(port, "/state.json", Cookie=cookie[:-1])[0] == 403
        assert get(port, "/state.json", Cookie=cookie, host="evil.example")[0] == 421


def test_two_servers_have_two_tokens():
    one, other = (Access.to("0.0.0.0", wants_token=False) for _ in range(2))
    assert one.token != other.token and one.cookie != other.cookie
    assert Access.to("127.0.0.1", wants_token=True).token is not None
    assert Access.to("::1", wants_token=False).token is None


def test_a_lost_connection_gets_exactly_what_it_missed(board, port):
    viewer = Viewer(port).connect()
    until(lambda: viewer.state == STATE, "the state")
    board.publish({**STATE, "step": 2, "curve": [[1, 2.0], [2, 1.9]]})
    until(lambda: viewer.state["step"] == 2, "a change")
    viewer.drop()
    for step in range(3, 8):
        board.publish({**STATE, "step": step, "curve": [[k, 2.0 - k / 20] for k in range(1, step + 1)]})
    before = len(viewer.events)
    viewer.connect()
    until(lambda: viewer.state["step"] == 7, "what was missed")
    missed = viewer.events[before:]
    assert [kind for kind, *_ in missed] == ["change"] * 5 and numbers(viewer) == [1, 2, 3, 4, 5, 6, 7]
    assert viewer.state == board.state
    viewer.drop()


@pytest.mark.parametrize(
    "brought", ["", "nonsense", "deadbeef-3", "-1", "x" * 5000, "{boot}-99", "{boot}--1", "{boot}-²"]
)
def test_who_brings_no_id_of_this_server_gets_the_whole_state(board, port, brought):
    first = Viewer(port).connect()
    until(lambda: first.events, "the state")
    boot = first.events[0][1].partition("-")[0]
    first.drop()
    viewer = Viewer(port, last_id=brought.replace("{boot}", boot).encode().decode("latin-1")).connect()
    until(lambda: viewer.events, "the state")
    assert viewer.events[0][0] == "state" and viewer.state == board.state
    viewer.drop()


def test_silence_is_broken_by_beats_with_the_servers_clock(board):
    with served(board, beats_s=0.05) as port:
        viewer = Viewer(port).connect()
        until(lambda: viewer.beats >= 3, "three beats")
        assert len(viewer.events) == 1
        viewer.drop()


def test_events_pass_through_buffering_proxies(port):
    with socket.create_connection(("127.0.0.1", port), timeout=5) as raw:
        raw.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head = raw.recv(4096).lower()
    assert b"x-accel-buffering: no" in head and b"cache-control: no-store" in head
    assert b"content-type: text/event-stream" in head


@pytest.mark.long
def test_a_slow_viewer_gets_the_newest_state_and_holds_up_nobody():
    board = Board(most_events=8)
    board.publish(STATE)
    with served(board, buffer_bytes=32_768) as port:
        quick = Viewer(port).connect()
        until(lambda: quick.state, "the state")
        slow = socket.create_connection(("127.0.0.1", port), timeout=20)
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        for step in range(2, 60):  # each changes the whole curve, 30 kB
            board.publish({**STATE, "step": step, "curve": [[k, step] for k in range(4000)]})
            until(lambda step=step: quick.state["step"] == step, "a change")
        received = bytearray()
        while b'"step":59' not in received[-200_000:]:
            received += slow.recv(2**16)
        slow.close()
        quick.drop()
    # The slow one got the first state, what was on its way, and then the newest state as a whole.
    assert numbers(quick) == list(range(1, 60))
    ids = [int(line.partition(b"-")[2]) for line in received.split(b"\n") if line.startswith(b"id: ")]
    kinds = [line for line in received.split(b"\n") if line.startswith(b"event: ")]
    assert ids == sorted(set(ids)) and ids[-1] == 59 and len(ids) < 40
    assert b"event: state" in kinds[1:]


def test_the_server_ends_while_viewers_look(board):
    started = time.monotonic()
    with served(board) as port:
        viewers = [Viewer(port).connect() for _ in range(5)]
        until(lambda: all(one.events for one in viewers), "the state")
    assert time.monotonic() - started < 10
    for one in viewers:
        one.thread.join(5)
        assert not one.thread.is_alive()
        one.drop()
