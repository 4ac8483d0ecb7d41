"""The lines above results: one request tells all of them after another secret, and each hears of its own tab's settings."""

import gc
from collections.abc import Iterator
from typing import Any

import gradio as gr
import pytest

from privlens.errors import BadInput
from privlens.ui.state.freshness import Strips, strip


@pytest.fixture
def warned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    said: list[str] = []
    monkeypatch.setattr(gr, "Warning", lambda message, **_: said.append(message))
    return said


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """A secret and two tabs: the first has a seed, the second cannot be told without a secret."""
    monkeypatch.setattr("gradio.blocks.App.create_app", lambda *_, **__: None)  # as in test_forms
    with gr.Blocks() as blocks:
        secret, seed = gr.Textbox(), gr.Number()
        lines, strips = [strip("first"), strip("second")], Strips()

        def second(given: Any) -> dict[str, str]:
            if not given[secret]:
                raise BadInput("Type <a> secret.")
            return {"text": given[secret]}

        strips.watch(([secret.change, seed.change], lambda given: {"text": f"seed {given[seed]}"}, {secret, seed}), lines[0])
        strips.watch(([secret.change], second, {secret}), lines[1])
        strips.wire([secret.change])
    yield {"blocks": blocks, "secret": secret, "seed": seed, "lines": lines}
    gc.collect()  # as in tests/ui/conftest.py


def after(page: dict[str, Any], part: str) -> Any:
    """The one listener after a change of this part."""
    [listener] = [fn for fn in page["blocks"].fns.values() if (page[part]._id, "change") in fn.targets]
    return listener


def test_one_request_tells_all_of_another_secret_and_a_setting_only_its_own(page: dict[str, Any]) -> None:
    first, second = page["lines"]
    told = after(page, "secret").fn({page["secret"]: "417", page["seed"]: 3})
    assert {line: update["value"] for line, update in told.items()} == {first: {"text": "seed 3"}, second: {"text": "417"}}
    assert (set(after(page, "secret").inputs), after(page, "secret").outputs) == ({page["secret"], page["seed"]}, [first, second])
    assert after(page, "seed").outputs == [first]
    assert len(page["blocks"].fns) == 2


def test_what_one_strip_cannot_tell_is_said_and_the_other_is_told(page: dict[str, Any], warned: list[str]) -> None:
    told = after(page, "secret").fn({page["secret"]: "", page["seed"]: 3})
    assert list(told) == [page["lines"][0]]
    assert warned == ["Type &lt;a&gt; secret."]
