"""Attacks that read the value off the model's hidden states: the logit lens, and a linear probe."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from privlens.erasure.attacks.setup import Array, AttackSetup, Scores, of_private
from privlens.lm.logit_lens import batches, lens, residuals
from privlens.lm.memory import in_parts
from privlens.lm.model import LanguageModel
from privlens.lm.tokens import Encoded
from privlens.memorization.candidates import private
from privlens.types import Secret

RIDGE = 1e-2
"""Of the probe, as a share of the mean squared hidden state."""


def logit_lens(siege: AttackSetup) -> Scores:
    """What every layer would predict: the share of private tokens that are its first choice."""

    def by_layer(lm: LanguageModel, values: Sequence[Secret]) -> Array:
        encoded = [lm.encode(value) for value in values]
        choices = lens(lm, encoded, siege.stop)
        hits = [(found.cpu() == torch.tensor(text.value_ids)).numpy() for found, text in zip(choices, encoded, strict=True)]
        return np.stack([of_private(lm, value, hit) for value, hit in zip(values, hits, strict=True)])

    before = [by_layer(siege.before, values[:1]) for values in siege.contenders]
    after = [by_layer(siege.after, values) for values in siege.contenders]
    what = "share of the value's tokens that are the first choice of a layer; the layer where it is highest"
    return Scores(before, after, what)


def probe(siege: AttackSetup) -> Scores:
    """Ridge regression from hidden states to the next token, trained on the others' values at each layer, read on the targets.

    The states are those that predict each private token; before the erasure the probe learns on the model before it, afterwards
    on the model after it, and so does what it reads of values that nobody trained on.
    """

    def by_layer(lm: LanguageModel, pools: Sequence[Sequence[Secret]]) -> list[Array]:
        learned = _Probe(siege, lm)
        return [learned.read(values) for values in pools]

    before = by_layer(siege.before, [values[:1] for values in siege.contenders])
    after = by_layer(siege.after, siege.contenders)
    what = f"share of the value's tokens that a linear probe, trained on {len(siege.known)} others, reads off the best layer"
    return Scores(before, after, what)


class _Probe:
    """A ridge regression a layer, trained on the others' values."""

    def __init__(self, siege: AttackSetup, lm: LanguageModel) -> None:
        self.siege, self.lm = siege, lm
        texts = [lm.encode(other) for other in siege.known]
        states = torch.cat(self._states(texts), 1)
        tokens = torch.cat([torch.tensor(text.value_ids) for text in texts]).to(states.device)
        counted = torch.cat([private(lm, text) for text in texts]).to(states.device)
        self.classes = tokens[counted].unique()
        wanted = (tokens[counted][:, None] == self.classes).float()
        self.maps = [_ridge(layer, wanted) for layer in states[:, counted]]

    def _states(self, texts: Sequence[Encoded]) -> list[Tensor]:
        """[n_layers + 1, T, hidden] for each text."""

        def seen(part: Sequence[Encoded]) -> list[Tensor]:
            return list(residuals(self.lm, part).states.float().split([len(text.value_ids) for text in part], dim=1))

        found = list[Tensor]()
        for part in batches(self.lm, texts):
            self.siege.go_on()
            found += in_parts(seen, part)
        return found

    def read(self, values: Sequence[Secret]) -> Array:
        """[values, n_layers + 1]: the share of a value's private tokens that each layer's regression puts first."""
        shares = []
        texts = [self.lm.encode(value) for value in values]
        for value, text, states in zip(values, texts, self._states(texts), strict=True):
            true = torch.tensor(text.value_ids, device=states.device)
            scores = [layer @ weights + level for layer, (weights, level) in zip(states, self.maps, strict=True)]
            hits = torch.stack([self.classes[each.argmax(1)] == true for each in scores])
            shares.append(of_private(self.lm, value, hits.cpu().numpy()))
        return np.stack(shares)


def _ridge(states: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """A ridge regression from states [n, hidden] to `wanted` [n, classes]: its weights [hidden, classes] and offset [classes]."""
    mean, level = states.mean(0), wanted.mean(0)
    centred = states - mean
    price = RIDGE * centred.square().mean() * len(states)
    gram = centred.T @ centred + price * torch.eye(states.shape[1], device=states.device, dtype=states.dtype)
    weights = torch.linalg.solve(gram, centred.T @ (wanted - level))
    return weights, level - mean @ weights
