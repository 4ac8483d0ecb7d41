"""INJ and DEL of Chang, Thomason & Jia (NAACL 2024) on the user's own list, in one run, with a row for every finished method.

INJ plants each secret of the list into neurons drawn at random and measures how many of them a method finds; DEL takes the
secrets that a model has already memorized, switches the best neurons off and measures what is lost and what is kept. Both choose
their neurons in one ranking of the whole model (`global`) and, as the paper does, equally many in every layer (`per-layer`).

Rows are JSON lines. A run that was stopped resumes where it ended: rows in the file are not computed again.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Literal

from privlens import intervals
from privlens.bench import deletion
from privlens.bench.injection import CONTROLS, rankings
from privlens.bench.journal import Journal, Row
from privlens.lm.model import LanguageModel
from privlens.localization.choice import reordered
from privlens.memorization.depth import depth
from privlens.planting.plant import PlantSettings, plant
from privlens.planting.recall import auc, recall_at
from privlens.types import NeuronScores, Secret

Experiment = Literal["inj", "del"]
CHOICES = ("global", "per-layer")
NOT_REACHED = "not reached"
"""In place of a method, in the row of a plant whose value the model still does not write."""


@dataclass(frozen=True)
class PaperSettings:
    """What a run depends on besides model and list. It is stored in the file; only a run with the same settings may resume it.

    Attributes:
        methods: names of METHODS; INJ adds its controls. ratio: share of all neurons to plant in. share: of all neurons to switch
            off. skip_layers: this many of the lowest layers are chosen from last. steps: the maximum for a plant.
    """

    methods: tuple[str, ...]
    ratio: float = 0.001
    share: float = 0.01
    skip_layers: int = 0
    fair: bool = True
    steps: int = 400
    seed: int = 0


def done_with(journal: Journal, experiment: Experiment, row: int) -> set[str]:
    """The methods that are done with this row of the list; NOT_REACHED among them means that no method is left to run."""
    return {stored["method"] for stored in journal.rows if (stored["experiment"], stored["row"]) == (experiment, row)}


def chosen(scores: NeuronScores, choice: str, skip_layers: int) -> NeuronScores:
    """The scores in the order in which neurons are chosen."""
    return reordered(scores, per_layer=choice == "per-layer", skip_layers=skip_layers)


def inj(lm: LanguageModel, listed: Mapping[int, Secret], settings: PaperSettings, journal: Journal) -> Iterator[Row]:
    """Plants every secret by itself and asks each method for it. `listed`: secrets by their row in the list.

    A plant whose value the model still does not write yields a single row that says so; no method is run on it.
    """
    methods = [*dict.fromkeys((*settings.methods, *CONTROLS))]
    plant_settings = PlantSettings(settings.ratio, settings.fair, settings.steps)
    for row, secret in listed.items():
        done = done_with(journal, "inj", row)
        remaining = [method for method in methods if method not in done]
        if not remaining or NOT_REACHED in done:
            continue
        planted = plant(lm, secret, plant_settings, 10_000 * settings.seed + row)
        head = {
            "experiment": "inj",
            "row": row,
            "neurons": [list(neuron) for neuron in planted.neurons],
            "reached": planted.greedy_match,
            "nll": planted.nll,
            "steps": planted.steps,
        }
        if not planted.greedy_match:
            yield journal.add({**head, "method": NOT_REACHED})
            continue
        k = len(planted.neurons)
        for ranking in rankings(lm.under(planted.edit), secret, remaining, settings.seed + row):
            recall = {
                choice: recall_at(chosen(ranking.scores, choice, settings.skip_layers), planted.neurons, k) for choice in CHOICES
            }
            found = {"recall": recall, "auc": auc(ranking.scores, planted.neurons)}
            yield journal.add({**head, "method": ranking.method, "k": k, **found, "seconds": ranking.seconds})


def delete(
    lm: LanguageModel,
    listed: Mapping[int, Secret],
    others: Sequence[Secret],
    reference: Sequence[str],
    settings: PaperSettings,
    journal: Journal,
) -> Iterator[Row]:
    """Switches off the neurons that each method names for every listed secret that the model has memorized.

    What is kept is judged on all memorized secrets, as in `bench del`.

    Args:
        listed: targets, by their row in the list. others: the other secrets of the list.

    Raises:
        BadInput: if the model repeats fewer than three of the secrets.
    """
    row_of = {secret: row for row, secret in listed.items()}
    secrets = [*listed.values(), *others]
    for trial in deletion.trials(lm, secrets, reference, len(secrets), settings.seed):
        row = row_of.get(trial.target)
        if row is None:
            continue
        for method in settings.methods:
            if method in done_with(journal, "del", row):
                continue
            scores = deletion.localized(lm, trial, method)
            k = round(settings.share * scores.n_neurons)
            off = {
                choice: _effect(deletion.deletion(lm, trial, chosen(scores, choice, settings.skip_layers), k, choice))
                for choice in CHOICES
            }
            seconds = scores.provenance.seconds
            yield journal.add({"experiment": "del", "row": row, "method": method, "k": k, "seconds": seconds, "off": off})


def _effect(result: deletion.Deletion) -> Row:
    return {
        "match": result.match,
        "accuracy": result.accuracy,
        "nll_change": result.nll_change,
        "exposure_bits": result.after.exposure and result.after.exposure.bits,
        **depth(result.after),
        "forgotten": result.forgotten,
        "seen_kept": result.seen_kept,
        "unseen_kept": result.unseen_kept,
        "n_unseen": result.n_unseen,
        "perplexity_ratio": result.perplexity_ratio,
    }


def summary(rows: Sequence[Row]) -> list[Row]:
    """A row for every experiment, method and choice, over the plants that were reached and the targets that were memorized."""
    summaries: list[Row] = []
    reached = [row for row in rows if row["method"] != NOT_REACHED]
    for experiment, method in dict.fromkeys((row["experiment"], row["method"]) for row in reached):
        group = [row for row in reached if (row["experiment"], row["method"]) == (experiment, method)]
        for choice in CHOICES:
            head = {"experiment": experiment, "method": method, "choice": choice, "n": len(group)}
            means = _mean_recall(group, choice) if experiment == "inj" else _mean_effects(group, choice)
            summaries.append(head | means)
    return summaries


def _mean_recall(rows: Sequence[Row], choice: str) -> Row:
    recalls = [row["recall"][choice] for row in rows]
    aucs = [row["auc"] for row in rows if "auc" in row]  # journals of earlier versions have none
    return {
        "recall": fmean(recalls),
        "recall_interval": intervals.share(recalls, fmean(row["k"] for row in rows)),
        "auc": fmean(aucs) if aucs else None,
        "auc_interval": intervals.share(aucs, fmean(row["k"] for row in rows)) if aucs else None,
    }


def _mean_effects(rows: Sequence[Row], choice: str) -> Row:
    effects = [row["off"][choice] for row in rows]
    kept = [effect["unseen_kept"] for effect in effects]
    ratios = [effect["perplexity_ratio"] for effect in effects if effect["perplexity_ratio"]]
    return {
        "target_match": fmean(effect["match"] for effect in effects),
        "target_match_interval": intervals.rate(sum(effect["match"] for effect in effects), len(effects)),
        "target_nll_change": fmean(effect["nll_change"] for effect in effects),
        "unseen_kept": fmean(kept),
        "unseen_kept_interval": intervals.share(kept, fmean(effect["n_unseen"] for effect in effects)),
        "perplexity_ratio": fmean(ratios) if ratios else None,
    }


def described(lm: LanguageModel, settings: PaperSettings, rows: Sequence[int], secrets: Path) -> Row:
    """What a run depends on; the list by its hash, because its text is private."""
    digest = hashlib.sha256(secrets.read_bytes()).hexdigest()[:16]
    return {"model": lm.name, "fingerprint": lm.fingerprint, "list": digest, "rows": list(rows), **asdict(settings)}
