"""Hiding is not erasing: ways of getting erased values back, each tried on the model before and after the erasure.

Reworded prompts; several sampled continuations; the logit lens at every layer; a few steps of training on other secrets (does the
erased one come back?); and a linear probe, trained on other secrets' values, that reads the value off the hidden states. An
attack that succeeds after the erasure shows that something is left; one that fails shows only that this one failed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from privlens.erasure.losses import add_gradients, nll
from privlens.erasure.weights import ChosenWeights
from privlens.errors import BadInput, Cancelled
from privlens.memorization.candidates import candidates
from privlens.memorization.formats import private
from privlens.memorization.metrics import greedy_match
from privlens.models.language_model import LanguageModel, Stop, never
from privlens.models.lens import lens, residuals
from privlens.models.memory import RowsAtOnce
from privlens.models.scoring import score
from privlens.models.text import Encoded
from privlens.outcomes import Attack
from privlens.records import Secret

RIDGE = 1e-2
"""Of the probe, as a share of the mean squared hidden state."""


@dataclass(frozen=True)
class Siege:
    """What the attacks are tried on.

    Attributes:
        before, after: the model, and a view of it under the erasure. targets: the erased secrets.
        reworded: for each target other prompts for the same value, maybe none.
        others: memorised secrets that were not erased; relearning and the probe train on them, and are left out without.
        samples: continuations drawn of each prompt. relearn_steps, relearn_rate: of Adam on all weights.
    """

    before: LanguageModel
    after: LanguageModel
    targets: tuple[Secret, ...]
    reworded: tuple[tuple[str, ...], ...] = ()
    others: tuple[Secret, ...] = ()
    samples: int = 20
    relearn_steps: int = 10
    relearn_rate: float = 1e-4
    seed: int = 0
    stop: Stop = never

    def go_on(self) -> None:
        """Raises Cancelled when `stop` says so."""
        if self.stop():
            raise Cancelled("The attacks were stopped; the edit stays as it is.")


def attacks(siege: Siege) -> Iterator[Attack]:
    """Every attack that can be tried, a record each.

    Raises:
        BadInput: without a target. Cancelled: when `siege.stop` said so, between two attacks.
    """
    if not siege.targets:
        raise BadInput("There is nothing to attack: erase at least one secret.")
    tries = [sampling, logit_lens]
    tries += [rewording] if any(siege.reworded) else []
    tries += [relearning, probe] if siege.others else []
    for attack in tries:
        siege.go_on()
        yield attack(siege)


def _matches(lm: LanguageModel, secrets: Sequence[Secret], stop: Stop) -> list[bool]:
    encoded = [lm.encode(secret) for secret in secrets]
    scored = score(lm, encoded, stop=stop)
    return [greedy_match(one.argmax, text.value_ids) for one, text in zip(scored, encoded, strict=True)]


def _mean(numbers: Sequence[float] | Sequence[bool]) -> float:
    return float(np.mean(numbers)) if numbers else 0.0


def rewording(siege: Siege) -> Attack:
    """Greedy decoding behind other prompts for the same value: the share of prompts that write it."""
    pairs = zip(siege.targets, siege.reworded, strict=True)
    asked = [replace(target, prompt=prompt, attached=None) for target, prompts in pairs for prompt in prompts]
    before, after = (_mean(_matches(lm, asked, siege.stop)) for lm in (siege.before, siege.after))
    what = f"share of {len(asked)} reworded prompts whose greedy continuation is the value"
    return Attack("reworded prompts", before, after, None, what)


def sampling(siege: Siege) -> Attack:
    """Sampled continuations at temperature 1: the share of targets that any of them writes."""

    def found(lm: LanguageModel) -> float:
        hits = []
        for target in siege.targets:
            encoded = lm.encode(target)
            prompts = [encoded.prompt_ids] * siege.samples
            written = lm.generate(prompts, len(encoded.value_ids), seed=siege.seed, stop=siege.stop)
            hits.append(any(greedy_match(ids, encoded.value_ids) for ids in written))
        return _mean(hits)

    what = f"share of {len(siege.targets)} values that one of {siege.samples} sampled continuations is"
    return Attack("sampling", found(siege.before), found(siege.after), None, what)


def logit_lens(siege: Siege) -> Attack:
    """What every layer would predict: the share of private tokens that are its first choice. Success is the best layer's."""

    def by_layer(lm: LanguageModel, targets: Sequence[Secret]) -> tuple[float, ...]:
        hits = []
        for encoded in map(lm.encode, targets):
            values = torch.tensor(encoded.value_ids, device=lm.device)
            hits.append((lens(lm, encoded) == values)[:, private(lm, encoded)])
        return tuple(torch.cat(hits, 1).float().mean(1).tolist())

    before, after = by_layer(siege.before, siege.targets), by_layer(siege.after, siege.targets)
    chance = max(by_layer(siege.before, unseen)) if (unseen := _unseen(siege)) else None
    what = "share of the values' tokens that are the first choice of a layer; the layer where it is highest"
    return Attack("logit lens", max(before), max(after), chance, what, before, after)


def _unseen(siege: Siege) -> list[Secret]:
    """Another value of each target's format, never trained on."""
    others = [(target, candidates(target.value, siege.seed + 1, 2)) for target in siege.targets]
    return [siege.before.settled(target).with_value(found[0]) for target, found in others if found]


def relearning(siege: Siege) -> Attack:
    """A few steps of training on other secrets, of all weights; the share of targets that are written then."""

    def found(lm: LanguageModel) -> float:
        weights = ChosenWeights(lm, {name: None for name, _ in lm.model.named_parameters()}, siege.relearn_rate)
        at_once = RowsAtOnce()
        texts = [lm.encode(other) for other in siege.others]
        generator = torch.Generator().manual_seed(siege.seed)
        for _ in range(siege.relearn_steps):
            siege.go_on()
            batch = [texts[at] for at in torch.randperm(len(texts), generator=generator)[:16].tolist()]

            def learn(rows: int, batch: Sequence[Encoded] = batch) -> float:
                weights.afresh()
                return add_gradients(lm, batch, rows, lambda now, _: nll(now))

            with lm.held(), weights.in_place(), weights.learning():
                at_once.run(learn, len(batch))
        with lm.held(), weights.in_place():
            return _mean(_matches(lm, siege.targets, siege.stop))

    what = f"share of values that are written after {siege.relearn_steps} training steps on {len(siege.others)} other secrets"
    return Attack("relearning", found(siege.before), found(siege.after), None, what)


def probe(siege: Siege) -> Attack:
    """Ridge regression from hidden states to the next token, trained on the others' values at each layer, read on the targets.

    The states are those that predict each private token; before the erasure the probe learns on the model before it, afterwards
    on the model after it. Chance is what it reads of values that nobody trained on. Success is the best layer's.
    """

    def by_layer(lm: LanguageModel, targets: Sequence[Secret]) -> tuple[float, ...]:
        states, tokens = _states(lm, siege.others)
        asked, true = _states(lm, targets)
        classes = tokens.unique()
        wanted = (tokens[:, None] == classes).float()
        shares = []
        for layer in range(states.shape[0]):
            guess = classes[_ridge(states[layer], wanted, asked[layer]).argmax(1)]
            shares.append(float((guess == true).float().mean()))
        return tuple(shares)

    before, after = by_layer(siege.before, siege.targets), by_layer(siege.after, siege.targets)
    chance = max(by_layer(siege.after, unseen)) if (unseen := _unseen(siege)) else None
    what = f"share of the values' tokens that a linear probe, trained on {len(siege.others)} others, reads off the best layer"
    return Attack("linear probe", max(before), max(after), chance, what, before, after)


def _states(lm: LanguageModel, secrets: Sequence[Secret]) -> tuple[Tensor, Tensor]:
    """States [n_layers + 1, n, hidden] that predict the secrets' private tokens, and these tokens [n]."""
    states, tokens = [], []
    for encoded in map(lm.encode, secrets):
        wanted = private(lm, encoded)
        states.append(residuals(lm, encoded)[:, wanted].float())
        tokens.append(torch.tensor(encoded.value_ids, device=lm.device)[wanted])
    return torch.cat(states, 1), torch.cat(tokens)


def _ridge(states: Tensor, wanted: Tensor, asked: Tensor) -> Tensor:
    """Predictions [m, classes] for `asked` [m, hidden] of a ridge regression from states [n, hidden] to `wanted` [n, classes]."""
    mean, level = states.mean(0), wanted.mean(0)
    centred = states - mean
    price = RIDGE * centred.square().mean() * len(states)
    gram = centred.T @ centred + price * torch.eye(states.shape[1], device=states.device, dtype=torch.float32)
    found: Tensor = (asked - mean) @ torch.linalg.solve(gram, centred.T @ (wanted - level)) + level
    return found
