"""The quick answer to every toggle: what the model writes with and without the chosen neurons. Shown wherever one can toggle."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gradio as gr
from gradio.components import Component

from privlens import plots
from privlens.deactivation import EvalContext, effect_steps
from privlens.errors import Cancelled, PrivlensError
from privlens.outcomes import Effect
from privlens.secret_lists import ListedSecret
from privlens.ui.components.parts import facts, marked_text, verdict
from privlens.ui.components.plot import plot
from privlens.ui.sidebar.panel import Sidebar, all_of, secret_of
from privlens.ui.state.jobs import SLOW, Latest, show_errors
from privlens.ui.state.session import Localization, ModelCache, ModelName, Selection
from privlens.ui.text import en, wording


def effect_part(prefix: str) -> list[Component]:
    """Verdict, both generations side by side, numbers."""
    verdict_part = verdict(f"{prefix}-verdict", en.EFFECT_EMPTY)
    with gr.Row():
        before = marked_text(f"{prefix}-before", en.EFFECT_BEFORE)
        after = marked_text(f"{prefix}-after", en.EFFECT_AFTER)
    return [verdict_part, before, after, facts(f"{prefix}-facts")]


def effect_bars(elem_id: str) -> gr.HTML:
    """Probability per token before and after."""
    return plot(elem_id, en.EFFECT_BARS_EMPTY, 320)


def wire_effect(
    shelf: ModelCache,
    side: Sidebar,
    located: gr.State,
    selection: gr.State,
    parts: Sequence[Sequence[Component]],
    bars: gr.HTML,
) -> None:
    """Answers every change of the neurons and of the secret in all the parts and the bars; a newer change stops the answer."""

    def everywhere(shown: Callable[[], tuple[Any, ...]], chart: str) -> tuple[Any, ...]:
        """The same in every part; made anew for each, because gradio empties an update that it has sent."""
        return (*(value for _ in parts for value in shown()), gr.update(value=chart))

    def answer(
        model: ModelName,
        listed: Any,
        prompt: str,
        value: str,
        localization: Localization | None,
        chosen: Selection,
        latest: Latest,
    ) -> Iterator[tuple[Any, ...]]:
        stop = latest.begin()
        if localization is None or not (prompt.strip() and value.strip()):
            yield everywhere(lambda: nothing(en.EFFECT_EMPTY), "")
            return
        lm, secret = shelf.get(model), secret_of(listed, prompt, value)
        if localization.scores.provenance.fingerprint != lm.fingerprint:
            yield everywhere(lambda: nothing(en.OTHER_WEIGHTS), "")
            return
        differs = wording.secret_differs(localization, secret)
        try:
            context = EvalContext(listed=all_of(listed), site=localization.site, stop=stop.is_set)
            for effect in effect_steps(lm, secret, chosen.now.switched_off, context):
                tokens = (effect.before.tokens, effect.after.tokens)
                chart = plots.token_bars(*tokens, en.EFFECT_SERIES, same=True)
                if stop.is_set():
                    return
                yield everywhere(functools.partial(view, effect, len(chosen.now.off), differs, listed), chart.to_json())
        except Cancelled:
            return
        except PrivlensError as error:
            yield everywhere(functools.partial(nothing, str(error)), "")

    outputs = [*(component for part in parts for component in part), bars]
    inputs = [side.model, side.listed, side.prompt, side.value, located, selection, gr.State(Latest())]
    triggers = [selection.change, located.change, side.secret.change, side.model.change]
    verdicts = [part[0] for part in parts]
    gr.on(triggers, show_errors(answer), inputs, outputs, trigger_mode="multiple", show_progress_on=verdicts, **SLOW)


def nothing(why: str) -> tuple[Any, ...]:
    """The values of a part without an effect."""
    return gr.update(value={"kind": "none", "text": why}), gr.update(value=[]), gr.update(value=[]), gr.update(value=[])


def view(effect: Effect, n_off: int, differs: bool, listed: Sequence[ListedSecret] = ()) -> tuple[Any, ...]:
    """The values of a part."""
    before, after = plots.marked(effect.before.text, effect.after.text)
    verdict = {**wording.verdict_of_effect(effect, n_off), **wording.whose([effect], listed)}
    if differs:
        verdict = {**verdict, "detail": en.OTHER_SECRET}
    if effect.after.exposure is None:
        verdict = {**verdict, "busy": en.MEASURING_EXPOSURE}
    return gr.update(value=verdict), gr.update(value=before), gr.update(value=after), gr.update(value=wording.of_effect(effect))
