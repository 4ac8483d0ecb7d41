"""Erases memorized text from the weights: a generator of steps whose last one carries a sparse edit.

Only chosen weights train (choice.py, weights.py), on the loss of a method (losses.py), held back by the KL on retained text and
by turned steps (turning.py) where that is asked for. The run ends when no target is written any more and MA and EL_10 are at the
level of unseen text, at its last good state when the guard on perplexity is passed, or after the last step. The model itself
comes back bit for bit after every step.
"""

from collections.abc import Iterator
from dataclasses import asdict, replace

from privlens import validation
from privlens.erasure.config import Request
from privlens.erasure.evaluate import Measure, Measured
from privlens.erasure.losses import Predicted, entropy
from privlens.erasure.trainer import Erasure, Rows, sources, with_room
from privlens.errors import BadInput
from privlens.lm.quantization import refuse_codes
from privlens.outcomes import ErasureStep
from privlens.retained.others import other_secrets

REACHED = "at the level of unseen text"
GUARDED = "the perplexity guard: the last good state is kept"
USED_UP = "the last step"


def erase(request: Request) -> Iterator[ErasureStep]:
    """Erases; a record a step, and one for each measurement. The last one's `ended` says why it is the last.

    Raises:
        BadInput: for settings that cannot be, no secret, secrets that no weight takes part in, too little memory, or
            weights that are quantized.
        Cancelled: when `request.stop` said so, before the next step; nothing is left behind in the model.
    """
    settings = request.settings.checked()
    validation.seed(request.seed)
    if not request.forget:
        raise BadInput("No secret was chosen: choose at least one to erase.")
    if len(other_secrets(request.retained, request.forget)) < len(other_secrets(request.retained, ())):
        raise BadInput("A secret is to be forgotten and retained at once: take it out of one of the lists.")
    refuse_codes(request.lm.model)
    request.go_on()
    request = replace(request, lm=with_room(request))
    measure = Measure(request)
    yield _measured(request, 0, measure.before, measure, 0, "measuring the model as it is")
    rows: Rows = []
    for stage, gather in sources(request).items():
        yield _measured(request, 0, measure.before, measure, 0, stage)
        rows += gather()
    yield _measured(request, 0, measure.before, measure, 0, "choosing the weights")
    work = Erasure(request, measure.level.memorization_accuracy, rows)
    good, last = work.weights.copied(), measure.before
    ended = ""
    for step in range(1, settings.steps + 1):
        request.go_on()
        found, terms = work.step(step)
        yield _trained(request, step, found, terms, last, measure, work.weights.n)
        if step % settings.measure_every and step < settings.steps:
            continue
        with request.lm.held(), work.weights.applied():
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
    how = {**asdict(settings), "share": settings.of_all(len(request.forget)), **counts, "ended": ended, "steps_taken": step}
    edit = work.edit(good, how)
    if ended == GUARDED:
        with request.lm.edited(edit):
            last = measure()
    yield replace(_measured(request, step, last, measure, work.weights.n, "done"), ended=ended, result=edit)


def _measured(request: Request, step: int, now: Measured, measure: Measure, n_weights: int, stage: str) -> ErasureStep:
    """The record of a measurement of all targets."""
    return ErasureStep(
        step,
        request.settings.steps,
        stage,
        now.entropy,
        now.nll,
        now.memorization_accuracy,
        now.n_matches,
        len(request.forget),
        measure.ratio(now),
        now.kept,
        n_weights,
        measure.level.memorization_accuracy,
        measured=True,
        text=now.text,
    )


def _trained(
    request: Request, step: int, found: Predicted, terms: dict[str, float], last: Measured, measure: Measure, n_weights: int
) -> ErasureStep:
    """The record of a training step: the batch's own numbers, and the rest as last measured."""
    accuracy = float((found.logits.argmax(-1) == found.values).float().mean())
    return ErasureStep(
        step,
        request.settings.steps,
        "training",
        float(entropy(found.logits).mean()),
        -float(found.own.mean()),
        accuracy,
        None,
        len(request.forget),
        measure.ratio(last),
        last.kept,
        n_weights,
        measure.level.memorization_accuracy,
        terms=terms,
        text=last.text,
    )
