"""The page's public HTTP API: three endpoints that use the same session state as the page and answer with JSON."""

import json
from typing import Any

import gradio as gr

from privlens import validation
from privlens.deactivation import EvalContext, effect_on
from privlens.errors import BadInput
from privlens.lm.model import LanguageModel
from privlens.localization import METHODS, Task, result_of
from privlens.memorization.check import check
from privlens.types import Secret, to_json
from privlens.ui.state.jobs import in_line, show_errors, stoppable
from privlens.ui.state.session import Localization, ModelCache, ModelName, Selection, best, fitting


def endpoints(cache: ModelCache, model: gr.State, localized: gr.State, selection: gr.State) -> None:
    """/check(prompt, value), /localize(prompt, value, method, seed, k) and /deactivate(prompt, value); each may end with chat.

    /localize keeps the k best neurons in the caller's session, and /deactivate uses them. With chat = true the prompt is asked as
    a chat turn. Callers can send any JSON; it is validated before any work.
    """
    with gr.Column(visible=False):
        prompt, value, method, seed, k = (gr.JSON(label=name) for name in ("prompt", "value", "method", "seed", "k"))
        chat = gr.Checkbox(False, label="chat")
        answer = gr.JSON()
        ask = gr.Button()

    def model_and_secret(name: ModelName, prompt: Any, value: Any, chat: Any) -> tuple[LanguageModel, Secret]:
        validation.secret(prompt, value)
        return cache.get(name._replace(chat=validation.choice(chat, "chat"))), Secret(prompt, value)

    def localize(name: ModelName, prompt: Any, value: Any, method: Any, seed: Any, k: Any, chat: Any) -> tuple[Any, ...]:
        if validation.text(method, "method", 100) not in METHODS:
            raise BadInput(f"There is no method {validation.shown(method)}: use {', '.join(METHODS)}.")
        seed_number = validation.seed(seed)
        lm, target = model_and_secret(name, prompt, value, chat)
        n_neurons = validation.whole(k, "number of neurons, k,", 1, lm.n_neurons)
        with stoppable() as stop:
            scores = result_of(method, Task(lm, target, seed=seed_number), stop.is_set)
        choice = best(scores, n_neurons)
        response = {"suggested_k": scores.suggested_k, "neurons": [list(neuron) for neuron in choice.neurons]}
        return response, Localization(target, frozenset(), scores, n_edits=len(name.edits)), Selection(choice)

    def deactivate(
        name: ModelName, prompt: Any, value: Any, localization: Localization | None, chosen: Selection, chat: Any
    ) -> Any:
        lm, target = model_and_secret(name, prompt, value, chat)
        context = EvalContext(site=fitting(localization, lm).site)
        return json.loads(to_json(effect_on(lm, target, chosen.now.switched_off, context)))

    def memorized(name: ModelName, prompt: Any, value: Any, chat: Any) -> Any:
        return json.loads(to_json(check(*model_and_secret(name, prompt, value, chat))))

    secret, numbers = [model, prompt, value], [method, seed, k]
    ask.click(show_errors(memorized), [*secret, chat], answer, api_name="check")
    ask.click(show_errors(in_line(localize)), [*secret, *numbers, chat], [answer, localized, selection], api_name="localize")
    ask.click(show_errors(deactivate), [*secret, localized, selection, chat], answer, api_name="deactivate")
