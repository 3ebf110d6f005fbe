"""The live page in a real browser: it draws, it follows, it warns, and nothing that a log says is ever run."""

import json

import numpy as np
import pytest

from eigenflow.forecast.live.engines import Inline
from eigenflow.report.live.board import Board
from eigenflow.report.live.guard import Access
from eigenflow.report.live.sources import ChosenSource
from eigenflow.report.live.watcher import Watcher
from eigenflow.store import RunWriter, Variable
from report.live.watched import losses, see, served
from report.recorded import EDGES, STEP_SIZE, eigenvalues_at

HOSTILE = "<img src=x onerror=\"document.title='ran'\"><script>document.title='ran'</script>"
TITLE = "return document.title"


class Shown:
    """A run folder that is watched by hand and served."""

    def __init__(self, folder, *, name="small", total=400):
        self.step, self.total = 0, total
        config = {"name": name, "train": {"steps": total}}
        self.writer = RunWriter.create(folder, header={"config": config, "probe": {"checksum": "a"}})
        self.board = Board()
        self.watcher = Watcher(ChosenSource(folder), self.board.publish, make_engine=Inline)

    def goes_on(self, count, *, is_finite=True):
        for loss in losses(np.arange(self.step, self.step + count) + 1.0).tolist():
            if self.step in (0, 20, 60, 100):
                values = {"eigenvalue": Variable(("mode",), eigenvalues_at(self.step * STEP_SIZE), "1 / time", "e")}
                constants = {"edge": Variable(("edge",), EDGES, "1 / time", "edges")}
                self.writer.append(self.step, values, constants=constants)
            row = {"step": self.step, "learning_rate": STEP_SIZE}
            self.writer.log({**row, "loss": loss} if is_finite else {**row, "loss": None, "reason": HOSTILE})
            self.step += 1
        self.writer.flush()
        see(self.watcher)

    def close(self):
        self.writer.close()
        self.watcher.close()


@pytest.fixture
def shown(tmp_path):
    run = Shown(tmp_path / "run")
    yield run
    run.close()


def is_drawn(figure):
    return f"return document.querySelector('#plot-{figure} .main-svg') !== null"


def shows(browser, step):
    browser.wait(f"return document.getElementById('step').textContent === '{step}'")
    browser.settle()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 768, 390])
def test_every_figure_is_drawn_and_no_text_lies_on_another(browser, shown, width, scheme):
    shown.goes_on(300)
    with served(shown.board) as port:
        browser.open(f"http://127.0.0.1:{port}/", width=width, scheme=scheme)
        for figure in ("loss", "trail", "modes"):
            browser.wait(is_drawn(figure))
        shows(browser, "300")
        assert browser.overlaps() == []
        assert browser.run("return document.documentElement.scrollWidth") <= width
        assert [text.words for text in browser.texts() if text.is_drawn and text.size < 9] == []
        assert browser.errors() == []
        places = {url.partition("?")[0] for url in browser.requests() if not url.startswith(("data:", "blob:"))}
        pages = {"", "live.css", "live.js", "plotly.js", "events"}
        assert places == {f"http://127.0.0.1:{port}/{page}" for page in pages}
        browser.open("about:blank")


def test_what_is_logged_is_seen_without_a_reload(browser, shown):
    shown.goes_on(100)
    with served(shown.board) as port:
        browser.open(f"http://127.0.0.1:{port}/")
        shows(browser, "100")
        title = browser.run(TITLE)
        assert title.startswith("step 100 · loss 2.") and title.endswith(" · small")
        browser.run("window.isSame = true")
        end = "return document.getElementById('plot-loss').data.find((one) => one.name === 'loss').x.at(-1)"
        assert browser.run(end) == 100
        shown.goes_on(150)
        shows(browser, "250")
        browser.wait(f"{end} === 250")
        assert browser.run(TITLE).startswith("step 250") and browser.run("return window.isSame")
        assert browser.run("return document.getElementById('of').textContent") == "of 400 updates"
        forecast = float(browser.run("return document.getElementById('end').textContent"))
        truth = float(losses(np.array([400.0]), noise=0.0)[0])
        assert forecast == pytest.approx(truth, rel=0.05)
        browser.open("about:blank")


def test_a_divergence_is_told(browser, shown):
    shown.goes_on(60)
    with served(shown.board) as port:
        browser.open(f"http://127.0.0.1:{port}/")
        shows(browser, "60")
        assert browser.run("return document.querySelectorAll('.alarm').length") == 0
        shown.goes_on(4, is_finite=False)
        browser.wait("return document.querySelectorAll('[role=alert] .alarm').length === 1")
        assert "divergence" in browser.run("return document.querySelector('.alarm').textContent")
        assert browser.run(TITLE).startswith("⚠ step 64")
        browser.open("about:blank")


def test_names_and_reasons_are_text(browser, tmp_path):
    run = Shown(tmp_path / HOSTILE.replace("/", "_"), name=HOSTILE)
    try:
        run.goes_on(60)
        state = {
            **run.board.state,
            "alarms": [dict.fromkeys(("kind", "sentence", "look_at"), HOSTILE)],
            "problem": HOSTILE,
        }
        state["alarms"][0] |= {"since": 1, "raised_at": 2}
        state["happened"] = [{"at": 0, "step": 1, "text": HOSTILE, "alarm": True}]
        state["events"], state["unit"] = [HOSTILE], HOSTILE
        state["forecast"] = {
            **state["forecast"],
            **dict.fromkeys(("told", "rates", "length"), HOSTILE),
            "cautions": [HOSTILE],
        }
        run.board.publish(json.loads(json.dumps(state)))
        with served(run.board) as port:
            browser.open(f"http://127.0.0.1:{port}/")
            shows(browser, "60")
            browser.wait(is_drawn("loss"))
            assert browser.run("return document.getElementById('name').textContent") == HOSTILE
            assert browser.run(TITLE).endswith(HOSTILE) and browser.run(TITLE) != "ran"
            assert browser.run("return document.querySelectorAll('body img, body script').length") == 0
            assert all("/x" not in url for url in browser.requests()) and browser.errors() == []
            browser.open("about:blank")
    finally:
        run.close()


def test_a_browser_comes_back_when_the_server_was_away(browser, shown):
    """The second server counts anew, so the page gets the whole state."""
    shown.goes_on(40)
    with served(shown.board) as port:
        browser.open(f"http://127.0.0.1:{port}/")
        shows(browser, "40")
    browser.wait("return document.getElementById('connection').textContent !== 'live'")
    shown.goes_on(30)
    again = Board()
    again.publish(shown.board.state)
    with served(again, port=port):
        shows(browser, "70")
        browser.wait("return document.getElementById('connection').textContent === 'live'")
        browser.open("about:blank")


def test_a_token_in_the_address_becomes_a_cookie(browser, shown):
    shown.goes_on(40)
    access = Access.to("127.0.0.1", wants_token=True)
    with served(shown.board, access=access) as port:
        browser.open(f"http://127.0.0.1:{port}/")
        assert "token is needed" in browser.run("return document.body.innerText")
        browser.open(f"http://127.0.0.1:{port}/?token={access.token}")
        shows(browser, "40")
        assert browser.run("return location.href") == f"http://127.0.0.1:{port}/"
        assert browser.errors() == []
        browser.open("about:blank")


def looked_at(browser, is_looked_at):
    """Without windows every page counts as seen, so the page is told otherwise."""
    told = "delete document.hidden;" if is_looked_at else "Object.defineProperty(document, 'hidden', HIDDEN);"
    hidden = "const HIDDEN = { get: () => true, configurable: true };"
    browser.run(f"{hidden} {told} document.dispatchEvent(new Event('visibilitychange'));")


def test_more_pages_than_a_browser_keeps_connections(browser, shown):
    """Six to one server are kept. Pages in the background let go of theirs, and their titles follow all the same."""
    shown.goes_on(40)
    driver, first = browser.driver, browser.driver.current_window_handle
    pages = []
    try:
        with served(shown.board) as port:
            for _ in range(8):
                driver.switch_to.new_window("tab")
                pages.append(driver.current_window_handle)
                browser.open(f"http://127.0.0.1:{port}/")
                shows(browser, "40")
                looked_at(browser, False)
            shown.goes_on(10)
            browser.wait(f"{TITLE}.startsWith('step 50')", seconds=25)
            assert browser.run("return events === null")
            driver.switch_to.window(pages[0])
            looked_at(browser, True)
            shows(browser, "50")
            browser.wait("return events !== null && events.readyState === EventSource.OPEN")
            shown.goes_on(10)
            shows(browser, "60")
    finally:
        for page in pages:
            driver.switch_to.window(page)
            driver.close()
        driver.switch_to.window(first)
