"""What a browser makes of a page: errors, requests, figures, and where every piece of text lies."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Browser", "Text"]

WAIT_S = 20
# Every line of visible text with its box in page coordinates; a formula, or a label of a figure, is one text.
_TEXTS = r"""
const found = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const owners = new Map();
while (walker.nextNode()) {
  const node = walker.currentNode, parent = node.parentElement;
  if (!node.data.trim() || parent.closest("script, style, noscript, template, .modebar, .hoverlayer")) continue;
  // Also what lies in a part that is folded away has a place.
  const seen = { contentVisibilityAuto: true, opacityProperty: true, visibilityProperty: true };
  if (!parent.checkVisibility(seen)) continue;
  const style = getComputedStyle(parent);
  let sticky = false;
  for (let up = parent; up; up = up.parentElement) {
    const of = getComputedStyle(up);
    if (of.position === "sticky" || of.position === "fixed" || Number(of.opacity) === 0 || of.clipPath !== "none")
      sticky = true;
  }
  if (sticky) continue;
  const owner = parent.closest("svg text, math, button") || node;
  if (!owners.has(owner)) owners.set(owner, owners.size);
  const range = document.createRange();
  range.selectNodeContents(node);
  const isDrawn = parent.closest("svg") !== null;
  for (const box of range.getClientRects()) {
    if (box.width < 1 || box.height < 1) continue;
    const scale = isDrawn && parent.getScreenCTM ? Math.abs(parent.getScreenCTM().a) || 1 : 1;
    found.push([owners.get(owner), node.data.trim().slice(0, 60), box.left + scrollX, box.top + scrollY,
      box.right + scrollX, box.bottom + scrollY, parseFloat(style.fontSize) * scale, isDrawn]);
  }
}
return found;
"""

# Figures that are not folded away are drawn.
_DRAWN = """
const plots = [...document.querySelectorAll(".plot[data-spec]")].filter((plot) => plot.checkVisibility());
return plots.every((plot) => plot.querySelector(".main-svg") !== null);
"""


@dataclass(frozen=True)
class Text:
    """One line of text.

    Attributes:
        owner: The same for what belongs together, as the parts of a formula.
        words: Its beginning.
        left, top, right, bottom: In CSS pixels of the page.
        size: Of the letters, in pixels as they are seen.
        is_drawn: Whether it stands in a figure.
    """

    owner: int
    words: str
    left: float
    top: float
    right: float
    bottom: float
    size: float
    is_drawn: bool

    def overlaps(self, other: "Text") -> bool:
        """Whether letters of both share ground: boxes, without the blank above and below letters."""
        if self.owner == other.owner:
            return False
        across = min(self.right, other.right) - max(self.left, other.left)
        inset = 0.15 * (self.bottom - self.top), 0.15 * (other.bottom - other.top)
        down = min(self.bottom - inset[0], other.bottom - inset[1]) - max(self.top + inset[0], other.top + inset[1])
        return across > 1.5 and down > 1.0


class Browser:
    """A driven browser.

    Attributes:
        driver: Selenium's.
    """

    def __init__(self, driver: Any):
        self.driver = driver

    def open(self, where: Path | str, *, width: int = 1400, height: int = 900, scheme: str = "light") -> None:
        """Open a page and wait until all of its figures are drawn."""
        self.driver.get("about:blank")
        for kind in ("browser", "performance"):
            self.driver.get_log(kind)
        self.resize(width, height)
        self.media(scheme)
        self.driver.get(where.resolve().as_uri() if isinstance(where, Path) else where)
        self.wait("return document.readyState === 'complete'")
        self.wait(_DRAWN)

    def resize(self, width: int, height: int = 900) -> None:
        """The size of the window's inside, also below what a window may have."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def media(self, scheme: str = "light", kind: str = "screen") -> None:
        """The reader's wish, `light` or `dark`, and `screen` or `print`."""
        features = [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": kind, "features": features})

    def run(self, script: str, *arguments: Any) -> Any:
        """What a script returns."""
        return self.driver.execute_script(script, *arguments)

    def wait(self, condition: str, seconds: float = WAIT_S) -> None:
        """Until a script returns something true."""
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.driver, seconds, poll_frequency=0.05).until(lambda driver: driver.execute_script(condition))

    def errors(self) -> list[str]:
        """What the console was told since the page was opened, warnings included."""
        rows = self.driver.get_log("browser")
        return [row["message"] for row in rows if row["level"] in ("SEVERE", "WARNING")]

    def requests(self) -> list[str]:
        """What was asked for since the page was opened."""
        messages = [json.loads(row["message"])["message"] for row in self.driver.get_log("performance")]
        sent = [one["params"]["request"]["url"] for one in messages if one["method"] == "Network.requestWillBeSent"]
        return [url for url in sent if url != "about:blank"]

    def texts(self) -> list[Text]:
        """Every line of text that is seen, of opened and unfolded parts."""
        return [Text(*row) for row in self.run(_TEXTS)]

    def overlaps(self) -> list[tuple[str, str]]:
        """Pairs of texts that lie on each other."""
        texts = sorted(self.texts(), key=lambda text: text.top)
        found = []
        for place, one in enumerate(texts):
            for other in texts[place + 1 :]:
                if other.top >= one.bottom:
                    break
                if one.overlaps(other):
                    found.append((one.words, other.words))
        return found

    def hover(self, key: str, share: float) -> tuple[float, float]:
        """Move the pointer into a figure, this share of its width from the left; returns where."""
        x, y = self.run(
            "const drag = document.querySelector(`#figure-${arguments[0]} .nsewdrag`);"
            "drag.scrollIntoView({block: 'center'});"
            "const box = drag.getBoundingClientRect();"
            "return [box.left + arguments[1] * box.width, box.top + box.height / 2]",
            key,
            share,
        )
        for step in (0, 2):  # plotly takes the second move for hovering
            self.driver.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseMoved", "x": x + step, "y": y})
            self.settle()
        return x, y

    def require_clean(self, width: int) -> None:
        """No text on another or too small to read, nothing wider than the window, no error, nothing asked for."""
        assert self.overlaps() == []
        assert self.run("return document.documentElement.scrollWidth") <= width
        assert [text.words for text in self.texts() if text.is_drawn and text.size < 10] == []
        assert self.errors() == []
        assert {url.split(":")[0] for url in self.requests()} <= {"file", "data", "blob"}

    def unfold(self) -> None:
        """Open every part that folds, and let figures take their place."""
        self.run("for (const one of document.querySelectorAll('details')) one.open = true;")
        self.settle()
        self.wait(_DRAWN)

    def settle(self) -> None:
        """Two frames, and whatever resizing has asked for."""
        self.driver.execute_async_script(
            "const frame = requestAnimationFrame; setTimeout(() => frame(() => frame(arguments[0])), 250);"
        )

    def picture(self, path: Path) -> Path:
        """The whole page as PNG."""
        import base64

        size = self.driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 16000), "scale": 1}
        told = {"captureBeyondViewport": True, "clip": clip}
        path.write_bytes(base64.b64decode(self.driver.execute_cdp_cmd("Page.captureScreenshot", told)["data"]))
        return path

    def printed(self, path: Path) -> Path:
        """The page as it is printed on A4, as PDF."""
        import base64

        told = {"printBackground": True, "paperWidth": 8.27, "paperHeight": 11.69, "preferCSSPageSize": True}
        path.write_bytes(base64.b64decode(self.driver.execute_cdp_cmd("Page.printToPDF", told)["data"]))
        return path
