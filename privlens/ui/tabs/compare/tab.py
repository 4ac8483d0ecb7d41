"""The tab Compare methods: the same picture for every method, their overlap, and what switching off the best k of each does."""

from collections.abc import Iterator
from typing import Any

import gradio as gr

from privlens import validation
from privlens.deactivation import EvalContext
from privlens.localization import METHOD_INFO, METHODS, WEIGHT_NORM, Task
from privlens.method_comparison import FLOOR, BudgetName, compare_methods
from privlens.planting.plant import Plant
from privlens.retained.others import Keep, other_secrets, retained_of
from privlens.types import Site
from privlens.ui.components.parts import Clock, facts, progress, results_table
from privlens.ui.components.plot import plot
from privlens.ui.sidebar.panel import Sidebar, others_of, secret_of
from privlens.ui.state.freshness import Asked, Made, of_secret, of_secrets, strip, told, watch
from privlens.ui.state.jobs import QUICK, run_buttons, show_errors, wire
from privlens.ui.state.session import Localization, ModelCache, ModelName, Selection, best, fitting
from privlens.ui.tabs.compare import view as show
from privlens.ui.tabs.compare.plant import plant_part, truth_for
from privlens.ui.tabs.localize.selection import Chosen
from privlens.ui.tabs.localize.settings import common, keep_setting, seed_setting, site_setting

FIRST = ["hard-concrete", "active-token-gradient", "contrastive-gradient", "gradient", "activations"]
"""Chosen at first: the cheap ones, and the mask."""
EMPTY = "Choose a secret in the sidebar, tick methods and press Start."


def compare_tab(shelf: ModelCache, side: Sidebar, chosen: Chosen) -> Any:
    """Builds the tab; returns the event after a method's neurons were taken over."""
    gr.Markdown(
        "Methods answer differently, so hold them against each other, against random neurons, and against a secret "
        "whose place is known. Pictures and overlap come first, then the secret's own curve, then what else each choice of "
        "neurons does, from the smallest k on. Cancel brings back the comparison that stood here before; without one, what is "
        "there stays."
    )
    with gr.Accordion("Planted truth: a secret whose place is known", open=False, elem_id="plant"):
        planted, events = plant_part(shelf, side, chosen.located, chosen.selection)
    methods = gr.CheckboxGroup(
        [(f"{name}: {METHOD_INFO[name].meaning}. Cost: {METHOD_INFO[name].cost}.", name) for name in METHODS if name != FLOOR],
        value=FIRST,
        label="Methods (random neurons are always beside them)",
        elem_id="compare-methods",
    )
    with gr.Row():
        keep, site, seed = keep_setting("compare-keep"), site_setting("compare-site"), seed_setting("compare-seed")
    extent = gr.Radio(show.extents(), value="sample", label="Effects are measured on", elem_id="compare-extent")
    start, cancel = run_buttons("Start", "compare")
    bar = progress("compare-progress")
    compared = gr.State(None)
    with gr.Column(elem_classes=["results", "streams"]):
        made = strip("compare-made")
        numbers = facts("compare-facts", EMPTY)
        k = gr.Slider(1, 100, value=10, step=1, label="k: the best k neurons of each method", elem_id="compare-k")
        table = results_table("compare-table", None, show.WIDTHS)
        with gr.Row():
            names: list[str] = []
            which = gr.Dropdown(names, label="Take over the k best neurons of", elem_id="compare-which", min_width=220)
            use = gr.Button("Use these neurons: see what switching them off does", elem_id="compare-use", min_width=260)
        gr.Markdown(show.LEGEND, elem_classes="small")
        with gr.Row(elem_classes="small-plots"):
            heats = [plot(f"compare-heat-{at}", "", 250) for at in range(len(METHODS) + 1)]
        with gr.Row():
            with gr.Column(min_width=320):
                overlaps = plot("compare-overlap", "Which methods name the same neurons will stand here.", 420)
            with gr.Column(min_width=320):
                curves = plot("compare-curves", "What switching off each method's best k does will stand here.", 860)

    def run(
        model: ModelName,
        listed: Any,
        reference: Any,
        prompt: str,
        value: str,
        methods: list[str],
        keep: Keep,
        site: Site,
        seed: float,
        extent: BudgetName,
        plant: Plant | None,
        had: show.Compared | None,
        stop: Any,
    ) -> Iterator[tuple[Any, ...]]:
        lm, target = shelf.get(model), secret_of(listed, prompt, value)
        others = other_secrets(others_of(listed), [target])
        retained = retained_of(others, keep)
        truth = truth_for(plant, model, target) if site == "mlp" else ()
        asked = [*methods, WEIGHT_NORM] if truth else methods
        task = Task(lm, target, others=retained, seed=validation.seed(seed or 0), site=site, stop=stop.is_set)
        settings = asked_with(methods, keep, site, seed, extent)
        clock, n_drawn, found = Clock(), -1, None
        for step in compare_methods(asked, task, EvalContext(others, tuple(reference)), extent, len(truth) or None):
            at = gr.update(value=clock.at(step.step, step.n_steps, step.stage))
            pictures: tuple[Any, ...] = tuple(gr.skip() for _ in heats)
            if len(step.scores) != n_drawn:
                n_drawn = len(step.scores)
                pictures = show.heatmaps(step.scores, truth, 0, len(heats))
            rest: tuple[Any, ...] = tuple(gr.skip() for _ in range(6))
            if step.result is not None:
                first, found = found is None, show.Compared(step.result, truth, settings, len(model.edits))
                at_k = show.default_k(found)
                controls = (gr.skip(), gr.skip())
                if first:
                    pictures = show.marks_only(found.scores, truth, at_k, len(heats))
                if first if had is None else step.step == step.n_steps:
                    controls = (gr.update(maximum=show.largest_k(found), value=at_k), show.chooser(found))
                rest = (*show.numbers(found, at_k), *controls)
            # What stood here before stays the visitor's until the last step; where nothing stood, each step is theirs at once.
            theirs = found if had is None or step.step == step.n_steps else None
            yield at, theirs or gr.skip(), *pictures, *rest

    def redraw(found: show.Compared | None, k: int) -> tuple[Any, ...]:
        if found is None:
            return (*(gr.update(value="", off=[], on=[]) for _ in heats), *show.no_numbers())
        return (*show.heatmaps(found.scores, found.truth, int(k), len(heats)), *show.numbers(found, int(k)))

    def tell(model: ModelName, prompt: str, value: str, found: show.Compared | None, *settings: Any) -> dict[str, str]:
        made = None
        if found is not None:
            made_with = (*of_secrets([found.result.target]), *found.asked)
            made = Made(found.result.provenance.fingerprint, made_with, found.n_edits)
        return told(shelf, model, made, (*of_secret(prompt, value), *asked_with(*settings)))

    def slide(found: show.Compared | None, k: int) -> tuple[Any, ...]:
        if found is None:
            return tuple(gr.skip() for _ in range(len(heats) + 4))
        return (*show.marks_only(found.scores, found.truth, int(k), len(heats)), *show.numbers(found, int(k)))

    def take(model: ModelName, found: show.Compared | None, method: str, k: int, chosen: Selection) -> tuple[Any, ...]:
        scores = show.scores_of(found, method)
        assert found is not None, "scores_of refuses what was not compared"
        located = Localization(found.result.target, found.result.retained, scores, n_edits=found.n_edits)
        fitting(located, shelf.get(model))
        return located, chosen.to(best(scores, int(k)))

    drawn = [*heats, numbers, overlaps, curves, table]
    settings: list[Any] = [methods, keep, site, seed, extent]
    inputs = [side.model, side.listed, side.reference, side.prompt, side.value, *settings, planted, compared]
    again = (redraw, [compared, k], drawn)
    ended = wire(start, cancel, bar, run, inputs, [compared, *drawn, k, which], redraw=again)
    ended.then(*again, **QUICK)
    changes = [one.change for one in (compared, side.secret, side.model, *settings)]
    watch((changes, tell, [side.model, side.prompt, side.value, compared, *settings]), [made])
    k.input(slide, [compared, k], drawn, trigger_mode="always_last", concurrency_limit=1, **QUICK)
    taken = use.click(
        show_errors(take), [side.model, compared, which, k, chosen.selection], [chosen.located, chosen.selection], **QUICK
    )
    localized, needs, gives = chosen.redraw
    taken.success(localized, needs, gives, **QUICK)
    for event in events:
        event.then(localized, needs, gives, **QUICK)
    side.loaded.success(lambda: None, None, compared, **QUICK).then(redraw, [compared, k], drawn, **QUICK)
    return taken


def asked_with(methods: list[str], keep: str, site: Site, seed: float | None, extent: BudgetName) -> Asked:
    """The tab's settings by name, for the strip."""
    return ("methods", ", ".join(one for one in METHODS if one in methods)), *common(keep, site, seed), ("measured on", extent)
