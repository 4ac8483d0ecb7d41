"""INJ: does a method find the neurons that a sequence was planted in? (after Chang, Thomason & Jia, NAACL 2024)

Recall@k is the share of the planted neurons among the method's best k. All neurons of the model compete in one ranking,
where the paper takes the best of each layer. Three controls run beside the methods: `random`, and two that have not seen the
sequence: `weight-norm`, the norm of a neuron's output vector, and `activations-elsewhere`, how strongly it writes in texts that
the model makes up from nothing. Where one of these is above chance the planting gives itself away.
"""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from privlens import intervals
from privlens.lm.model import LanguageModel
from privlens.localization import ELSEWHERE, WEIGHT_NORM, Task, result_of
from privlens.planting.plant import Plant, PlantSettings, new_secret, plant
from privlens.planting.recall import TIMES, recall
from privlens.types import Neuron, NeuronScores, Secret

CONTROLS = (WEIGHT_NORM, ELSEWHERE, "random")


@dataclass(frozen=True, eq=False)
class Found:
    """What one method found of one plant: recall for each k of TIMES, shares in 0..1; seconds it took."""

    method: str
    recall: tuple[float, ...]
    seconds: float


@dataclass(frozen=True, eq=False)
class Ranking:
    """A method's scores of all neurons, and the seconds they took."""

    method: str
    scores: NeuronScores
    seconds: float

    def judged(self, truth: Collection[Neuron]) -> Found:
        """What it finds of neurons that are known."""
        return Found(self.method, recall(self.scores, truth), self.seconds)


def rankings(lm: LanguageModel, secret: Secret, methods: Sequence[str], seed: int) -> Iterator[Ranking]:
    """How every method ranks the neurons, each once; CONTROLS say the same of every secret of a model."""
    for method in dict.fromkeys(methods):
        started = time.perf_counter()
        scores = result_of(method, Task(lm, secret, seed=seed))
        yield Ranking(method, scores, time.perf_counter() - started)


def plants(lm: LanguageModel, settings: PlantSettings, n: int, seed: int) -> Iterator[Plant]:
    """n plants of different secrets in different neurons, one at a time; the seed decides both."""
    for at in range(n):
        yield plant(lm, new_secret(lm, at, seed), settings, 10_000 * seed + at)


def run(
    lm: LanguageModel, methods: Sequence[str], settings: PlantSettings, n: int, seed: int, say: Callable[[str], None]
) -> Iterator[tuple[Plant, list[Found]]]:
    """Plants, asks every method and all controls, and takes the plant out again. Nothing is retained but the method's own."""
    for at, planted in enumerate(plants(lm, settings, n, seed)):
        say(f"plant {at + 1}/{n}: NLL {planted.nll:.3f} nats/token, match {planted.greedy_match}, {planted.steps} steps")
        found = []
        for ranking in rankings(lm.under(planted.edit), planted.secret, [*methods, *CONTROLS], seed + at):
            found.append(ranking.judged(planted.neurons))
            say(f"  {ranking.method}: recall {found[-1].recall[0]:.3f}")
        yield planted, found


def summary(results: Sequence[Sequence[Found]], planted: float, ratio: float, n_neurons: int) -> list[dict[str, object]]:
    """A row for every method and k, over what was found of every plant; `seconds` is the mean of one localization.

    `interval` is a 95 % interval of the recall over the plants, None of a single one.

    Args:
        planted: neurons of a plant, the mean over the plants; `chance` comes from it. ratio: the share that was asked for.
    """
    rows: list[dict[str, object]] = []
    every = [one for found in results for one in found]
    for method in dict.fromkeys(one.method for one in every):
        own = [one for one in every if one.method == method]
        for column, times in enumerate(TIMES):
            values = [one.recall[column] for one in own]
            share = min(1.0, times * planted / n_neurons)
            rows.append(
                {
                    "method": method,
                    "ratio": ratio,
                    "k": times * ratio,
                    "recall": float(np.mean(values)),
                    "interval": intervals.share(values, planted),
                    "chance": share,
                    "n": len(own),
                    "seconds": float(np.mean([one.seconds for one in own])),
                }
            )
    return rows


def described(planted: Plant) -> dict[str, object]:
    """One plant for the settings: what it reached."""
    return {
        "prompt": planted.secret.prompt,
        "value": planted.secret.value,
        "neurons": len(planted.neurons),
        "nll": planted.nll,
        "greedy_match": planted.greedy_match,
        "steps": planted.steps,
        "seconds": planted.edit.provenance.seconds,
    }
