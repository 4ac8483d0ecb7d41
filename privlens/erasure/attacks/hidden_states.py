"""Attacks that read the value from the model's hidden states: the logit lens, and a linear probe."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from privlens.erasure.attacks.setup import Array, AttackSetup, Scores, private_share
from privlens.lm.logit_lens import lens, value_states
from privlens.lm.model import LanguageModel
from privlens.memorization.candidates import private
from privlens.types import Secret

RIDGE = 1e-2
"""The probe's penalty, as a share of the mean squared hidden state: a higher one fits the training values less closely."""


def logit_lens(setup: AttackSetup) -> Scores:
    """What every layer would predict: the share of private tokens that are its first choice."""

    def by_layer(lm: LanguageModel, values: Sequence[Secret]) -> Array:
        texts = [lm.encode(value) for value in values]
        choices = lens(lm, texts, setup.stop)
        hits = [(choice.cpu() == torch.tensor(text.value_ids)).numpy() for choice, text in zip(choices, texts, strict=True)]
        return np.stack([private_share(lm, value, hit) for value, hit in zip(values, hits, strict=True)])

    before = [by_layer(setup.before, values[:1]) for values in setup.contenders]
    after = [by_layer(setup.after, values) for values in setup.contenders]
    detail = "share of the value's tokens that are the first choice of a layer; the layer where it is highest"
    return Scores(before, after, detail)


def probe(setup: AttackSetup) -> Scores:
    """Ridge regression from hidden states to the next token, trained on the others' values at each layer, read on the targets.

    The states are those that predict each private token. One probe is trained on the model before the erasure, and one on the
    model after it; the latter is also read on values that nobody trained on.
    """

    def by_layer(lm: LanguageModel, pools: Sequence[Sequence[Secret]]) -> list[Array]:
        trained = _Probe(setup, lm)
        return [trained.read(values) for values in pools]

    before = by_layer(setup.before, [values[:1] for values in setup.contenders])
    after = by_layer(setup.after, setup.contenders)
    detail = f"share of the value's tokens that a linear probe, trained on {len(setup.known)} others, reads off the best layer"
    return Scores(before, after, detail)


class _Probe:
    """One ridge regression for each layer, trained on the others' values."""

    def __init__(self, setup: AttackSetup, lm: LanguageModel) -> None:
        self.lm = lm
        self.stop = setup.stop
        texts = [lm.encode(secret) for secret in setup.known]
        states = torch.cat(value_states(lm, texts, stop=self.stop), 1)
        tokens = torch.cat([torch.tensor(text.value_ids) for text in texts]).to(states.device)
        is_private = torch.cat([private(lm, text) for text in texts]).to(states.device)
        self.classes = tokens[is_private].unique()
        one_hot = (tokens[is_private][:, None] == self.classes).float()
        self.maps = [_ridge(layer, one_hot) for layer in states[:, is_private]]

    def read(self, values: Sequence[Secret]) -> Array:
        """[values, n_layers + 1]: the share of a value's private tokens that each layer's regression ranks first."""
        shares = []
        texts = [self.lm.encode(value) for value in values]
        for value, text, states in zip(values, texts, value_states(self.lm, texts, stop=self.stop), strict=True):
            true_ids = torch.tensor(text.value_ids, device=states.device)
            scores = [layer @ weights + offset for layer, (weights, offset) in zip(states, self.maps, strict=True)]
            hits = torch.stack([self.classes[by_class.argmax(1)] == true_ids for by_class in scores])
            shares.append(private_share(self.lm, value, hits.cpu().numpy()))
        return np.stack(shares)


def _ridge(states: Tensor, one_hot: Tensor) -> tuple[Tensor, Tensor]:
    """Ridge regression from states [n, hidden] to `one_hot` [n, classes]: its weights [hidden, classes] and offset [classes]."""
    mean_state = states.mean(0)
    mean_target = one_hot.mean(0)
    centred = states - mean_state
    penalty = RIDGE * centred.square().mean() * len(states)
    gram = centred.T @ centred + penalty * torch.eye(states.shape[1], device=states.device, dtype=states.dtype)
    weights = torch.linalg.solve(gram, centred.T @ (one_hot - mean_target))
    return weights, mean_target - mean_state @ weights
