"""The main path in Firefox, where one is installed: the page opens, keys lead into it, a check is answered, axe is content."""

import shutil
from pathlib import Path

import pytest
from axe_playwright_python.base import AXE_SCRIPT

from tests.browser.firefox import ENTER, FIREFOX, TAB, firefox
from tests.browser.steps import CHECKED, FACTS

ERRORS = """window.addEventListener('error', event => {
    if (!event.message.startsWith('ResizeObserver loop')) (window.errors ??= []).push(event.message);
})"""
"""All but the notice that a part changed its size while sizes were told, which is told again in the next frame: no error."""
AXE = """(() => { axe.run({resultTypes: ['violations']}).then(found => { window.found = found.violations
    .filter(rule => ['serious', 'critical'].includes(rule.impact)).map(rule => rule.id); }); })()"""


@pytest.mark.skipif(shutil.which(FIREFOX) is None, reason="no firefox-esr is installed")
def test_a_secret_is_checked_in_firefox(address: str, tmp_path: Path) -> None:
    with firefox(tmp_path) as browser:
        browser.call("WebDriver:Navigate", url=address)
        browser.wait("document.querySelector('#examples label')")
        browser.run(ERRORS)
        browser.press(TAB, ENTER)
        browser.wait("document.activeElement.matches('#tabs [role=tab][aria-selected=true]')")
        browser.run("document.querySelector('#examples label').click()")
        browser.wait("document.querySelector('#value input, #value textarea').value")
        browser.run("[...document.querySelectorAll('#tabs [role=tab]')].find(tab => tab.innerText.includes('Check')).click()")
        browser.wait("document.querySelector('#check-start')")
        browser.run("document.querySelector('#check-start').focus()")
        browser.press(ENTER)
        browser.wait(FACTS.format("check-facts"))
        browser.wait(CHECKED)
        browser.run("[...document.querySelectorAll('button')].find(fold => fold.innerText.includes('Token by token')).click()")
        browser.wait("document.querySelector('#check-bars .main-svg')")
        browser.run(f"(() => {{ {AXE_SCRIPT} }})()")
        browser.run(AXE)
        browser.wait("window.found")
        assert browser.run("window.found") == []
        assert browser.run("window.errors ?? []") == []
