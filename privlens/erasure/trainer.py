"""An erasure in progress: what is forgotten, what is retained, the weights that are trained, and one step of training.

Forget texts are drawn for a step mostly from those still known, and the loss is a mean over the tokens still trained on, so its
weight relative to the retained text does not fade as fewer are left. Half of the retained rows are drawn uniformly, half by how
far their predictions had moved when last measured.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from privlens.erasure.config import Request
from privlens.erasure.levels import adding_up, format_levels, rivals_of
from privlens.erasure.losses import LOSSES, NEEDS_REFERENCE, Loss, Predicted, add_gradients, concatenated, nll, predictions
from privlens.erasure.preconditioner import KfacPreconditioner, output_vectors_of
from privlens.erasure.selection import best, best_neurons, random_indices_like, scores
from privlens.erasure.sparse_parameters import SparseParameters, gradients
from privlens.lm.activations import mean_squares
from privlens.lm.memory import AdaptiveBatchSize, in_parts
from privlens.lm.memory_plan import fitting
from privlens.lm.model import LanguageModel
from privlens.lm.tokens import Encoded
from privlens.memorization.candidates import private, token_formats
from privlens.memorization.metrics import TIE
from privlens.provenance import provenance
from privlens.retained.distributions import (
    ReferenceDistributions,
    extent,
    listed_rows,
    reference_distributions,
    require_retained_rows,
    retained_rows,
    stored_bytes,
    without_values,
)
from privlens.retained.near_copies import without_near_copies
from privlens.retained.samples import PAST_VALUE, memorized_texts, neighbours
from privlens.types import Edit, Verdict

WARM_UP = 5
"""Steps until the full learning rate."""
SLOWEST = 0.5
"""The share of the learning rate that is left in the last step; 0.1 was used before."""
FORGOTTEN_WEIGHT = 0.05
"""Sampling weight of a forget text that was forgotten when last drawn; one that was not has 1 + this. Above 0, so that a text
that comes back is noticed."""
MAX_CREDIT = 1.0
"""Nats that a token below its level makes up for others above theirs, at most: else one token may be made impossible, and the
rest stay certain behind it."""
JUDGED_WITHIN = 1.0
"""Nats above its level from which on a text is judged. The verdict leaves room on both sides of the level; but it costs hundreds
of rows, so it is not made much earlier, nor only when the last hundredth of a nat is gone."""
CORRECTION = 1.0
"""Nats by which a text's level is moved where the verdict, made with more rivals, says otherwise; a larger one may overshoot."""
FIRST_MOVED = 0.05
"""Divergence that a retained row is taken to have before it was first measured, nats/token."""


Rows = list[list[int]]
"""Texts as token ids."""


def sources(request: Request) -> dict[str, Callable[[], Rows]]:
    """Where retained text comes from: a stage's name for the person, and the function that gathers it. Empty if none is retained.

    What is listed and the model's own samples; what it has memorized of the same kind as the forget texts; and their neighbours.
    Generated texts that hold a near copy of a target's value or most of its prompt are left out.
    """
    lm, settings, stop, seed = request.lm, request.settings, request.stop, request.seed
    if not settings.keep or settings.method not in LOSSES:
        return {}
    texts = [lm.encode(secret) for secret in request.forget]
    n_each = max(settings.neighbours, settings.neighbours_each * len(texts)) // len(texts)
    n_samples, n_tokens = settings.own_samples, settings.sample_tokens

    def unlike_targets(rows: Rows) -> Rows:
        return without_near_copies(lm, rows, request.forget, listed_rows(lm, request.forget, request.retained, request.texts))

    return {
        "the model writes samples to retain": lambda: retained_rows(
            lm, request.forget, request.retained, request.texts, n_samples, n_tokens, seed, stop
        ),
        "the model writes what it has memorized": lambda: unlike_targets(
            memorized_texts(lm, texts, settings.memorized_texts, stop)
        ),
        "the model writes texts similar to those to erase": lambda: unlike_targets(neighbours(lm, texts, n_each, seed, stop)),
    }


def with_room(request: Request) -> LanguageModel:
    """The model, with gradient checkpointing if the longest of its texts, forget and retained, does not fit in memory without it.

    Raises:
        BadInput: with numbers, where it would not fit even so.
    """
    lm, settings = request.lm, request.settings
    longest = max(len(lm.encode(secret).ids) for secret in request.forget)
    n_rows = 0
    if settings.keep:
        n_rows, retained = extent(
            lm, request.forget, request.retained, request.texts, settings.own_samples, settings.sample_tokens
        )
        n_rows += settings.memorized_texts + max(settings.neighbours, settings.neighbours_each * len(request.forget))
        longest = max(longest + 1 + PAST_VALUE, retained)
    return fitting(lm, longest, n_retained=n_rows, stored=stored_bytes(n_rows, longest))


class Erasure:
    """The training of the chosen weights. Between two steps the model has its own weights.

    Attributes:
        finished: whether further steps would change nothing.
    """

    finished = False

    def __init__(self, request: Request, level: float, rows: Rows) -> None:
        """Chooses the weights.

        Args:
            level: in each step, texts whose MA is at most this, 0..1, are skipped, as are tokens that are no longer known.
            rows: retained text; rows that contain a target's value are left out.
        """
        self.request = request
        self.lm = request.lm
        self.settings = request.settings
        self.level = level
        self.texts = [self.lm.encode(secret) for secret in request.forget]
        self.generator = torch.Generator().manual_seed(request.seed)
        self.formats = token_formats(self.lm)
        self.private = [private(self.lm, text) for text in self.texts]
        self.rivals = [rivals_of(self.lm, secret, request.listed, request.seed, request.stop) for secret in request.forget]
        self.totals = self.first_totals = [rivals.level(self.lm, request.stop) for rivals in self.rivals]
        self.below = [0.0] * len(self.texts)
        self.rows = without_values(self.lm, rows, request.forget)
        if self.settings.keep:
            require_retained_rows(self.rows, "let the weight of retained text be 0")
        self.kept = reference_distributions(self.lm, self.rows) if self.rows else None
        self.keep = self.settings.keep
        self.at_once = AdaptiveBatchSize()
        self.left = torch.ones(len(self.texts), dtype=torch.float32)
        self.moved = torch.full((len(self.rows),), FIRST_MOVED, dtype=torch.float32)
        self.weights = self._choose_weights()

    def _choose_weights(self) -> SparseParameters:
        """The weights to train: all, the best of all matrices, or the output vectors of the best neurons."""
        lm, settings = self.lm, self.settings
        parameters = dict(lm.model.named_parameters())
        share = settings.share_for(len(self.texts))
        n = round(share * lm.n_parameters)
        if share == 1:
            return SparseParameters(lm, dict.fromkeys(parameters), settings.learning_rate)
        if settings.spread != "neuron":
            matrices = [name for name, weight in parameters.items() if weight.ndim == 2]
            top = best(self._scores(matrices), n, settings.spread)
            chosen = self._chosen(list(top.values()), [parameters[name].numel() for name in top])
            places: dict[str, Tensor | None] = dict(zip(top, chosen, strict=True))
            return SparseParameters(lm, places, settings.learning_rate)
        vectors = output_vectors_of(lm, [torch.arange(lm.d_mlp)] * lm.n_layers)
        weight_scores = self._scores(vectors.names)
        neuron_scores = [weight_scores[name].sum(1 - axis) for name, axis in zip(vectors.names, vectors.axes, strict=True)]
        size = parameters[vectors.names[0]].shape[1 - vectors.axes[0]]
        used = mean_squares(lm, self.rows, self.request.stop) if self.rows else None
        neurons = best_neurons(neuron_scores, used, max(1, n // size))
        chosen_vectors = output_vectors_of(lm, self._chosen(neurons, lm.widths()))
        precondition = KfacPreconditioner(lm, chosen_vectors, self.rows, self.request.stop) if self.rows else None
        return SparseParameters(lm, dict(chosen_vectors.places(lm)), settings.learning_rate, precondition)

    def _chosen(self, indices: Sequence[Tensor], sizes: Sequence[int]) -> list[Tensor]:
        """The indices in every part that the metric chose, or as many drawn at random from parts of these sizes."""
        return random_indices_like(indices, sizes, self.generator) if self.settings.choice == "random" else list(indices)

    def _scores(self, names: Sequence[str]) -> dict[str, Tensor]:
        """The metric's score of every weight of these parameters."""
        settings = self.settings
        parameters = dict(self.lm.model.named_parameters())
        scored = {name: parameters[name] for name in names}

        def gradient(loss: Loss) -> dict[str, Tensor]:
            def private_loss(predicted: Predicted, part: slice) -> Tensor:
                is_private = torch.cat(self.private[part]).float()
                reference = predicted.logits.detach()
                return loss(replace(predicted, reference=reference, format=self._format(predicted), counted=is_private))

            def summed_gradients(at_once: int) -> dict[str, Tensor]:
                sums: dict[str, Tensor] = {}

                def add(name: str, grad: Tensor) -> None:
                    sums[name] = sums[name].add_(grad) if name in sums else grad.clone()

                with gradients(scored, add):
                    add_gradients(self.lm, self.texts, at_once, private_loss)
                return sums

            return self.at_once.run(summed_gradients, min(len(self.texts), settings.forget_rows))

        with self.lm.held():
            return scores(lambda: gradient(LOSSES[settings.method]), lambda: gradient(nll), settings.choice, self.generator)

    def step(self, step: int) -> tuple[Predicted, dict[str, float]]:
        """One step on a batch of forget texts and retained rows; returns the predictions before the step, and the loss's terms.

        Where memory runs out, the batch is split into parts whose gradients add up.
        """
        settings, lm = self.settings, self.lm
        n_drawn = min(settings.forget_rows, len(self.texts))
        drawn = torch.multinomial(self.left, n_drawn, generator=self.generator).tolist()
        texts = [self.texts[index] for index in drawn]
        picked = self._picked(max(settings.rows, settings.rows_each * n_drawn))
        pace = min(1.0, step / WARM_UP) * (1 - (step - 1) / settings.steps * (1 - SLOWEST))
        with lm.held():
            reference = in_parts(self._logits_before, texts) if settings.method in NEEDS_REFERENCE else []
            self.weights.decay(settings.decay)
            with self.weights.applied(), self.weights.optimizer_step(pace):
                predicted, terms, self.keep = self.at_once.run(
                    lambda at_once: self._gradients(drawn, reference, picked, at_once), max(len(texts), settings.rows)
                )
        return predicted, terms

    def _logits_before(self, texts: Sequence[Encoded]) -> list[Tensor]:
        """[tokens of the value, V] for every text: logits of the model before the erasure."""
        with torch.no_grad():
            return list(predictions(self.lm, texts).logits.split([len(text.value_ids) for text in texts]))

    def _gradients(
        self, drawn: Sequence[int], reference: Sequence[Tensor], picked: Tensor, at_once: int
    ) -> tuple[Predicted, dict[str, float], float]:
        """All backward passes of a step; returns predictions, terms, and the new weight of the retained text."""
        settings = self.settings
        parts = list[Predicted]()
        known = list[Tensor]()
        left = list[Tensor]()
        self.weights.zero_grad()

        def forget_loss(predicted: Predicted, part: slice) -> Tensor:
            parts.append(replace(predicted, logits=predicted.logits.detach()))
            known.append(self.worked_on(predicted, drawn[part]))
            before = torch.cat(list(reference[part])) if reference else None
            masked = replace(predicted, reference=before, format=self._format(predicted), counted=known[-1])
            left.append((masked.summed(torch.ones_like(known[-1])) > 0).float().cpu() + FORGOTTEN_WEIGHT)
            return LOSSES[settings.method](masked)

        loss = add_gradients(self.lm, [self.texts[index] for index in drawn], at_once, forget_loss)
        self.left[list(drawn)] = torch.cat(left)
        counted = torch.cat(known)
        # The mean over the positions that are still trained on, so that the gradient does not fade as texts are forgotten.
        share = len(counted) / max(float(counted.sum()), 1.0)
        self.weights.scale(share)
        terms = {"forget": loss * share}
        weight = self.keep * (settings.loosen if bool(counted.any()) else 1.0)
        if self.kept is not None:
            terms["kept"] = self._retain(self.kept, picked, weight, at_once)
        return concatenated(parts), terms, weight

    def _format(self, predicted: Predicted) -> Tensor | None:
        """[P, V] the tokens that EMSO equalizes: those of the true token's format, or all where the format has no other."""
        if self.settings.scope == "vocabulary":
            return None
        same_format = self.formats[predicted.values][:, None] == self.formats
        return same_format | (same_format.sum(-1, keepdim=True) == 1)

    def worked_on(self, predicted: Predicted, texts: Sequence[int]) -> Tensor:
        """[P] 1 for the private tokens that are still to be made unlikelier, in texts that are not done; the rest is left alone.

        The other tokens are the format itself, which unseen values share and other secrets need.

        Args:
            predicted: predictions for these texts. texts: their indices.
        """
        is_private = torch.cat([self.private[index] for index in texts])
        if self.settings.depth == "unseen":
            right = (predicted.logits.detach().argmax(-1) == predicted.values).float()
            return predicted.leads * is_private.float() * (predicted.mean(right) > self.level).float()[predicted.texts]
        above = self._above(predicted, texts, is_private)
        not_done = predicted.summed(above.clamp_min(-MAX_CREDIT)) > TIE
        return (above > TIE).float() * not_done.float()[predicted.texts]

    def _above(self, predicted: Predicted, texts: Sequence[int], is_private: Tensor) -> Tensor:
        """[P] nats by which private tokens are above their levels; 0 for the others."""
        above = predicted.logprobs.detach() - self._levels(predicted, texts, is_private)
        return above.where(is_private, torch.zeros_like(above))

    def _levels(self, predicted: Predicted, texts: Sequence[int], is_private: Tensor) -> Tensor:
        """[P] nats: below its level a token is left alone. A text's private tokens' add up to what is left of its total."""
        logprobs = predicted.logprobs.detach()
        levels = format_levels(predicted.logits.detach(), predicted.values, self.formats)
        for row, index in enumerate(texts):
            here = predicted.texts == row
            chosen = here & is_private
            rest = float(logprobs[here & ~is_private].sum())
            levels[chosen] = adding_up(levels[chosen], self.totals[index] - self.below[index] - rest)
        return levels

    @property
    def settled(self) -> bool:
        """Whether no text had a token to work on when it was last drawn."""
        return bool((self.left <= FORGOTTEN_WEIGHT).all())

    def at_level(self) -> list[int]:
        """The texts that are at most JUDGED_WITHIN above their levels with the weights that the model has now.

        Measures the levels anew. One never sinks below what it was before the erasure: if the rivals do, the prompt has been
        harmed, not the value.
        """
        levels = [rivals.level(self.lm, self.request.stop) for rivals in self.rivals]
        self.totals = list(map(max, levels, self.first_totals))

        def excess(texts: Sequence[int]) -> list[Tensor]:
            with torch.no_grad():
                predicted = predictions(self.lm, [self.texts[index] for index in texts])
            is_private = torch.cat([self.private[index] for index in texts])
            return list(predicted.summed(self._above(predicted, texts, is_private).clamp_min(-MAX_CREDIT)).cpu())

        indices = list(range(len(self.texts)))
        batches = [indices[start : start + self.settings.forget_rows] for start in indices[:: self.settings.forget_rows]]
        excesses = torch.stack([nats for batch in batches for nats in in_parts(excess, batch)])
        self.left = (excesses > TIE).float() + FORGOTTEN_WEIGHT
        return [index for index in indices if excesses[index] <= JUDGED_WITHIN]

    def correct(self, index: int, verdict: Verdict | None) -> None:
        """Moves the level of a text that is at its level, and yet was not found forgotten."""
        self.below[index] += {"known": CORRECTION, "hidden": CORRECTION, "avoided": -CORRECTION}.get(verdict or "", 0.0)

    def _picked(self, n: int) -> Tensor:
        """Indices of at most n retained rows for a step, ascending; empty where nothing is retained."""
        if not self.rows:
            return torch.empty(0, dtype=torch.long)
        half = min(n // 2, len(self.rows))
        moved = torch.multinomial(self.moved + 1e-4, half, generator=self.generator)
        picked: Tensor = torch.cat([moved, torch.randperm(len(self.rows), generator=self.generator)[:half]]).unique()
        return picked

    def _retain(self, kept: ReferenceDistributions, picked: Tensor, weight: float, at_once: int) -> float:
        """The backward passes of the KL on some retained rows; returns it in nats/token."""
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
