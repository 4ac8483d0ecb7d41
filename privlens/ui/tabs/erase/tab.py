"""The tab Erase: a secret, or many, taken out of the weights while one watches; then one's edits, and what may be left of it."""

import time
from collections.abc import Iterator
from typing import Any

import gradio as gr

from privlens.deactivation import EvalContext, texts_before_and_after
from privlens.errors import BadInput
from privlens.lm.model import LanguageModel
from privlens.memorization.states import continuations
from privlens.retained.others import same_secret
from privlens.types import Secret
from privlens.ui.components.header import Header
from privlens.ui.components.parts import facts, marked_text, progress, results_table, verdict
from privlens.ui.components.plot import plot
from privlens.ui.sidebar.panel import Sidebar, secret_of
from privlens.ui.state.edits import EditList
from privlens.ui.state.freshness import Made, of_secret, strip, told, watch
from privlens.ui.state.jobs import QUICK, run_buttons, show_errors, wire
from privlens.ui.state.session import Localization, ModelCache, ModelName, Selection
from privlens.ui.tabs.erase import view as show
from privlens.ui.tabs.erase.attacks import attacks_part, compare_part
from privlens.ui.tabs.erase.edit_list import edits_part
from privlens.ui.tabs.erase.form import asked, controls
from privlens.ui.tabs.erase.run import Erased, by_name, erasing
from privlens.ui.tabs.localize.selection import Chosen
from privlens.ui.tabs.localize.tab import EVERY
from privlens.ui.text import wording


def erase_tab(shelf: ModelCache, side: Sidebar, chosen: Chosen, above: Header) -> None:
    """Builds the tab."""
    gr.Markdown(
        "Deactivating hides a secret as long as the gates stand. Erasing changes weights, a few of them, until the value is one "
        "among many to the model. The change is an edit: only you see it, it can be switched off, undone and saved."
    )
    given, known = controls(side)
    start, cancel = run_buttons("Erase", "erase")
    bar = progress("erase-progress")
    with gr.Column(elem_classes=["results", "streams"]):
        about = strip("erase-made")
        said = verdict("erase-verdict", show.EMPTY)
        numbers = facts("erase-facts")
        gr.Markdown("What the model writes after the prompt in the sidebar, marked where it differs:", elem_classes="small")
        with gr.Row(elem_classes="live"):  # follows the sidebar
            with gr.Column(min_width=220):
                before = marked_text("erase-before", "Before")
            with gr.Column(min_width=220):
                deactivated = marked_text("erase-deactivated", "Deactivated (chosen neurons off)")
            with gr.Column(min_width=220):
                after = marked_text("erase-after", "Erased")
        with gr.Row():
            with gr.Column(min_width=320):
                curves = plot("erase-curves", "Entropy, NLL, MA and perplexity, step by step, will stand here.", 620)
            with gr.Column(min_width=320):
                places = plot("erase-places", "Where the changed weights lie, layer by matrix, will stand here.", 380)
        table = results_table("erase-targets", show.TARGETS, show.TARGET_WIDTHS)
    edits, erased, made = gr.State(EditList()), gr.State(None), gr.State(None)
    adopt, which = edits_part(shelf, side, chosen, edits, above)

    def run(model: ModelName, edits: EditList, *rest: Any) -> Iterator[tuple[Any, ...]]:
        *settings, stop = rest
        lm, question = shelf.get(model), asked(*settings)
        at_last = 0.0
        for at in erasing(lm, question, edits.now.targets_of(model.edits), stop.is_set):
            shown: tuple[Any, ...] = tuple(gr.skip() for _ in range(5))
            if at.steps and (at.erased or time.monotonic() - at_last > EVERY):
                at_last = time.monotonic()
                first, _, last = show.texts(at.steps[0].text, None, at.steps[-1].text)
                drawn = show.curves(at.steps, question.settings.guard)
                shown = (gr.update(value=show.live_facts(at.steps[-1])), drawn, first, gr.update(value=[]), last)
            done = (None, gr.skip()) if at.erased is None else (at.erased.kept, at.erased)
            yield gr.update(value=at.bar), *shown, *done

    def written(
        model: ModelName,
        listed: Any,
        prompt: str,
        value: str,
        found: Localization | None,
        chosen: Selection,
        erased: Erased | None,
    ) -> tuple[Any, ...]:
        if erased is None:
            return tuple(gr.update(value=[]) for _ in range(3))
        lm = shelf.get(model._replace(edits=erased.kept.under))
        secret = secret_of(listed, prompt, value) if prompt.strip() and value.strip() else erased.kept.targets[0]
        return show.texts(*generations(lm, secret, found, chosen, erased))

    def draw(
        model: ModelName,
        listed: Any,
        prompt: str,
        value: str,
        found: Localization | None,
        chosen: Selection,
        erased: Erased | None,
    ) -> tuple[Any, ...]:
        if erased is None:
            return nothing()
        lm = shelf.get(model._replace(edits=erased.kept.under))
        said = {**show.named(show.verdict(erased.effects), erased.kept.name), **wording.whose(erased.effects, listed)}
        return (
            gr.update(value=said),
            gr.update(value=show.result_facts(erased, lm.n_parameters)),
            *written(model, listed, prompt, value, found, chosen, erased),
            show.curves(erased.steps, erased.settings.guard),
            show.changed(lm, erased.kept.edit),
            gr.update(value=show.targets_table(erased.effects), visible=len(erased.effects) > 1),
        )

    def tell(model: ModelName, erased: Erased | None, *settings: Any) -> dict[str, str]:
        if erased is None or erased.asked is None:
            return {"kind": "none"}
        after = shelf.get(model._replace(edits=(*erased.kept.under, erased.kept.edit)))
        try:
            now = by_name(asked(*settings))
        except BadInput:  # nothing that could be erased is chosen now
            now = of_secret("", "")
        return told(shelf, model, Made(after.fingerprint, by_name(erased.asked), len(after.edits)), now)

    drawn = [said, numbers, before, deactivated, after, curves, places, table]
    needs = [side.model, side.listed, side.prompt, side.value, chosen.located, chosen.selection, erased]
    streamed = [numbers, curves, before, deactivated, after, made, erased]
    ended = wire(start, cancel, bar, run, [side.model, edits, *given], streamed, redraw=(draw, needs, drawn))
    ended.then(show_errors(adopt), [side.model, edits, made], [side.model, edits, made], **QUICK)
    erased.change(show_errors(draw), needs, drawn, **QUICK)
    gr.on(
        [side.secret.change, chosen.selection.change],
        show_errors(written),
        needs,
        [before, deactivated, after],
        trigger_mode="always_last",
        **QUICK,
    )
    events = [one.change for one in (erased, side.secret, side.model, *known[4:])]
    watch((events, tell, [side.model, erased, *known]), [about])
    side.loaded.success(lambda: None, None, erased, **QUICK)
    attacks_part(shelf, side, edits, which, given, known)
    compare_part(shelf, side, edits, given, known)


def generations(
    lm: LanguageModel, secret: Secret, found: Localization | None, chosen: Selection, erased: Erased
) -> tuple[str, str | None, str]:
    """What is written of a secret before, with the chosen neurons off where they were localized in this model, and after."""
    did = next((one for one in erased.effects if same_secret(one.secret, secret)), None)
    if did is None:
        [[before], [after]] = [continuations(one, [secret]) for one in (lm, lm.under(erased.kept.edit))]
    else:
        before, after = did.before.text, did.after.text
    off = chosen.now.switched_off
    if found is None or not off or found.scores.provenance.fingerprint != lm.fingerprint:
        return before, None, after
    [(_, deactivated)] = texts_before_and_after(lm, [secret], off, EvalContext(site=found.site))
    return before, deactivated, after


def nothing() -> tuple[Any, ...]:
    """Before anything was erased."""
    empty = [gr.update(value=[]) for _ in range(4)]
    return (
        gr.update(value={"kind": "none", "text": show.EMPTY}),
        *empty,
        gr.update(value=""),
        gr.update(value=""),
        gr.update(visible=False),
    )
