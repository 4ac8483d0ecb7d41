"""Chromium on the served page. The page is that of tests/ui; every request of the browser is written down."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlparse

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser.steps import Visit
from tests.ui.conftest import address, outward, pytest_configure

__all__ = ["address", "outward", "pytest_configure"]

CHROMIUM = "/usr/bin/chromium"
SWITCHES = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run", "--disable-component-update",
            "--disable-sync"]  # fmt: skip
TOASTS = """
    window.toasts = [];
    const write = () => document.querySelectorAll('.toast-body').forEach(toast => {
        if (!window.toasts.includes(toast.innerText)) window.toasts.push(toast.innerText);
    });
    new MutationObserver(write).observe(document, {childList: true, subtree: true, characterData: true});
"""
"""Writes down what every toast says, also when its words change: one is gone after seconds, and a busy machine looks later."""
PATIENCE = 120_000
"""Milliseconds; generous, because nothing is timed."""


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        yield chromium
        chromium.close()


@contextmanager
def arrived(browser: Browser, address: str) -> Iterator[Visit]:
    """A visitor with a browser session of their own."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENCE)
    context.add_init_script(TOASTS)
    page = context.new_page()
    seen = Visit(page)
    page.on("request", lambda request: seen.hosts.add(urlparse(request.url).hostname or ""))
    page.on("dialog", lambda dialog: (seen.dialogs.append(dialog.message), dialog.dismiss()))
    page.on("pageerror", lambda error: seen.errors.append(str(error)))
    page.goto(address)
    page.wait_for_selector("#examples label")
    yield seen
    context.close()


@pytest.fixture
def visit(browser: Browser, address: str) -> Iterator[Visit]:
    """A fresh visitor on the page."""
    with arrived(browser, address) as seen:
        yield seen


@pytest.fixture
def other(browser: Browser, address: str) -> Iterator[Visit]:
    """Another visitor on the same page at the same time."""
    with arrived(browser, address) as seen:
        yield seen
