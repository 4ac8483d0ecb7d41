"""An erasure under way: what is forgotten, what is kept, the weights that train, and one step of training.

Forget texts are drawn for a step among those still known, and the loss is a mean over the tokens still worked on: its weight
beside the retained text does not fade as fewer are left. Retained rows are drawn half by chance, half by how far their
predictions had moved when they were last looked at.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from privlens.erasure.choice import best, best_neurons, scores
from privlens.erasure.losses import LOSSES, NEEDS_REFERENCE, Loss, Predicted, nll, predictions
from privlens.erasure.request import Request
from privlens.erasure.turning import Turn, output_vectors_of
from privlens.erasure.weights import ChosenWeights
from privlens.memorization.formats import private, token_formats
from privlens.models.moments import powers
from privlens.provenance import provenance
from privlens.records import Edit
from privlens.retained import by_heart, keep, neighbours, retained_rows, without_values

WARM_UP, SLOWEST = 5, 0.5
"""Steps until the full pace, and what is left of it in the last step."""
FORGOTTEN = 0.05
"""How often a forget text is looked at again that was forgotten the last time, beside one that was not."""


Rows = list[list[int]]
"""Texts as token ids."""


def sources(request: Request) -> dict[str, Callable[[], Rows]]:
    """Where retained text comes from: what a person is told meanwhile, and what gathers it. None where nothing is retained.

    What is listed and the model's own samples; what it knows by heart of the forget texts' kind; and their neighbours.
    """
    lm, settings, stop, seed = request.lm, request.settings, request.stop, request.seed
    if not settings.keep:
        return {}
    texts = [lm.encode(secret) for secret in request.forget]
    n_each = max(settings.neighbours, settings.neighbours_each * len(texts)) // len(texts)
    n_samples, n_tokens = settings.own_samples, settings.sample_tokens
    return {
        "the model writes texts to hold on to": lambda: retained_rows(
            lm, request.forget, request.retained, request.texts, n_samples, n_tokens, seed, stop
        ),
        "the model writes what it knows by heart": lambda: by_heart(lm, texts, settings.by_heart, stop),
        "the model writes texts like those to erase": lambda: neighbours(lm, texts, n_each, seed, stop),
    }


class Erasure:
    """What trains, and on what. Between two steps the model is its own."""

    def __init__(self, request: Request, level: float, rows: Rows) -> None:
        """Chooses the weights.

        Args:
            level: a text takes no part in a step in which its MA is no higher, 0..1; nor does a token that no longer leads.
            rows: retained text; what holds a target's value is left out.
        """
        self.request, self.lm, self.settings, self.level = request, request.lm, request.settings, level
        self.texts = [self.lm.encode(secret) for secret in request.forget]
        self.generator = torch.Generator().manual_seed(request.seed)
        self.formats = token_formats(self.lm)
        self.private = [private(self.lm, text) for text in self.texts]
        self.rows = without_values(self.lm, rows, self.texts)
        self.kept = keep(self.lm, self.rows) if self.rows else None
        self.keep = self.settings.keep
        self.left = torch.ones(len(self.texts))
        self.moved = torch.full((len(self.rows),), 0.05)
        self.weights = self._weights()

    def _weights(self) -> ChosenWeights:
        """The weights that train: all, the best of all matrices, or the output vectors of the best neurons."""
        lm, settings = self.lm, self.settings
        parameters = dict(lm.model.named_parameters())
        n = round(settings.share * lm.n_parameters)
        if settings.share == 1:
            return ChosenWeights(lm, dict.fromkeys(parameters), settings.learning_rate)
        if settings.spread != "neuron":
            matrices = [name for name, weight in parameters.items() if weight.ndim == 2]
            places: dict[str, Tensor | None] = dict(best(self._scores(matrices), n, settings.spread))
            return ChosenWeights(lm, places, settings.learning_rate)
        vectors = output_vectors_of(lm, [torch.arange(lm.d_mlp)] * lm.n_layers)
        scored = self._scores(vectors.names)
        sums = [scored[name].sum(1 - axis) for name, axis in zip(vectors.names, vectors.axes, strict=True)]
        size = parameters[vectors.names[0]].shape[1 - vectors.axes[0]]
        used = powers(lm, self.rows, self.request.stop) if self.rows else None
        chosen = output_vectors_of(lm, best_neurons(sums, used, max(1, n // size)))
        turn = Turn(lm, chosen, self.rows, self.request.stop) if self.rows else None
        return ChosenWeights(lm, dict(chosen.places(lm)), settings.learning_rate, turn)

    def _scores(self, names: Sequence[str]) -> dict[str, Tensor]:
        """The metric's score of every weight of these parameters."""
        settings, parameters = self.settings, dict(self.lm.model.named_parameters())

        def backward(loss: Loss) -> None:
            for at in range(0, len(self.texts), settings.forget_rows):
                found = predictions(self.lm, self.texts[at : at + settings.forget_rows])
                secret = torch.cat(self.private[at : at + settings.forget_rows]).float()
                before = replace(found, reference=found.logits.detach(), format=self._format(found), counted=secret)
                (loss(before).sum() / len(self.texts)).backward()

        with self.lm.held():
            return scores(
                {name: parameters[name] for name in names}, lambda: backward(LOSSES[settings.method]), lambda: backward(nll),
                settings.choice, self.generator,
            )  # fmt: skip

    def step(self, step: int) -> tuple[Predicted, dict[str, float]]:
        """One step on a batch of forget texts and of retained rows; the batch's predictions before it, and the loss's terms."""
        settings, lm = self.settings, self.lm
        n_drawn = min(settings.forget_rows, len(self.texts))
        drawn = torch.multinomial(self.left, n_drawn, generator=self.generator).tolist()
        texts, terms = [self.texts[at] for at in drawn], {}
        pace = min(1.0, step / WARM_UP) * (1 - (step - 1) / settings.steps * (1 - SLOWEST))
        with lm.held():
            reference = None
            if settings.method in NEEDS_REFERENCE:
                with torch.no_grad():
                    reference = predictions(lm, texts).logits
            with self.weights.in_place(), self.weights.learning(pace):
                found = predictions(lm, texts)
                known = self._known(found, torch.cat([self.private[at] for at in drawn]))
                aimed = replace(found, reference=reference, format=self._format(found), counted=known)
                self.left[drawn] = (aimed.summed(torch.ones_like(known)) > 0).float().cpu() + FORGOTTEN
                self.keep *= settings.loosen if bool(known.any()) else 1.0
                loss = LOSSES[settings.method](aimed).mean() * len(known) / known.sum().clamp_min(1)
                loss.backward()
                if self.kept is not None:
                    terms["kept"] = self._hold()
        return replace(found, logits=found.logits.detach()), {"forget": loss.item(), **terms}

    def _format(self, found: Predicted) -> Tensor | None:
        """[P, V] which tokens EMSO makes alike: those of the true token's format, or all where it is alone in it."""
        if self.settings.scope == "vocabulary":
            return None
        among = self.formats[found.values][:, None] == self.formats
        return among | (among.sum(-1, keepdim=True) == 1)

    def _known(self, found: Predicted, secret: Tensor) -> Tensor:
        """[P] 1 where a secret token leads in a text that is still better known than unseen text: all else is left alone.

        Args:
            secret: [P] bool; the others are the format itself, which every unseen value has too and every other secret needs.
        """
        right = (found.logits.detach().argmax(-1) == found.values).float()
        return found.leads * secret * (found.mean(right) > self.level).float()[found.texts]

    def _hold(self) -> float:
        """The backward pass of the KL on some retained rows; nats/token."""
        assert self.kept is not None
        half = min(self.settings.rows // 2, len(self.rows))
        moved = torch.multinomial(self.moved + 1e-4, half, generator=self.generator)
        picked = torch.cat([moved, torch.randperm(len(self.rows), generator=self.generator)[:half]]).unique()
        batch = self.kept.batch(picked.to(self.lm.device))
        divergence = batch.divergence(self.lm.logits(batch.ids, batch.mask.long()))
        self.moved[picked] = divergence.detach().cpu()
        (self.keep * divergence.mean()).backward()
        return divergence.mean().item()

    def edit(self, values: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Edit:
        """The edit that gives the chosen weights these values."""
        with self.lm.held():
            changes = self.weights.changes(values)
        return Edit(changes, provenance(self.lm, self.request.seed, settings, self.request.started))
