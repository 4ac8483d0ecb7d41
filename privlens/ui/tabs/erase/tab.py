"""The tab Erase: a secret, or many, taken out of the weights while one watches; then one's edits, and what may be left of it."""

import functools
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace

import gradio as gr

from privlens import results_json
from privlens.deactivation import EvalContext, texts_before_and_after
from privlens.errors import BadInput
from privlens.lm.model import LanguageModel
from privlens.memorization.states import continuations
from privlens.outcomes import KeptCount
from privlens.retained.others import same_secret
from privlens.types import Secret
from privlens.ui.components.exports import exports
from privlens.ui.components.form import Form, Given, Update
from privlens.ui.components.header import Header
from privlens.ui.components.parts import facts, marked_text, progress, results_table, verdict
from privlens.ui.components.plot import plot
from privlens.ui.sidebar import commands
from privlens.ui.sidebar.panel import Sidebar, SidebarValues
from privlens.ui.state.edits import EditList, file_name
from privlens.ui.state.freshness import Made, of_secret, strip, told
from privlens.ui.state.jobs import QUICK, Redraw, run_buttons, show_errors, wire
from privlens.ui.state.pace import Pace
from privlens.ui.state.session import Localization, ModelCache, Selection
from privlens.ui.tabs.erase import view as show
from privlens.ui.tabs.erase.attacks import attacks_part, compare_part
from privlens.ui.tabs.erase.edit_list import edits_part
from privlens.ui.tabs.erase.form import ErasureForm, controls
from privlens.ui.tabs.erase.run import Erased, ErasureTask, by_name, erasing
from privlens.ui.tabs.localize.selection import Chosen
from privlens.ui.text import en, wording


def erase_tab(shelf: ModelCache, side: Sidebar, chosen: Chosen, above: Header) -> gr.State:
    """Builds the tab; returns the visitor's edits."""
    gr.Markdown(en.ERASE_INTRO)
    form, shown_form = controls(side)
    start, cancel = run_buttons(en.ERASE, "erase")
    bar = progress("erase-progress")
    with gr.Column(elem_classes=["results", "streams"]):
        about = strip("erase-made")
        verdict_part = verdict("erase-verdict", en.ERASE_EMPTY)
        numbers = facts("erase-facts")
        gr.Markdown(en.ERASE_TEXTS, elem_classes="small")
        with gr.Row(elem_classes="live"):  # follows the sidebar
            with gr.Column(min_width=220):
                before = marked_text("erase-before", en.ERASE_BEFORE)
            with gr.Column(min_width=220):
                deactivated = marked_text("erase-deactivated", en.ERASE_DEACTIVATED)
            with gr.Column(min_width=220):
                after = marked_text("erase-after", en.ERASE_AFTER)
        with gr.Row():
            with gr.Column(min_width=320):
                curves = plot("erase-curves", en.ERASE_CURVES_EMPTY, 620)
            with gr.Column(min_width=320):
                places = plot("erase-places", en.ERASE_PLACES_EMPTY, 380)
        table = results_table("erase-targets", en.ERASE_TARGETS, show.TARGET_WIDTHS)
    edits, erased, made = gr.State(EditList()), gr.State(None), gr.State(None)
    exports("erase", erased, report_of)
    adopt, which = edits_part(shelf, side, chosen, edits, above)

    def run(form_values: RunForm, stop: threading.Event) -> Iterator[Update]:
        model, task = form_values.erasure.model, form_values.erasure.task()
        pace = Pace()
        for report in erasing(shelf.get(model), task, form_values.edits.now.targets_of(model.edits), stop.is_set):
            update: Update = {bar: gr.update(value=report.bar), made: None}
            if report.steps and (report.erased or pace.is_due()):
                first, last = report.steps[0], report.steps[-1]
                update |= {
                    numbers: gr.update(value=show.live_facts(last)),
                    curves: show.curves(report.steps, task.settings.guard),
                }
                update |= {**texts(first.text, None, last.text), deactivated: gr.update(value=[])}
            if report.erased is not None:
                command = functools.partial(command_of, form_values.erasure, task)
                update |= {made: report.erased.kept, erased: replace(report.erased, command=command)}
            yield update

    def texts(before_text: str, deactivated_text: str | None, after_text: str) -> Update:
        return dict(zip(written, show.texts(before_text, deactivated_text, after_text), strict=True))

    def write(given: Given) -> Update:
        values = result_form.read(given)
        result = values.erased
        if result is None:
            return {part: gr.update(value=[]) for part in written}
        lm = shelf.get(values.model._replace(edits=result.kept.under))
        has_secret = values.prompt.strip() and values.value.strip()
        secret = values.target if has_secret else result.kept.targets[0]
        return texts(*generations(lm, secret, values.located, values.selection, result))

    def draw(given: Given) -> Update:
        values = result_form.read(given)
        result = values.erased
        if result is None:
            return nothing()
        lm = shelf.get(values.model._replace(edits=result.kept.under))
        verdict = {**show.named(show.verdict(result.effects), result.kept.name), **wording.whose(result.effects, values.listed)}
        return {
            verdict_part: gr.update(value=verdict),
            numbers: gr.update(value=show.result_facts(result, lm.n_parameters)),
            **write(given),
            curves: show.curves(result.steps, result.settings.guard),
            places: show.changed(lm, result.kept.edit),
            table: gr.update(value=show.targets_table(result.effects), visible=len(result.effects) > 1),
        }

    def nothing() -> Update:
        return {
            verdict_part: gr.update(value={"kind": "none", "text": en.ERASE_EMPTY}),
            **{part: gr.update(value=[]) for part in (numbers, *written)},
            curves: gr.update(value=""),
            places: gr.update(value=""),
            table: gr.update(visible=False),
        }

    def tell(given: Given) -> dict[str, str]:
        values, result = shown_form.read(given), given[erased]
        if result is None or result.task is None:
            return {"kind": "none"}
        after = shelf.get(values.model._replace(edits=(*result.kept.under, result.kept.edit)))
        try:
            asked = by_name(values.task())
        except BadInput:  # nothing that could be erased is chosen now
            asked = of_secret("", "")
        return told(shelf, values.model, Made(after.fingerprint, by_name(result.task), len(after.edits)), asked)

    written = [before, deactivated, after]
    drawn = [verdict_part, numbers, *written, curves, places, table]
    result_form = Form(ResultForm, **side.controls, located=chosen.located, selection=chosen.selection, erased=erased)
    streamed = [numbers, curves, *written, made, erased]
    run_form = Form(RunForm, erasure=form, edits=edits)
    ended = wire(start, cancel, bar, run, run_form, streamed, redraw=Redraw(draw, result_form.inputs, drawn))
    ended.then(show_errors(adopt), [side.model, edits, made], [side.model, edits, made], **QUICK)
    erased.change(show_errors(draw), result_form.inputs, drawn, **QUICK)
    gr.on(
        [side.secret.change, chosen.selection.change],
        show_errors(write),
        result_form.inputs,
        written,
        trigger_mode="always_last",
        **QUICK,
    )
    settings = [control for name, control in shown_form.controls.items() if name not in {*side.controls, "reference"}]
    events = [part.change for part in (erased, side.secret, side.model, *settings)]
    side.strips.watch((events, tell, {*shown_form.inputs, erased}), about)
    side.loaded.success(lambda: None, None, erased, **QUICK)
    attacks_part(shelf, side, edits, which, form, shown_form)
    compare_part(shelf, side, edits, form, shown_form)
    return edits


@dataclass(frozen=True)
class RunForm:
    """What is to be erased and how, and the visitor's edits."""

    erasure: ErasureForm
    edits: EditList


@dataclass(frozen=True)
class ResultForm(SidebarValues):
    """The secret in question, the neurons chosen for it, and the erasure that is shown."""

    located: Localization | None
    selection: Selection
    erased: Erased | None


def generations(
    lm: LanguageModel, secret: Secret, localization: Localization | None, chosen: Selection, erased: Erased
) -> tuple[str, str | None, str]:
    """What is written of a secret before, with the chosen neurons off where they were localized in this model, and after."""
    effect = next((effect for effect in erased.effects if same_secret(effect.secret, secret)), None)
    if effect is None:
        [[before], [after]] = [continuations(model, [secret]) for model in (lm, lm.under(erased.kept.edit))]
    else:
        before, after = effect.before.text, effect.after.text
    off = chosen.now.switched_off
    if localization is None or not off or localization.scores.provenance.fingerprint != lm.fingerprint:
        return before, None, after
    [(_, deactivated)] = texts_before_and_after(lm, [secret], off, EvalContext(site=localization.site))
    return before, deactivated, after


def report_of(erased: Erased) -> results_json.Json:
    """The JSON that `erase` prints without attacks, which have a part of their own on the page."""
    unseen, seen = (KeptCount(sum(kept), len(kept)) for kept in (erased.unseen, erased.seen))
    listed = erased.task.listed if erased.task else ()
    return results_json.erasure(
        erased.last, erased.effects, unseen, seen, attacks=(), shifts=(), out=file_name(erased.kept.edit), listed=listed
    )


def command_of(form: ErasureForm, task: ErasureTask) -> str:
    """The command that makes an erasure."""
    return commands.erase(form, task.targets, task.settings, task.keep, task.seed, bool(task.texts), task.reference)
