"""INJ and DEL of Chang, Thomason & Jia (NAACL 2024) on a list of one's own, in one run, a row for every method as it is done.

INJ plants each secret of the list into drawn neurons and asks how many of them a method names; DEL takes the secrets that a model
knows already, switches the best neurons off and asks what is gone and what stays. Both choose their neurons in one ranking of the
whole model (`global`) and, as the paper does, equally many in every layer (`per-layer`).

Rows are JSON lines. A run that was stopped goes on where it ended: what stands in the file is not done again.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from privlens import intervals
from privlens.bench import deletion
from privlens.bench.injection import CONTROLS, rankings
from privlens.errors import BadInput
from privlens.list_files import read_text
from privlens.lm.model import LanguageModel
from privlens.localization.choice import reordered
from privlens.planting.plant import PlantSettings, plant
from privlens.planting.recall import recall_at
from privlens.process.private_files import append_private, write_private
from privlens.types import NeuronScores, Secret

Experiment = Literal["inj", "del"]
Row = dict[str, Any]
CHOICES = ("global", "per-layer")


@dataclass(frozen=True)
class PaperSettings:
    """What a run depends on beside model and list; the file keeps it, and another run may only go on with the same.

    Attributes:
        methods: names of METHODS; INJ adds its controls. ratio: share of all neurons to plant in. share: of all neurons to switch
            off. skip_layers: lowest layers that are chosen from last. steps: of a plant, at most.
    """

    methods: tuple[str, ...]
    ratio: float = 0.001
    share: float = 0.01
    skip_layers: int = 0
    fair: bool = True
    steps: int = 400
    seed: int = 0


class Journal:
    """The rows of a run, each on the disk as soon as it is known."""

    def __init__(self, path: Path | None, settings: Mapping[str, Any]) -> None:
        """Reads what a run before has done. Raises BadInput for a file of another run, or of something else."""
        self.path, self.rows = path, list[Row]()
        if path is None or not path.exists():
            self._append({"settings": dict(settings)})
            return
        text = read_text(path)
        try:
            whole, _, cut_off = text.rpartition("\n")
            first, *lines = map(json.loads, whole.split("\n"))
            is_same = first["settings"] == json.loads(json.dumps(settings))
        except (ValueError, KeyError, TypeError) as cause:
            raise BadInput(f"{path} does not hold the rows of such a run: give another file to --out.") from cause
        if not is_same:
            raise BadInput(f"{path} is of a run with other settings, model or list: give another file to --out.")
        if cut_off:  # the run before was stopped in the midst of a row
            write_private(path, whole + "\n")
        self.rows = lines

    def add(self, row: Row) -> Row:
        """Keeps a row, in the file first."""
        self._append(row)
        self.rows.append(row)
        return row

    def done(self, experiment: Experiment, row: int) -> set[str]:
        """Methods of which this row of the list is done; a plant that was not reached is done with for all of them."""
        rows = [one for one in self.rows if (one["experiment"], one["row"]) == (experiment, row)]
        return {one["method"] for one in rows}

    def _append(self, row: Row) -> None:
        if self.path is not None:
            append_private(self.path, json.dumps(row) + "\n")


def chosen(scores: NeuronScores, choice: str, skip_layers: int) -> NeuronScores:
    """The scores in the order in which neurons are chosen."""
    return reordered(scores, per_layer=choice == "per-layer", skip_layers=skip_layers)


def inj(lm: LanguageModel, listed: Mapping[int, Secret], settings: PaperSettings, journal: Journal) -> Iterator[Row]:
    """Plants every secret by itself and asks each method for it. `listed`: secrets by their row in the list.

    A plant that is not reached, because the value is still not written, yields one row that says so and is asked for no further.
    """
    methods = [*dict.fromkeys((*settings.methods, *CONTROLS))]
    plants = PlantSettings(settings.ratio, settings.fair, settings.steps)
    for row, secret in listed.items():
        left = [method for method in methods if method not in journal.done("inj", row)]
        if not left or NOT_REACHED in journal.done("inj", row):
            continue
        planted = plant(lm, secret, plants, 10_000 * settings.seed + row)
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
        for ranking in rankings(lm.under(planted.edit), secret, left, settings.seed + row):
            recall = {
                choice: recall_at(chosen(ranking.scores, choice, settings.skip_layers), planted.neurons, k) for choice in CHOICES
            }
            yield journal.add({**head, "method": ranking.method, "k": k, "recall": recall, "seconds": ranking.seconds})


NOT_REACHED = "not reached"
"""Stands in the place of a method in the row of a plant that was not reached."""


def delete(
    lm: LanguageModel,
    listed: Mapping[int, Secret],
    others: Sequence[Secret],
    reference: Sequence[str],
    settings: PaperSettings,
    journal: Journal,
) -> Iterator[Row]:
    """Switches off what each method names of every listed secret that the model knows; kept is judged on all, as in `bench del`.

    Args:
        listed: targets, by their row in the list. others: the other secrets of the list.

    Raises:
        BadInput: where the model repeats fewer than three of the secrets.
    """
    row_of = {secret: row for row, secret in listed.items()}
    secrets = [*listed.values(), *others]
    for trial in deletion.trials(lm, secrets, reference, len(secrets), settings.seed):
        row = row_of.get(trial.target)
        if row is None:
            continue
        for method in settings.methods:
            if method in journal.done("del", row):
                continue
            scores = deletion.localized(lm, trial, method)
            k = round(settings.share * scores.n_neurons)
            off = {
                choice: _measured(deletion.deletion(lm, trial, chosen(scores, choice, settings.skip_layers), k, choice))
                for choice in CHOICES
            }
            seconds = scores.provenance.seconds
            yield journal.add({"experiment": "del", "row": row, "method": method, "k": k, "seconds": seconds, "off": off})


def _measured(one: deletion.Deletion) -> Row:
    return {
        "match": one.match,
        "accuracy": one.accuracy,
        "nll_change": one.nll_change,
        "exposure_bits": one.exposure.bits,
        "forgotten": one.forgotten,
        "seen_kept": one.seen_kept,
        "unseen_kept": one.unseen_kept,
        "n_unseen": one.n_unseen,
        "perplexity_ratio": one.perplexity_ratio,
    }


def summary(rows: Sequence[Row]) -> list[Row]:
    """A row for every experiment, method and choice, over the plants that were reached and the targets that were known."""
    found: list[Row] = []
    asked = [row for row in rows if row["method"] != NOT_REACHED]
    for experiment, method in dict.fromkeys((row["experiment"], row["method"]) for row in asked):
        own = [row for row in asked if (row["experiment"], row["method"]) == (experiment, method)]
        for choice in CHOICES:
            head = {"experiment": experiment, "method": method, "choice": choice, "n": len(own)}
            found.append(head | (_recalls(own, choice) if experiment == "inj" else _effects(own, choice)))
    return found


def _recalls(rows: Sequence[Row], choice: str) -> Row:
    recalls = [row["recall"][choice] for row in rows]
    return {"recall": fmean(recalls), "recall_interval": intervals.share(recalls, fmean(row["k"] for row in rows))}


def _effects(rows: Sequence[Row], choice: str) -> Row:
    off = [row["off"][choice] for row in rows]
    kept, ratios = [one["unseen_kept"] for one in off], [one["perplexity_ratio"] for one in off if one["perplexity_ratio"]]
    return {
        "target_match": fmean(one["match"] for one in off),
        "target_match_interval": intervals.rate(sum(one["match"] for one in off), len(off)),
        "target_nll_change": fmean(one["nll_change"] for one in off),
        "unseen_kept": fmean(kept),
        "unseen_kept_interval": intervals.share(kept, fmean(one["n_unseen"] for one in off)),
        "perplexity_ratio": fmean(ratios) if ratios else None,
    }


def described(lm: LanguageModel, settings: PaperSettings, rows: Sequence[int], secrets: Path) -> Row:
    """What a run depends on: the list by its hash, because its words are private."""
    digest = hashlib.sha256(secrets.read_bytes()).hexdigest()[:16]
    return {"model": lm.name, "fingerprint": lm.fingerprint, "list": digest, "rows": list(rows), **asdict(settings)}
