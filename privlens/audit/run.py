"""Runs an audit: checks every secret, then works on the memorized ones, and stores each result as soon as it is there.

A killed run goes on where it was and ends with the same numbers: secrets are checked in chunks that start at fixed places in the
list, a chunk is stored as a whole or not at all, and nothing that is measured depends on what was measured before it.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from privlens import validation
from privlens.audit.checks import AT_ONCE, check_all, measure
from privlens.audit.entropy import entropy_of
from privlens.audit.pairs import KnownPairs, ListedPairs
from privlens.audit.query_log import QueryLog
from privlens.audit.records import Attack, Audit, Finding, Intervention, Measured, Plan, Target
from privlens.audit.sample import ReadSample, SampledSecret
from privlens.audit.store import Store
from privlens.erasure import ERASURE_METHODS, ErasureSettings, Request, erase, method_settings
from privlens.erasure.attacks import AttackSetup
from privlens.erasure.attacks import attacks as attack_steps
from privlens.errors import BadInput, Cancelled
from privlens.list_files import Rejected
from privlens.lm.export import folded
from privlens.lm.gating import random_like
from privlens.lm.model import LanguageModel, Stop, never_stop
from privlens.localization import METHODS, Task, result_of
from privlens.localization.choice import how_many
from privlens.memorization import states
from privlens.memorization.check import MAX_TOP_K
from privlens.provenance import provenance
from privlens.retained.others import other_secrets, retained_of, unseen_of
from privlens.types import Edit, Neuron, Secret

OTHERS_MOST = 1000
"""Other secrets that an intervention is judged on, the known ones first: of 10,000 each would take minutes of passes."""
Chunk = Sequence[SampledSecret]
Checking = Callable[["Job", Sequence[Chunk]], Iterator[list[Finding]]]


@dataclass(frozen=True)
class AuditStep:
    """Progress, one step for each secret to check and one for each to work on; `n_steps` rises once these are known.

    Attributes:
        findings: new ones, or anew. result: the whole audit, on the last step only.
    """

    step: int
    n_steps: int
    stage: str
    findings: tuple[Finding, ...] = ()
    result: Audit | None = None


def here(job: "Job", chunks: Sequence[Chunk]) -> Iterator[list[Finding]]:
    """Checks one chunk after the other in this process."""
    listed = job.read.listed
    shared = ListedPairs(job.lm, listed)
    for chunk in chunks:
        yield list(check_all(job.lm, chunk, listed, job.plan, keep_values=job.keep_values, stop=job.stop, shared=shared))


@dataclass(frozen=True)
class Job:
    """What an audit works with besides the store.

    Attributes:
        log: of every query; None where there is no folder to keep one in.
        reference: paragraphs of ordinary text, for the perplexity. keep_values: whether private values may be stored in clear.
        checking: how chunks are checked; it yields the findings of each, in order.
    """

    lm: LanguageModel
    read: ReadSample
    plan: Plan
    log: QueryLog | None
    reference: tuple[str, ...] = ()
    keep_values: bool = False
    stop: Stop = never_stop
    checking: Checking = here

    def logged(self, kind: str, key: str, result: str, logprob: float | None) -> None:
        """Adds a query to the log."""
        if self.log:
            self.log.add(kind, key, result, logprob)


def audit(job: Job, store: Store) -> Iterator[AuditStep]:
    """Runs an audit, or the rest of it, to its end.

    Raises:
        BadInput: for a plan that cannot be carried out, a database of another audit, or one that fails: what is stored stays.
        Cancelled: when `job.stop` returns true; what is stored stays.
    """
    check_plan(job.plan)
    target = target_of(job.lm)
    started = store.begin(target, job.read.sample, job.plan)
    clock = _Clock()
    n = len(job.read.secrets)
    try:
        yield from _check(job, store, clock)
        for step in _work(job, store, clock):
            yield step
            n = step.n_steps
    except (Cancelled, KeyboardInterrupt):
        store.add_seconds(clock.lap())
        raise
    findings = tuple(store.findings())
    entropy = entropy_of(job.lm, job.read.secrets, findings, job.plan.seed)
    seconds = store.add_seconds(clock.lap())
    ended = store.end()
    result = Audit(target, job.read.sample, job.plan, findings, started, ended, seconds, entropy=entropy)
    yield AuditStep(n, n, "done", (), result)


class _Clock:
    """Tells the seconds since it was last asked, which are stored with what they were spent on: a killed run loses no more."""

    def __init__(self) -> None:
        self.last = time.perf_counter()

    def lap(self) -> float:
        before, self.last = self.last, time.perf_counter()
        return self.last - before


def readable(lm: LanguageModel, read: ReadSample) -> ReadSample:
    """The list without the secrets that this model cannot read, such as those beyond its context; they are among the rejected."""
    secrets: list[SampledSecret] = []
    rejected = list(read.rejected)
    for sampled in read.secrets:
        try:
            lm.encode(lm.settled(sampled.secret))
        except BadInput:  # its message may quote the secret
            listed = sampled.listed
            rejected.append(Rejected(listed.line, "this model cannot read it: it has too many tokens, or none", listed.unit))
        else:
            secrets.append(sampled)
    if not secrets:
        raise BadInput("The model can read no secret of the list: each has more tokens than its context, or none.")
    sample = replace(read.sample, rejected=tuple(map(str, rejected)))
    return ReadSample(sample, tuple(secrets), tuple(rejected))


def check_plan(plan: Plan) -> None:
    """Raises BadInput for a plan that cannot be carried out, before anything is measured."""
    validation.seed(plan.seed)
    validation.between(plan.temperature, "temperature", 0, 100, "1 samples from the model's own predictions", above=True)
    validation.whole(plan.top_k, "number of tokens to sample from", 0, MAX_TOP_K)
    validation.whole(plan.at_most, "number of secrets to work on", 0, 1_000_000)
    for method in plan.methods:
        if method not in METHODS:
            raise BadInput(f"There is no method {method!r}: use {', '.join(METHODS)}.")
    if plan.erasure and plan.erasure not in ERASURE_METHODS:
        raise BadInput(f"There is no erasure method {plan.erasure!r}: use {', '.join(ERASURE_METHODS)}.")


def target_of(lm: LanguageModel) -> Target:
    """The model under audit, with the SHA-256 of the files it was loaded from, where they lie in a folder."""
    folders = [Path(name) for name in (str(lm.model.name_or_path), lm.name) if name]
    folder = next((folder for folder in folders if folder.is_dir()), None)
    files = sorted(path for path in folder.iterdir() if path.is_file()) if folder else []
    return Target(
        model=lm.name,
        fingerprint=lm.fingerprint,
        dtype=str(lm.dtype).removeprefix("torch."),
        device=str(lm.device),
        n_parameters=lm.n_parameters,
        files={path.name: _sha256(path) for path in files},
        edits=tuple(str(edit.provenance.settings.get("method", "edit")) for edit in lm.edits),
        versions={name: version(name) for name in ("torch", "transformers")},
        chat=lm.is_chat,
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(2**20):
            digest.update(block)
        return digest.hexdigest()


def _check(job: Job, store: Store, clock: _Clock) -> Iterator[AuditStep]:
    """Checks what is not stored yet, chunk by chunk."""
    secrets = job.read.secrets
    known = store.states().keys()
    missing = {sampled.row for sampled in secrets if sampled.key not in known} - store.forgotten()
    chunks = [secrets[start : start + AT_ONCE] for start in range(0, len(secrets), AT_ONCE)]
    chunks = [chunk for chunk in chunks if any(sampled.row in missing for sampled in chunk)]
    done = len(secrets) - sum(map(len, chunks))
    for checked in job.checking(job, chunks):
        for finding in checked:
            job.logged("check", finding.key, finding.measured.verdict or "undecided", finding.measured.logprob)
        findings = [finding for finding in checked if finding.row in missing]
        done += len(checked)
        store.save(findings, "checked", clock.lap())
        yield AuditStep(done, len(secrets), "checking", tuple(findings))


def to_work_on(findings: Iterator[Finding], at_most: int) -> list[Finding]:
    """The memorized secrets, likeliest first, at most so many; controls are none."""
    memorized = [finding for finding in findings if finding.counts and finding.measured.is_memorized]
    return sorted(memorized, key=lambda finding: (-finding.measured.logprob, finding.row))[:at_most]


def _work(job: Job, store: Store, clock: _Clock) -> Iterator[AuditStep]:
    """Localizes, switches off, erases and attacks, as the plan says, one memorized secret after the other."""
    if not (job.plan.methods or job.plan.erasure):
        return
    n_checked = len(job.read.secrets)
    chosen = to_work_on(store.findings(), job.plan.at_most)
    by_key = {sampled.key: sampled for sampled in job.read.secrets}
    finished = {key for key, state in store.states().items() if state == "done"}
    known: tuple[Secret, ...] | None = None
    for place, finding in enumerate(chosen, 1):
        if finding.key in finished:
            continue
        if known is None:
            known = states.known(job.lm, job.read.listed, stop=job.stop)
        worked = _worked(job, by_key[finding.key], known, finding)
        store.save([worked], "done", clock.lap())
        yield AuditStep(n_checked + place, n_checked + len(chosen), "localizing and erasing", (worked,))


@dataclass(frozen=True)
class _Around:
    """One secret, and what must not change with it.

    Attributes:
        known: other secrets that the model writes. seen: those that methods are given. unseen: the rest, which they are judged
            on.
        others: all other secrets of the list. logprobs: theirs before, in nats.
    """

    sampled: SampledSecret
    known: tuple[Secret, ...]
    seen: tuple[Secret, ...]
    unseen: tuple[Secret, ...]
    others: tuple[Secret, ...]
    logprobs: tuple[float, ...]
    perplexity: float | None


def _worked(job: Job, sampled: SampledSecret, known: Sequence[Secret], finding: Finding) -> Finding:
    """The finding with what the plan does against its secret; where that is impossible, its note says so and the rest goes on."""
    interventions: list[Intervention] = []
    try:
        for intervention in _interventions(job, sampled, known):
            interventions.append(intervention)
    except BadInput:  # its message may quote the secret
        job.logged("intervention", sampled.key, "failed", None)
        done = ", ".join(dict.fromkeys(intervention.method for intervention in interventions)) or "nothing"
        finding = replace(finding, note=f"The plan could not be carried out on this secret beyond: {done}.")
    return replace(finding, interventions=tuple(interventions))


def _interventions(job: Job, sampled: SampledSecret, known: Sequence[Secret]) -> Iterator[Intervention]:
    """Everything that the plan does against one secret, each on a view of the model of its own."""
    lm, plan, secret = job.lm, job.plan, sampled.secret
    known_others = other_secrets(known, [secret])
    others = tuple(dict.fromkeys((*known_others, *other_secrets(job.read.listed, [secret]))))[:OTHERS_MOST]
    seen = retained_of(known_others, "half")
    perplexity = states.perplexity(lm, job.reference, stop=job.stop)
    around = _Around(sampled, known_others, seen, unseen_of(known_others, seen), others, _logprobs(job, lm, others), perplexity)
    for method in plan.methods:
        scores = result_of(method, Task(lm, secret, seen, seed=plan.seed, stop=job.stop))
        neurons = tuple(scores.top(how_many(scores)))
        yield _measured(job, around, Intervention("neurons", method, *_NOT_MEASURED, neurons), _off(lm, neurons))
        control = random_like(lm.widths(), len(neurons), plan.seed)
        yield _measured(job, around, Intervention("random", method, *_NOT_MEASURED, control), _off(lm, control))
    if plan.erasure:
        settings = method_settings(plan.erasure, ErasureSettings())
        request = Request(lm, (secret,), seen, (), around.unseen, job.reference, settings, plan.seed, job.read.listed, job.stop)
        *_, last = erase(request)
        assert last.result, "an erasure ends with its edit"
        yield _measured(job, around, Intervention("erasure", plan.erasure, *_NOT_MEASURED), last.result)


_NOTHING = Measured(False, 0.0, 0.0, 0, 0.0, None, None, None, None, None)
_NOT_MEASURED = (0, 0, _NOTHING, 0, 0, None, None)
"""What `_measured` fills in: size, of, after, kept, known, worst_rise, perplexity_ratio."""


def _off(lm: LanguageModel, neurons: Sequence[Neuron]) -> Edit:
    """Switched-off neurons as an edit of the weights, which has the same effect."""
    return Edit(folded(lm, lm.off(neurons)), provenance(lm, 0, {"neurons": len(neurons)}, time.perf_counter()))


def _measured(job: Job, around: _Around, intervention: Intervention, edit: Edit) -> Intervention:
    """The intervention with what it does to its secret, to the others and to ordinary text, and what attacks bring back."""
    lm, plan, secret = job.lm, job.plan, around.sampled.secret
    after = lm.under(edit)
    [measured] = measure(after, [secret], job.read.listed, plan, KnownPairs(after, job.stop), job.keep_values, stop=job.stop)
    kind = f"{intervention.kind} {intervention.method}"
    job.logged(kind, around.sampled.key, measured.verdict or "undecided", measured.logprob)
    rises = [now - before for now, before in zip(_logprobs(job, after, around.others), around.logprobs, strict=True)]
    is_neurons = intervention.kind != "erasure"
    return replace(
        intervention,
        size=len(intervention.neurons) if is_neurons else edit.n_weights,
        of=lm.n_neurons if is_neurons else lm.n_parameters,
        after=measured,
        kept=len(states.known(after, around.unseen, stop=job.stop)),
        known=len(around.unseen),
        worst_rise=max(rises, default=None),
        perplexity_ratio=states.ratio(states.perplexity(after, job.reference, stop=job.stop), around.perplexity),
        attacks=_attacked(job, around, after) if plan.attacks and intervention.kind != "random" else (),
    )


def _attacked(job: Job, around: _Around, after: LanguageModel) -> tuple[Attack, ...]:
    """Whether each attack does better on the value than on values that nobody trained on."""
    sampled = around.sampled
    setup = AttackSetup(
        job.lm,
        after,
        (sampled.secret,),
        (sampled.listed.reworded,),
        around.known,
        around.others,
        seed=job.plan.seed,
        stop=job.stop,
    )
    records = []
    for attack in attack_steps(setup):
        job.logged(f"attack: {attack.name}", sampled.key, "succeeded" if attack.found_something else "failed", None)
        records.append(Attack(attack.name, attack.found_something, attack.detail if attack.ran else attack.note))
    return tuple(records)


def _logprobs(job: Job, lm: LanguageModel, secrets: Sequence[Secret]) -> tuple[float, ...]:
    """The total log-probability of every value (nats), in one state of the model."""
    return tuple(state.logprob for state in states.memorization_states(lm, secrets, stop=job.stop))
