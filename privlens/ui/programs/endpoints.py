"""The page's public HTTP API: endpoints that use the same session state as the page and answer with JSON."""

from typing import Any

import gradio as gr

from privlens.ui.programs import answers
from privlens.ui.programs.answers import Asked
from privlens.ui.state.jobs import in_line, show_errors, stoppable
from privlens.ui.state.session import Localization, ModelCache, ModelName, Selection, fitting


def endpoints(cache: ModelCache, model: gr.State, localized: gr.State, selection: gr.State) -> None:
    """/check(prompt, value), /localize(prompt, value, method, seed, k), /deactivate(prompt, value) and /audit(rows, plan).

    /localize keeps the k best neurons in the caller's session, and /deactivate uses them. Each may end with chat; if it is true,
    prompts are asked as chat turns.
    """
    names = ("prompt", "value", "method", "seed", "k", "rows", "plan")
    with gr.Column(visible=False):
        prompt, value, method, seed, k, rows, plan = (gr.JSON(label=name) for name in names)
        chat = gr.Checkbox(False, label="chat")
        answer = gr.JSON()
        ask = gr.Button()

    def check(name: ModelName, prompt: Any, value: Any, chat: Any) -> Any:
        return answers.checked(Asked(cache, name, chat), prompt, value)

    def localize(name: ModelName, prompt: Any, value: Any, method: Any, seed: Any, k: Any, chat: Any) -> tuple[Any, ...]:
        with stoppable() as stop:
            result = answers.localized(Asked(cache, name, chat), prompt, value, method, seed, k, stop.is_set)
        kept = Localization(result.secret, frozenset(), result.scores, n_edits=len(name.edits))
        return result.answer(), kept, Selection(result.choice)

    def deactivate(
        name: ModelName, prompt: Any, value: Any, localization: Localization | None, chosen: Selection, chat: Any
    ) -> Any:
        asked = Asked(cache, name, chat)
        site = fitting(localization, asked.model()).site
        return answers.deactivated(asked, prompt, value, chosen.now.switched_off, site)

    def audit(name: ModelName, rows: Any, plan: Any, chat: Any) -> Any:
        with stoppable() as stop:
            return answers.audited(Asked(cache, name, chat), rows, plan, stop.is_set)

    secret, numbers = [model, prompt, value], [method, seed, k]
    ask.click(show_errors(check), [*secret, chat], answer, api_name="check")
    ask.click(show_errors(in_line(localize)), [*secret, *numbers, chat], [answer, localized, selection], api_name="localize")
    ask.click(show_errors(deactivate), [*secret, localized, selection, chat], answer, api_name="deactivate")
    ask.click(show_errors(in_line(audit)), [model, rows, plan, chat], answer, api_name="audit")
