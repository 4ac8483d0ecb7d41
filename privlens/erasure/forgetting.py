"""Erases memorised text from the weights: a generator of steps whose last one carries a sparse edit.

Only chosen weights train (choice.py), with their own Adam (weights.py), on the loss of a method (losses.py), held back by the KL
on retained text where that is asked for. The run ends when no target is written any more and MA and EL_10 are at the level of unseen
text, at its last good state when the guard on perplexity is passed, or after the last step. The model itself comes back bit
for bit after every step.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor

from privlens.erasure.choice import best, scores
from privlens.erasure.losses import LOSSES, NEEDS_REFERENCE, Loss, Predicted, entropy, nll
from privlens.erasure.measuring import Measure, Measured
from privlens.erasure.request import Request
from privlens.erasure.weights import ChosenWeights
from privlens.errors import BadInput
from privlens.models.text import Encoded
from privlens.provenance import provenance
from privlens.records import Edit, ErasureStep
from privlens.retained import keep, retained_rows

REACHED = "at the level of unseen text"
GUARDED = "the perplexity guard: the last good state is kept"
USED_UP = "the last step"


class Erasure:
    """An erasure under way: what is forgotten, what is kept, and the weights that train."""

    def __init__(self, request: Request) -> None:
        self.request, self.lm, self.settings = request, request.lm, request.settings
        self.texts = [self.lm.encode(secret) for secret in request.forget]
        self.generator = torch.Generator().manual_seed(request.seed)
        settings = self.settings
        rows = retained_rows(
            self.lm, request.forget, request.retained, request.texts, settings.own_samples, settings.sample_tokens,
            request.seed, request.stop,
        ) if settings.keep else []  # fmt: skip
        self.kept = keep(self.lm, rows) if rows else None
        self.weights = ChosenWeights(self.lm, self._places(), settings.learning_rate)

    def predicted(self, texts: Sequence[Encoded]) -> Predicted:
        """What the model as it stands predicts for the values of these texts. Differentiable within `lm.held()`."""
        logits = self.lm.logits(*self.lm.padded([text.ids for text in texts]))
        at = [(row, place) for row, text in enumerate(texts) for place in range(text.n_prompt, len(text.ids))]
        rows, places = (torch.tensor(part, device=logits.device) for part in zip(*at, strict=True))
        values = torch.tensor([texts[row].ids[place] for row, place in at], device=logits.device)
        return Predicted(logits[rows, places - 1], values, rows, len(texts))

    def _places(self) -> dict[str, Tensor | None]:
        """Where the weights that train stand: all, or the best of all matrices."""
        settings, parameters = self.settings, dict(self.lm.model.named_parameters())
        if settings.share == 1:
            return dict.fromkeys(parameters)
        matrices = {name: weight for name, weight in parameters.items() if weight.ndim == 2}

        def backward(loss: Loss) -> None:
            for at in range(0, len(self.texts), settings.forget_rows):
                found = self.predicted(self.texts[at : at + settings.forget_rows])
                before = replace(found, reference=found.logits.detach())
                (loss(before).sum() / len(self.texts)).backward()

        with self.lm.held():
            scored = scores(
                matrices, lambda: backward(LOSSES[settings.method]), lambda: backward(nll), settings.choice, self.generator
            )
        return dict(best(scored, round(settings.share * self.lm.n_parameters), settings.spread))

    def step(self) -> tuple[Predicted, dict[str, float]]:
        """One step of Adam on a batch of forget texts and of retained rows; the batch's predictions before it, and the loss."""
        settings, lm = self.settings, self.lm
        drawn = torch.randperm(len(self.texts), generator=self.generator)[: settings.forget_rows].tolist()
        texts = [self.texts[at] for at in drawn]
        kept = None
        with lm.held():
            reference = None
            if settings.method in NEEDS_REFERENCE:
                with torch.no_grad():
                    reference = self.predicted(texts).logits
            with self.weights.in_place(), self.weights.learning():
                found = replace(self.predicted(texts), reference=reference)
                loss = LOSSES[settings.method](found).mean()
                loss.backward()
                if self.kept is not None:
                    picked = torch.randperm(len(self.kept.ids), generator=self.generator)[: settings.rows]
                    batch = self.kept.batch(picked.to(lm.device))
                    kept = batch.divergence(lm.logits(batch.ids, batch.mask.long())).mean()
                    (settings.keep * kept).backward()
        terms = {"forget": loss.item()} | ({} if kept is None else {"kept": kept.item()})
        return replace(found, logits=found.logits.detach()), terms

    def edit(self, values: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Edit:
        """The edit that gives the chosen weights these values."""
        with self.lm.held():
            changes = self.weights.changes(values)
        return Edit(changes, provenance(self.lm, self.request.seed, settings, self.request.started))


def erase(request: Request) -> Iterator[ErasureStep]:
    """Erases; a record a step, and one for each measurement. The last one's `ended` says why it is the last.

    Raises:
        BadInput: for settings that cannot be, no secret, or secrets that no weight takes part in.
        Cancelled: when `request.stop` said so, before the next step; nothing is left behind in the model.
    """
    settings = request.settings.checked()
    if not request.forget:
        raise BadInput("No secret was chosen: choose at least one to erase.")
    if request.retained and set(request.retained) & set(request.forget):
        raise BadInput("A secret is to be forgotten and retained at once: take it out of one of the lists.")
    request.go_on()
    measure = Measure(request)
    yield _measured(request, 0, measure.before, measure, 0, "measuring the model as it is")
    work = Erasure(request)
    good, last = work.weights.copied(), measure.before
    ended = ""
    for step in range(1, settings.steps + 1):
        request.go_on()
        found, terms = work.step()
        yield _trained(request, step, found, terms, last, measure, work.weights.n)
        if step % settings.measure_every and step < settings.steps:
            continue
        with request.lm.held(), work.weights.in_place():
            last = measure()
            reached = measure.reached(last)
        ratio = measure.ratio(last)
        if ratio is not None and ratio > settings.guard:
            ended = GUARDED
        else:
            good, ended = work.weights.copied(), REACHED if reached else USED_UP if step == settings.steps else ""
        if ended:
            break
        yield _measured(request, step, last, measure, work.weights.n, "measuring")
    counts = {"n_forget": len(request.forget), "n_retained": len(request.retained)}
    how = {**asdict(settings), **counts, "ended": ended, "steps_taken": step}
    edit = work.edit(good, how)
    if ended == GUARDED:
        with request.lm.edited(edit):
            last = measure()
    yield replace(_measured(request, step, last, measure, work.weights.n, "done"), ended=ended, result=edit)


def _measured(request: Request, step: int, now: Measured, measure: Measure, n_weights: int, stage: str) -> ErasureStep:
    """The record of a measurement of all targets."""
    return ErasureStep(
        step, request.settings.steps, stage, now.entropy, now.nll, now.memorization_accuracy, now.n_matches, len(request.forget),
        measure.ratio(now), now.kept, n_weights, measured=True,
    )  # fmt: skip


def _trained(
    request: Request, step: int, found: Predicted, terms: dict[str, float], last: Measured, measure: Measure, n_weights: int
) -> ErasureStep:
    """The record of a training step: the batch's own numbers, and the rest as last measured."""
    accuracy = float((found.logits.argmax(-1) == found.values).float().mean())
    return ErasureStep(
        step, request.settings.steps, "training", float(entropy(found.logits).mean()), -float(found.own.mean()),
        accuracy, None, len(request.forget), measure.ratio(last), last.kept, n_weights, terms=terms,
    )  # fmt: skip
