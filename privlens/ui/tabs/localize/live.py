"""What a localization shows while it runs: a preview before any gate closes, then the gates, and the numbers of a step.

The preview is the plain gradient on the gates. It is drawn and thrown away: the run begins afterwards with a task of its own,
and neither its result nor its seconds know of it.
"""

import math
from typing import Any

import gradio as gr

from privlens import plots
from privlens.errors import Cancelled
from privlens.lm.model import LanguageModel, Stop
from privlens.localization import TRAINED, Task, result_of, unit_of
from privlens.types import LocalizationStep, NeuronScores, Secret, Site
from privlens.ui.tabs.localize.selection import top_of_scores
from privlens.ui.text import en, wording

PREVIEW = "gradient"
"""One backward pass, 0.02 s on `demo`. contrastive-gradient took 0.7 s there, most of it to read the retained text."""
MOST_ON_CPU = 3e10
"""Parameters times tokens. Forward and backward cost about six operations for each of them; a core that does 5e10 a second, as
one did on `demo`, takes less than four seconds. Whoever waits longer for a preview would rather have the run begin."""
FASTER = 100
"""How many times as much an accelerator does in that time; the slowest that models are run on do more."""


def preview_of(method: str, lm: LanguageModel, target: Secret, site: Site, stop: Stop) -> NeuronScores | None:
    """The scores to show before the gates of a method close; None for methods that train none, and where they take too long.

    Raises Cancelled. Any other error is the run's to report, should it meet it too: memory may suffice for one and not the other.
    """
    if method not in TRAINED:
        return None
    try:
        if not is_quick(lm, len(lm.encode(target).ids)):
            return None
        return result_of(PREVIEW, Task(lm, target, site=site, stop=stop))
    except Cancelled:
        raise
    except Exception:  # a device's memory runs out in errors of its own, which the page does not know
        return None


def is_quick(lm: LanguageModel, n_tokens: int) -> bool:
    """Whether a backward pass takes a few seconds at most. Weights that are read from elsewhere layer by layer never do."""
    if any(parameter.device.type == "meta" for parameter in lm.model.parameters()):
        return False
    return lm.n_parameters * n_tokens <= MOST_ON_CPU * (1 if lm.device.type == "cpu" else FASTER)


def preview_map(scores: NeuronScores) -> Any:
    """The map's update for a preview; its colour bar says what it is."""
    label = en.preview_scale(scores.method, unit_of(scores.method))
    layout = plots.all_layers_layout(scores.scores.shape)
    figure = plots.heatmap(scores.scores, layout, label, largest=top_of_scores(scores), named=False)
    return gr.update(value=figure.to_json(), off=[], on=[])


def preview_fact() -> wording.Fact:
    """What the map shows, in words."""
    return wording.fact(en.PREVIEW_NAME, en.PREVIEW, en.preview_by(PREVIEW), en.NOTE_PREVIEW)


def gates_map(step: LocalizationStep, sufficient: bool) -> Any:
    """The map's update for the gates of a step."""
    return gr.update(value=plots.live_gates(step, sufficient).to_json(), off=[], on=[])


def trains(step: LocalizationStep) -> bool:
    """Whether gates are being trained; a method that trains none has neither closed neurons nor a loss to show."""
    return not math.isnan(step.target_nll)


def live_facts(step: LocalizationStep, n_neurons: int, sufficient: bool) -> list[wording.Fact]:
    """The numbers of one step; the gates have places for more neurons where layers differ in width."""
    facts = []
    if trains(step):
        nll = f"{step.target_nll:.2f}"
        name, counted, note = "neurons closed", step.n_closed, en.NOTE_CLOSED
        if sufficient:
            name, counted = "neurons still open", n_neurons - step.n_closed
            note = en.NOTE_OPEN
        facts = [
            wording.fact(name, f"{counted:,}", f"of {n_neurons:,}", note),
            wording.fact("secret's NLL", nll, "nats/token", en.NOTE_GATED_NLL),
        ]
    if step.result is not None:
        facts += wording.of_goal(step.result)
        facts.append(wording.time_of(step.result))
    return facts
