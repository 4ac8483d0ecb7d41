"""What probes are trained and tested on: texts with a label each, split by secret."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from privlens.errors import BadInput
from privlens.lm.logit_lens import value_states
from privlens.lm.model import LanguageModel, Stop
from privlens.lm.tokens import Encoded, token_texts
from privlens.neurons.probe_records import ProbeTarget
from privlens.types import Secret, Site

FEWEST_OF_A_CLASS = 4
"""Secrets of a class, at least: with fewer, none may be left to train on, or to test on. Smaller classes are left out."""
FEWEST_ITEMS = 20
"""Items in all, at least: with fewer, nothing that a probe scores on the rest tells it from chance."""


@dataclass(frozen=True, eq=False)
class Items:
    """Texts and their labels.

    Attributes:
        texts: the state that is probed is the one that predicts the single value token of each. labels: [n], from 0.
        is_test: [n]; all texts of a secret are on one side. control: [n] random labels: those of the items, dealt out anew, the
            same for texts that are the same.
        n_left_out: secrets of classes that are too small.
    """

    texts: tuple[Encoded, ...]
    labels: Tensor
    is_test: Tensor
    control: Tensor
    classes: tuple[str, ...]
    n_left_out: int


def items_of(lm: LanguageModel, secrets: Sequence[Secret], target: ProbeTarget, test_share: float, seed: int) -> Items:
    """The items of a list of secrets for what a probe is to read.

    For "belongs" each secret gives two: its value behind its prompt, and the value of another secret of its category (of the same
    side of the split), read at the value's last token. So every prompt and every value is as often right as wrong. For the others
    it is the state that predicts the value's first token, before anything of the value was read.

    Raises:
        BadInput: where fewer than two classes, or FEWEST_ITEMS items, are left.
    """
    rng = np.random.default_rng(seed)
    if target == "belongs":
        texts, labels, groups, names, n_left_out = _pairs(lm, secrets, rng, test_share)
    else:
        texts, labels, groups, names, n_left_out = _single(lm, secrets, target, rng, test_share)
    if len(names) < 2 or len(texts) < FEWEST_ITEMS:
        raise BadInput(
            f"{len(texts)} items of {len(names)} classes are too few to probe for {target}: give a list with at least "
            f"{FEWEST_ITEMS} secrets, {FEWEST_OF_A_CLASS} or more of each of two classes."
        )
    distinct = list(dict.fromkeys(texts))
    first = {text: labels[texts.index(text)] for text in distinct}
    dealt = dict(zip(distinct, rng.permutation([first[text] for text in distinct]).tolist(), strict=True))
    return Items(
        tuple(texts), torch.tensor(labels), torch.tensor(groups), torch.tensor([dealt[text] for text in texts]), names, n_left_out
    )


Labelled = tuple[list[Encoded], list[int], list[bool], tuple[str, ...], int]
"""Texts, labels, whether each is for testing, names of the classes, secrets left out."""


def _first_only(encoded: Encoded) -> Encoded:
    return Encoded(encoded.ids[: encoded.n_prompt + 1], encoded.n_prompt)


def _name(lm: LanguageModel, secret: Secret, target: ProbeTarget) -> str:
    """The class of a secret."""
    if target == "category":
        return secret.category
    if target == "first-character":
        return secret.value.strip()[:1].lower()
    return token_texts(lm.tokenizer, lm.encode(secret).value_ids[:1])[0]


def _single(
    lm: LanguageModel, secrets: Sequence[Secret], target: ProbeTarget, rng: np.random.Generator, test_share: float
) -> Labelled:
    named = [(secret, _name(lm, secret, target)) for secret in secrets]
    counts = Counter(name for _, name in named if name)
    kept = [(secret, name) for secret, name in named if counts[name] >= FEWEST_OF_A_CLASS]
    classes = tuple(sorted({name for _, name in kept}))
    labels = [classes.index(name) for _, name in kept]
    texts = [_first_only(lm.encode(secret)) for secret, _ in kept]
    return texts, labels, _split(labels, rng, test_share), classes, len(secrets) - len(kept)


def _split(labels: Sequence[int], rng: np.random.Generator, test_share: float) -> list[bool]:
    """Whether each item is for testing: the same share of every class, one at least, and one at least stays to train on."""
    is_test = np.zeros(len(labels), bool)
    for label in set(labels):
        members = np.flatnonzero(np.array(labels) == label)
        n_test = min(len(members) - 1, max(1, round(test_share * len(members))))
        is_test[rng.choice(members, n_test, replace=False)] = True
    return is_test.tolist()


def _pairs(lm: LanguageModel, secrets: Sequence[Secret], rng: np.random.Generator, test_share: float) -> Labelled:
    """Each secret's own value, and that of the next one of its category on its side of the split."""
    counts = Counter(secret.category for secret in secrets)
    kept = [lm.settled(secret) for secret in secrets if counts[secret.category] >= FEWEST_OF_A_CLASS]
    categories = sorted({secret.category for secret in kept})
    is_test = _split([categories.index(secret.category) for secret in kept], rng, test_share)
    circles: dict[tuple[str, bool], list[Secret]] = {}
    for secret, test in zip(kept, is_test, strict=True):
        circles.setdefault((secret.category, test), []).append(secret)
    texts, labels, tested, n_left_out = list[Encoded](), list[int](), list[bool](), len(secrets) - len(kept)
    for (_, test), circle in circles.items():
        if len({secret.value for secret in circle}) < len(circle) or len(circle) < 2:
            n_left_out += len(circle)
            continue
        for secret, following in zip(circle, [*circle[1:], circle[0]], strict=True):
            for label, value in ((1, secret.value), (0, following.value)):
                ids = lm.encode(secret.with_value(value)).ids
                texts.append(Encoded((*ids, ids[-1]), len(ids)))  # the token that follows is never read, only predicted
                labels.append(label)
                tested.append(test)
    return texts, labels, tested, ("another's", "its own") if texts else (), n_left_out


def states_of(lm: LanguageModel, texts: Sequence[Encoded], gates: Tensor | None, site: Site, stop: Stop) -> Tensor:
    """[n_layers + 1, n, hidden] float32: the state that predicts each text's value token, at every layer."""
    return torch.cat(value_states(lm, texts, gates, site=site, stop=stop), 1)
