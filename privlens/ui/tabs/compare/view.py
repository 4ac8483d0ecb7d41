"""What the tab Compare methods shows of a comparison, for any k: pure functions of stored scores, nothing is localized here."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import gradio as gr
import pandas as pd

from privlens import plots
from privlens.errors import BadInput
from privlens.localization import unit_of
from privlens.localization.aggregate import chance_overlap, overlap
from privlens.memorization.depth import tries_in_words
from privlens.method_comparison import BUDGETS, MethodComparison, common_k
from privlens.planting.recall import auc, recall_at
from privlens.types import Neuron, NeuronScores
from privlens.ui.components.parts import stands_at
from privlens.ui.components.plot import pairs
from privlens.ui.text import en, wording

LARGEST_SHARE = 0.02
WIDTHS = ["210px", *["120px"] * 11]


@dataclass(frozen=True, eq=False)
class Compared:
    """A comparison, the planted neurons where the secret was planted, the tab's settings by name, and edits in place."""

    result: MethodComparison
    truth: tuple[Neuron, ...]
    asked: tuple[tuple[str, str], ...] = ()
    n_edits: int = 0
    command: Callable[[], str] = str

    @property
    def scores(self) -> tuple[NeuronScores, ...]:
        """Of every method."""
        return tuple(measured.scores for measured in self.result.methods)


def extents() -> list[tuple[str, str]]:
    """Labels and names of what effects can be measured on."""
    return [(en.COMPARE_EXTENTS[name].format(ks=len(budget.shares), **asdict(budget)), name) for name, budget in BUDGETS.items()]


def default_k(comparison: Compared) -> int:
    """As many as were planted, else what `common_k` says."""
    return min(len(comparison.truth) or common_k(comparison.scores), largest_k(comparison))


def largest_k(comparison: Compared) -> int:
    """The end of the slider."""
    return max(1, round(LARGEST_SHARE * comparison.scores[0].n_neurons), 2 * len(comparison.truth))


def scores_of(comparison: Compared | None, method: str | None) -> NeuronScores:
    """One method's scores. Raises BadInput where nothing was compared, or nothing chosen."""
    scores = next((candidate for candidate in comparison.scores if candidate.method == method), None) if comparison else None
    if scores is None:
        raise BadInput(en.NO_COMPARISON)
    return scores


def known_k(comparison: Compared, sent: Any) -> int:
    """Where the slider stands; the default where it stood beyond this comparison's end."""
    return stands_at(sent, largest_k(comparison), default_k(comparison))


def slider(comparison: Compared, k: int) -> Any:
    """The slider at k, with the end of this comparison."""
    return gr.update(maximum=largest_k(comparison), value=k)


def chooser(comparison: Compared, chosen: str | None = None) -> Any:
    """The methods whose neurons can be taken over, the first of them where none of them was chosen."""
    names = [scores.method for scores in comparison.scores]
    return gr.update(choices=names, value=chosen if chosen in names else names[0])


def heatmaps(scores: Sequence[NeuronScores], truth: Sequence[Neuron], k: int, n_plots: int) -> tuple[Any, ...]:
    """A small picture for every method that is there, with its best k and the planted neurons marked."""
    drawn = [
        gr.update(
            value=plots.small_heatmap(ranking.scores, ranking.method, unit_of(ranking.method)).to_json(),
            off=pairs(ranking.top(k)),
            on=pairs(truth),
        )
        for ranking in scores
    ]
    return (*drawn, *(gr.update(value="", off=[], on=[]) for _ in range(n_plots - len(drawn))))


def marks_only(scores: Sequence[NeuronScores], truth: Sequence[Neuron], k: int, n_plots: int) -> tuple[Any, ...]:
    """The same pictures with another k: only the marks travel."""
    moved = [gr.update(off=pairs(ranking.top(k)), on=pairs(truth)) for ranking in scores]
    return (*moved, *(gr.skip() for _ in range(n_plots - len(moved))))


def numbers(comparison: Compared, k: int) -> tuple[Any, ...]:
    """Facts, overlap, curves, table."""
    names = [measured.method for measured in comparison.scores]
    curves = {measured.scores.method: measured.curve for measured in comparison.result.methods if measured.curve}
    measured_on = comparison.result.on
    return (
        gr.update(value=of_comparison(comparison, k)),
        gr.update(value=plots.overlap_matrix(overlap(comparison.scores, k), names).to_json()),
        gr.update(value=plots.method_curves(curves, comparison.result.ks, k, measured_on).to_json() if curves else ""),
        gr.update(
            value=table(comparison, k), label=en.COMPARE_TABLE.format(measured_on.most_bits, measured_on.others), visible=True
        ),
    )


def no_numbers() -> tuple[Any, ...]:
    """The same where nothing was compared."""
    return gr.update(value=[]), gr.update(value=""), gr.update(value=""), gr.update(visible=False)


def of_comparison(comparison: Compared, k: int) -> list[wording.Fact]:
    """What was compared, in numbers."""
    n, provenance, measured_on = comparison.scores[0].n_neurons, comparison.result.provenance, comparison.result.on
    facts = [
        wording.fact("secret", comparison.result.target.value, "", en.after_prompt(comparison.result.target.prompt)),
        wording.fact("k", f"{k:,}", f"of {n:,}", en.share_of_neurons(k / n)),
        wording.fact("overlap by chance", f"{chance_overlap(n, k):.3f}", "", en.NOTE_OVERLAP_CHANCE),
        wording.fact(
            "judged on",
            str(measured_on.others),
            "secrets",
            en.judged_on(measured_on.known, measured_on.paragraphs, measured_on.candidates),
        ),
        wording.fact("time", f"{provenance.seconds:.0f}", "s", wording.summary(comparison.result)),
    ]
    if comparison.truth:
        facts.insert(
            2,
            wording.fact(
                "planted in",
                str(len(comparison.truth)),
                "neurons",
                en.NOTE_RECALL,
                en.recall_by_chance(k / n),
            ),
        )
    return facts


def table(comparison: Compared, k: int) -> pd.DataFrame:
    """A row for every method."""
    rows = []
    for measured in comparison.result.methods:
        scores, point = measured.scores, measured.nearest(k)
        row: dict[str, Any] = {"method": scores.method}
        if comparison.truth:
            row["recall of the plant"] = f"{100 * recall_at(scores, comparison.truth, k):.1f} %"
            row["AUC of the plant"] = f"{auc(scores, comparison.truth):.3f}"
        kept, ratio = (None, None) if point is None else (point.others_kept, point.perplexity_ratio)
        row["NLL"] = "-" if point is None else f"{point.target_nll:.2f}"
        row["tries"] = "-" if point is None else tries_in_words(point.target_logprob)
        row["exposure"] = wording.bits(None if point is None else point.target_exposure, 1)
        row["others kept"] = "-" if kept is None else f"{100 * kept:.0f} %"
        row["perplexity"] = "-" if ratio is None else f"x{ratio:.3f}"
        row["still written"] = "-" if point is None else en.NO_YES[point.target_match]
        row["measured at k"] = "-" if point is None else str(point.k)
        row["its own k"] = "-" if scores.suggested_k is None else f"{scores.suggested_k:,}"
        row["seconds"] = f"{scores.provenance.seconds:.2f}"
        rows.append(row)
    return pd.DataFrame(rows)
