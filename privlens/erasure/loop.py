"""Erases memorized text from the weights: a generator of steps, the last of which carries a sparse edit.

Only chosen weights are trained (selection.py, sparse_parameters.py), on the loss of a method (losses.py), constrained by the KL
on retained text and by preconditioned steps (preconditioner.py) where there is such text. The run ends when all targets are
forgotten (or, at the depth `unseen`, when no target is written any more and MA and EL_10 are at the level of unseen text), at its
last good state when a guard is exceeded, or after the last step, and it says which. After every step the model's own weights are
restored bit for bit.
"""

from collections.abc import Iterator
from dataclasses import asdict, replace

from privlens import validation
from privlens.erasure.config import Request
from privlens.erasure.evaluate import GUARDED, GUARDED_KEPT, Measure, Measurement
from privlens.erasure.losses import Predicted, entropy
from privlens.erasure.low_curvature import LowCurvature
from privlens.erasure.revs import Revs
from privlens.erasure.trainer import Erasure, Rows, sources, with_room
from privlens.errors import BadInput
from privlens.lm.quantization import refuse_codes
from privlens.outcomes import ErasureStep
from privlens.retained.others import other_secrets

FORGOTTEN = "all targets are forgotten"
REACHED = "at the level of unseen text"
USED_UP = "the last step"
TRAINERS: dict[str, type[Erasure]] = {"revs": Revs, "low-curvature": LowCurvature}
"""Methods whose steps are not those of a loss."""
LEAST_BETWEEN = 2
"""Steps from one measurement to the next, at least; one that comes early is made as soon as no text is worked on any more."""


def erase(request: Request) -> Iterator[ErasureStep]:
    """Erases; yields a record for each step and for each measurement. The last record's `ended` says why the run ended.

    Raises:
        BadInput: for invalid settings, no secret, secrets that no weight has a gradient on, too little memory, or quantized
            weights.
        Cancelled: when `request.stop` returned True, before the next step; nothing is left behind in the model.
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
    yield _measurement_step(request, 0, measure.before, measure, 0, "measuring the model before the erasure")
    rows: Rows = []
    for stage, gather in sources(request).items():
        yield _measurement_step(request, 0, measure.before, measure, 0, stage)
        rows += gather()
    yield _measurement_step(request, 0, measure.before, measure, 0, "choosing the weights")
    training = TRAINERS.get(settings.method, Erasure)(request, measure.level.memorization_accuracy, rows)
    good_values = training.weights.snapshot()
    last = measure.before
    ended = ""
    measured_at = 0
    for step in range(1, settings.steps + 1):
        request.go_on()
        predicted, terms = training.step(step)
        yield _training_step(request, step, predicted, terms, last, measure, training.weights.n)
        is_last = step == settings.steps or training.finished
        is_early = training.settled and step - measured_at >= LEAST_BETWEEN
        if step % settings.measure_every and not is_last and not is_early:
            continue
        measured_at = step
        with request.lm.held(), training.weights.applied():
            last = measure()
            ended = measure.exceeded(last)
            reached = not ended and _reached(training, measure, last)
        if not ended:
            good_values = training.weights.snapshot()
            at_end = FORGOTTEN if settings.depth == "forgotten" else REACHED
            ended = at_end if reached else USED_UP if is_last else ""
        if ended:
            break
        yield _measurement_step(request, step, last, measure, training.weights.n, "measuring")
    counts = {"n_forget": len(request.forget), "n_retained": len(request.retained)}
    recorded = {
        **asdict(settings),
        "share": settings.share_for(len(request.forget)),
        **counts,
        "ended": ended,
        "steps_taken": step,
    }
    edit = training.edit(good_values, recorded)
    if ended in (GUARDED, GUARDED_KEPT):
        with request.lm.edited(edit):
            last = measure()
    yield replace(_measurement_step(request, step, last, measure, training.weights.n, ended), ended=ended, result=edit)


def _reached(training: Erasure, measure: Measure, current: Measurement) -> bool:
    """Whether the run is at its depth. Within `applied`, after a measurement.

    A verdict costs hundreds of rows. So a text is judged when it comes to its level, and all of them together only once each has
    been found forgotten. A verdict that the level did not foresee corrects the level.
    """
    if measure.request.settings.depth == "unseen":
        return measure.reached(current)
    new = [index for index in training.at_level() if measure.verdicts[index] != "forgotten"]
    measure.judge(new)
    for index in new:
        training.correct(index, measure.verdicts[index])
    if any(verdict != "forgotten" for verdict in measure.verdicts):
        return False
    measure.judge([index for index in range(len(measure.verdicts)) if index not in new])
    return all(verdict == "forgotten" for verdict in measure.verdicts)


def _measurement_step(
    request: Request, step: int, current: Measurement, measure: Measure, n_weights: int, stage: str
) -> ErasureStep:
    """The record of a measurement of all targets."""
    return ErasureStep(
        step=step,
        n_steps=request.settings.steps,
        stage=stage,
        entropy=current.entropy,
        nll=current.nll,
        memorization_accuracy=current.memorization_accuracy,
        n_matches=current.n_matches,
        n_targets=len(request.forget),
        n_forgotten=measure.n_forgotten,
        perplexity_ratio=measure.ratio(current),
        kept=current.kept,
        n_weights=n_weights,
        unseen_accuracy=measure.level.memorization_accuracy,
        measured=True,
        text=current.text,
    )


def _training_step(
    request: Request,
    step: int,
    predicted: Predicted,
    terms: dict[str, float],
    last: Measurement,
    measure: Measure,
    n_weights: int,
) -> ErasureStep:
    """The record of a training step: the batch's own numbers, and the rest as last measured."""
    accuracy = float((predicted.logits.argmax(-1) == predicted.values).float().mean())
    return ErasureStep(
        step=step,
        n_steps=request.settings.steps,
        stage="training",
        entropy=float(entropy(predicted.logits).mean()),
        nll=-float(predicted.logprobs.mean()),
        memorization_accuracy=accuracy,
        n_matches=None,
        n_targets=len(request.forget),
        n_forgotten=measure.n_forgotten,
        perplexity_ratio=measure.ratio(last),
        kept=last.kept,
        n_weights=n_weights,
        unseen_accuracy=measure.level.memorization_accuracy,
        terms=terms,
        text=last.text,
    )
