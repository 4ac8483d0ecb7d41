"""The tab Localize: gates train live, then the neurons that were found can be chosen and switched."""

import functools
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from privlens import plots, results_json, validation
from privlens.localization import ASKED_FOR_DEPTH, METHOD_INFO, METHODS, Task, looked_at, steps_of
from privlens.localization.choice import how_many
from privlens.localization.exchange import ROUNDS
from privlens.localization.hard_concrete import MOST_ROUNDS, MaskSettings, asked_for
from privlens.retained.others import Keep, other_secrets, retained_of
from privlens.secret_lists import paragraphs
from privlens.types import LocalizationStep, Site
from privlens.ui.components.exports import exports
from privlens.ui.components.form import Form, Given, Update
from privlens.ui.components.parts import Clock, progress
from privlens.ui.sidebar import commands
from privlens.ui.sidebar.panel import Sidebar, SidebarValues, others_of
from privlens.ui.state.freshness import ELSEWHERE, TEXT, Asked, Made, of_secret, strip, told
from privlens.ui.state.jobs import QUICK, run_buttons, wire
from privlens.ui.state.pace import Pace
from privlens.ui.state.profiles import ProfileCache
from privlens.ui.state.session import Localization, ModelCache, Selection, best
from privlens.ui.tabs.localize.card import wire_card
from privlens.ui.tabs.localize.live import gates_map, live_facts, preview_fact, preview_map, preview_of, trains
from privlens.ui.tabs.localize.neuron_set import neuron_set_part
from privlens.ui.tabs.localize.selection import Chosen, choosing, default_k, stage
from privlens.ui.tabs.localize.settings import (
    common,
    depth_setting,
    exchange_setting,
    hold_setting,
    keep_setting,
    seed_setting,
    site_setting,
)
from privlens.ui.text import en
from privlens.ui.traces.typed import UNKEPT

CURVES_EVERY = 1.0
"""Seconds between two pictures of the loss, which take a third as long to make as a step of training, and grow by a dot each."""


@dataclass(frozen=True)
class LocalizeForm(SidebarValues):
    """The secret, how its neurons are looked for, and what was found and chosen before."""

    method: str
    keep: Keep
    site: Site
    seed: float | None
    depth: str
    hold: float | None
    rounds: str
    own_text: str
    located: Localization | None
    selection: Selection

    @property
    def asked(self) -> Asked:
        """The tab's settings by name, for the strip."""
        exchanged = self.rounds.strip() or str(ROUNDS)
        goal = ("depth", en.DEPTHS[self.depth]), ("hold", f"{self.hold or 0:g}"), ("rounds of exchange", exchanged)
        return (
            ("method", self.method),
            *(goal if self.method in ASKED_FOR_DEPTH else ()),
            *common(self.keep, self.site, self.seed),
            (TEXT, self.own_text.strip()),
        )

    @property
    def n_rounds(self) -> int | None:
        """Of exchange; None where the box is empty. Raises BadInput for what is no number of rounds."""
        return validation.typed_whole(self.rounds, "number of rounds of exchange", 0, MOST_ROUNDS)

    @property
    def looking(self) -> commands.Looking:
        """The same as the options of a command."""
        return commands.Looking(
            method=self.method,
            keep=self.keep,
            site=self.site,
            seed=int(self.seed or 0),
            depth=self.depth,
            hold=self.hold or 0.0,
            rounds=self.n_rounds,
            has_text=bool(self.own_text.strip()),
        )


def localize_tab(shelf: ModelCache, side: Sidebar, profiles: ProfileCache) -> tuple[Chosen, gr.Button]:
    """Builds the tab; returns what was chosen, and the button that leads on."""
    gr.Markdown(en.LOCALIZE_INTRO)
    with gr.Row(elem_classes="run-line"):
        method = gr.Dropdown(list(METHODS), value=next(iter(METHODS)), label=en.METHOD, elem_id="method", scale=3, min_width=240)
        with gr.Column(scale=2, min_width=240):
            start, cancel = run_buttons(en.START, "localize")
    bar = progress("localize-progress")
    with gr.Accordion(en.LOCALIZE_SETTINGS, open=False):
        with gr.Row():
            keep, site, seed = keep_setting("keep"), site_setting("site"), seed_setting("seed")
        with gr.Row():
            depth, hold, rounds = depth_setting(), hold_setting(), exchange_setting()
        own_text = gr.Textbox("", label=en.LOCALIZE_OWN, lines=3, elem_id="retained", **UNKEPT)
    about = gr.Markdown(about_method(next(iter(METHODS))), elem_id="method-about", elem_classes="small")
    method.change(about_method, method, about, **QUICK)
    with gr.Column(elem_classes=["results", "streams"]):
        made_strip = strip("localize-made")
        shown = stage()
        live, heat, lines = shown.live, shown.heat, shown.lines
        chosen = choosing(shelf, side.model, shown)
        exports("localize", chosen.located, report_of)
        wire_card(shelf, side, profiles, chosen.pointed)
        neuron_set_part(shelf, side, chosen)

    def run(form: LocalizeForm, stop: threading.Event) -> Iterator[Update]:
        lm, target = shelf.get(form.model), form.target
        retained = looked_at(form.method, retained_of(other_secrets(others_of(form.listed), [target]), form.keep))
        seed = validation.seed(form.seed or 0)
        mask = asked_for(form.depth, form.hold, form.n_rounds)
        clock, sufficient = Clock(), METHOD_INFO[form.method].sufficient
        pace, pace_of_curves, loss = Pace(), Pace(CURVES_EVERY), ""
        preview = preview_of(form.method, lm, target, form.site, stop.is_set)
        if preview is not None:
            yield {
                bar: gr.update(value=clock.at(0, 1, en.PREVIEW)),
                live: gr.update(value=[preview_fact()]),
                heat: preview_map(preview),
                lines: gr.update(value=""),
            }
        task = Task(lm, target, others=retained, texts=paragraphs(form.own_text), seed=seed, site=form.site, stop=stop.is_set)
        steps: list[LocalizationStep] = []
        n_neurons = sum(lm.widths(form.site))
        for step in steps_of(form.method, task, mask if mask != MaskSettings() else None):
            steps.append(step)
            if step.result is None and not pace.is_due():
                continue
            if step.n_closed or step.result is not None:
                preview = None  # from now on the gates are there to be seen
            gates: Update = {heat: gates_map(step, sufficient)} if preview is None else {}
            if trains(step) and (step.result is not None or pace_of_curves.is_due()):
                loss = plots.curves(steps, n_neurons if sufficient else None).to_json()
            numbers = [*([] if preview is None else [preview_fact()]), *live_facts(step, n_neurons, sufficient)]
            result: Update = {}
            if step.result is not None:
                localization = Localization(
                    target,
                    frozenset(retained),
                    step.result,
                    asked=form.asked,
                    facts=tuple(numbers),
                    curves=loss,
                    n_edits=len(form.model.edits),
                    how=functools.partial(commands.localize, form, form.looking),
                )
                result = {
                    chosen.located: localization,
                    chosen.selection: form.selection.to(best(step.result, default_k(localization))),
                }
            yield {
                bar: gr.update(value=clock.at(step.step, step.n_steps, step.stage)),
                live: gr.update(value=numbers),
                lines: gr.update(value=loss),
                **gates,
                **result,
            }

    def tell(given: Given) -> dict[str, str]:
        values = form.read(given)
        made = None if values.located is None else made_of(values.located, values.prompt, values.value)
        asked = (*of_secret(values.prompt, values.value), *values.asked)
        return told(shelf, values.model, made, asked, ELSEWHERE)

    settings: dict[str, Any] = {"method": method, "keep": keep, "site": site, "seed": seed}
    settings |= {"depth": depth, "hold": hold, "rounds": rounds, "own_text": own_text}
    form = Form(LocalizeForm, **side.controls, **settings, located=chosen.located, selection=chosen.selection)
    outputs = [live, heat, lines, chosen.located, chosen.selection]
    ended = wire(start, cancel, bar, run, form, outputs, redraw=chosen.redraw)
    emptied = side.loaded.success(lambda: (None, Selection()), None, [chosen.located, chosen.selection], **QUICK)
    for event in (ended.then, emptied.then):
        chosen.redraw.after(event)
    events = [part.change for part in (chosen.located, side.secret, side.model, *settings.values())]
    chosen = replace(chosen, told=(events, tell, form.inputs), settings=settings)
    side.strips.watch(chosen.told, made_strip)
    return chosen, gr.Button(en.LOCALIZE_NEXT, elem_id="to-deactivate")


def made_of(localization: Localization, prompt: str, value: str) -> Made:
    """Of what a localization was made; one of many secrets is for each of them."""
    voters = [(secret.prompt, secret.value) for secret in localization.voters]
    target = (prompt, value) if (prompt, value) in voters else (localization.target.prompt, localization.target.value)
    asked = (*of_secret(*target), *(localization.asked or (("by", localization.scores.method),)))
    return Made(localization.scores.provenance.fingerprint, asked, localization.n_edits)


def report_of(localization: Localization) -> results_json.Json:
    """The JSON that `localize` prints: the k that the method suggests, or one neuron in a hundred."""
    scores = localization.scores
    return results_json.localization(scores, localization.target, how_many(scores), sorted(localization.retained, key=str))


def about_method(name: str) -> str:
    """What a method's score means, its unit, and what it costs."""
    info = METHOD_INFO[name]
    return en.about_method(name, info.meaning, info.unit, info.cost)
