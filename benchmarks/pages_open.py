"""How long does a page take to open in a real browser, and what does it weigh?

Each page is opened in a Chromium with a fresh profile, several times: seconds until the document is read, until it has
loaded, and until its first figure is drawn.

Run:  python benchmarks/pages_open.py runs/digits/report.html [more pages ...]     (needs chromium and chromedriver)
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from statistics import median

from selenium import webdriver

from _machine import write

OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
           "--disable-component-update", "--disable-sync", "--window-size=1400,1000")  # fmt: skip
TIMES = "const t = performance.getEntriesByType('navigation')[0]; return [t.domInteractive, t.loadEventEnd];"
DRAWN = "return document.querySelectorAll('.js-plotly-plot .main-svg').length > 0"
LIMIT_S = 60.0


def opened(page: Path) -> dict[str, float]:
    """Seconds of one opening."""
    with tempfile.TemporaryDirectory() as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium") or shutil.which("chromium-browser") or ""
        for option in (*OPTIONS, f"--user-data-dir={profile}"):
            options.add_argument(option)
        browser = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
        try:
            begun = time.perf_counter()
            browser.get(page.resolve().as_uri())
            while not browser.execute_script(DRAWN) and time.perf_counter() - begun < LIMIT_S:
                time.sleep(0.02)
            drawn = time.perf_counter() - begun
            read, loaded = browser.execute_script(TIMES)
            return {"read_s": read / 1e3, "loaded_s": loaded / 1e3, "first_figure_s": drawn}
        finally:
            browser.quit()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pages", type=Path, nargs="+")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    rows = []
    for page in arguments.pages:
        times = [opened(page) for _ in range(arguments.repeats)]
        medians = {name: round(median(one[name] for one in times), 3) for name in times[0]}
        rows.append({"page": page.name, "mb": round(page.stat().st_size / 1e6, 2), **medians})
        print(rows[-1], flush=True)
    print(f"Result: {write('pages_open', rows, 'plotly', 'selenium', goal_s=3, goal_mb=6)}")


if __name__ == "__main__":
    main()
