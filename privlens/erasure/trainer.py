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

from privlens.erasure.config import Request
from privlens.erasure.losses import LOSSES, NEEDS_REFERENCE, Loss, Predicted, add_gradients, nll, predictions, together
from privlens.erasure.preconditioner import KfacPreconditioner, output_vectors_of
from privlens.erasure.selection import best, best_neurons, drawn_like, scores
from privlens.erasure.sparse_parameters import SparseParameters, gradients
from privlens.lm.activations import mean_squares
from privlens.lm.memory import RowsAtOnce, in_parts
from privlens.lm.memory_plan import fitting
from privlens.lm.model import LanguageModel
from privlens.lm.tokens import Encoded
from privlens.memorization.candidates import private, token_formats
from privlens.provenance import provenance
from privlens.retained.distributions import (
    ReferenceDistributions,
    check_left,
    extent,
    reference_distributions,
    retained_rows,
    stored_bytes,
    without_values,
)
from privlens.retained.samples import PAST_VALUE, memorized_texts, neighbours
from privlens.types import Edit

WARM_UP, SLOWEST = 5, 0.5
"""Steps until the full pace, and what is left of it in the last step."""
FORGOTTEN_WEIGHT = 0.05
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
        "the model writes what it knows by heart": lambda: memorized_texts(lm, texts, settings.memorized_texts, stop),
        "the model writes texts like those to erase": lambda: neighbours(lm, texts, n_each, seed, stop),
    }


def with_room(request: Request) -> LanguageModel:
    """The model, with gradient checkpointing where the longest of its texts, forget and retained, fits in no other way.

    Raises:
        BadInput: with numbers, where it would not fit even so.
    """
    lm, settings = request.lm, request.settings
    longest, n_rows = max(len(lm.encode(secret).ids) for secret in request.forget), 0
    if settings.keep:
        n_rows, retained = extent(
            lm, request.forget, request.retained, request.texts, settings.own_samples, settings.sample_tokens
        )
        n_rows += settings.memorized_texts + max(settings.neighbours, settings.neighbours_each * len(request.forget))
        longest = max(longest + 1 + PAST_VALUE, retained)
    return fitting(lm, longest, n_retained=n_rows, stored=stored_bytes(n_rows, longest))


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
        self.rows = without_values(self.lm, rows, request.forget)
        if self.settings.keep:
            check_left(self.rows, "let the weight of retained text be 0")
        self.kept = reference_distributions(self.lm, self.rows) if self.rows else None
        self.keep, self.at_once = self.settings.keep, RowsAtOnce()
        self.left = torch.ones(len(self.texts), dtype=torch.float32)
        self.moved = torch.full((len(self.rows),), 0.05, dtype=torch.float32)
        self.weights = self._weights()

    def _weights(self) -> SparseParameters:
        """The weights that train: all, the best of all matrices, or the output vectors of the best neurons."""
        lm, settings = self.lm, self.settings
        parameters = dict(lm.model.named_parameters())
        share = settings.of_all(len(self.texts))
        n = round(share * lm.n_parameters)
        if share == 1:
            return SparseParameters(lm, dict.fromkeys(parameters), settings.learning_rate)
        if settings.spread != "neuron":
            matrices = [name for name, weight in parameters.items() if weight.ndim == 2]
            found = best(self._scores(matrices), n, settings.spread)
            drawn = self._chosen(list(found.values()), [parameters[name].numel() for name in found])
            places: dict[str, Tensor | None] = dict(zip(found, drawn, strict=True))
            return SparseParameters(lm, places, settings.learning_rate)
        vectors = output_vectors_of(lm, [torch.arange(lm.d_mlp)] * lm.n_layers)
        scored = self._scores(vectors.names)
        sums = [scored[name].sum(1 - axis) for name, axis in zip(vectors.names, vectors.axes, strict=True)]
        size = parameters[vectors.names[0]].shape[1 - vectors.axes[0]]
        used = mean_squares(lm, self.rows, self.request.stop) if self.rows else None
        neurons = best_neurons(sums, used, max(1, n // size))
        chosen = output_vectors_of(lm, self._chosen(neurons, lm.widths()))
        turn = KfacPreconditioner(lm, chosen, self.rows, self.request.stop) if self.rows else None
        return SparseParameters(lm, dict(chosen.places(lm)), settings.learning_rate, turn)

    def _chosen(self, found: Sequence[Tensor], sizes: Sequence[int]) -> list[Tensor]:
        """Places in every part as the metric found them, or as many drawn by chance from parts of these sizes."""
        return drawn_like(found, sizes, self.generator) if self.settings.choice == "random" else list(found)

    def _scores(self, names: Sequence[str]) -> dict[str, Tensor]:
        """The metric's score of every weight of these parameters."""
        settings, parameters = self.settings, dict(self.lm.model.named_parameters())
        asked = {name: parameters[name] for name in names}

        def gradient(loss: Loss) -> dict[str, Tensor]:
            def aimed(now: Predicted, part: slice) -> Tensor:
                secret = torch.cat(self.private[part]).float()
                return loss(replace(now, reference=now.logits.detach(), format=self._format(now), counted=secret))

            def added_up(at_once: int) -> dict[str, Tensor]:
                found: dict[str, Tensor] = {}

                def add(name: str, own: Tensor) -> None:
                    found[name] = found[name].add_(own) if name in found else own.clone()

                with gradients(asked, add):
                    add_gradients(self.lm, self.texts, at_once, aimed)
                return found

            return self.at_once.run(added_up, min(len(self.texts), settings.forget_rows))

        with self.lm.held():
            return scores(lambda: gradient(LOSSES[settings.method]), lambda: gradient(nll), settings.choice, self.generator)

    def step(self, step: int) -> tuple[Predicted, dict[str, float]]:
        """One step on a batch of forget texts and of retained rows; the batch's predictions before it, and the loss's terms.

        Where memory runs out, the batch goes in parts whose gradients add up.
        """
        settings, lm = self.settings, self.lm
        n_drawn = min(settings.forget_rows, len(self.texts))
        drawn = torch.multinomial(self.left, n_drawn, generator=self.generator).tolist()
        texts, picked = [self.texts[at] for at in drawn], self._picked(max(settings.rows, settings.rows_each * n_drawn))
        pace = min(1.0, step / WARM_UP) * (1 - (step - 1) / settings.steps * (1 - SLOWEST))
        with lm.held():
            reference = in_parts(self._before, texts) if settings.method in NEEDS_REFERENCE else []
            self.weights.decay(settings.decay)
            with self.weights.applied(), self.weights.optimizer_step(pace):
                found, terms, self.keep = self.at_once.run(
                    lambda at_once: self._gradients(drawn, reference, picked, at_once), max(len(texts), settings.rows)
                )
        return found, terms

    def _before(self, texts: Sequence[Encoded]) -> list[Tensor]:
        """[tokens of its value, V] for every text: logits of the model before the erasure."""
        with torch.no_grad():
            return list(predictions(self.lm, texts).logits.split([len(text.value_ids) for text in texts]))

    def _gradients(
        self, drawn: Sequence[int], reference: Sequence[Tensor], picked: Tensor, at_once: int
    ) -> tuple[Predicted, dict[str, float], float]:
        """The backward passes of a step from their beginning; predictions, terms, and what the retained text weighs now."""
        settings, found, known, left = self.settings, list[Predicted](), list[Tensor](), list[Tensor]()
        self.weights.zero_grad()

        def aimed(now: Predicted, part: slice) -> Tensor:
            found.append(replace(now, logits=now.logits.detach()))
            known.append(self._known(now, torch.cat([self.private[at] for at in drawn[part]])))
            before = torch.cat(list(reference[part])) if reference else None
            own = replace(now, reference=before, format=self._format(now), counted=known[-1])
            left.append((own.summed(torch.ones_like(known[-1])) > 0).float().cpu() + FORGOTTEN_WEIGHT)
            return LOSSES[settings.method](own)

        loss = add_gradients(self.lm, [self.texts[at] for at in drawn], at_once, aimed)
        self.left[list(drawn)] = torch.cat(left)
        counted = torch.cat(known)
        # The mean over the positions that are still worked on: the pull does not fade as texts are forgotten.
        share = len(counted) / max(float(counted.sum()), 1.0)
        self.weights.scale(share)
        terms = {"forget": loss * share}
        weight = self.keep * (settings.loosen if bool(counted.any()) else 1.0)
        if self.kept is not None:
            terms["kept"] = self._hold(self.kept, picked, weight, at_once)
        return together(found), terms, weight

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

    def _picked(self, n: int) -> Tensor:
        """At most n retained rows for a step, ascending; none where nothing is retained."""
        if not self.rows:
            return torch.empty(0, dtype=torch.long)
        half = min(n // 2, len(self.rows))
        moved = torch.multinomial(self.moved + 1e-4, half, generator=self.generator)
        picked: Tensor = torch.cat([moved, torch.randperm(len(self.rows), generator=self.generator)[:half]]).unique()
        return picked

    def _hold(self, kept: ReferenceDistributions, picked: Tensor, weight: float, at_once: int) -> float:
        """The backward passes of the KL on some retained rows; nats/token."""
        total = 0.0
        for part in picked.split(at_once):
            batch = kept.batch(part.to(self.lm.device))
            divergence = batch.divergence(self.lm.logits(batch.ids, batch.mask.long()))
            self.moved[part] = divergence.detach().cpu()
            mean = divergence.sum() / len(picked)
            (weight * mean).backward()
            total += mean.item()
        return total

    def edit(self, values: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Edit:
        """The edit that gives the chosen weights these values."""
        with self.lm.held():
            changes = self.weights.changes(values)
        return Edit(changes, provenance(self.lm, self.request.seed, settings, self.request.started))
