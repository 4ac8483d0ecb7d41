"""Checks many secrets at once, with the numbers that `memorization.check` gives for each alone.

What is saved: values and continuations run in batches of similar length; other people's prompts and values, which nearly all
lifts share, are run once; a value with more than half of the probability needs no rival to be measured; and rivals share the
keys and values of what they have in common, token by token. Of the paired controls no exposure in the whole format is measured.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher

import torch

from privlens.audit.records import Finding, Measured, Plan
from privlens.audit.sample import SampledSecret, masked
from privlens.errors import BadInput, Cancelled
from privlens.lm.continuations import Continuations
from privlens.lm.model import LanguageModel, Stop, never_stop
from privlens.lm.scoring import ValueScore, score
from privlens.lm.tokens import Encoded
from privlens.memorization import metrics
from privlens.memorization.candidates import SPACE_SIZE, format_size
from privlens.memorization.check import consistent_continuation, control, rivals
from privlens.memorization.extraction import log10_tries
from privlens.memorization.format_exposure import SURE, format_exposure_of
from privlens.memorization.lift import FEWEST, MOST_PROMPTS, MOST_VALUES, lift_of, logprobs_behind, peers
from privlens.neurons.entropy_memorization import token_distance
from privlens.types import Exposure, FormatExposure, Lift, Secret, verdict
from privlens.value_match import collapse_whitespace

AT_ONCE = 16
"""Secrets in one chunk: they share batches; findings arrive, and a stop is heard, chunk by chunk."""
CERTAIN = SURE + 2 * metrics.TIE
"""Above this log-probability (nats) no rival is likelier than the value, nor ties with it: together they have less than half."""


@dataclass
class KnownPairs:
    """Log-probabilities of values behind prompts (nats), by prompt and value, of one chunk.

    A chunk has its own, so that its numbers do not depend on what was run before it, or whether anything was.
    """

    lm: LanguageModel
    stop: Stop
    logprobs: dict[tuple[Secret, str], float | None] = field(default_factory=dict)

    def column(self, prompt: Secret, values: Sequence[Secret]) -> list[float | None]:
        """What `lift_of` asks for: each value behind one prompt."""
        keys = [(prompt, value.value.strip()) for value in values]
        missing = {key: value for key, value in zip(keys, values, strict=True) if key not in self.logprobs}
        if missing:
            self.logprobs |= zip(missing, logprobs_behind(self.lm, prompt, list(missing.values()), stop=self.stop), strict=True)
        return [self.logprobs[key] for key in keys]

    def prepare(self, secrets: Sequence[Secret], listed: Sequence[Secret]) -> None:
        """Runs what secrets will ask for behind other people's prompts: a batch for each prompt, not one for each secret."""
        behind: dict[Secret, dict[Secret, None]] = {}
        for secret in secrets:
            others = peers(secret, listed, MOST_VALUES)
            if len(others) >= FEWEST:
                for prompt in others[:MOST_PROMPTS]:
                    behind.setdefault(prompt, {}).update(dict.fromkeys((secret, *others)))
        for prompt, values in behind.items():
            self.column(prompt, list(values))


def check_all(
    lm: LanguageModel,
    sampled: Sequence[SampledSecret],
    listed: Sequence[Secret],
    plan: Plan,
    *,
    keep_values: bool = False,
    stop: Stop = never_stop,
) -> Iterator[Finding]:
    """A finding for every secret, in order, as soon as its chunk is measured; none is kept here.

    Args:
        listed: all secrets of the list, for the lifts. keep_values: whether what the model writes is recorded as it is.

    Raises:
        BadInput: for a secret that the model cannot be asked. Cancelled: when `stop` returns true.
    """
    for start in range(0, len(sampled), AT_ONCE):
        yield from _check_chunk(lm, sampled[start : start + AT_ONCE], listed, plan, keep_values, stop)


def _check_chunk(
    lm: LanguageModel,
    chunk: Sequence[SampledSecret],
    listed: Sequence[Secret],
    plan: Plan,
    keep_values: bool,
    stop: Stop,
) -> list[Finding]:
    secrets = [lm.settled(sampled.secret) for sampled in chunk]
    controls = [control(lm, secret, plan.seed) for secret in secrets]
    present = [rival for rival in controls if rival]
    pairs = KnownPairs(lm, stop)
    pairs.prepare([*secrets, *present], listed)
    measured = measure(lm, secrets, listed, plan, pairs, keep_values, True, stop)
    of_controls = iter(measure(lm, present, listed, plan, pairs, keep_values, False, stop))
    reworded = _reworded(lm, chunk, stop)
    return [
        Finding(
            row=sampled.row,
            key=sampled.key,
            masked=sampled.secret.value.strip() if keep_values else masked(sampled.secret.value.strip()),
            category=sampled.secret.category,
            person=sampled.person,
            repeats=sampled.listed.repeats,
            measured=found,
            control=next(of_controls) if rival else None,
            reworded=n_written,
            n_reworded=len(sampled.listed.reworded),
            overlap=overlap(sampled.secret),
        )
        for sampled, found, rival, n_written in zip(chunk, measured, controls, reworded, strict=True)
    ]


def measure(
    lm: LanguageModel,
    secrets: Sequence[Secret],
    listed: Sequence[Secret],
    plan: Plan,
    pairs: KnownPairs,
    keep_values: bool = False,
    in_format: bool = True,
    stop: Stop = never_stop,
) -> list[Measured]:
    """Secrets as `check` measures them, in one state of the model. in_format: whether the whole format is sampled too."""
    encoded = [lm.encode(secret) for secret in secrets]
    scores = score(lm, encoded, stop=stop) if encoded else []
    sampled = scores
    if plan.temperature != 1 or plan.top_k:
        sampled = score(lm, encoded, stop=stop, temperature=plan.temperature, top_k=plan.top_k) if encoded else []
    continuations = _continuations(lm, encoded, scores, stop)
    return [
        _measured(lm, secret, ids, values, sum(drawn.logprobs), written, keep_values, *of_kind)
        for secret, ids, values, drawn, written, of_kind in zip(
            secrets,
            encoded,
            scores,
            sampled,
            continuations,
            (
                _comparisons(lm, secret, ids, sum(values.logprobs), listed, plan, pairs, in_format, stop)
                for secret, ids, values in zip(secrets, encoded, scores, strict=True)
            ),
            strict=True,
        )
    ]


def _measured(
    lm: LanguageModel,
    secret: Secret,
    encoded: Encoded,
    scored: ValueScore,
    sampled_logprob: float,
    written: list[int],
    keep_values: bool,
    exposure: Exposure,
    format_exposure: FormatExposure | None,
    lift: Lift | None,
) -> Measured:
    greedy = metrics.greedy_match(scored.argmax, encoded.value_ids)
    text = str(lm.tokenizer.decode(written))
    return Measured(
        greedy_match=greedy,
        nll=metrics.nll(scored.logprobs),
        logprob=sum(scored.logprobs),
        n_tokens=len(encoded.value_ids),
        memorization_accuracy=metrics.memorization_accuracy(scored.argmax, encoded.value_ids),
        log10_tries=None if sampled_logprob == -math.inf else log10_tries(sampled_logprob),
        exposure=exposure,
        format_exposure=format_exposure,
        lift=lift,
        verdict=verdict(greedy, secret.value, exposure, lift),
        text=text if keep_values else masked(text),
        distance=token_distance(written, encoded.value_ids),
    )


def _comparisons(
    lm: LanguageModel,
    secret: Secret,
    encoded: Encoded,
    logprob: float,
    listed: Sequence[Secret],
    plan: Plan,
    pairs: KnownPairs,
    in_format: bool,
    stop: Stop,
) -> tuple[Exposure, FormatExposure | None, Lift | None]:
    """The value among random ones, among all of its format, and among other people's."""
    exposure = exposure_by_token(lm, secret, encoded, logprob, plan.seed, stop)
    format_exposure = format_exposure_of(lm, secret, seed=plan.seed, stop=stop) if in_format else None
    return exposure, format_exposure, lift_of(lm, secret, listed, stop=stop, column=pairs.column)


def exposure_by_token(
    lm: LanguageModel, secret: Secret, encoded: Encoded, logprob: float, seed: int, stop: Stop = never_stop
) -> Exposure:
    """`check.exposure_of`, from the value's total log-probability (nats) on: rivals that begin alike are run as one.

    A rival is given up as soon as its first tokens are less likely than the whole value, which decides its rank.
    """
    n_values = min(SPACE_SIZE, format_size(secret.value))
    n_bytes = len(f"{secret.prompt} {secret.value}".encode())
    if logprob >= CERTAIN and encoded.n_prompt > 1 and n_bytes + 8 <= lm.room:  # 8: whatever special tokens there are
        return metrics.exposure_at(1, n_values)
    candidates = [rival for _, rival in rivals(lm, secret, seed)]
    totals = [-math.inf] * len(candidates)
    by_prompt: dict[tuple[int, ...], list[int]] = {}
    for index, rival in enumerate(candidates):
        by_prompt.setdefault(rival.prompt_ids, []).append(index)
    for prompt, indices in by_prompt.items():
        values = [candidates[index].value_ids for index in indices]
        for index, total in zip(indices, _totals(lm, prompt, values, logprob - metrics.TIE, stop), strict=True):
            totals[index] = total
    return metrics.exposure(logprob, totals)


def _totals(lm: LanguageModel, prompt: Sequence[int], values: Sequence[tuple[int, ...]], floor: float, stop: Stop) -> list[float]:
    """The total log-probability of each value behind one prompt (nats); -inf where its first tokens are below the floor."""
    totals = [0.0] * len(values)
    running = list(range(len(values)))
    row_of: dict[tuple[int, ...], int] = {(): 0}
    with lm.held(), torch.no_grad():
        texts = Continuations(lm, prompt)
        logits = texts.start()
        for step in range(max(map(len, values))):
            if stop():
                raise Cancelled("Stopped while measuring; nothing was changed.")
            rows = torch.tensor([row_of[values[index][:step]] for index in running], device=logits.device)
            tokens = torch.tensor([values[index][step] for index in running], device=logits.device)
            added = (logits[rows, tokens] - logits.logsumexp(-1)[rows]).tolist()
            for index, logprob in zip(running, added, strict=True):
                totals[index] += logprob
            alive = [index for index in running if totals[index] >= floor]
            for index in set(running) - set(alive):
                totals[index] = -math.inf
            running = [index for index in alive if len(values[index]) > step + 1]
            if not running:
                break
            beginnings = list(dict.fromkeys(values[index][: step + 1] for index in running))
            logits = texts.go_on([row_of[begun[:step]] for begun in beginnings], [begun[step] for begun in beginnings])
            row_of = {begun: row for row, begun in enumerate(beginnings)}
    return totals


def _continuations(lm: LanguageModel, encoded: Sequence[Encoded], scores: Sequence[ValueScore], stop: Stop) -> list[list[int]]:
    """The tokens of the greedy continuation of every prompt, as long as its value.

    Only where that is not the value is anything generated.
    """
    ids = [list(text.value_ids) for text in encoded]
    wrong = [row for row, (text, value) in enumerate(zip(encoded, scores, strict=True)) if value.argmax != text.value_ids]
    if wrong:
        longest = max(len(encoded[row].value_ids) for row in wrong)
        decoded = lm.generate([encoded[row].prompt_ids for row in wrong], longest, stop=stop)
        for row, generated in zip(wrong, decoded, strict=True):
            value = encoded[row].value_ids
            ids[row] = consistent_continuation(value, scores[row].argmax, generated[: len(value)])
    return ids


def _reworded(lm: LanguageModel, chunk: Sequence[SampledSecret], stop: Stop) -> list[int]:
    """Of the other prompts of each secret, behind how many the model writes the value."""
    asked: list[tuple[int, Encoded]] = []
    for row, sampled in enumerate(chunk):
        for prompt in sampled.listed.reworded:
            try:
                asked.append((row, lm.encode(Secret(prompt, sampled.secret.value))))
            except BadInput:  # this prompt is too long; the others count
                continue
    written = [0] * len(chunk)
    scores = score(lm, [encoded for _, encoded in asked], stop=stop) if asked else []
    for (row, encoded), value in zip(asked, scores, strict=True):
        written[row] += metrics.greedy_match(value.argmax, encoded.value_ids)
    return written


def overlap(secret: Secret) -> float:
    """The longest run of the value's characters that its prompt holds, as a share of the value; case does not matter."""
    value, prompt = (collapse_whitespace(text).casefold() for text in (secret.value, secret.prompt))
    run = SequenceMatcher(None, value, prompt, autojunk=False).find_longest_match()
    return run.size / len(value)
