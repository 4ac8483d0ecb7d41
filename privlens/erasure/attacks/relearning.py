"""Training on other secrets: does the erased one come back?

At several learning rates and numbers of steps, because too small a rate changes nothing and too large a one wrecks the model.
Only runs that learned count: where the loss on the attack's own training texts did not fall clearly, the attack did not run.

Sources: Lynch et al., Eight methods to evaluate robust unlearning in LLMs (arXiv 2402.16835); Hu et al., Jogging the memory of
unlearned LLMs (arXiv 2406.13356).
"""

import math
import random
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from privlens.erasure.attacks.setup import Array, AttackSetup, Scores, private_share
from privlens.erasure.losses import add_gradients, nll
from privlens.erasure.sparse_parameters import SparseParameters
from privlens.errors import BadInput, UnsupportedModel
from privlens.lm.layout import is_plain
from privlens.lm.memory import GB, AdaptiveBatchSize, free_bytes
from privlens.lm.model import LanguageModel
from privlens.lm.scoring import score
from privlens.lm.tokens import Encoded
from privlens.types import Secret

LEARNED = 0.7
"""A run learned where the loss on its own texts fell to this share of its first value. A higher share
would count runs that changed next to nothing."""
MAX_TEXTS = 48
"""Training texts at most: each measurement scores all of them, so more are slower."""
BATCH_ROWS = 16
"""Training texts in one step."""
COPIES = 5
"""Float32 numbers for each weight beside the model: the trained value, Adam's two, the gradient, and the original value."""


def relearn(setup: AttackSetup) -> Scores:
    """Trains all weights on other secrets; the share of the value's tokens that are the first choice then.

    Raises:
        BadInput: where no rate learned, or memory does not suffice. UnsupportedModel: where weights cannot be trained.
    """
    lm = setup.after
    _check_trainable(lm)
    before = [_first_choices(setup, setup.before, values[:1]) for values in setup.contenders]
    untrained = np.mean([_first_choices(setup, lm, values[:1]) for values in setup.contenders])
    chosen = random.Random(setup.seed).sample(setup.train_on, min(MAX_TEXTS, len(setup.train_on)))
    texts = [lm.encode(secret) for secret in chosen]
    first_loss = _mean_loss(setup, lm, texts)
    runs = list[list[Array]]()
    reports = list[str]()
    for rate in setup.relearn_rates:
        losses = list[float]()
        for loss, shares in _training(setup, texts, rate, LEARNED * first_loss):
            losses.append(loss)
            runs += [shares] if shares else []
        reports.append(_report(rate, losses, first_loss))
    trained = f"loss on its own texts {first_loss:.3g} at first; {'; '.join(reports)}"
    if not runs:
        raise BadInput(f"it did not learn the {len(texts)} other secrets that it trained on ({trained})")
    steps = " or ".join(map(str, setup.relearn_steps))
    detail = f"share of the value's tokens that are the first choice after {steps} training steps on {len(texts)} other secrets"
    after = [np.concatenate(by_run, 1) for by_run in zip(*runs, strict=True)]
    return Scores(before, after, f"{detail}; the best of all rates and steps", f"without training {untrained:.0%}; {trained}")


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
    setup: AttackSetup, texts: Sequence[Encoded], rate: float, learned_loss: float
) -> Iterator[tuple[float, list[Array]]]:
    """Trains; at each of `relearn_steps` yields the loss on the texts, and all values' scores where it is at most `learned_loss`.

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

        with lm.held(), weights.applied(), weights.optimizer_step():
            rows_at_once.run(learn, len(batch))
        if step in setup.relearn_steps:
            with lm.held(), weights.applied():
                loss = _mean_loss(setup, lm, texts)
                has_learned = loss <= learned_loss
                shares = [_first_choices(setup, lm, values) for values in setup.contenders] if has_learned else []
            yield loss, shares
            if not math.isfinite(loss):
                return


def _mean_loss(setup: AttackSetup, lm: LanguageModel, texts: Sequence[Encoded]) -> float:
    """Mean NLL of the texts' values, nats/token."""
    return -float(np.mean([np.mean(scored.logprobs) for scored in score(lm, texts, stop=setup.stop)]))


def _first_choices(setup: AttackSetup, lm: LanguageModel, values: Sequence[Secret]) -> Array:
    """[values, 1]: the share of each value's private tokens that are the first choice."""
    texts = [lm.encode(value) for value in values]
    scores = score(lm, texts, stop=setup.stop)
    hits = [np.array(scored.argmax) == text.value_ids for scored, text in zip(scores, texts, strict=True)]
    return np.array([[private_share(lm, value, hit)] for value, hit in zip(values, hits, strict=True)])
