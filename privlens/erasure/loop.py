"""Erases memorized text from the weights: a generator of steps, the last of which carries a sparse edit.

Only chosen weights are trained (selection.py, sparse_parameters.py), on the loss of a method (losses.py), constrained by the KL
on retained text and by preconditioned steps (preconditioner.py) where there is such text. The run ends when all targets are
forgotten (or, at the depth `unseen`, when no target is written any more and MA and EL_10 are at the level of unseen text), at its
last good state when a guard is exceeded, or after the last step, and it says which. Where text is retained, a repair follows the
first of these ends. After every step the model's own weights are restored bit for bit.
"""

from collections.abc import Iterator
from dataclasses import asdict, replace

from privlens import validation
from privlens.erasure.config import Request
from privlens.erasure.evaluate import Measure, Measurement
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
REPAIRING = "repairing what else was lost"
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
    course = Course(request, training, measure)
    for step in range(1, settings.steps + 1):
        request.go_on()
        predicted, terms = training.step(step)
        yield _training_step(course, step, predicted, terms)
        if not course.is_due(step):
            continue
        course.measure_at(step)
        if course.ended:
            break
        measured = _measurement_step(request, step, course.last, measure, training.weights.n, "measuring")
        yield replace(measured, n_steps=course.end)
    counts = {"n_forget": len(request.forget), "n_retained": len(request.retained)}
    recorded = {
        **asdict(settings),
        "share": settings.share_for(len(request.forget)),
        **counts,
        "ended": course.ended,
        "steps_taken": step,
    }
    edit = training.edit(course.good, recorded)
    if not course.last_is_good:
        with request.lm.edited(edit):
            course.last = measure()
            measure.judge([index for index, verdict in enumerate(measure.verdicts) if verdict])
    last = _measurement_step(request, step, course.last, measure, training.weights.n, course.ended)
    yield replace(last, ended=course.ended, result=edit)


class Course:
    """What the measurements of a run have found, and when it ends.

    Attributes:
        last: the last measurement. good: the weights to keep. last_is_good: whether `last` was measured with these.
        ended: why the run ended; empty before that. end: the step after which it will, at the latest.
    """

    def __init__(self, request: Request, training: Erasure, measure: Measure) -> None:
        self.settings = request.settings
        self.lm = request.lm
        self.training = training
        self.measure = measure
        self.last = measure.before
        self.good = training.weights.snapshot()
        self.last_is_good = True
        self.ended = ""
        self.measured_at = 0
        self.end = self.settings.steps

    @property
    def stage(self) -> str:
        """What the steps do now."""
        return REPAIRING if self.training.repairing else "training"

    def is_due(self, step: int) -> bool:
        """Whether to measure after this step."""
        is_early = self.training.settled and not self.training.repairing and step - self.measured_at >= LEAST_BETWEEN
        return not step % self.settings.measure_every or self._is_last(step) or is_early

    def _is_last(self, step: int) -> bool:
        return step >= self.end or self.training.finished

    def measure_at(self, step: int) -> None:
        """Measures after this step, and decides whether the run goes on."""
        training = self.training
        self.measured_at = step
        with self.lm.held(), training.weights.applied():
            self.last = self.measure()
            exceeded = self.measure.exceeded(self.last)
            reached = not exceeded and _reached(training, self.measure, self.last)
        self.last_is_good = reached or not (exceeded or training.repairing)
        if self.last_is_good:
            self.good = training.weights.snapshot()
        if reached and not training.repairing:
            training.repair()
            self.end = min(self.end, step + self.settings.repair) if training.kept else step
        elif not reached and training.repairing:
            training.let_go()
        self.ended = self._reason(exceeded, self._is_last(step))

    def _reason(self, exceeded: str, is_last: bool) -> str:
        """Why the run ends now; empty if it goes on."""
        if self.training.repairing:
            at_depth = FORGOTTEN if self.settings.depth == "forgotten" else REACHED
            return at_depth if exceeded or is_last else ""
        return exceeded or (USED_UP if is_last else "")


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


def _training_step(course: Course, step: int, predicted: Predicted, terms: dict[str, float]) -> ErasureStep:
    """The record of a training step: the batch's own numbers, and the rest as last measured."""
    measure, last = course.measure, course.last
    accuracy = float((predicted.logits.argmax(-1) == predicted.values).float().mean())
    return ErasureStep(
        step=step,
        n_steps=course.end,
        stage=course.stage,
        entropy=float(entropy(predicted.logits).mean()),
        nll=-float(predicted.logprobs.mean()),
        memorization_accuracy=accuracy,
        n_matches=None,
        n_targets=len(measure.targets),
        n_forgotten=measure.n_forgotten,
        perplexity_ratio=measure.ratio(last),
        kept=last.kept,
        n_weights=course.training.weights.n,
        unseen_accuracy=measure.level.memorization_accuracy,
        terms=terms,
        text=last.text,
    )
