"""What the tab Many secrets shows of stored scores, for any settings of the vote and any k: nothing is localized here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
import numpy as np

from privlens import plots, results_json
from privlens.errors import BadInput
from privlens.localization import METHOD_INFO
from privlens.localization.aggregate import Specificity, VoteSettings, chance_overlap, overlap, share_by_site, specificity, vote
from privlens.types import NeuronScores, Secret, Site
from privlens.ui.components.parts import stands_at
from privlens.ui.components.plot import marks
from privlens.ui.sidebar.ticking import NO_CATEGORY
from privlens.ui.state.session import best
from privlens.ui.text import en, wording

DEFAULT_SHARE, LARGEST_SHARE = 0.005, 0.05


@dataclass(frozen=True, eq=False)
class Many:
    """One method on many secrets, ordered by category. `attention` has scores of that site too, or is empty.

    `asked` is what the tab was set to, by name; `n_edits` were in place.
    """

    targets: tuple[Secret, ...]
    retained: frozenset[Secret]
    scores: tuple[NeuronScores, ...]
    attention: tuple[NeuronScores, ...] = ()
    asked: tuple[tuple[str, str], ...] = ()
    n_edits: int = 0

    @property
    def categories(self) -> list[str]:
        """One for each secret."""
        return [target.category or NO_CATEGORY for target in self.targets]


def report_of(localized: Many) -> dict[str, Any]:
    """Every secret's neurons as `localize` prints them, of the MLPs and then of attention where it was localized too."""
    each = [*zip(localized.targets, localized.scores, strict=True)]
    each += zip(localized.targets, localized.attention, strict=False)
    retained = sorted(localized.retained, key=str)
    return {
        "localizations": [results_json.localization(scores, secret, default_k(localized), retained) for secret, scores in each]
    }


def by_category(secrets: Sequence[Secret]) -> list[Secret]:
    """The same, those of one category together."""
    return sorted(secrets, key=lambda secret: secret.category)


def largest_k(localized: Many) -> int:
    """The end of the slider."""
    return max(1, round(LARGEST_SHARE * localized.scores[0].n_neurons))


def default_k(localized: Many) -> int:
    """One in two hundred."""
    return max(1, round(DEFAULT_SHARE * localized.scores[0].n_neurons))


def known_k(localized: Many, sent: Any) -> int:
    """Where the slider stands; the default where it stood beyond this model's end."""
    return stands_at(sent, largest_k(localized), default_k(localized))


def voted(localized: Many | None, settings: VoteSettings) -> NeuronScores:
    """The vote. Raises BadInput where nothing was localized, or no neuron has enough votes."""
    if localized is None:
        raise BadInput(en.MANY_NOTHING)
    scores = vote(localized.scores, settings)
    if not scores.suggested_k:
        raise BadInput(en.MANY_NO_VOTES)
    return scores


def nothing() -> tuple[Any, ...]:
    """Before anything was localized."""
    return gr.update(value=[]), *(gr.update(value="", off=[], on=[]) for _ in range(2)), *(gr.update(value="") for _ in range(3))


def view(localized: Many, settings: VoteSettings, k: int) -> tuple[Any, ...]:
    """Numbers, votes, layers, matrix of secrets, matrix of categories, shares of the sites."""
    scores = vote(localized.scores, settings)
    kept = best(scores, scores.suggested_k or 0)
    overlaps = overlap(localized.scores, k)
    specific = specificity(overlaps, localized.categories, localized.scores[0].provenance.seed)
    shape = scores.scores.shape
    votes = plots.heatmap(np.floor(scores.scores), plots.all_layers_layout(shape), en.VOTES_LABEL)
    return (
        gr.update(value=numbers(localized, scores, specific, k)),
        gr.update(value=votes.to_json() if kept.neurons else "", **marks(kept)),
        gr.update(value=plots.per_layer(kept.neurons, (), shape[0]).to_json() if kept.neurons else ""),
        gr.update(value=matrix_of(localized, overlaps) if len(localized.targets) > 1 else ""),
        gr.update(value=means_of(specific) if len(specific.categories) > 1 else ""),
        gr.update(value=plots.site_bars(site_shares(localized)).to_json() if localized.attention else ""),
    )


def matrix_of(localized: Many, overlaps: Any) -> str:
    """Secrets against secrets."""
    names = [f"{target.value} ({category})" for target, category in zip(localized.targets, localized.categories, strict=True)]
    return str(plots.overlap_matrix(overlaps, names, localized.categories).to_json())


def means_of(specific: Specificity) -> str:
    """Categories against categories."""
    figure = plots.overlap_matrix(specific.means, specific.categories, label=en.MANY_MEAN_JACCARD, diagonal=True)
    return str(figure.to_json())


def site_shares(localized: Many) -> dict[str, dict[Site, float]]:
    """The share of each site in the sum of positive scores: the mean over all secrets, and over those of each category."""
    each = [
        share_by_site({"mlp": mlp, "attention": attention})
        for mlp, attention in zip(localized.scores, localized.attention, strict=True)
    ]

    def mean(rows: Sequence[int]) -> dict[Site, float]:
        return {site: float(np.mean([each[row][site] for row in rows])) for site in ("mlp", "attention")}

    categories = localized.categories
    groups = {name: [row for row, category in enumerate(categories) if category == name] for name in dict.fromkeys(categories)}
    return {en.MANY_ALL: mean(range(len(each))), **{name: mean(rows) for name, rows in groups.items()}}


def numbers(localized: Many, scores: NeuronScores, specific: Specificity, k: int) -> list[wording.Fact]:
    """What the secrets share, in numbers."""
    n = scores.n_neurons
    chance = en.random_sets(k, chance_overlap(n, k))
    kept, asked = scores.suggested_k or 0, scores.provenance.settings
    note = en.votes_note(asked["of_secrets"], len(localized.targets), kept / n, bool(kept))
    facts = [
        wording.fact("voted neurons", f"{kept:,}", f"of {n:,}", note),
        wording.fact("overlap within categories", share(specific.within), "", en.NOTE_WITHIN, chance),
        wording.fact("overlap between categories", share(specific.between), "", en.NOTE_BETWEEN, chance),
        wording.fact("PII specificity", ratio(specific), "", en.specificity(shuffled(specific))),
        wording.fact("time", f"{scores.provenance.seconds:.1f}", "s", f"{localized.scores[0].method}; {retained(localized)}"),
    ]
    if localized.attention:
        sites = site_shares(localized)[en.MANY_ALL]
        even = n / (n + localized.attention[0].n_neurons)
        note = en.score_by_site(sites["attention"], even)
        facts.append(wording.fact("of the score in MLPs", f"{100 * sites['mlp']:.0f}", "%", note))
    return facts


def retained(localized: Many) -> str:
    """Which other secrets the method looked at as text that must stay."""
    if not METHOD_INFO[localized.scores[0].method].retains:
        return en.NO_RETAINED
    return en.retained_secrets(len(localized.retained))


def share(number: float | None) -> str:
    """A mean overlap, or that there is no pair to take it of."""
    return en.NO_PAIR if number is None else f"{number:.3f}"


def ratio(specific: Specificity) -> str:
    """Within over between."""
    if specific.within is None or specific.between is None:
        return "-"
    return "x\u221e" if not specific.between else f"x{specific.within / specific.between:.2f}"


def shuffled(specific: Specificity) -> str:
    """How often chance would do as well."""
    if specific.shuffled is None:
        return en.NEEDS_TWO
    return en.shuffled(specific.shuffled)
