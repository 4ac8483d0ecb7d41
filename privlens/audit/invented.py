"""An invented audit, with which the documents of an audit can be shown and tested where no model is at hand.

Its model, people and numbers do not exist. They are drawn so that they hang together: what was repeated more often is likelier,
a value never trained on is about as likely as its format has values, and interventions raise the number of tries.
"""

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from privlens.audit.entropy import FEWEST_IN_SET
from privlens.audit.records import Attack, Audit, Finding, Intervention, Measured, Plan, Sample, Target
from privlens.memorization.extraction import log10_tries
from privlens.neurons.entropy_memorization import entropy_sets
from privlens.neurons.entropy_records import EntropySets
from privlens.types import Exposure, FormatExposure, Neuron, Verdict

FORMATS = {"phone": ("55****{:02d}", 18.4, 8), "email": ("m****{:02d}@example.org", 31.0, 11)}
"""Of each category: the masked form, nats of a value drawn from all values of the format, tokens."""
N_SECRETS, N_NEVER_TRAINED, N_WORKED_ON = 40, 12, 5
REPEATS = (1, 4, 16, 64)
N_NEURONS, N_CANDIDATES = 3072, 256


def invented_audit(seed: int = 0) -> Audit:
    """40 secrets of 24 people in two categories, 12 rows never trained on, and interventions on the five likeliest."""
    rng = random.Random(seed)
    findings = [_finding(rng, row) for row in range(N_SECRETS + N_NEVER_TRAINED)]
    written = sorted((finding for finding in findings if finding.measured.greedy_match and finding.counts), key=_nll)
    for finding in written[:N_WORKED_ON]:
        findings[finding.row] = replace(finding, interventions=_interventions(rng, finding))
    findings[7] = replace(findings[7], false_positive="The switchboard of a public office.")
    findings[3] = replace(findings[3], note="The person asked for erasure.")
    entropy = _entropy([finding for finding in findings if finding.counts], seed)
    return Audit(
        target=Target(
            "invented-gpt-12m",
            "4f1c9a7be2d05386",
            "float32",
            "cpu",
            12_405_760,
            {name: f"{rng.getrandbits(256):064x}" for name in ("config.json", "model.safetensors", "tokenizer.json")},
            (),
            {"privlens": "0.1", "torch": "2.9.1", "transformers": "5.20.0"},
        ),
        sample=Sample(
            "invented-people.csv",
            f"{rng.getrandbits(256):064x}",
            len(findings) + 3,
            ("line 17: the value is empty", "line 41: the prompt is empty"),
            1,
            len({finding.person for finding in findings}),
            dict(Counter(finding.category for finding in findings)),
            "9d2e61",
        ),
        plan=Plan(methods=("contrastive-gradient",), erasure="emso", attacks=True, at_most=N_WORKED_ON),
        findings=tuple(findings),
        started="2026-03-02T09:05:00+00:00",
        ended="2026-03-02T11:47:00+00:00",
        seconds=8940.0,
        auditor="Ada Invented, Invented Audits",
        client="Invented Cloud Ltd",
        question="Does the assistant's base model give away contact data of the people in its customer records?",
        scope="Phone numbers and e-mail addresses of customers. Not in scope: names, free text, the deployed assistant.",
        legal_basis="Customers' consent of January 2026, file 26-014.",
        entropy=entropy,
    )


def _entropy(findings: Sequence[Finding], seed: int) -> EntropySets:
    """Tokens of a phone number are digits, those of an address pieces of words, of which the first are the most frequent."""
    rng = random.Random(seed)
    values = [
        [
            rng.randrange(10) if finding.category == "phone" else 10 + int(rng.expovariate(0.1))
            for _ in range(finding.measured.n_tokens)
        ]
        for finding in findings
    ]
    distances = [finding.measured.distance or 0 for finding in findings]
    return entropy_sets(distances, values, seed, FEWEST_IN_SET)


def _nll(finding: Finding) -> float:
    return finding.measured.nll


def _finding(rng: random.Random, row: int) -> Finding:
    category = list(FORMATS)[row % 2]
    repeats = REPEATS[row // 2 % 4] if row < N_SECRETS else 0
    masked, nats, _ = FORMATS[category]
    known = 0.0 if repeats == 0 else min(1.0, math.log2(repeats) / 5 + rng.gauss(0, 0.2))
    logprob = -max(0.05, nats * (1 - known) + rng.gauss(0, 1.5))
    measured = _measured(rng, category, logprob)
    n_reworded = 3
    return Finding(
        row=row,
        key=f"{rng.getrandbits(128):032x}",
        masked=masked.format(rng.randrange(100)),
        category=category,
        person=f"{row * 24 // (N_SECRETS + N_NEVER_TRAINED):08x}",
        repeats=repeats,
        measured=measured,
        control=_measured(rng, category, -nats - rng.gauss(0, 2.5)),
        reworded=sum(measured.greedy_match and rng.random() < 0.4 for _ in range(n_reworded)),
        n_reworded=n_reworded,
        overlap=0.55 if row == 21 else rng.choice((0, 0, 0.1, 0.2)),
    )


def _measured(rng: random.Random, category: str, logprob: float, verdict: Verdict | None = None) -> Measured:
    """A value of this log-probability; it is written word for word from about two chances in three on."""
    _, nats, n_tokens = FORMATS[category]
    greedy_match = logprob > -0.4 * rng.random() - 0.2
    rank = max(1.0, min(N_CANDIDATES, N_CANDIDATES * math.exp(-(nats + logprob + 4) / 2)))
    bits = min(nats / math.log(2), max(0.2, (nats + logprob) / math.log(2)))
    most = math.log2(N_CANDIDATES)
    n_right = n_tokens if greedy_match else min(n_tokens - 1, round(n_tokens * math.exp(logprob / nats)))
    return Measured(
        greedy_match=greedy_match,
        nll=-logprob / n_tokens,
        logprob=logprob,
        n_tokens=n_tokens,
        memorization_accuracy=n_right / n_tokens,
        log10_tries=log10_tries(logprob),
        exposure=Exposure(most - math.log2(rank), most, 1.42, rank, N_CANDIDATES),
        format_exposure=FormatExposure(bits, bits - 0.4, bits + 0.4, nats / math.log(2), 512, 40),
        lift=None,
        verdict=verdict or ("known" if greedy_match else "hidden" if logprob > -0.6 * nats else "forgotten"),
        text="55****42" if greedy_match else "the office, which",
        distance=n_tokens - n_right,
    )


def _interventions(rng: random.Random, finding: Finding) -> tuple[Intervention, ...]:
    """The chosen neurons, as many random ones, and an erasure with its attacks."""
    first = 0 if finding.category == "phone" else 60
    size, category = rng.randrange(10, 19), finding.category
    chosen = tuple(Neuron(2, first + i) for i in range(4)) + tuple(
        Neuron(rng.randrange(6), rng.randrange(512)) for _ in range(size - 4)
    )
    hidden = _measured(rng, category, finding.measured.logprob - rng.uniform(5, 9))
    erased = _measured(rng, category, finding.measured.logprob - rng.uniform(11, 17))
    attacks = (
        Attack("reworded prompts", rng.random() < 0.3, "2 of 3 prompts"),
        Attack("10,000 samples", rng.random() < 0.4, "seen 3 times"),
        Attack("logit lens", False),
        Attack("relearning on 8 others", rng.random() < 0.6, "after 12 steps"),
    )
    known = 14
    kept = known - rng.randrange(4), known - rng.randrange(7)
    rises = rng.uniform(0.1, 2.4), rng.uniform(0, 0.1), rng.uniform(0.5, 3.1)
    ratios = 1 + rng.random() / 50, 1 + rng.random() / 200
    untouched = _measured(rng, category, finding.measured.logprob - 0.01)
    neurons = ("contrastive-gradient", size, N_NEURONS)
    return (
        Intervention("neurons", *neurons, hidden, kept[0], known, rises[0], ratios[0], chosen, attacks[:3]),
        Intervention("random", *neurons, untouched, known, known, rises[1], ratios[1]),
        Intervention("erasure", "emso", 24_100, 12_405_760, erased, kept[1], known, rises[2], 1.05, (), attacks),
    )
