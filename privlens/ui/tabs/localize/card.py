"""The card of the neuron that is pointed at on the map: a glance, with a button to its page."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from privlens import plots
from privlens.lm.model import LanguageModel
from privlens.localization import unit_of
from privlens.neurons.card_records import NeuronCard
from privlens.neurons.cards import card
from privlens.neurons.profile_records import ModelProfile
from privlens.types import Neuron
from privlens.ui.components.parts import part
from privlens.ui.components.plot import picked
from privlens.ui.sidebar.panel import Sidebar
from privlens.ui.state.jobs import QUICK, show_errors
from privlens.ui.state.profiles import ProfileCache, is_quick
from privlens.ui.state.session import Localization, ModelCache, ModelName, Selection
from privlens.ui.text import en

ON_CARD = 6
"""Tokens on a card, of each kind: what fits on one line."""


@dataclass(frozen=True)
class Card:
    """The card, the button that opens the neuron's page, and the name of the neuron that it is about."""

    text: gr.HTML
    open: gr.Button
    name: gr.State


@dataclass(frozen=True)
class Pointed:
    """The maps that are pointed at, what they show, and their card."""

    maps: tuple[gr.HTML, ...]
    located: gr.State
    selection: gr.State
    card: Card


def card_part() -> Card:
    """Builds it."""
    lines = '<div class="card-title"></div><dl class="card-lines"></dl>'
    still = f'<div class="card" role="status" hidden>{lines}</div>'
    template = f'{still}<div class="card-floating" aria-hidden="true" hidden>{lines}</div>'
    text = part("card", template, value={}, elem_id="neuron-card")
    return Card(text, gr.Button(en.NEURON_OPEN, elem_id="open-neuron", size="sm", visible=False), gr.State(""))


def wire_card(shelf: ModelCache, side: Sidebar, profiles: ProfileCache, asked: Pointed) -> None:
    """The card follows the pointer on the maps, and the frame of the keys."""
    shown = asked.card

    def pointed(
        model: ModelName, reference: tuple[str, ...], localization: Localization | None, chosen: Selection, event: gr.EventData
    ) -> Iterator[tuple[Any, ...]]:
        if localization is None or event.bin or localization.scores.site == "attention":
            return
        lm, neuron = shelf.get(model), picked(event)
        if neuron.index >= lm.widths()[neuron.layer]:
            return
        title = en.neuron_name(*neuron)
        lines = [(en.CARD_LINES["score"], score_of(localization, neuron, chosen))]
        known = profiles.ready(lm, reference)
        opener = gr.update(visible=True)
        if known is None and not is_quick(lm):
            yield card_value(title, [*lines, ("", en.CARD_LATER)]), opener, title
            return
        if known is None:
            yield card_value(title, [*lines, ("", en.CARD_READING)], busy=True), opener, title
            known = made(profiles, lm, reference)
        yield card_value(title, [*lines, *card_lines(card(lm, known, neuron))]), opener, title

    asked.located.change(lambda: (gr.update(value={}), gr.update(visible=False)), None, [shown.text, shown.open], **QUICK)
    inputs = [side.model, side.reference, asked.located, asked.selection]
    for picture in asked.maps:
        picture.point(show_errors(pointed), inputs, [shown.text, shown.open, shown.name], trigger_mode="always_last", **QUICK)


def made(profiles: ProfileCache, lm: LanguageModel, reference: tuple[str, ...]) -> ModelProfile:
    """The profile, however long it takes."""
    *_, step = profiles.steps(lm, reference)
    assert step.result, "a profile ends with its result"
    return step.result


def score_of(localization: Localization, neuron: Neuron, chosen: Selection) -> str:
    """The neuron's score with its unit, and whether it is off."""
    score = float(localization.scores.scores[neuron])
    state = en.NEURON_OFF if neuron in chosen.now.off else en.NEURON_ON
    return f"{score:.4g} ({unit_of(localization.scores.method)}), {state}"


def card_value(name: str, lines: Sequence[tuple[str, str]], busy: bool = False) -> Any:
    """An update of the card below the map."""
    return gr.update(value={"title": name, "lines": list(lines), "busy": busy})


def card_lines(card: NeuronCard) -> list[tuple[str, str]]:
    """What a card says beside the score."""
    names = en.CARD_LINES
    active = next(number.value for number in card.statistics if number.name == "share of activations above 0")
    return [
        (names["raises"], "  ".join(plots.shown(token.token) for token in card.promoted[:ON_CARD])),
        (names["lowers"], "  ".join(plots.shown(token.token) for token in card.suppressed[:ON_CARD])),
        (names["active"], en.active_on(active)),
        (names["families"], ", ".join(badge.family for badge in card.badges) or en.NO_FAMILY),
    ]
