"""A recorded example as the value of the overview part."""

import re
from typing import Any

import numpy as np

from privlens.memorization.depth import tries_in_words
from privlens.recorded import RecordedExample
from privlens.ui.text import en, wording

HEAT_CELLS = 800
"""Cells that are drawn in colour at most, the highest scores first."""
STATES = ("on", "off", "random")
Pieces = list[tuple[str, str]]


def of_example(example: RecordedExample | None) -> dict[str, Any]:
    """Sentence, map, texts, verdicts and numbers of an example; nothing where none is recorded."""
    if example is None:
        return {}
    states = dict(zip(STATES, (example.on, example.closed, example.random), strict=True))
    scores = example.scores
    n_off = len(example.off)
    control = None if example.control_logprob is None else tries_in_words(example.control_logprob)
    return {
        "sentence": [(f"{example.secret.prompt} ", ""), (example.secret.value.strip(), "secret")],
        "sure": en.overview_sure(tries_in_words(example.on.logprob), control),
        "recorded": en.overview_recorded(scores.method, scores.provenance.seed),
        "chosen": en.overview_chosen(
            example.n_candidates, example.n_forgotten, scores.provenance.fingerprint[:8], example.command
        ),
        "labels": {
            "on": en.overview_switch(n_off, True),
            "off": en.overview_switch(n_off, False),
            "hidden": en.OVERVIEW_WAITING,
        },
        "texts": {name: _pieces(state.text, example.secret.value) for name, state in states.items()},
        "verdicts": {
            "on": {"kind": "known", "text": en.OVERVIEW_KNOWN, "detail": en.OVERVIEW_GUESS},
            "off": _verdict(example),
        },
        "numbers": _numbers(example),
        "map": _map(example),
    }


def _pieces(text: str, value: str) -> Pieces:
    """What was written: the value where it is, or what stands in its place up to the end of the sentence; the rest is tail."""
    written, value = text.strip(), value.strip()
    if written.startswith(value):
        return [(value, "secret"), (written[len(value) :], "tail")]
    end = re.search(r"\.\s|\.$|\n|$", written)
    assert end, "the end of a text is always found"
    return [(written[: end.start()], "after"), (written[end.start() :], "tail")]


def _verdict(example: RecordedExample) -> dict[str, str]:
    """The same sentence as the live model's on the other tabs."""
    tries = [tries_in_words(state.logprob) for state in (example.on, example.closed)]
    closed = example.closed
    return wording.verdict_off(closed.greedy_match, closed.verdict, en.tries_before_and_after(*tries))


def _numbers(example: RecordedExample) -> list[dict[str, str]]:
    """The three numbers before and after, with the control's."""
    on, closed, random = example.on, example.closed, example.random
    return [
        {
            "name": en.OVERVIEW_TRIES,
            "before": tries_in_words(on.logprob),
            "after": tries_in_words(closed.logprob),
            "random": en.overview_random(tries_in_words(random.logprob)),
            "note": en.OVERVIEW_TRIES_NOTE,
        },
        {
            "name": en.OVERVIEW_KEPT,
            "before": en.overview_of(on.kept.kept, on.kept.known),
            "after": en.overview_of(closed.kept.kept, closed.kept.known),
            "random": en.overview_random(en.overview_of(random.kept.kept, random.kept.known)),
            "note": en.overview_unseen(on.unseen_kept.known),
        },
        {
            "name": en.OVERVIEW_TEXT,
            "before": f"x{on.perplexity_ratio:.3f}",
            "after": f"x{closed.perplexity_ratio:.3f}",
            "random": en.overview_random(f"x{random.perplexity_ratio:.3f}"),
            "note": en.OVERVIEW_TEXT_NOTE,
        },
    ]


def _map(example: RecordedExample) -> dict[str, Any]:
    """The neurons with the highest scores, scores in percent of the highest; those that are off; how many per layer."""
    scores = example.scores
    n_layers, width = scores.scores.shape
    highest = max(float(np.nanmax(scores.scores)), 1e-9)
    ranked = scores.top(HEAT_CELLS + 1)
    lowest = scores.scores[ranked[-1]]  # of hundreds with this score some would be drawn and some not: then none is
    drawn = dict.fromkeys((*example.off, *(neuron for neuron in ranked[:-1] if scores.scores[neuron] > lowest)))
    heat = [(*neuron, round(100 * float(scores.scores[neuron]) / highest)) for neuron in drawn]
    per_layer = [sum(neuron.layer == layer for neuron in example.off) for layer in range(n_layers)]
    return {
        "layers": n_layers,
        "width": width,
        "off": [list(neuron) for neuron in example.off],
        "heat": [cell for cell in heat if cell[2] > 0],
        "perLayer": per_layer,
        "label": en.overview_map(len(example.off), scores.n_neurons, per_layer),
        "caption": en.OVERVIEW_CAPTION,
        "cell": en.OVERVIEW_CELL,
    }
