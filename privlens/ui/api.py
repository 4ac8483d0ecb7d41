"""The page's public interface over HTTP: three endpoints over the same session values that the page uses, answers as JSON."""

import json
from typing import Any

import gradio as gr

from privlens.deactivation import Surroundings, effect_on
from privlens.errors import BadInput
from privlens.localization import METHODS, Task, result_of
from privlens.memorization.check import check
from privlens.records import Secret, to_json
from privlens.ui.runs import in_words
from privlens.ui.session import Located, ModelName, Selection, Shelf, best, fitting


def endpoints(shelf: Shelf, model: gr.State, located: gr.State, selection: gr.State) -> None:
    """/check(prompt, value), /localize(prompt, value, method, seed, k) and /deactivate(prompt, value).

    /localize keeps the k best neurons in the caller's session, /deactivate uses those.
    """
    with gr.Column(visible=False):
        prompt, value = gr.Textbox(label="prompt"), gr.Textbox(label="value")
        method, seed, k = gr.Textbox(label="method"), gr.Number(label="seed"), gr.Number(label="k")
        answer = gr.JSON()
        ask = gr.Button()

    def localize(name: ModelName, prompt: str, value: str, method: str, seed: float, k: float) -> tuple[Any, ...]:
        if method not in METHODS:
            raise BadInput(f"There is no method {method!r}: use {', '.join(METHODS)}.")
        target = Secret(prompt, value)
        scores = result_of(method, Task(shelf.get(name), target, seed=int(seed)))
        choice = best(scores, int(k))
        found = Located(target, frozenset(), scores, n_edits=len(name.edits))
        return {"natural_k": scores.natural_k, "neurons": choice.neurons}, found, Selection(choice)

    def deactivate(name: ModelName, prompt: str, value: str, found: Located | None, chosen: Selection) -> Any:
        lm = shelf.get(name)
        around = Surroundings(site=fitting(found, lm).site)
        return json.loads(to_json(effect_on(lm, Secret(prompt, value), chosen.now.switched_off, around)))

    def memorised(name: ModelName, prompt: str, value: str) -> Any:
        return json.loads(to_json(check(shelf.get(name), Secret(prompt, value))))

    ask.click(in_words(memorised), [model, prompt, value], answer, api_name="check")
    ask.click(in_words(localize), [model, prompt, value, method, seed, k], [answer, located, selection], api_name="localize")
    ask.click(in_words(deactivate), [model, prompt, value, located, selection], answer, api_name="deactivate")
