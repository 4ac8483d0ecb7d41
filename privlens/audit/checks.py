"""Checks many secrets at once, with the numbers that `memorization.check` gives for each alone.

What is saved: values and continuations run in batches of similar length; other people's prompts and values, which nearly all
lifts share, are run once; a value with more than half of the probability needs no rival to be measured; and rivals share the
keys and values of what they have in common, token by token, those of all secrets of a chunk together. Of the paired controls no
exposure in the whole format is measured.
"""

import math
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

from privlens.audit.pairs import KnownPairs, ListedPairs
from privlens.audit.records import Finding, Measured, Plan
from privlens.audit.sample import SampledSecret, masked
from privlens.audit.totals import Asked, totals
from privlens.errors import BadInput
from privlens.lm.model import LanguageModel, Stop, never_stop
from privlens.lm.scoring import ValueScore, score
from privlens.lm.tokens import Encoded
from privlens.memorization import metrics
from privlens.memorization.candidates import SPACE_SIZE, format_size
from privlens.memorization.check import consistent_continuation, control, rivals
from privlens.memorization.extraction import log10_tries
from privlens.memorization.format_exposure import SURE, format_exposures_of
from privlens.memorization.lift import lift_of
from privlens.memorization.words import has_words
from privlens.neurons.entropy_memorization import token_distance
from privlens.types import Exposure, FormatExposure, Lift, Secret, verdict
from privlens.value_match import collapse_whitespace

AT_ONCE = 16
"""Secrets in one chunk: they share batches; findings arrive, and a stop is heard, chunk by chunk."""
CERTAIN = SURE + 2 * metrics.TIE
"""Above this log-probability (nats) no rival is likelier than the value, nor ties with it: together they have less than half."""


def check_all(
    lm: LanguageModel,
    sampled: Sequence[SampledSecret],
    listed: Sequence[Secret],
    plan: Plan,
    *,
    keep_values: bool = False,
    stop: Stop = never_stop,
    shared: ListedPairs | None = None,
) -> Iterator[Finding]:
    """A finding for every secret, in order, as soon as its chunk is measured; none is kept here.

    Args:
        listed: all secrets of the list, for the lifts. keep_values: whether what the model writes is recorded as it is.
        shared: what calls with the same model and list share; the numbers are the same without.

    Raises:
        BadInput: for a secret that the model cannot be asked. Cancelled: when `stop` returns true.
    """
    shared = shared or ListedPairs(lm, listed)
    for start in range(0, len(sampled), AT_ONCE):
        yield from _check_chunk(lm, sampled[start : start + AT_ONCE], shared, plan, keep_values, stop)


def _check_chunk(
    lm: LanguageModel,
    chunk: Sequence[SampledSecret],
    shared: ListedPairs,
    plan: Plan,
    keep_values: bool,
    stop: Stop,
) -> list[Finding]:
    secrets = [lm.settled(sampled.secret) for sampled in chunk]
    controls = [control(lm, secret, plan.seed) for secret in secrets]
    present = [rival for rival in controls if rival]
    pairs = KnownPairs(lm, stop, shared)
    pairs.prepare([*secrets, *present])
    measured = measure(lm, [*secrets, *present], shared.listed, plan, pairs, keep_values, len(secrets), stop)
    of_controls = iter(measured[len(secrets) :])
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
        for sampled, found, rival, n_written in zip(chunk, measured[: len(secrets)], controls, reworded, strict=True)
    ]


def measure(
    lm: LanguageModel,
    secrets: Sequence[Secret],
    listed: Sequence[Secret],
    plan: Plan,
    pairs: KnownPairs,
    keep_values: bool = False,
    n_in_format: int | None = None,
    stop: Stop = never_stop,
) -> list[Measured]:
    """Secrets as `check` measures them, in one state of the model. n_in_format: of how many the whole format is sampled too."""
    if not secrets:
        return []
    encoded = [lm.encode(secret) for secret in secrets]
    scores = score(lm, encoded, stop=stop)
    sampled = scores
    if plan.temperature != 1 or plan.top_k:
        sampled = score(lm, encoded, stop=stop, temperature=plan.temperature, top_k=plan.top_k)
    in_format = secrets[:n_in_format]
    comparisons = zip(
        exposures(lm, secrets, encoded, [sum(values.logprobs) for values in scores], plan.seed, stop),
        [*format_exposures_of(lm, in_format, seed=plan.seed, stop=stop), *[None] * (len(secrets) - len(in_format))],
        [lift_of(lm, secret, listed, stop=stop, column=pairs.column) for secret in secrets],
        strict=True,
    )
    continuations = _continuations(lm, encoded, scores, stop)
    return [
        _measured(lm, secret, ids, values, sum(drawn.logprobs), written, keep_values, *compared)
        for secret, ids, values, drawn, written, compared in zip(
            secrets, encoded, scores, sampled, continuations, comparisons, strict=True
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
        verdict=verdict(greedy, exposure, lift),
        text=text if keep_values else masked(text),
        distance=token_distance(written, encoded.value_ids),
    )


def exposures(
    lm: LanguageModel,
    secrets: Sequence[Secret],
    encoded: Sequence[Encoded],
    logprobs: Sequence[float],
    seed: int,
    stop: Stop = never_stop,
) -> list[Exposure]:
    """`check.exposure_of` of each, from the values' total log-probabilities (nats) on; the rivals of all are run together."""
    fair = [not has_words(lm, secret.value) for secret in secrets]
    known: dict[int, Exposure] = {}
    asked: list[Asked] = []
    of: list[int] = []
    for row, (secret, ids, logprob) in enumerate(zip(secrets, encoded, logprobs, strict=True)):
        if _is_certain(lm, secret, ids, logprob):
            known[row] = metrics.exposure_at(1, min(SPACE_SIZE, format_size(secret.value)), fair[row])
            continue
        by_prompt: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
        for _, rival in rivals(lm, secret, seed):
            by_prompt.setdefault(rival.prompt_ids, []).append(rival.value_ids)
        asked += [Asked(prompt, tuple(values), logprob - metrics.TIE) for prompt, values in by_prompt.items()]
        of += [row] * len(by_prompt)
    others: dict[int, list[float]] = {row: [] for row in range(len(secrets))}
    for row, found in zip(of, totals(lm, asked, stop), strict=True):
        others[row] += found
    return [known.get(row) or metrics.exposure(logprob, others[row], fair[row]) for row, logprob in enumerate(logprobs)]


def _is_certain(lm: LanguageModel, secret: Secret, encoded: Encoded, logprob: float) -> bool:
    """Whether no rival has to be run to know that the value leads them all, and each of them would fit into the context."""
    n_bytes = len(f"{secret.prompt} {secret.value}".encode())
    return logprob >= CERTAIN and encoded.n_prompt > 1 and n_bytes + 8 <= lm.room  # 8: whatever special tokens there are


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
