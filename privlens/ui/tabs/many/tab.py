"""The tab Many secrets: one method on a selection of secrets, the neurons they vote for, and what categories share."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from privlens import validation
from privlens.errors import BadInput
from privlens.localization import METHOD_INFO, METHODS, Task, looked_at
from privlens.localization.aggregate import VoteSettings
from privlens.localization.several import localize_each
from privlens.retained.others import Keep, other_secrets, retained_of
from privlens.secret_lists import ListedSecret
from privlens.types import Site
from privlens.ui.components.exports import exports
from privlens.ui.components.form import Form, Given, Update
from privlens.ui.components.parts import Clock, facts, progress
from privlens.ui.components.plot import plot
from privlens.ui.sidebar.panel import Sidebar, SidebarValues, others_of
from privlens.ui.sidebar.ticking import most_repeated, tick_boxes
from privlens.ui.state.freshness import Asked, Made, of_secrets, strip, told
from privlens.ui.state.jobs import QUICK, Redraw, run_buttons, show_errors, wire
from privlens.ui.state.session import Localization, ModelCache, ModelName, best, fitting
from privlens.ui.tabs.localize.selection import Chosen
from privlens.ui.tabs.localize.settings import common, keep_setting, seed_setting
from privlens.ui.tabs.localize.tab import about_method
from privlens.ui.tabs.many import view as show
from privlens.ui.text import en

FIRST = "integrated-gradients"
"""The method whose scores the votes were made for."""
ACROSS = [name for name, info in METHOD_INFO.items() if info.across_sites]


@dataclass(frozen=True)
class ManyForm:
    """Which secrets of the list are localized, and how."""

    model: ModelName
    listed: tuple[ListedSecret, ...]
    rows: list[int]
    method: str
    keep: Keep
    seed: float | None
    both: bool

    @property
    def wants_both(self) -> bool:
        """Whether attention is localized beside the MLPs: where it is asked for, and the method's scores can be compared."""
        return self.both and self.method in ACROSS

    @property
    def asked(self) -> Asked:
        """The tab's settings by name, for the strip."""
        return ("method", self.method), *common(self.keep, "both" if self.wants_both else "mlp", self.seed)


@dataclass(frozen=True)
class VoteForm:
    """What was localized, and the four sliders of its view."""

    many: show.Many | None
    of_maximum: float
    of_secrets: float
    most: float
    k: Any

    @property
    def settings(self) -> VoteSettings:
        """The first three sliders as the aggregator's settings."""
        return VoteSettings(self.of_maximum, self.of_secrets, int(self.most))


def many_tab(shelf: ModelCache, side: Sidebar, chosen: Chosen) -> Any:
    """Builds the tab; returns the event after the voted neurons were taken over."""
    gr.Markdown(en.MANY_INTRO)
    ticked, rows_ticked = tick_boxes(side, "many", en.MANY_SECRETS, most_repeated)
    with gr.Row():
        method = gr.Dropdown(list(METHODS), value=FIRST, label=en.METHOD, elem_id="many-method", scale=2, min_width=260)
        keep, seed = keep_setting("many-keep"), seed_setting("many-seed")
    about = gr.Markdown(about_method(FIRST), elem_id="many-about")
    sites = gr.Checkbox(
        False,
        label=en.MANY_SITES,
        elem_id="many-sites",
        info=en.many_sites_info(ACROSS),
    )
    start, cancel = run_buttons(en.START, "many")
    bar = progress("many-progress")
    many = gr.State(None)
    with gr.Column(elem_classes="results"):
        made_strip = strip("many-made")
        numbers = facts("many-facts", en.MANY_EMPTY)
        gr.Markdown(en.VOTES_HEADING)
        with gr.Row():
            of_maximum = gr.Slider(
                0.01,
                1,
                value=VoteSettings.of_maximum,
                step=0.01,
                elem_id="vote-maximum",
                label=en.VOTE_SCORE,
                info=en.VOTE_SCORE_INFO,
            )
            at_least = gr.Slider(
                0.01,
                1,
                value=VoteSettings.of_secrets,
                step=0.01,
                elem_id="vote-secrets",
                label=en.VOTE_SHARE,
                info=en.VOTE_SHARE_INFO,
            )
            most = gr.Slider(
                1,
                1000,
                value=VoteSettings.most,
                step=1,
                elem_id="vote-most",
                label=en.VOTE_MOST,
                info=en.VOTE_MOST_INFO,
            )
        heat = plot("many-heatmap", en.VOTES_EMPTY, 460)
        use = gr.Button(en.VOTES_USE, elem_id="many-use")
        layers = plot("many-layers", en.VOTES_LAYERS_EMPTY, 280)
        gr.Markdown(en.OVERLAP_INTRO)
        k = gr.Slider(1, 1000, value=100, step=1, label=en.MANY_K, elem_id="many-k")
        with gr.Row():
            with gr.Column(min_width=320):
                matrix = plot("many-overlap", en.MANY_OVERLAP_EMPTY, 560)
            with gr.Column(min_width=320):
                means = plot("many-means", en.MANY_MEANS_EMPTY, 420)
        shares = plot("many-shares", en.MANY_SHARES_EMPTY, 300)
        exports("many", many, show.report_of, command=False)

    def run(form: ManyForm, stop: threading.Event) -> Iterator[Update]:
        lm, targets = shelf.get(form.model), show.by_category([form.listed[row].secret for row in form.rows])
        if not targets:
            raise BadInput(en.NO_SECRET_TICKED)
        wanted: list[Site] = ["mlp", "attention"] if form.wants_both else ["mlp"]
        retained = looked_at(form.method, retained_of(other_secrets(others_of(form.listed), targets), form.keep))
        seed = validation.seed(form.seed or 0)
        tasks = [
            Task(lm, target, others=retained, seed=seed, site=site, stop=stop.is_set) for site in wanted for target in targets
        ]
        clock = Clock()
        for step in localize_each([(form.method, task) for task in tasks]):
            update: Update = {bar: gr.update(value=clock.at(step.step, step.n_steps, step.stage))}
            if len(step.scores) == len(tasks):
                n = len(targets)
                found = show.Many(
                    targets=tuple(targets),
                    retained=frozenset(retained),
                    scores=step.scores[:n],
                    attention=step.scores[n:],
                    asked=form.asked,
                    n_edits=len(form.model.edits),
                )
                update |= {many: found, k: gr.update(maximum=show.largest_k(found), value=show.default_k(found))}
            yield update

    def tell(given: Given) -> dict[str, str]:
        values, localized, made = shown_form.read(given), given[many], None
        if localized is not None:
            made = Made(
                localized.scores[0].provenance.fingerprint, (*of_secrets(localized.targets), *localized.asked), localized.n_edits
            )
        ticked = show.by_category([values.listed[row].secret for row in values.rows if row < len(values.listed)])
        return told(shelf, values.model, made, (*of_secrets(ticked), *values.asked))

    def draw(given: Given) -> tuple[Any, ...]:
        values = votes.read(given)
        if values.many is None:
            return show.nothing()
        return show.view(values.many, values.settings, show.known_k(values.many, values.k))

    def redraw(given: Given) -> tuple[Any, ...]:
        values = votes.read(given)
        if values.many is None:
            return *draw(given), gr.skip()
        return *draw(given), gr.update(maximum=show.largest_k(values.many), value=show.known_k(values.many, values.k))

    def take(given: Given) -> tuple[Any, ...]:
        sidebar_values, vote, selection = in_sidebar.read(given), votes.read(given), given[chosen.selection]
        scores, localized = show.voted(vote.many, vote.settings), vote.many
        assert localized is not None, "voted refuses None"
        secret = sidebar_values.target
        target = secret if secret in localized.targets or sidebar_values.prompt.strip() else localized.targets[0]
        mean = target if target in localized.targets else localized.targets[0]
        localization = Localization(mean, localized.retained, scores, localized.targets, n_edits=localized.n_edits)
        fitting(localization, shelf.get(sidebar_values.model))
        return localization, selection.to(best(scores, scores.suggested_k or 0)), target.prompt, target.value

    drawn = [numbers, heat, layers, matrix, means, shares]
    method.change(lambda name: (about_method(name), gr.update(interactive=name in ACROSS)), method, [about, sites], **QUICK)
    settings: dict[str, Any] = {"method": method, "keep": keep, "seed": seed, "both": sites}
    form = Form(ManyForm, model=side.model, listed=side.listed, rows=ticked, **settings)
    shown_form = form.reading(rows=rows_ticked)
    votes = Form(VoteForm, many=many, of_maximum=of_maximum, of_secrets=at_least, most=most, k=k)
    in_sidebar = Form(SidebarValues, **side.controls)
    ended = wire(start, cancel, bar, run, form, [many, k])
    Redraw(redraw, votes.inputs, [*drawn, k], as_sent=True).after(ended.then)
    events = [part.change for part in (many, rows_ticked, side.model, side.listed, *settings.values())]
    side.strips.watch((events, tell, {*shown_form.inputs, many}), made_strip)
    gr.on(
        [slider.input for slider in (of_maximum, at_least, most, k)],
        show_errors(draw),
        votes.inputs,
        drawn,
        trigger_mode="always_last",
        concurrency_limit=1,
        **QUICK,
    )
    taken = use.click(
        show_errors(take),
        {*in_sidebar.inputs, *votes.inputs, chosen.selection},
        [chosen.located, chosen.selection, side.prompt, side.value],
        **QUICK,
    )
    chosen.redraw.after(taken.success)
    side.loaded.success(lambda: (None, *show.nothing()), None, [many, *drawn], **QUICK)
    return taken
