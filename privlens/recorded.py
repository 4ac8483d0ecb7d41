"""A result that was computed beforehand, so that the page opens with something true to look at instead of empty boxes."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from privlens.outcomes import KeptCount
from privlens.types import Neuron, NeuronScores, Secret, Verdict, from_json


@dataclass(frozen=True)
class RecordedState:
    """One state of a model: what it wrote after the prompt, the value's total log-probability (nats), and what became of others.

    `kept` counts the other secrets that matched with all neurons on, `unseen_kept` those of them that the method never saw.
    """

    text: str
    greedy_match: bool
    logprob: float
    verdict: Verdict | None
    kept: KeptCount
    unseen_kept: KeptCount
    perplexity_ratio: float


@dataclass(frozen=True, eq=False)
class RecordedExample:
    """One secret with its neurons on, with them off, and with as many random neurons off.

    Attributes:
        secret, retained: the target, and the other secrets that the method was given as retained text.
        scores: of every neuron. off: the neurons that are switched off. on, closed, random: the three states.
        control_logprob: of a value of the same kind that nobody trained on, with all neurons on; nats.
        n_candidates: secrets that the example was chosen from. n_forgotten: of those, how many ended in forgotten.
        command: what recorded it.
    """

    secret: Secret
    retained: tuple[Secret, ...]
    scores: NeuronScores
    off: tuple[Neuron, ...]
    on: RecordedState
    closed: RecordedState
    random: RecordedState
    control_logprob: float | None
    n_candidates: int
    n_forgotten: int
    command: str


@cache
def read_example(path: Path) -> RecordedExample:
    """What `bench opening` wrote. Raises OSError or pydantic.ValidationError where the file is missing or anything else."""
    return from_json(RecordedExample, path.read_text("utf-8"))
