"""What an erasure is asked with on the page: which secrets, which method, how far it may go, what must stay."""

from dataclasses import dataclass
from typing import get_args

import gradio as gr

from privlens import validation
from privlens.erasure import (
    ERASURE_INFO,
    ERASURE_METHODS,
    MAX_SHARE,
    SHARE_PER_TEXT,
    ErasureSettings,
    Granularity,
    Scope,
    WeightMetric,
    method_settings,
)
from privlens.erasure.config import MAX_STEPS
from privlens.retained.others import Keep
from privlens.secret_lists import paragraphs
from privlens.ui.components.form import Form
from privlens.ui.sidebar.panel import Sidebar, SidebarValues, all_of
from privlens.ui.sidebar.ticking import tick_boxes
from privlens.ui.state.jobs import QUICK
from privlens.ui.tabs.erase.run import ErasureTask, chosen_targets, others_than
from privlens.ui.tabs.localize.settings import keep_setting, seed_setting
from privlens.ui.text import en
from privlens.ui.traces.typed import UNKEPT

FIRST = ErasureSettings()


def options(labels: dict[str, str]) -> list[tuple[str, str]]:
    """Names with their labels, as a control takes them."""
    return [(label, name) for name, label in labels.items()]


@dataclass(frozen=True)
class ErasureForm(SidebarValues):
    """The values of the tab's controls; of a number that was emptied, None."""

    reference: tuple[str, ...]
    which: str
    rows: list[int]
    method: str
    hold: str
    share: float | None
    guard: float | None
    steps: float | None
    choice: WeightMetric
    spread: Granularity
    scope: Scope
    keep: Keep
    rate: float | None
    weight: float | None
    decay: float | None
    repair: float | None
    every: float | None
    seed: float | None
    own_text: str

    def task(self) -> ErasureTask:
        """What is to be erased and how. An emptied number is the default. Raises BadInput for what cannot be."""
        targets = chosen_targets(self.listed, self.prompt, self.value, self.which, self.rows)
        every = self.every or FIRST.measure_every
        settings = ErasureSettings(
            share=self.share / 100 if self.share else None,
            choice=self.choice,
            spread=self.spread,
            scope=self.scope,
            steps=validation.whole(FIRST.steps if self.steps is None else self.steps, "number of steps", 1, MAX_STEPS),
            guard=FIRST.guard if self.guard is None else 1 + self.guard / 100,
            keep=0.0 if self.hold == "forget-only" else FIRST.keep if self.weight is None else self.weight,
            decay=FIRST.decay if self.decay is None else self.decay / 100,
            repair=validation.whole(
                FIRST.repair if self.repair is None else self.repair, "number of steps of the repair", 0, MAX_STEPS
            ),
            measure_every=validation.whole(every, "number of steps between two measurements", 1, MAX_STEPS),
        )
        settings = method_settings(self.method, settings, self.rate).checked()
        return ErasureTask(
            targets=targets,
            others=others_than(self.listed, targets),
            texts=paragraphs(self.own_text),
            reference=tuple(self.reference),
            settings=settings,
            keep=self.keep if settings.keep else "none",
            seed=validation.seed(self.seed or 0),
            listed=all_of(self.listed),
        )


def controls(side: Sidebar) -> tuple[Form[ErasureForm], Form[ErasureForm]]:
    """Builds the controls; returns their form for runs, and one for other listeners, which reads what is ticked from a state."""
    which = gr.Radio(options(en.ERASE_WHICH), value="sidebar", label=en.ERASE, elem_id="erase-which")
    with gr.Column(visible=False, elem_id="erase-list") as several:
        ticked, rows = tick_boxes(side, "erase", en.ERASE_TOGETHER, lambda _: [])
    with gr.Row():
        method = gr.Dropdown(list(ERASURE_METHODS), value=FIRST.method, label=en.METHOD, elem_id="erase-method", min_width=220)
        hold = gr.Dropdown(options(en.ERASE_HOLDS), value="retained", label=en.ERASE_HOLD, elem_id="erase-hold", min_width=260)
    about = gr.Markdown(about_method(FIRST.method), elem_id="erase-about")
    with gr.Row():
        share = gr.Number(
            0,
            label=en.ERASE_SHARE,
            minimum=0,
            maximum=100,
            min_width=200,
            elem_id="erase-share",
            info=en.erase_share_info(SHARE_PER_TEXT, MAX_SHARE),
        )
        guard = gr.Number(
            round(100 * (FIRST.guard - 1), 3),
            label=en.ERASE_GUARD,
            minimum=0,
            min_width=200,
            info=en.ERASE_GUARD_INFO,
            elem_id="erase-guard",
        )
        steps = gr.Number(
            FIRST.steps,
            label=en.ERASE_STEPS,
            precision=0,
            minimum=1,
            maximum=2000,
            elem_id="erase-steps",
            info=en.ERASE_STEPS_INFO,
            min_width=200,
        )
    with gr.Accordion(en.ERASE_MORE, open=False, elem_id="erase-more"):
        with gr.Row():
            choice = gr.Dropdown(
                [(en.ERASE_CHOICES[name], name) for name in get_args(WeightMetric)],
                value=FIRST.choice,
                elem_id="erase-choice",
                label=en.ERASE_CHOICE,
                min_width=260,
            )
            spread = gr.Dropdown(
                [(en.ERASE_UNITS[name], name) for name in get_args(Granularity)],
                value=FIRST.spread,
                elem_id="erase-spread",
                label=en.ERASE_UNIT,
                min_width=260,
            )
            scope = gr.Dropdown(
                [(en.ERASE_SCOPES[name], name) for name in get_args(Scope)],
                value=FIRST.scope,
                elem_id="erase-scope",
                label=en.ERASE_SCOPE,
                min_width=260,
            )
            keep = keep_setting("erase-keep")
        with gr.Row():
            rate = gr.Number(
                0,
                label=en.ERASE_RATE,
                minimum=0,
                elem_id="erase-rate",
                min_width=180,
                info=en.ERASE_RATE_INFO,
            )
            weight = gr.Number(
                FIRST.keep,
                label=en.ERASE_WEIGHT,
                minimum=0,
                elem_id="erase-weight",
                min_width=180,
                info=en.ERASE_WEIGHT_INFO,
            )
            decay = gr.Number(
                100 * FIRST.decay,
                label=en.ERASE_DECAY,
                minimum=0,
                maximum=99,
                min_width=180,
                info=en.ERASE_DECAY_INFO,
                elem_id="erase-decay",
            )
            repair = gr.Number(
                FIRST.repair,
                label=en.ERASE_REPAIR,
                precision=0,
                minimum=0,
                min_width=180,
                info=en.ERASE_REPAIR_INFO,
                elem_id="erase-repair",
            )
            every = gr.Number(
                FIRST.measure_every,
                label=en.ERASE_EVERY,
                precision=0,
                minimum=1,
                min_width=180,
                info=en.ERASE_EVERY_INFO,
                elem_id="erase-every",
            )
            seed = seed_setting("erase-seed")
        own_text = gr.Textbox(
            "",
            label=en.ERASE_OWN,
            lines=2,
            elem_id="erase-own",
            **UNKEPT,
        )
    which.input(lambda chosen: gr.update(visible=chosen == "ticked"), which, several, **QUICK)
    method.change(about_method, method, about, **QUICK)
    form = Form(
        ErasureForm,
        **side.controls,
        reference=side.reference,
        which=which,
        rows=ticked,
        method=method,
        hold=hold,
        share=share,
        guard=guard,
        steps=steps,
        choice=choice,
        spread=spread,
        scope=scope,
        keep=keep,
        rate=rate,
        weight=weight,
        decay=decay,
        repair=repair,
        every=every,
        seed=seed,
        own_text=own_text,
    )
    return form, form.reading(rows=rows)


def about_method(name: str) -> str:
    """What a method makes of the value's tokens."""
    return en.about_loss(name, ERASURE_INFO[name].meaning)
