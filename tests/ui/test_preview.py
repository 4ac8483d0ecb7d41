"""The preview of a localization: it comes before the gates, is called one, goes when they close, and changes nothing."""

import gc
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from privlens.errors import Cancelled
from privlens.lm.model import LanguageModel
from privlens.localization import METHOD_INFO, METHODS, TRAINED, Task, gradients
from privlens.localization.stepwise import stepwise
from privlens.types import LocalizationStep, NeuronScores
from privlens.ui import build_cache, build_ui
from privlens.ui.state.pace import Pace
from privlens.ui.tabs.localize import live, tab
from privlens.ui.text import en
from tests.helpers import TAUGHT
from tests.ui.test_forms import Pressed

SECRET = {"prompt": TAUGHT[0].prompt, "value": TAUGHT[0].value, "keep": "none"}


@pytest.fixture
def pressed(taught_folder: str) -> Iterator[Pressed]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gradio.blocks.App.create_app", lambda *_, **__: None)  # as in test_forms
        page = build_ui(build_cache(taught_folder, "cpu"))
    yield Pressed(page)
    gc.collect()


def scores_of(pressed: Pressed, method: str) -> NeuronScores:
    """Localizes, and returns what the session then holds."""
    pressed.press("localize-start", **SECRET, method=method)
    [located] = pressed.kept("Localization")
    scores: NeuronScores = located.scores
    return scores


def told(pressed: Pressed) -> list[tuple[str, list[str]]]:
    """What is drawn on the map and named by the numbers, step by step; "" where the map stays as it is."""

    def kind(figure: str) -> str:
        return "preview" if "preview by" in figure else "gates" if "how far closed" in figure else "other"

    seen = []
    for answer in pressed.answers:
        figure, facts = ((answer[name] or {}).get("value") for name in ("heatmap", "localize-facts"))
        if figure or facts:
            seen.append((kind(figure) if figure else "", [fact["name"] for fact in facts or []]))
    return seen


def test_the_preview_stands_until_a_gate_has_closed(pressed: Pressed, monkeypatch: pytest.MonkeyPatch) -> None:
    def three_steps(task: Task) -> Iterator[LocalizationStep]:
        *_, last = stepwise(task)
        assert last.result is not None and last.n_closed
        open_gates = replace(last, stage="a", n_closed=0, gates=np.ones_like(last.gates), result=None)
        yield from (open_gates, replace(last, stage="b", result=None), replace(open_gates, stage="c"), replace(last, stage="d"))

    monkeypatch.setattr(tab, "Pace", lambda *_: Pace(0.0))
    monkeypatch.setitem(METHODS, "stepwise", three_steps)
    pressed.press("localize-start", **SECRET, method="stepwise")
    drawn = told(pressed)
    assert [figure for figure, _ in drawn] == ["preview", "", "gates", "gates", "gates"]
    assert [names[0] for _, names in drawn[:2]] == [en.PREVIEW_NAME] * 2
    assert not any(en.PREVIEW_NAME in names for _, names in drawn[2:])
    [located] = pressed.kept("Localization")
    assert located.scores.method == "stepwise"
    assert not any(fact["name"] == en.PREVIEW_NAME for fact in located.facts)


@pytest.mark.parametrize("method", ["hard-concrete", "stepwise"])
def test_the_result_is_the_same_without_a_preview(pressed: Pressed, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tab, "Pace", lambda *_: Pace(0.0))
    shown = scores_of(pressed, method)
    assert told(pressed)[0][0] == "preview"
    monkeypatch.setattr(tab, "preview_of", lambda *_: None)
    plain = scores_of(pressed, method)
    assert not any("preview" in figure for figure, _ in told(pressed))
    assert np.array_equal(shown.scores, plain.scores, equal_nan=True)
    assert (shown.method, shown.suggested_k) == (plain.method, plain.suggested_k)
    assert shown.provenance.settings == plain.provenance.settings


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("full"), ValueError("anything")])
def test_an_error_of_the_preview_is_not_one_of_the_run(
    pressed: Pressed, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(live, "result_of", fails)
    assert scores_of(pressed, "slimming").method == "slimming"
    assert told(pressed) and not any(figure == "preview" for figure, _ in told(pressed))


def test_cancel_ends_the_preview(taught: LanguageModel) -> None:
    with pytest.raises(Cancelled):
        live.preview_of("hard-concrete", taught, TAUGHT[0], "mlp", lambda: True)


def test_only_methods_that_train_gates_have_one(taught: LanguageModel) -> None:
    previewed = [name for name in METHODS if live.preview_of(name, taught, TAUGHT[0], "mlp", lambda: False) is not None]
    assert sorted(previewed) == sorted(TRAINED)
    # Those whose cost is told in steps of training, or of closing.
    assert sorted(TRAINED) == sorted(name for name, info in METHOD_INFO.items() if "steps" in info.cost.split("gate settings")[0])
    scores = live.preview_of("slimming", taught, TAUGHT[0], "mlp", lambda: False)
    assert scores is not None
    [expected] = [step.result for step in gradients.gradient(Task(taught, TAUGHT[0]))]
    assert expected is not None and np.array_equal(scores.scores, expected.scores)


def test_a_model_that_would_take_long_has_none() -> None:
    def model(n_parameters: float, device: str, stored_on: str = "cpu") -> Any:
        weights = SimpleNamespace(parameters=lambda: iter([SimpleNamespace(device=SimpleNamespace(type=stored_on))]))
        return SimpleNamespace(n_parameters=n_parameters, device=SimpleNamespace(type=device), model=weights)

    assert live.is_quick(model(0.135e9, "cpu"), 40)
    assert not live.is_quick(model(7e9, "cpu"), 40)
    assert live.is_quick(model(7e9, "cuda", "cuda"), 40)
    assert not live.is_quick(model(7e9, "cuda", "meta"), 40), "weights that lie on the disk between passes"
