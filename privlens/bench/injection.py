"""INJ: does a method find the neurons that a sequence was planted in? (after Chang, Thomason & Jia, NAACL 2024)

Recall@k is the share of the planted neurons among the method's best k. All neurons of the model compete in one ranking, unless
`choice` says otherwise; the paper takes the best of each layer. The AUC (LACUNA, arXiv 2607.02513) needs no k: the probability
that a planted neuron has a higher score than another. Three controls run beside the methods: `random`, and two that have not
seen the sequence: `weight-norm`, the norm of a neuron's output vector, and `activations-elsewhere`, how strongly it writes in
texts that the model samples unconditionally. If one of these is above chance, the plant can be detected without the planted
text.
"""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from privlens import intervals
from privlens.erasure import ErasureSettings, Request, erase, method_settings
from privlens.lm.model import LanguageModel
from privlens.localization import ELSEWHERE, WEIGHT_NORM, Task, result_of
from privlens.localization.choice import GLOBAL, Choice
from privlens.planting.plant import Plant, PlantSettings, new_secret, plant
from privlens.planting.recall import K_MULTIPLES, auc, edit_auc, recall
from privlens.types import Neuron, NeuronScores, Secret

CONTROLS = (WEIGHT_NORM, ELSEWHERE, "random")
RANDOM_WEIGHTS = "emso, random weights"


@dataclass(frozen=True, eq=False)
class PlantRecall:
    """One method's recall of one plant, for each k of K_MULTIPLES, and its AUC, both in 0..1; and the seconds it took."""

    method: str
    recall: tuple[float, ...]
    auc: float
    seconds: float


@dataclass(frozen=True, eq=False)
class Ranking:
    """A method's scores of all neurons, and the seconds they took."""

    method: str
    scores: NeuronScores
    seconds: float

    def judged(self, truth: Collection[Neuron], choice: Choice = GLOBAL) -> PlantRecall:
        """Its recall of the true neurons, chosen in that order; the AUC is of the scores."""
        return PlantRecall(self.method, recall(choice.of(self.scores), truth), auc(self.scores, truth), self.seconds)


@dataclass(frozen=True)
class PlantErasure:
    """One erasure of a planted secret: the AUC of its change of the weights, 0..1, None if it reached no neuron's vectors.

    `written`: whether the model still writes the secret.
    """

    method: str
    auc: float | None
    written: bool
    seconds: float


def rankings(lm: LanguageModel, secret: Secret, methods: Sequence[str], seed: int) -> Iterator[Ranking]:
    """Every method's ranking of the neurons, each computed once; those of CONTROLS are the same for all secrets of a model."""
    for method in dict.fromkeys(methods):
        started = time.perf_counter()
        scores = result_of(method, Task(lm, secret, seed=seed))
        yield Ranking(method, scores, time.perf_counter() - started)


def plants(lm: LanguageModel, settings: PlantSettings, n: int, seed: int) -> Iterator[Plant]:
    """n plants of different secrets in different neurons, one at a time; the seed decides both."""
    for index in range(n):
        yield plant(lm, new_secret(lm, index, seed), settings, 10_000 * seed + index)


def run(
    lm: LanguageModel,
    methods: Sequence[str],
    settings: PlantSettings,
    n: int,
    seed: int,
    tell: Callable[[str], None],
    choice: Choice = GLOBAL,
) -> Iterator[tuple[Plant, list[PlantRecall]]]:
    """Plants a secret, runs every method and all controls, and takes the plant out again, n times.

    No retained text is given; the methods use what they sample themselves. `tell` is called with each line of progress.
    """
    for index, planted in enumerate(plants(lm, settings, n, seed)):
        tell(f"plant {index + 1}/{n}: NLL {planted.nll:.3f} nats/token, match {planted.greedy_match}, {planted.steps} steps")
        recalls = []
        for ranking in rankings(lm.under(planted.edit), planted.secret, [*methods, *CONTROLS], seed + index):
            recalls.append(ranking.judged(planted.neurons, choice))
            tell(f"  {ranking.method}: recall {recalls[-1].recall[0]:.3f}, AUC {recalls[-1].auc:.3f}")
        yield planted, recalls


def erasures(lm: LanguageModel, planted: Plant, methods: Sequence[str], seed: int) -> Iterator[PlantErasure]:
    """Erases a planted secret by each method, and by EMSO on random weights as the control: does the edit touch its neurons?

    No retained text is given; the methods use what they sample themselves.
    """
    view = lm.under(planted.edit)
    for method in (*dict.fromkeys(methods), RANDOM_WEIGHTS):
        is_control = method == RANDOM_WEIGHTS
        defaults = ErasureSettings(choice="random" if is_control else ErasureSettings.choice)
        settings = method_settings("emso" if is_control else method, defaults)
        *_, last = erase(Request(view, (planted.secret,), settings=settings, seed=seed))
        assert last.result, "an erasure ends with its edit"
        found = edit_auc(view, last.result, planted.neurons)
        yield PlantErasure(method, found, bool(last.n_matches), last.result.provenance.seconds)


def erasure_summary(results: Sequence[Sequence[PlantErasure]], planted: float) -> list[dict[str, object]]:
    """A row for every method over all plants; `planted` is the mean number of neurons of a plant.

    `interval` is a 95 % interval of the AUC over the plants, None for a single one.
    """
    rows: list[dict[str, object]] = []
    all_results = [result for plant_results in results for result in plant_results]
    for method in dict.fromkeys(result.method for result in all_results):
        group = [result for result in all_results if result.method == method]
        aucs = [result.auc for result in group if result.auc is not None]
        rows.append(
            {
                "edit": method,
                "auc": float(np.mean(aucs)) if aucs else None,
                "interval": intervals.share(aucs, planted) if aucs else None,
                "written": float(np.mean([result.written for result in group])),
                "n": len(group),
                "seconds": float(np.mean([result.seconds for result in group])),
            }
        )
    return rows


def summary(results: Sequence[Sequence[PlantRecall]], planted: float, ratio: float, n_neurons: int) -> list[dict[str, object]]:
    """A row for every method and k, over all plants; `seconds` is the mean of one localization.

    `interval` is a 95 % interval of the recall over the plants, `auc_interval` one of the AUC, which has no k; None for a single
    plant. The interval of the AUC takes each planted neuron's share of the others that it beats as all or nothing: it is wide.

    Args:
        planted: the mean number of neurons of a plant, from which `chance` follows. ratio: the share that was requested.
    """
    rows: list[dict[str, object]] = []
    all_results = [result for plant_results in results for result in plant_results]
    for method in dict.fromkeys(result.method for result in all_results):
        group = [result for result in all_results if result.method == method]
        aucs = [result.auc for result in group]
        for column, multiple in enumerate(K_MULTIPLES):
            recalls = [result.recall[column] for result in group]
            rows.append(
                {
                    "method": method,
                    "ratio": ratio,
                    "k": multiple * ratio,
                    "recall": float(np.mean(recalls)),
                    "interval": intervals.share(recalls, planted),
                    "chance": min(1.0, multiple * planted / n_neurons),
                    "auc": float(np.mean(aucs)),
                    "auc_interval": intervals.share(aucs, planted),
                    "n": len(group),
                    "seconds": float(np.mean([result.seconds for result in group])),
                }
            )
    return rows


def described(planted: Plant, recalls: Sequence[PlantRecall]) -> dict[str, object]:
    """One plant as an entry of the printed results, with each method's recall for each k and its AUC."""
    return {
        "prompt": planted.secret.prompt,
        "value": planted.secret.value,
        "neurons": len(planted.neurons),
        "nll": planted.nll,
        "greedy_match": planted.greedy_match,
        "steps": planted.steps,
        "seconds": planted.edit.provenance.seconds,
        "methods": found_by(recalls),
    }


def found_by(recalls: Sequence[PlantRecall]) -> dict[str, dict[str, object]]:
    """What each method found of one plant, by its name."""
    return {one.method: {"recall": list(one.recall), "auc": one.auc} for one in recalls}
