"""The tab Compare methods: the same picture for every method, their overlap, and what switching off the best k of each does."""

import functools
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from privlens import results_json, validation
from privlens.deactivation import EvalContext
from privlens.localization import METHOD_INFO, METHODS, WEIGHT_NORM, Task
from privlens.method_comparison import FLOOR, BudgetName, compare_methods
from privlens.planting.plant import Plant
from privlens.retained.others import Keep, other_secrets, retained_of
from privlens.types import Site
from privlens.ui.components.exports import exports
from privlens.ui.components.form import Form, Given, Update
from privlens.ui.components.parts import Clock, facts, progress, results_table
from privlens.ui.components.plot import plot
from privlens.ui.sidebar import commands
from privlens.ui.sidebar.panel import Sidebar, SidebarValues, others_of
from privlens.ui.state.freshness import Asked, Made, of_secret, of_secrets, strip, told
from privlens.ui.state.jobs import QUICK, Redraw, run_buttons, show_errors, wire
from privlens.ui.state.session import Localization, ModelCache, ModelName, Selection, best, fitting
from privlens.ui.tabs.compare import view as show
from privlens.ui.tabs.compare.plant import plant_part, truth_for
from privlens.ui.tabs.localize.selection import Chosen
from privlens.ui.tabs.localize.settings import common, keep_setting, seed_setting, site_setting
from privlens.ui.text import en

FIRST = ["hard-concrete", "active-token-gradient", "contrastive-gradient", "gradient", "activations"]
"""Chosen at first: the cheap ones, and the mask."""


@dataclass(frozen=True)
class CompareForm(SidebarValues):
    """The secret, which methods are compared on it and how, the visitor's plant, and the comparison that is shown."""

    reference: tuple[str, ...]
    methods: list[str]
    keep: Keep
    site: Site
    seed: float | None
    extent: BudgetName
    planted: Plant | None
    compared: show.Compared | None

    @property
    def asked(self) -> Asked:
        """The tab's settings by name, for the strip."""
        names = ", ".join(name for name in METHODS if name in self.methods)
        return ("methods", names), *common(self.keep, self.site, self.seed), ("measured on", self.extent)


def compare_tab(shelf: ModelCache, side: Sidebar, chosen: Chosen) -> Any:
    """Builds the tab; returns the event after a method's neurons were taken over."""
    gr.Markdown(en.COMPARE_INTRO)
    with gr.Accordion(en.COMPARE_PLANT_HEADING, open=False, elem_id="plant"):
        planted, events = plant_part(shelf, side, chosen.located, chosen.selection)
    methods = gr.CheckboxGroup(
        [(en.method_label(name, METHOD_INFO[name].meaning, METHOD_INFO[name].cost), name) for name in METHODS if name != FLOOR],
        value=FIRST,
        label=en.COMPARE_METHODS,
        elem_id="compare-methods",
    )
    with gr.Row():
        keep, site, seed = keep_setting("compare-keep"), site_setting("compare-site"), seed_setting("compare-seed")
    extent = gr.Radio(show.extents(), value="sample", label=en.COMPARE_EXTENT, elem_id="compare-extent")
    start, cancel = run_buttons(en.START, "compare")
    bar = progress("compare-progress")
    compared = gr.State(None)
    with gr.Column(elem_classes=["results", "streams"]):
        made_strip = strip("compare-made")
        numbers = facts("compare-facts", en.COMPARE_EMPTY)
        k = gr.Slider(1, 100, value=10, step=1, label=en.COMPARE_K, elem_id="compare-k")
        table = results_table("compare-table", None, show.WIDTHS)
        with gr.Row():
            names: list[str] = []
            which = gr.Dropdown(names, label=en.COMPARE_WHICH, elem_id="compare-which", min_width=220)
            use = gr.Button(en.COMPARE_USE, elem_id="compare-use", min_width=260)
        gr.Markdown(en.COMPARE_LEGEND, elem_classes="small")
        with gr.Row(elem_classes="small-plots"):
            heats = [plot(f"compare-heat-{index}", "", 250) for index in range(len(METHODS) + 1)]
        with gr.Row():
            with gr.Column(min_width=320):
                overlaps = plot("compare-overlap", en.OVERLAP_EMPTY, 420)
            with gr.Column(min_width=320):
                curves = plot("compare-curves", en.METHOD_CURVES_EMPTY, 860)
        exports("compare", compared, lambda made, best_k: results_json.method_comparison(made.result, int(best_k)), [k])

    def run(form: CompareForm, stop: threading.Event) -> Iterator[Update]:
        lm, target = shelf.get(form.model), form.target
        others = other_secrets(others_of(form.listed), [target])
        retained = retained_of(others, form.keep)
        truth = truth_for(form.planted, form.model, target) if form.site == "mlp" else ()
        names = [*form.methods, WEIGHT_NORM] if truth else form.methods
        seed = validation.seed(form.seed or 0)
        task = Task(lm, target, others=retained, seed=seed, site=form.site, stop=stop.is_set)
        context = EvalContext(others, tuple(form.reference))
        clock, n_drawn, comparison = Clock(), -1, None
        for step in compare_methods(names, task, context, form.extent, len(truth) or None):
            update: Update = {bar: gr.update(value=clock.at(step.step, step.n_steps, step.stage))}
            if len(step.scores) != n_drawn:
                n_drawn = len(step.scores)
                update |= pictures(show.heatmaps(step.scores, truth, 0, len(heats)))
            is_last = step.step == step.n_steps
            if step.result is not None:
                first = comparison is None
                comparison = show.Compared(
                    step.result, truth, form.asked, len(form.model.edits), functools.partial(command, form)
                )
                default_k = show.default_k(comparison)
                if first:
                    update |= pictures(show.marks_only(comparison.scores, truth, default_k, len(heats)))
                update |= numbered(show.numbers(comparison, default_k))
                if first if form.compared is None else is_last:
                    update |= {k: show.slider(comparison, default_k), which: show.chooser(comparison)}
            # The comparison shown before stays the visitor's until the last step; without one, each step is theirs at once.
            if comparison is not None and (form.compared is None or is_last):
                update |= {compared: comparison}
            yield update

    def pictures(updates: tuple[Any, ...]) -> Update:
        return dict(zip(heats, updates, strict=True))

    def numbered(updates: tuple[Any, ...]) -> Update:
        return dict(zip([numbers, overlaps, curves, table], updates, strict=True))

    def redraw(comparison: show.Compared | None, sent_k: Any, method: Any) -> Update:
        if comparison is None:
            return {**{heat: gr.update(value="", off=[], on=[]) for heat in heats}, **numbered(show.no_numbers())}
        best_k = show.known_k(comparison, sent_k)
        shown = pictures(show.heatmaps(comparison.scores, comparison.truth, best_k, len(heats)))
        controls: Update = {k: show.slider(comparison, best_k), which: show.chooser(comparison, method)}
        return {**shown, **numbered(show.numbers(comparison, best_k)), **controls}

    def tell(given: Given) -> dict[str, str]:
        values, made = form.read(given), None
        if values.compared is not None:
            result = values.compared.result
            made_with = (*of_secrets([result.target]), *values.compared.asked)
            made = Made(result.provenance.fingerprint, made_with, values.compared.n_edits)
        return told(shelf, values.model, made, (*of_secret(values.prompt, values.value), *values.asked))

    def slide(comparison: show.Compared | None, k: int) -> Any:
        if comparison is None:
            return gr.skip()
        marked = show.marks_only(comparison.scores, comparison.truth, int(k), len(heats))
        return {**pictures(marked), **numbered(show.numbers(comparison, int(k)))}

    def take(model: ModelName, comparison: show.Compared | None, method: str, k: int, chosen: Selection) -> tuple[Any, ...]:
        scores = show.scores_of(comparison, method)
        assert comparison is not None, "scores_of refuses None"
        localization = Localization(comparison.result.target, comparison.result.retained, scores, n_edits=comparison.n_edits)
        fitting(localization, shelf.get(model))
        return localization, chosen.to(best(scores, int(k)))

    drawn = [*heats, numbers, overlaps, curves, table]
    settings: dict[str, Any] = {"methods": methods, "keep": keep, "site": site, "seed": seed, "extent": extent}
    form = Form(CompareForm, **side.controls, reference=side.reference, **settings, planted=planted, compared=compared)
    again = Redraw(redraw, [compared, k, which], [*drawn, k, which], as_sent=True)
    ended = wire(start, cancel, bar, run, form, [compared, *drawn, k, which], redraw=again)
    changes = [part.change for part in (compared, side.secret, side.model, *settings.values())]
    side.strips.watch((changes, tell, form.inputs), made_strip)
    k.input(slide, [compared, k], drawn, trigger_mode="always_last", concurrency_limit=1, **QUICK)
    taken = use.click(
        show_errors(take), [side.model, compared, which, k, chosen.selection], [chosen.located, chosen.selection], **QUICK
    )
    for event in (taken.success, *(event.then for event in events)):
        chosen.redraw.after(event)
    emptied = side.loaded.success(lambda: None, None, compared, **QUICK)
    for event in (ended.then, emptied.then):
        again.after(event)
    return taken


def command(form: CompareForm) -> str:
    """The command that makes a comparison."""
    how = commands.Looking("", form.keep, form.site, int(form.seed or 0))
    methods = [name for name in METHODS if name in form.methods]
    return commands.compare(form, methods, how, form.extent, tuple(form.reference))
