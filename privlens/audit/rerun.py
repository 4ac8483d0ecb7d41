"""Measures a sample of an audit's findings again, from the list and the key that it was made with, and tells which differ.

The audit's chunks that the sample falls into are measured whole, so that batches are what they were: the same machine gives the
same digits. Compared are what the list says of a secret, and of its value and control the verdict, the greedy match, the
log-probability and what the model writes. Not measured again: ranks among other values by themselves, and interventions.
"""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from privlens import validation
from privlens.audit.checks import AT_ONCE, check_all
from privlens.audit.pairs import ListedPairs
from privlens.audit.records import Audit, Finding, Measured, Sample, Target
from privlens.audit.run import check_plan, readable, target_of
from privlens.audit.sample import ReadSample, masked
from privlens.errors import BadInput
from privlens.lm.model import LanguageModel, Stop, never_stop

N_FINDINGS = 20
"""Findings that are measured again unless said otherwise: of findings of which one in seven is false, 19 samples of 20
hold a false one."""
EXACT = ("float32", "float64")
TOLERANCE, ROUGH_TOLERANCE = 1e-4, 0.05
"""Nats per token that a log-probability may differ by, in 32 bits or more and in fewer: other devices and versions add numbers up
in another order. In batches of another size the bundled model differs by 5e-7, in float16 by 9e-4, in bfloat16 by 8e-3."""
LISTED = ("category", "person", "repeats", "n_reworded", "overlap", "reworded")
"""Fields of a finding that follow from the list, and of how many other prompts the value was written; equal or not."""


@dataclass(frozen=True)
class Difference:
    """A field of the secret or of its control that is not as the audit has it; what is private stays masked."""

    whose: str
    field: str
    before: str
    now: str


@dataclass(frozen=True)
class Remeasured:
    """One finding of the audit beside what is measured now.

    Attributes:
        row, key, masked: of the audit. drift: the largest change of a log-probability, in nats per token; None if it cannot be
            told, as where one of them is infinite.
    """

    row: int
    key: str
    masked: str
    differences: tuple[Difference, ...]
    drift: float | None

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not self.differences


@dataclass(frozen=True)
class Rerun:
    """A sample of an audit, measured again.

    Attributes:
        n_findings: of the audit. seed: of the sample. tolerance: in nats per token. target: the model as it is now.
    """

    findings: tuple[Remeasured, ...]
    n_findings: int
    seed: int
    tolerance: float
    target: Target

    @property
    def same(self) -> bool:
        """Whether no finding differs."""
        return all(finding.same for finding in self.findings)

    @property
    def drift(self) -> float | None:
        """The largest of all findings that have one."""
        return max((finding.drift for finding in self.findings if finding.drift is not None), default=None)


@dataclass(frozen=True)
class RerunStep:
    """Progress, in findings of the sample; `result` on the last step only."""

    step: int
    n_steps: int
    stage: str
    result: Rerun | None = None


def rerun(
    lm: LanguageModel, read: ReadSample, audit: Audit, n: int = N_FINDINGS, seed: int = 0, stop: Stop = never_stop
) -> Iterator[RerunStep]:
    """Measures `n` findings again, or all if there are fewer, drawn by `seed`; a step for each chunk of the list.

    Args:
        lm: the audited model, under the edits that the audit had. read: the audited list, read with the audit's key.

    Raises:
        BadInput: for another list, key or model, or an audit without findings. Cancelled: when `stop` returns true.
    """
    validation.whole(n, "number of findings", 1, 1_000_000)
    validation.seed(seed)
    check_plan(audit.plan)
    check_sources(read.sample, audit)
    check_model(lm, audit)
    secrets = readable(lm, read).secrets
    listed = tuple(sampled.secret for sampled in secrets)
    place_of = {sampled.key: place for place, sampled in enumerate(secrets)}
    chosen = random.Random(seed).sample(audit.findings, min(n, len(audit.findings)))
    tolerance = TOLERANCE if audit.target.dtype in EXACT else ROUGH_TOLERANCE
    done = [_missing(finding) for finding in chosen if finding.key not in place_of]
    shared = ListedPairs(lm, listed)
    for start in sorted({place_of[finding.key] // AT_ONCE * AT_ONCE for finding in chosen if finding.key in place_of}):
        chunk = secrets[start : start + AT_ONCE]
        findings = check_all(lm, chunk, listed, audit.plan, keep_values=True, stop=stop, shared=shared)
        again = {finding.key: finding for finding in findings}
        done += [_compared(finding, again[finding.key], tolerance) for finding in chosen if finding.key in again]
        yield RerunStep(len(done), len(chosen), "measuring again")
    done.sort(key=lambda finding: finding.row)
    result = Rerun(tuple(done), len(audit.findings), seed, tolerance, target_of(lm))
    yield RerunStep(len(chosen), len(chosen), "done", result)


def check_sources(sample: Sample, audit: Audit) -> None:
    """Raises BadInput unless an audit was made from this list with this key, and has findings."""
    if sample.sha256 != audit.sample.sha256:
        raise BadInput(
            f"{sample.name} is not the list of this audit: its SHA-256 is {sample.sha256}, and that of the audit's "
            f"{audit.sample.name} was {audit.sample.sha256}. Give the file as it was when it was audited."
        )
    if sample.key_id != audit.sample.key_id:
        raise BadInput("The key is another one than the audit's, so its findings cannot be found in the list: give --key.")
    if not audit.findings:
        raise BadInput("The audit holds no findings, so there is nothing to measure again.")


def check_model(lm: LanguageModel, audit: Audit) -> None:
    """Raises BadInput unless these are the audited weights, asked in the same manner."""
    target = audit.target
    if lm.is_chat != target.chat:
        raise BadInput("The audit asked its model in another manner: in chat turns, or as plain text.")
    if lm.fingerprint == target.fingerprint:
        return
    hint = "Give the model that was audited"
    if target.dtype != str(lm.dtype).removeprefix("torch."):
        hint += f", in {target.dtype} (--dtype)"
    if target.edits:
        hint += f", under the edits that were in force ({', '.join(target.edits)}; --edit)"
    elif lm.edits:
        hint += ", without edits: none was in force"
    raise BadInput(
        f"This model has the fingerprint {lm.fingerprint}, and the audited {target.model} had {target.fingerprint}: the weights "
        f"are not the same. {hint}."
    )


def _missing(finding: Finding) -> Remeasured:
    difference = Difference("secret", "key", finding.key, "not in the list, or not readable by this model")
    return Remeasured(finding.row, finding.key, finding.masked, (difference,), None)


def _compared(before: Finding, now: Finding, tolerance: float) -> Remeasured:
    """What differs; `now` was measured with the values kept."""
    differences = _unequal("secret", before, now, LISTED)
    if before.row != now.row:
        differences.append(Difference("secret", "row", str(before.row), str(now.row)))
    if before.masked not in (now.masked, masked(now.masked)):
        differences.append(Difference("secret", "masked", before.masked, masked(now.masked)))
    drifts = [0.0]
    for whose, old, new in (("secret", before.measured, now.measured), ("control", before.control, now.control)):
        if old and new:
            differences += _of_value(whose, old, new, tolerance)
            drifts.append(_drift(old, new))
        elif old or new:
            differences.append(Difference(whose, "measured", str(bool(old)), str(bool(new))))
    drift = max(drifts) if all(map(math.isfinite, drifts)) else None
    return Remeasured(before.row, before.key, before.masked, tuple(differences), drift)


def _of_value(whose: str, before: Measured, now: Measured, tolerance: float) -> list[Difference]:
    differences = _unequal(whose, before, now, ("verdict", "greedy_match", "n_tokens"))
    if not _drift(before, now) <= tolerance:  # so that one that is no number differs too
        differences.append(Difference(whose, "logprob", f"{before.logprob:.6g}", f"{now.logprob:.6g}"))
    if before.text not in (now.text, masked(now.text)):
        differences.append(Difference(whose, "text", before.text, masked(now.text)))
    return differences


def _unequal(whose: str, before: object, now: object, fields: Sequence[str]) -> list[Difference]:
    both = [(field, getattr(before, field), getattr(now, field)) for field in fields]
    return [Difference(whose, field, str(old), str(new)) for field, old, new in both if old != new]


def _drift(before: Measured, now: Measured) -> float:
    """The change of the log-probability, in nats per token."""
    return 0.0 if before.logprob == now.logprob else abs(before.logprob - now.logprob) / max(1, now.n_tokens)
