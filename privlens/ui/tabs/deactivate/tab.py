"""The tab Switch off: what the chosen neurons' being off does to the secret, to the others and to ordinary text."""

import functools
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import gradio as gr

from privlens import plots, results_json
from privlens.deactivation import EvalContext, compare, sweep, sweep_ks, texts_in_batches
from privlens.outcomes import Comparison, SweepRow
from privlens.retained.others import unseen_of
from privlens.secret_lists import ListedSecret
from privlens.types import Secret
from privlens.ui.components.exports import exports
from privlens.ui.components.form import Form, Update
from privlens.ui.components.parts import Clock, facts, progress, results_table
from privlens.ui.components.plot import plot
from privlens.ui.sidebar import commands
from privlens.ui.sidebar.panel import Sidebar, SidebarValues, all_of, others_of
from privlens.ui.state.freshness import strip
from privlens.ui.state.jobs import Redraw, run_buttons, wire
from privlens.ui.state.session import Localization, ModelCache, Selection, fitting
from privlens.ui.tabs.deactivate.effect import effect_bars, effect_part
from privlens.ui.tabs.localize.selection import Chosen
from privlens.ui.text import en, wording

OTHERS_WIDTHS = ["180px", "95px", "95px", "95px", "115px", "85px", "95px", "95px", "360px"]


@dataclass(frozen=True)
class SweepForm(SidebarValues):
    """The secret, the neurons that were found for it, and the text that must stay as it is."""

    reference: tuple[str, ...]
    located: Localization | None


@dataclass(frozen=True)
class MeasureForm(SweepForm):
    """The same, with the neurons that are off."""

    selection: Selection


@dataclass(frozen=True, eq=False)
class Measured:
    """What was measured of the others and of ordinary text, the form it was asked with, and the command that makes it."""

    result: Comparison
    retained: frozenset[Secret]
    form: MeasureForm
    command: Callable[[], str]


def report_of(shelf: ModelCache, measured: Measured) -> results_json.Json:
    """The JSON that `deactivate` prints; what is written of the others is generated only now, as nothing on the page needs it."""
    form, result = measured.form, measured.result
    lm, others = shelf.get(form.model), [effect.secret for effect in result.chosen.others]
    context = EvalContext(site=fitting(form.located, lm).site)
    texts = texts_in_batches(lm, others, result.chosen.neurons, context)
    return results_json.comparison(result, texts, sorted(measured.retained, key=str), all_of(form.listed))


def deactivate_tab(shelf: ModelCache, side: Sidebar, chosen: Chosen) -> tuple[list[Any], gr.HTML, gr.Button]:
    """Builds the tab; returns the part and the bars that answer every toggle, and the button that leads back to choosing."""
    gr.Markdown(en.DEACTIVATE_INTRO)
    side.strips.watch(chosen.told, strip("deactivate-made"))
    part = effect_part("effect")
    bars = effect_bars("effect-bars")
    back = gr.Button(en.DEACTIVATE_BACK, elem_id="back")
    _measure_part(shelf, side, chosen)
    _sweep_part(shelf, side, chosen)
    return part, bars, back


def _measure_part(shelf: ModelCache, side: Sidebar, chosen: Chosen) -> None:
    """The others and the reference text before and after, beside as many random neurons."""
    gr.Markdown(en.MEASURE_INTRO)
    start, cancel = run_buttons(en.MEASURE, "measure")
    bar = progress("measure-progress")
    numbers = facts("measure-facts", en.MEASURE_EMPTY)
    table = results_table("others", en.MEASURE_TABLE, OTHERS_WIDTHS)
    made = gr.State(None)
    exports("measure", made, functools.partial(report_of, shelf))

    def run(form: MeasureForm, stop: threading.Event) -> Iterator[Update]:
        lm, target = shelf.get(form.model), form.target
        located = fitting(form.located, lm)
        retained = located.retained
        context = EvalContext(others_of(form.listed), tuple(form.reference), located.site, stop=stop.is_set)
        clock = Clock()
        for step in compare(lm, target, form.selection.now.switched_off, context):
            shown: Update = {}
            if step.result is not None:
                shown = {
                    numbers: gr.update(value=wording.of_comparison(step.result, retained)),
                    table: gr.update(value=plots.others_table(step.result, retained), visible=True),
                    made: Measured(
                        step.result,
                        retained,
                        form,
                        functools.partial(commands.deactivate, form, located.site, tuple(form.reference)),
                    ),
                }
            yield {bar: gr.update(value=clock.at(step.step, step.n_steps, step.stage)), **shown}

    def empty() -> Update:
        return {numbers: gr.update(value=[]), table: gr.update(visible=False), made: None}

    form = Form(MeasureForm, **side.controls, reference=side.reference, located=chosen.located, selection=chosen.selection)
    changes = [part.change for part in (chosen.selection, side.secret, side.model, side.listed, side.reference)]
    wire(start, cancel, bar, run, form, [numbers, table, made], changes, empty)


def _sweep_part(shelf: ModelCache, side: Sidebar, chosen: Chosen) -> None:
    """The curve over k."""
    gr.Markdown(en.SWEEP_INTRO)
    start, cancel = run_buttons(en.SWEEP, "sweep")
    bar = progress("sweep-progress")
    judges = facts("sweep-facts")
    curve, measured = plot("sweep", en.SWEEP_EMPTY, 760), gr.State(())
    exports("sweep-rows", measured, lambda rows: {"rows": [asdict(row) for row in rows]}, command=False)

    def run(form: SweepForm, stop: threading.Event) -> Iterator[Update]:
        lm, target = shelf.get(form.model), form.target
        located = fitting(form.located, lm)
        unseen = judges_of(form.listed, target, located)
        context = EvalContext(unseen, tuple(form.reference), located.site, stop=stop.is_set)
        clock = Clock()
        for step in sweep(lm, target, located.scores, sweep_ks(located.scores.n_neurons), context):
            yield {
                bar: gr.update(value=clock.at(step.step, step.n_steps, "sweep")),
                judges: gr.update(value=wording.of_judges(len(unseen), len(located.retained))),
                curve: draw(step.rows),
                measured: step.rows if step.step == step.n_steps else gr.skip(),
            }

    def draw(rows: tuple[SweepRow, ...]) -> Any:
        return gr.update(value=plots.sweep_curves(rows).to_json() if rows else "")

    def empty() -> Update:
        return {judges: gr.update(value=[]), curve: draw(()), measured: ()}

    form = Form(SweepForm, **side.controls, reference=side.reference, located=chosen.located)
    changes = [part.change for part in (chosen.located, side.secret, side.model, side.listed, side.reference)]
    redraw = Redraw(draw, [measured], [curve])
    wire(start, cancel, bar, run, form, [judges, curve, measured], changes, empty, redraw)


def judges_of(listed: tuple[ListedSecret, ...], target: Secret, located: Localization) -> tuple[Secret, ...]:
    """The listed secrets that judge what else is lost: those that the method which found the neurons never saw; maybe none."""
    return unseen_of(others_of(listed), (target, *located.retained))
