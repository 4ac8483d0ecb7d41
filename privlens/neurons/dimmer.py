"""One neuron is dimmed, amplified, or off: what that does to a secret, to ordinary text and to the listed secrets.

Beside each number stands that of random neurons, one at a time, because any neuron does something.
"""

import statistics
import time
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from privlens import intervals
from privlens.errors import BadInput, Cancelled
from privlens.lm.gating import random_like
from privlens.lm.model import LanguageModel, Stop, never_stop
from privlens.lm.scoring import score, text_nll
from privlens.memorization import metrics
from privlens.memorization.states import memorization_states, reference_ids
from privlens.neurons.page_records import AloneOff, AloneStep, Dimmer, DimmerPoint, NeuronOff, SecretChange
from privlens.outcomes import MemorizationState
from privlens.provenance import provenance
from privlens.types import Neuron, Secret

GATES: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
"""From off over unchanged to doubled."""
N_RANDOM = 5
"""Random neurons beside the chosen one, each by itself: of fewer an interval says little (of 5 it is 2.8 standard errors to each
side), more cost a pass each."""
REFERENCE_TOKENS = 256
"""Tokens of ordinary text that the dimmer runs at each gate. One neuron moves the NLL of all texts by little, but of the same
tokens each time, so that few show it."""


def dimmed(lm: LanguageModel, neurons: Sequence[Neuron], gates: Sequence[float]) -> Tensor:
    """Gates [len(neurons) * len(gates), n_layers, width]: each neuron alone at each gate, neuron by neuron, all others on."""
    n_layers, width = lm.shape()
    rows = torch.ones(len(neurons) * len(gates), n_layers, width, device=lm.device, dtype=torch.float32)
    values = torch.tensor(gates, dtype=torch.float32, device=lm.device)
    for number, neuron in enumerate(neurons):
        rows[number * len(gates) : (number + 1) * len(gates), neuron.layer, neuron.index] = values
    return rows


def dimmer(
    lm: LanguageModel,
    neuron: Neuron,
    secret: Secret,
    texts: Sequence[str] = (),
    *,
    gates: Sequence[float] = GATES,
    seed: int = 0,
    stop: Stop = never_stop,
) -> Dimmer:
    """What happens as one neuron is multiplied by each gate: the secret in ONE batch with a row of gates for each.

    Args:
        texts: paragraphs of ordinary text, of which the first REFERENCE_TOKENS tokens are run. seed: of the random neurons.

    Raises:
        BadInput: for a neuron or secret that cannot be used. Cancelled: if `stop` returned True.
    """
    started = time.perf_counter()
    lm.off([neuron])  # refuses a neuron that does not exist
    if not gates:
        raise BadInput("The dimmer needs at least one gate, such as 0.5.")
    encoded = lm.encode(secret)
    rivals = random_like(lm.widths(), N_RANDOM, seed, frozenset([neuron]))
    rows = dimmed(lm, [neuron, *rivals], gates)
    scores = score(lm, [encoded] * len(rows), rows, stop=stop)
    nlls = [metrics.nll(of_row.logprobs) for of_row in scores]
    reference = _first_tokens(reference_ids(lm, texts))
    points = []
    for number, gate in enumerate(gates):
        of_text = text_nll(lm, reference, rows[number : number + 1], stop=stop) if reference else None
        random_nlls = nlls[number + len(gates) :: len(gates)]
        points.append(
            DimmerPoint(
                gate=gate,
                secret_nll=nlls[number],
                entropy=statistics.fmean(scores[number].entropies),
                reference_nll=of_text,
                random_nll=statistics.fmean(random_nlls),
                random_interval=intervals.mean(random_nlls),
            )
        )
    settings = {"n_reference_tokens": sum(len(ids) - 1 for ids in reference)}
    return Dimmer(neuron, tuple(points), rivals, provenance(lm, seed, settings, started))


def _first_tokens(rows: Sequence[Sequence[int]]) -> list[Sequence[int]]:
    """Rows of two tokens or more up to REFERENCE_TOKENS in all, the last one cut."""
    first: list[Sequence[int]] = []
    left = REFERENCE_TOKENS
    for ids in rows:
        if min(left, len(ids)) > 1:
            first.append(ids[:left])
            left -= len(first[-1])
    return first


def alone_off(
    lm: LanguageModel, neuron: Neuron, listed: Sequence[Secret], *, seed: int = 0, stop: Stop = never_stop
) -> Iterator[AloneStep]:
    """Which listed secrets fall when this neuron alone is off, beside N_RANDOM random ones, each off alone.

    Yields after every neuron; the last step has the result. A secret falls if it was written word for word and no longer is.

    Raises:
        BadInput: for no secret, or a neuron or secret that cannot be used. Cancelled: if `stop` returned True.
    """
    started = time.perf_counter()
    lm.off([neuron])  # refuses a neuron that does not exist
    secrets = tuple(dict.fromkeys(listed))
    if not secrets:
        raise BadInput("No secret is listed: give a list of secrets.")
    rivals = random_like(lm.widths(), N_RANDOM, seed, frozenset([neuron]))
    n_steps = len(rivals) + 2
    before = memorization_states(lm, secrets, stop=stop)
    effects: list[NeuronOff] = []
    for step, off in enumerate((neuron, *rivals), 1):
        if stop():
            raise Cancelled("Stopped while switching neurons off; nothing was changed.")
        after = memorization_states(lm, secrets, lm.off([off]), stop=stop)
        effects.append(_effect(off, before, after))
        if off == neuron:
            changes = tuple(map(_change, secrets, before, after))
        yield AloneStep(step, n_steps, f"{step} of {len(rivals) + 1} neurons off, one at a time")
    n_known = sum(state.greedy_match for state in before)
    shares = [effect.n_lost / n_known for effect in effects[1:]] if n_known else []
    result = AloneOff(
        chosen=effects[0],
        random=tuple(effects[1:]),
        changes=tuple(sorted(changes, key=lambda change: change.nll_before - change.nll_after)),
        n_known=n_known,
        random_interval=intervals.share(shares, n_known) if n_known else None,
        provenance=provenance(lm, seed, {"n_listed": len(secrets), "n_random": len(rivals)}, started),
    )
    yield AloneStep(n_steps, n_steps, "done", result)


def _change(secret: Secret, before: MemorizationState, after: MemorizationState) -> SecretChange:
    return SecretChange(secret, before.nll, after.nll, before.greedy_match, after.greedy_match)


def _effect(off: Neuron, before: Sequence[MemorizationState], after: Sequence[MemorizationState]) -> NeuronOff:
    pairs = list(zip(before, after, strict=True))
    n_known = sum(state.greedy_match for state in before)
    n_lost = sum(old.greedy_match and not new.greedy_match for old, new in pairs)
    interval = intervals.rate(n_lost, n_known) if n_known else None
    return NeuronOff(off, n_lost, interval, statistics.fmean(new.nll - old.nll for old, new in pairs))
