"""An erasure in progress: what is forgotten, what is retained, the weights that are trained, and one step of training.

Forget texts are drawn for a step mostly from those still known, and the loss is a mean over the tokens still trained on, so its
weight relative to the retained text does not fade as fewer are left. Half of the retained rows are drawn uniformly, half by how
far their predictions had moved when last measured.

Texts share weights, so one that is worked on takes others with it, often far below their levels. Those are raised again, and the
steps grow shorter as the farthest text comes near its level.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from privlens.erasure.config import Request
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
from privlens.memorization.levels import adding_up, format_levels, rivals_of
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
NEAR = 5.0
"""Nats from its level at which a text begins to be near it. While the farthest text is nearer, the steps are shorter."""
SHORTEST = 0.2
"""The share of the learning rate that is left when all texts are at their levels. With full steps to the end, four natural draws
(seed 5) lost twice as many unseen secrets; with 0.1 and `NEAR` 10 two of 17 draws never arrived."""
FORGOTTEN_WEIGHT = 0.05
"""Sampling weight of a forget text that was forgotten when last drawn; one that was not has 1 + this. Above 0, so that a text
that comes back is noticed."""
MAX_CREDIT = 1.0
"""Nats that a token below its level makes up for others above theirs, at most: else one token may be made impossible, and the
rest stay certain behind it."""
JUDGED_WITHIN = 1.0
"""Nats above its level from which on a text is taken to be there, and is judged even if all its rivals are less likely. A verdict
costs hundreds of rows."""
CORRECTION = 1.0
"""Nats by which a text's level is moved where the verdict, made with more rivals, says otherwise; a larger one may overshoot."""
FIRST_MOVED = 0.05
"""Divergence that a retained row is taken to have before it was first measured, nats/token."""


HELD_IN_REPAIR = 5.0
"""How many times as much as at the start retained text weighs in a repair. With 1, three natural draws (seed 5) lost two unseen
secrets that 5 brought back."""
LET_GO = 0.5
"""What is left of that weight after a measurement that found a target no longer forgotten."""

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


@dataclass(frozen=True)
class Work:
    """What is left to do in some texts.

    Attributes:
        lowered, raised: [P] 1 for the tokens that are to be made unlikelier, and likelier again; the rest is left alone.
        nats: how far the farthest text is from its level; inf where levels do not count.
    """

    lowered: Tensor
    raised: Tensor
    nats: float

    @property
    def any(self) -> Tensor:
        """[P] 1 for the tokens that are worked on."""
        return self.lowered + self.raised

    @property
    def pace(self) -> float:
        """The share of a full step that is left, 0..1."""
        return min(1.0, SHORTEST + max(self.nats, 0.0) / NEAR)


@dataclass(frozen=True)
class Distance:
    """How far some texts are from their levels, nats.

    Attributes:
        above: [P] by how much each private token is likelier than its level, negative below it; 0 for the other tokens.
        excess: [n_texts] by how much the texts are too likely: the sum of `above`, in which a token below its level makes up for
            MAX_CREDIT at most. deficit: [n_texts] by how much the texts are too unlikely, negative if they are not.
    """

    above: Tensor
    excess: Tensor
    deficit: Tensor

    def work(self, texts: Tensor) -> Work:
        """What is left to do; texts: [P] the text of each position."""
        lowered = (self.above > TIE) & (self.excess > TIE)[texts]
        raised = (self.above < -TIE) & (self.deficit > TIE)[texts]
        return Work(lowered.float(), raised.float(), float(torch.cat([self.excess, self.deficit]).max()))


class Erasure:
    """The training of the chosen weights. Between two steps the model has its own weights.

    Attributes:
        finished: whether further steps would change nothing. repairing: whether all texts have been at the depth, and what else
            was lost is being brought back ("impair and repair", Tarun et al. 2021, arXiv 2111.08947).
    """

    finished = False
    repairing = False

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
        self.rival_levels = self.first_levels = [rivals.level(self.lm, request.stop) for rivals in self.rivals]
        self.below = [0.0] * len(self.texts)
        self.total_above = torch.zeros(len(self.texts), dtype=torch.float32)
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
            with self.weights.applied(), self.weights.gathering():
                predicted, terms, self.keep = self.at_once.run(
                    lambda at_once: self._gradients(drawn, reference, picked, at_once), max(len(texts), settings.rows)
                )
        work = self.work(predicted, drawn)
        self.left[drawn] = (predicted.summed(work.any) > 0).float().cpu() + FORGOTTEN_WEIGHT
        self.weights.take_step(pace * work.pace)
        return predicted, terms

    def repair(self) -> None:
        """From now on retained text weighs more than at the start, and the targets are only kept at their levels."""
        self.repairing = True
        self.keep = HELD_IN_REPAIR * self.settings.keep

    def let_go(self) -> None:
        """In a repair: retained text weighs less, because a target came back."""
        self.keep *= LET_GO

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
        worked_on = list[Tensor]()
        self.weights.zero_grad()

        def forget_loss(predicted: Predicted, part: slice) -> Tensor:
            parts.append(replace(predicted, logits=predicted.logits.detach()))
            work = self.work(predicted, drawn[part])
            worked_on.append(work.any)
            before = torch.cat(list(reference[part])) if reference else None
            lowered = replace(predicted, reference=before, format=self._format(predicted), counted=work.lowered)
            return LOSSES[settings.method](lowered) + nll(replace(predicted, counted=work.raised))

        loss = add_gradients(self.lm, [self.texts[index] for index in drawn], at_once, forget_loss)
        counted = torch.cat(worked_on)
        # The mean over the positions that are still trained on, so that the gradient does not fade as texts are forgotten.
        share = len(counted) / max(float(counted.sum()), 1.0)
        self.weights.scale(share)
        terms = {"forget": loss * share}
        weight = self.keep * (settings.loosen if bool(counted.any()) and not self.repairing else 1.0)
        if self.kept is not None:
            terms["kept"] = self._retain(self.kept, picked, weight, at_once)
        return concatenated(parts), terms, weight

    def _format(self, predicted: Predicted) -> Tensor | None:
        """[P, V] the tokens that EMSO equalizes: those of the true token's format, or all where the format has no other."""
        if self.settings.scope == "vocabulary":
            return None
        same_format = self.formats[predicted.values][:, None] == self.formats
        return same_format | (same_format.sum(-1, keepdim=True) == 1)

    def work(self, predicted: Predicted, texts: Sequence[int]) -> Work:
        """What is to be done to these texts' private tokens.

        The other tokens are the format itself, which unseen values share and other secrets need.

        Args:
            predicted: predictions for these texts. texts: their indices.
        """
        if self.settings.depth == "unseen":
            is_private = torch.cat([self.private[index] for index in texts])
            right = (predicted.logits.detach().argmax(-1) == predicted.values).float()
            lowered = predicted.leads * is_private.float() * (predicted.mean(right) > self.level).float()[predicted.texts]
            return Work(lowered, torch.zeros_like(lowered), math.inf)
        return self._distance(predicted, texts).work(predicted.texts)

    def _distance(self, predicted: Predicted, texts: Sequence[int]) -> Distance:
        """How far these texts are from their levels."""
        is_private = torch.cat([self.private[index] for index in texts])
        above = predicted.logprobs.detach() - self._levels(predicted, texts, is_private)
        above = above.where(is_private, torch.zeros_like(above))
        levels = [self.rival_levels[index] for index in texts]
        room = above.new_tensor([level.nats - level.low if math.isfinite(level.low) else math.inf for level in levels])
        excess = predicted.summed(above.clamp_min(-MAX_CREDIT))
        return Distance(above, excess, -predicted.summed(above) - room)

    def _levels(self, predicted: Predicted, texts: Sequence[int], is_private: Tensor) -> Tensor:
        """[P] nats: below its level a token is left alone. A text's private tokens' add up to what is left of its total."""
        logprobs = predicted.logprobs.detach()
        levels = format_levels(predicted.logits.detach(), predicted.values, self.formats)
        for row, index in enumerate(texts):
            here = predicted.texts == row
            chosen = here & is_private
            rest = float(logprobs[here & ~is_private].sum())
            levels[chosen] = adding_up(levels[chosen], self.rival_levels[index].nats - self.below[index] - rest)
        return levels

    @property
    def settled(self) -> bool:
        """Whether no text had a token to work on when it was last drawn."""
        return bool((self.left <= FORGOTTEN_WEIGHT).all())

    def at_level(self) -> list[int]:
        """The texts that may be forgotten with the weights that the model has now.

        Measures the levels anew. One never sinks below what it was before the erasure: if the rivals do, the prompt has been
        harmed, not the value.
        """
        levels = [rivals.level(self.lm, self.request.stop) for rivals in self.rivals]
        self.rival_levels = [now.at_least(first) for now, first in zip(levels, self.first_levels, strict=True)]

        def nats(texts: Sequence[int]) -> list[Tensor]:
            with torch.no_grad():
                predicted = predictions(self.lm, [self.texts[index] for index in texts])
            distance = self._distance(predicted, texts)
            to_do = predicted.summed(distance.work(predicted.texts).any)
            return list(torch.stack([to_do, predicted.summed(distance.above)], 1).cpu())

        indices = list(range(len(self.texts)))
        batches = [indices[start : start + self.settings.forget_rows] for start in indices[:: self.settings.forget_rows]]
        to_do, self.total_above = torch.stack([row for batch in batches for row in in_parts(nats, batch)]).T
        self.left = (to_do > 0).float() + FORGOTTEN_WEIGHT
        highest = [max(JUDGED_WITHIN, level.high - level.nats) for level in self.rival_levels]
        return [index for index in indices if self.total_above[index] <= highest[index]]

    def correct(self, index: int, verdict: Verdict | None) -> None:
        """Moves the level of a text that was not found forgotten though it is at its level, or below it."""
        if verdict == "avoided":
            self.below[index] -= CORRECTION
        elif verdict in ("hidden", "known") and self.total_above[index] <= JUDGED_WITHIN:
            self.below[index] += CORRECTION

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
