"""A real browser: Debian's Chromium without a window, driven through chromedriver."""

import shutil
import tempfile
import warnings

import pytest

from browser.browsing import Browser

OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
)


@pytest.fixture(scope="session")
def browser():
    """Skipped, loudly, where there is no Chromium: `make test-browser` installs it where it may."""
    chromium, driver = shutil.which("chromium") or shutil.which("chromium-browser"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        reason = "no chromium and chromedriver here: NO PAGE WAS OPENED IN A BROWSER. Install both: make test-browser"
        warnings.warn(reason, stacklevel=1)
        pytest.skip(reason)
    selenium = pytest.importorskip("selenium.webdriver")
    with tempfile.TemporaryDirectory() as profile:
        options = selenium.ChromeOptions()
        options.binary_location = chromium
        for option in (*OPTIONS, f"--user-data-dir={profile}"):
            options.add_argument(option)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        driven = selenium.Chrome(options, selenium.ChromeService(driver))
        try:
            yield Browser(driven)
        finally:
            driven.quit()
