"""Headless Chromium, as a test drives it."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PATIENCE_S = 60
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1600,1100"),
    # It speaks to this host alone.
    *("--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update"),
    "--disable-sync",
)


class Browser:
    """One window. What it looks for it waits for, for a page here is drawn long after it has been loaded."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver

    def open(self, url: str) -> None:
        """Loads the page afresh, even where only the part behind the # differs."""
        self._driver.get("about:blank")
        self._driver.get(url)

    def remember(self, origin: str, **items: str) -> None:
        """Puts items into the local storage of an origin."""
        self._driver.get(origin)
        for key, value in items.items():
            self._driver.execute_script("localStorage.setItem(arguments[0], arguments[1])", key, value)

    def find(self, xpath: str) -> Any:
        """The first element that is there and shown."""
        return self.until(lambda: next((each for each in self.all(xpath) if each.is_displayed()), None), xpath)

    def all(self, xpath: str) -> list[Any]:
        return list(self._driver.find_elements("xpath", xpath))

    def frame(self, element: Any) -> None:
        """Looks into a frame of the page; None: at the page again."""
        self._driver.switch_to.default_content()
        if element is not None:
            self._driver.switch_to.frame(element)

    def script(self, text: str, *arguments: Any) -> Any:
        return self._driver.execute_script(text, *arguments)

    def until(self, condition: Any, what: str) -> Any:
        """What the condition gives, once it gives something; elements that are redrawn meanwhile are asked again."""
        from selenium.common.exceptions import StaleElementReferenceException, TimeoutException
        from selenium.webdriver.support.ui import WebDriverWait

        try:
            stale = [StaleElementReferenceException]
            return WebDriverWait(self._driver, PATIENCE_S, ignored_exceptions=stale).until(lambda _: condition())
        except TimeoutException:
            text = self._driver.find_element("tag name", "body").text
            pytest.fail(f"{self._driver.current_url}: no {what}; it says:\n{text[:2000]}")

    def picture(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        assert self._driver.save_screenshot(str(path))


@contextmanager
def chromium():
    """A browser, where this host has one: Debian's packages chromium and chromium-driver."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not program or not driver:
        pytest.skip("needs Chromium: apt-get install chromium chromium-driver")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = program
    with tempfile.TemporaryDirectory(prefix="vbench-chromium-", ignore_cleanup_errors=True) as profile:
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        window = webdriver.Chrome(options=options, service=Service(driver))
        try:
            yield Browser(window)
        finally:
            window.quit()
