"""Training on other secrets: does the erased one come back?

At several learning rates and numbers of steps, because too small a rate changes nothing and too large a one wrecks the model.
Only runs that learned count: where the loss on the attack's own training texts did not fall clearly, the attack did not run.
The target is never among these texts. Success is counted at n samples (Success@n), as in LACUNA (arXiv 2607.02513).

Sources: Lynch et al., Eight methods to evaluate robust unlearning in LLMs (arXiv 2402.16835); Hu et al., Jogging the memory of
unlearned LLMs (arXiv 2406.13356).
"""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from privlens.erasure.attacks.readout import Pool, Readout, encoded, read
from privlens.erasure.attacks.setup import AttackSetup, Scores, counted, counts_of
from privlens.erasure.losses import add_gradients, nll
from privlens.erasure.sparse_parameters import SparseParameters
from privlens.errors import BadInput, UnsupportedModel
from privlens.lm.layout import is_plain
from privlens.lm.memory import GB, AdaptiveBatchSize, free_bytes
from privlens.lm.model import LanguageModel
from privlens.lm.scoring import score
from privlens.lm.tokens import Encoded

LEARNED = 0.7
"""A run learned where the loss on its own texts fell to this share of its first value. A higher share
would count runs that changed next to nothing."""
MAX_TEXTS = 48
"""Training texts at most: each measurement scores all of them, so more are slower."""
BATCH_ROWS = 16
"""Training texts in one step."""
COPIES = 5
"""Float32 numbers for each weight beside the model: the trained value, Adam's two, the gradient, and the original value."""


@dataclass(frozen=True)
class _Run:
    """What training brought back at one rate after so many steps: a readout for each target's pool."""

    rate: float
    steps: int
    readouts: Sequence[Readout]

    @property
    def success(self) -> float:
        """The mean chance over the targets."""
        return float(np.mean([readout.within[0] for readout in self.readouts]))


def relearn(setup: AttackSetup) -> Scores:
    """Trains all weights on other secrets; the chance that the value is among n samples then (Success@n).

    Raises:
        BadInput: where no rate learned, or memory does not suffice. UnsupportedModel: where weights cannot be trained.
    """
    lm = setup.after
    _check_trainable(lm)
    pools = [encoded(setup, values) for values in setup.contenders]
    before = [read(setup, setup.before, pool[:1]) for pool in pools]
    untrained = [read(setup, lm, pool[:1]) for pool in pools]
    chosen = random.Random(setup.seed).sample(setup.train_on, min(MAX_TEXTS, len(setup.train_on)))
    texts = [lm.encode(secret) for secret in chosen]
    first_loss = _mean_loss(setup, lm, texts)
    runs = list[_Run]()
    reports = list[str]()
    for rate in setup.relearn_rates:
        losses = list[float]()
        for loss, run in _training(setup, pools, texts, rate, LEARNED * first_loss):
            losses.append(loss)
            runs += [run] if run else []
        reports.append(_report(rate, losses, first_loss))
    trained = f"loss on its own texts {first_loss:.3g} at first; {'; '.join(reports)}"
    if not runs:
        raise BadInput(f"it did not learn the {len(texts)} other secrets that it trained on ({trained})")
    best = max(runs, key=lambda run: run.success)
    known, left = ([readout.succeeded for readout in readouts] for readouts in (before, best.readouts))
    how = f"within {setup.tries} tries, relearned"
    without = counted(f"within {setup.tries} tries, not relearned: targets after", [hits.succeeded[0] for hits in untrained])
    return Scores(
        before=[readout.within[None] for readout in before],
        after=[np.stack([run.readouts[target].within for run in runs], 1) for target in range(len(pools))],
        detail=f"chance that the value is among {setup.tries} samples after training on {len(texts)} other secrets",
        note=f"{_first_choices('without training', untrained)}, {_first_choices('then', best.readouts)}; {trained}",
        ways=tuple(f"{run.steps} steps at rate {run.rate:g}" for run in runs),
        counts=(*counts_of(how, known, left), without),
    )


def _first_choices(when: str, readouts: Sequence[Readout]) -> str:
    """How much of the targets is the model's first choice, in words."""
    return f"{when} {np.mean([readout.first_choices[0] for readout in readouts]):.0%} of the tokens are first choices"


def _check_trainable(lm: LanguageModel) -> None:
    weights = list(lm.model.parameters())
    if not all(is_plain(weight) for weight in weights):
        raise UnsupportedModel("weights that are quantized or not in memory cannot be trained; load the model as another type")
    needed = COPIES * 4 * sum(weight.numel() for weight in weights)
    free = free_bytes(lm.device)
    if needed > free:
        raise BadInput(f"training all weights needs about {needed / GB:.1f} GB, and {lm.device} has {free / GB:.1f} GB free")


def _report(rate: float, losses: Sequence[float], first_loss: float) -> str:
    """What happened at a rate, in words."""
    if not math.isfinite(losses[-1]) or losses[-1] > first_loss:
        return f"rate {rate:g} exploded"
    verdict = "" if min(losses) <= LEARNED * first_loss else ", which is not learned"
    return f"rate {rate:g} took it to {losses[-1]:.3g}{verdict}"


def _training(
    setup: AttackSetup, pools: Sequence[Pool], texts: Sequence[Encoded], rate: float, learned_loss: float
) -> Iterator[tuple[float, _Run | None]]:
    """Trains; at each of `relearn_steps` yields the loss on the texts, and a run where it is at most `learned_loss`.

    Ends early where the loss is not finite. The model has its own weights between two yields.
    """
    lm = setup.after
    weights = SparseParameters(lm, {name: None for name, _ in lm.model.named_parameters()}, rate)
    rows_at_once = AdaptiveBatchSize()
    generator = torch.Generator().manual_seed(setup.seed)
    for step in range(1, max(setup.relearn_steps) + 1):
        setup.go_on()
        batch = [texts[index] for index in torch.randperm(len(texts), generator=generator)[:BATCH_ROWS].tolist()]

        def learn(rows: int, batch: Sequence[Encoded] = batch) -> float:
            weights.zero_grad()
            return add_gradients(lm, batch, rows, lambda predicted, _: nll(predicted))

        with lm.held(), weights.applied(), weights.gathering():
            rows_at_once.run(learn, len(batch))
        weights.take_step()
        if step in setup.relearn_steps:
            with lm.held(), weights.applied():
                loss = _mean_loss(setup, lm, texts)
                readouts = [read(setup, lm, pool) for pool in pools] if loss <= learned_loss else []
            yield loss, _Run(rate, step, readouts) if readouts else None
            if not math.isfinite(loss):
                return


def _mean_loss(setup: AttackSetup, lm: LanguageModel, texts: Sequence[Encoded]) -> float:
    """Mean NLL of the texts' values, nats/token."""
    return -float(np.mean([np.mean(scored.logprobs) for scored in score(lm, texts, stop=setup.stop)]))
