"""REVS: the value's tokens are pushed down in the vocabulary space of a few neurons, without gradients.

Ashuach, Tutek & Belinkov, ACL 2025 (arXiv 2406.09325). Of each layer's neurons that are most active where a token is predicted,
those whose output vector ranks the token highest are chosen. Such a vector w is projected to the vocabulary, z = U w; the token's
logit is lowered by delta until at least R tokens are above it; the changed logits are projected back by the pseudo-inverse:

    w' = U^+ (z - delta e_t) = w - delta (U^T U)^{-1} u_t.

As lowering one logit moves w along one direction, the least delta that is enough is exact here, where the authors' code searches
it. Also of our own: every token with a letter or digit is worked on and not the two rarest only; the final norm enters by its
gain (lm/unembedding.py); a step demotes each token in a few more neurons of every layer until its rank among the model's own
predictions is low enough, where the paper asks the logit lens layer by layer.
"""

from dataclasses import replace

import torch
from torch import Tensor

from privlens.erasure.config import Request
from privlens.erasure.losses import Predicted, batched_predictions
from privlens.erasure.preconditioner import output_vectors_of
from privlens.erasure.sparse_parameters import SparseParameters
from privlens.erasure.trainer import Erasure, Rows
from privlens.errors import BadInput
from privlens.lm.activations import read
from privlens.lm.neuron_vectors import neuron_vectors
from privlens.lm.scoring import LOGITS_AT_ONCE
from privlens.lm.unembedding import unembedding

ACTIVE = 100
"""Neurons of a layer among which a token's are chosen, the most active ones where it is predicted: as in the authors' code."""
NEURON_RANK = 0.75
"""R, the rank of a token in a changed output vector, as a share of the vocabulary: 90,000 to 100,000 of 128,256 in the authors'
settings for Llama 3."""
OUTPUT_RANK = 0.08
"""The rank in the model's predictions at which a token is left alone, as a share of the vocabulary: 10,000 of 128,256 there."""
NEURONS_A_STEP = 5
"""Neurons of each layer in which a step demotes a token: where the authors' code begins."""
SMALLEST = 1e-5
"""Singular values of the unembedding below this share of the largest count as 0; a norm that centers leaves one such value."""
MARGIN = 1e-4
"""What is added to a demotion, as a share of the largest lead: the least one only draws level, and rounding may undo that."""


def ranks(logits: Tensor, tokens: Tensor) -> Tensor:
    """How many tokens have a higher logit than the given ones, 0 for the first choice. [n, V], [n] or [1] -> [n]."""
    own = logits.gather(1, tokens.expand(len(logits))[:, None])
    return (logits > own).sum(1)


def demotion(logits: Tensor, moved: Tensor, token: Tensor, rank: int) -> Tensor:
    """The least delta >= 0 by which lowering a token's logit gives it at least this rank in every row; [n].

    Tokens whose logit falls as fast as the token's own never rise above it: `rank` is at most the number of the others.

    Args:
        logits: [n, V], of output vectors. moved: [V], how much each logit falls for a delta of 1. token: [1].
    """
    lead = logits[:, token] - logits
    slower = moved[token] - moved
    crossing = (lead / slower.clamp_min(torch.finfo(slower.dtype).tiny)).where(slower > 0, torch.inf)
    highest = min(rank, int((slower > 0).sum()))
    if not highest:
        return torch.zeros(len(logits), device=logits.device, dtype=logits.dtype)
    least = crossing.kthvalue(highest, dim=1).values
    enough = least + MARGIN * lead.abs().amax(1) / slower.max()
    return enough * (ranks(logits, token) < highest)


def first_distinct(candidates: Tensor, n: int) -> Tensor:
    """The rows of candidates [rows, (token, layer, neuron)], best first, that together name at most n different neurons."""
    seen = set[tuple[int, int]]()
    kept = []
    for row, (_, layer, neuron) in enumerate(candidates.tolist()):
        if len(seen) < n or (layer, neuron) in seen:
            seen.add((layer, neuron))
            kept.append(row)
    return candidates[kept]


class Revs(Erasure):
    """Demotes the tokens of all forget texts in a few more neurons a step. Retains no text."""

    def __init__(self, request: Request, level: float, rows: Rows) -> None:
        super().__init__(replace(request, settings=replace(request.settings, keep=0.0)), level, rows)

    def _choose_weights(self) -> SparseParameters:
        """The output vectors that may change; and for every token and layer which of them are its own, in their order."""
        lm = self.lm
        self.unembedding = unembedding(lm)
        self.values = torch.tensor([token for text in self.texts for token in text.value_ids], device=lm.device)
        # U^+ e_t = (U^T U)^+ u_t; in double precision, because squaring U squares what its directions differ by.
        exact = self.unembedding.cpu().double()
        inverse = torch.linalg.pinv(exact.T @ exact, rtol=SMALLEST**2, hermitian=True).to(self.unembedding)
        self.directions = self.unembedding[self.values] @ inverse
        size = self.unembedding.shape[1]
        n_neurons = max(1, round(self.settings.share_for(len(self.texts)) * lm.n_parameters) // size)
        token, layers, neurons = first_distinct(self._candidates(), n_neurons).T
        if not len(token):
            raise BadInput("No active neuron writes a token of the secret to forget: use another method, such as emso.")
        by_layer = [neurons[layers == layer].unique() for layer in range(lm.n_layers)]
        self.queues = [
            [
                torch.searchsorted(chosen, neurons[(token == index) & (layers == layer)]).tolist()
                for layer, chosen in enumerate(by_layer)
            ]
            for index in range(len(self.values))
        ]
        # The control changes as many neurons of every layer, drawn at random, in place of those.
        self.vectors = output_vectors_of(lm, [neurons.to(lm.device) for neurons in self._chosen(by_layer, lm.widths())])
        return SparseParameters(lm, dict(self.vectors.places(lm)), self.settings.learning_rate)

    @torch.no_grad()
    def _candidates(self) -> Tensor:
        """[rows, (token, layer, neuron)], the neurons that write a token where they are active, best first.

        Best is where the token's rank in the output vector is highest; the more active of those where it is equal.
        """
        lm, limit = self.lm, self._rank(NEURON_RANK)
        rows, scores = [], []
        first = 0
        for text in self.texts:
            positions = slice(text.n_prompt - 1, len(text.ids) - 1)
            values = torch.tensor(text.value_ids, device=lm.device)
            [active] = read(lm, [text.ids], lambda hidden, positions=positions: hidden[:, positions].float())  # type: ignore[misc]
            for layer, activations in enumerate(active):
                most, neurons = activations[:, : lm.widths()[layer]].topk(min(ACTIVE, lm.widths()[layer]))
                distinct, place = neurons.unique(return_inverse=True)
                token_ranks = torch.stack([self._vector_ranks(layer, distinct, value[None]) for value in values])
                by_neuron = token_ranks.gather(1, place)
                usable = (most > 0) & (by_neuron < limit)
                tokens, columns = usable.nonzero(as_tuple=True)
                found = neurons[tokens, columns]
                rows.append(torch.stack([tokens + first, torch.full_like(tokens, layer), found], 1))
                scores.append(by_neuron[usable] - most[usable] / (2 * most.amax().clamp_min(1e-30)))
            first += len(values)
        return torch.cat(rows)[torch.cat(scores).argsort(stable=True)].cpu()

    def _vector_ranks(self, layer: int, neurons: Tensor, token: Tensor) -> Tensor:
        """The rank of one token in the output vectors of some neurons, [n]."""
        with self.lm.held():
            vectors = neuron_vectors(self.lm, layer)[0].of(neurons).float().to(self.lm.device)
        at_once = max(1, LOGITS_AT_ONCE // len(self.unembedding))
        return torch.cat([ranks(part @ self.unembedding.T, token) for part in vectors.split(at_once)])

    def _rank(self, share: float) -> int:
        """A rank as a share of the vocabulary."""
        return max(1, round(share * len(self.unembedding)))

    @torch.no_grad()
    def step(self, step: int) -> tuple[Predicted, dict[str, float]]:
        """Demotes every private token that is still too likely in the next neurons of each layer."""
        lm = self.lm
        with lm.held(), self.weights.applied():
            predicted = self.at_once.run(lambda n: batched_predictions(lm, self.texts, n), self.settings.forget_rows)
        is_private = torch.cat(self.private).to(predicted.values.device)
        is_known = is_private & (ranks(predicted.logits, predicted.values) < self._rank(OUTPUT_RANK))
        known = is_known.nonzero()[:, 0].tolist()
        for token in known:
            self._demote(token)
        self.finished = not any(queue for token in known for queue in self.queues[token])
        return predicted, {"known tokens": float(len(known))}

    def _demote(self, token: int) -> None:
        """Lowers one token in the next neurons of every layer, which are taken from its queues."""
        direction, value = self.directions[token], self.values[token : token + 1]
        moved = self.unembedding @ direction
        for layer, queue in enumerate(self.queues[token]):
            now, queue[:] = queue[:NEURONS_A_STEP], queue[NEURONS_A_STEP:]
            if now:
                vectors = self._vectors(layer)
                delta = demotion(vectors[now] @ self.unembedding.T, moved, value, self._rank(NEURON_RANK))
                vectors[now] -= delta[:, None] * direction

    def _vectors(self, layer: int) -> Tensor:
        """The chosen neurons' output vectors [n, d] as they are now: a view of the values in training."""
        values, n = self.weights.values[self.vectors.names[layer]], len(self.vectors.neurons[layer])
        return values.view(n, -1) if self.vectors.axes[layer] == 0 else values.view(-1, n).T
