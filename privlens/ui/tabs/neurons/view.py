"""What is known of one neuron, as values of the page's parts."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

import gradio as gr
import pandas as pd

from privlens import plots
from privlens.neurons.card_records import TokenWeight
from privlens.neurons.page_records import AloneOff, Dimmer, DimmerPoint, NeuronPage, TokenActivations
from privlens.ui.text import en, wording
from privlens.ui.text.wording import Fact, fact

FIRST = {"output norm", "share of activations above 0", "kurtosis of cosines with the vocabulary"}
"""The statistics that stand first; the others are folded away."""
ALONE_SHOWN = 50


def of_page(known: NeuronPage) -> tuple[Any, ...]:
    """Facts, the column of the rest, tokens, readings, histogram, dimmer, secrets with it off, neighbors."""
    card = known.card
    reached = [("this secret", max(known.on_secret.activations))] if known.on_secret else []
    return (
        gr.update(value=facts_of(known)),
        gr.update(visible=True),
        table(en.NEURON_TOKEN_COLUMNS, list(map(_pair, card.promoted, card.suppressed))),
        gr.update(value=readings(known)),
        gr.update(value=plots.activation_histogram(card.histogram, reached).to_json()),
        gr.update(value=plots.dimmer_lines(known.dimmer).to_json() if known.dimmer else ""),
        table(en.NEURON_ALONE_COLUMNS, alone_rows(known.alone)),
        table(en.NEURON_NEIGHBOR_COLUMNS, [(en.neuron_name(*near.neuron), f"{near.cosine:.3f}") for near in known.neighbors]),
    )


def nothing() -> tuple[Any, ...]:
    """The same parts without a neuron."""
    hidden, empty = gr.update(visible=False), gr.update(value="")
    return gr.update(value=[]), hidden, hidden, gr.update(value=[]), empty, empty, hidden, hidden


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Any:
    """An update of a table, which is hidden without rows."""
    return gr.update(value=pd.DataFrame(rows, columns=list(columns)), visible=True) if rows else gr.update(visible=False)


def _pair(raised: TokenWeight, lowered: TokenWeight) -> tuple[str, str, str, str]:
    return plots.shown(raised.token), f"{raised.logit:+.3f}", plots.shown(lowered.token), f"{lowered.logit:+.3f}"


def facts_of(known: NeuronPage) -> list[Fact]:
    """Which neuron, its families, its scores, what falls without it, and all its statistics."""
    card = known.card
    families = ", ".join(badge.family for badge in card.badges) or en.NO_FAMILY
    rules = "; ".join(badge.rule for badge in card.badges) or en.NOTE_FAMILY
    first = [fact("neuron", en.neuron_name(*card.neuron)), fact("family", families, "", rules)]
    first += [fact(f"score by {at.method}", f"{at.score:.4g}", "", f"rank {at.rank:,} of {at.n_neurons:,}") for at in card.scores]
    if known.alone:
        first.append(_alone_fact(known.alone))
    stated = [
        fact(
            number.name,
            _number(number.value),
            "",
            en.percentile(number.percentile) and en.NOTE_PERCENTILE,
            en.percentile(number.percentile),
        )
        for number in card.statistics
    ]
    named = [one for one in stated if one["name"] in FIRST]
    rest = [one for one in stated if one["name"] not in FIRST]
    origin = [fact(en.NEURON_LINK, card.link, place="origin"), wording.time_of(card)]
    return [*first, *named, *wording.folded(rest), *origin]


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4g}"


def _alone_fact(alone: AloneOff) -> Fact:
    mean = statistics.fmean(effect.n_lost for effect in alone.random)
    beside = en.lost_beside_random(mean, alone.random_interval)
    return fact("secrets that fall", f"{alone.chosen.n_lost} of {alone.n_known}", "", en.NOTE_ALONE, beside)


def readings(known: NeuronPage) -> list[dict[str, Any]]:
    """The texts on which the neuron's activation is shown: the secret, the visitor's text, and where it is most active."""
    own = [(en.NEURON_ON_SECRET, known.on_secret), (en.NEURON_ON_TEXT, known.on_text)]
    texts = [_reading(note, on) for note, on in own if on]
    for place in known.contexts:
        texts.append(_reading(en.neuron_context(place.row, place.activation), TokenActivations(place.tokens, place.activations)))
    return texts


def _reading(note: str, on: TokenActivations) -> dict[str, Any]:
    """Tokens stay as they are: the page finds private values in them, to hide them."""
    return {"note": note, "tokens": list(map(list, zip(on.tokens, on.activations, strict=True))), "from": on.n_prompt}


def alone_rows(alone: AloneOff | None) -> list[tuple[str, ...]]:
    """The secrets that change most with the neuron off."""
    changes = alone.changes[:ALONE_SHOWN] if alone else ()
    return [
        (
            change.secret.prompt,
            change.secret.value,
            f"{change.nll_before:.3f}",
            f"{change.nll_after:.3f}",
            en.NO_YES[change.known_before],
            en.NO_YES[change.known_after],
        )
        for change in changes
    ]


def dimmed(dimmer: Dimmer | None, gate: float) -> list[Fact]:
    """What the dimmer does at the position nearest to a gate."""
    if dimmer is None:
        return []
    at: DimmerPoint = min(dimmer.points, key=lambda point: abs(point.gate - gate))
    before = next(point for point in dimmer.points if point.gate == 1.0)
    facts = [
        fact("secret's NLL", f"{at.secret_nll:.3f}", "nats/token", en.NOTE_DIM_NLL, en.random(f"{at.random_nll:.3f}")),
        fact("entropy", f"{at.entropy:.3f}", "nats", en.NOTE_DIM_ENTROPY, en.before(f"{before.entropy:.3f}")),
    ]
    if at.reference_nll is not None and before.reference_nll is not None:
        beside = en.before(f"{before.reference_nll:.4f}")
        facts.append(fact("NLL of ordinary text", f"{at.reference_nll:.4f}", "nats/token", en.NOTE_DIM_REFERENCE, beside))
    return facts
