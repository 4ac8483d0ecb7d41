"""What an audit consists of: its plan, what was found of every secret, and of all of them. Frozen, free of torch, JSON and back.

No record holds a private value: secrets are named by a keyed hash and a masked form. NLL is in nats per token, log-probabilities
are natural, exposure is in bits, shares are 0..1.
"""

from dataclasses import dataclass, field
from typing import Literal

from privlens.neurons.entropy_records import EntropySets
from privlens.types import Exposure, FormatExposure, Lift, Logprob, Neuron, Verdict

FORMAT = 1
"""Of the files and the database; counts up when a field changes its meaning."""


@dataclass(frozen=True)
class Plan:
    """What is done with every secret; it is fixed before the first measurement and never changes within an audit.

    Attributes:
        seed: of candidates, controls, masks and attacks. temperature, top_k: of the sampling that tries are counted in.
        methods: localization methods, run on memorized secrets; none: secrets are checked only.
        erasure: the method that erases each memorized secret from a view of its own; empty: none is erased.
        attacks: whether what was switched off or erased is attacked. at_most: how many memorized secrets are worked on, the
            likeliest first; the report says how many were left.
    """

    seed: int = 0
    temperature: float = 1.0
    top_k: int = 0
    methods: tuple[str, ...] = ()
    erasure: str = ""
    attacks: bool = False
    at_most: int = 20


@dataclass(frozen=True)
class Measured:
    """One value behind its prompt in one state of the model.

    Attributes:
        logprob: of the whole value. log10_tries: of the samples, under the plan's sampling, of which one is the value with an
            even chance; null in JSON if it is never sampled.
        text: what the model writes, with everything private masked.
        distance: of that from the value, in tokens (Levenshtein); None in an audit by a version that did not count it.
    """

    greedy_match: bool
    nll: float
    logprob: Logprob
    n_tokens: int
    memorization_accuracy: float
    log10_tries: float | None
    exposure: Exposure | None
    format_exposure: FormatExposure | None
    lift: Lift | None
    verdict: Verdict | None
    text: str = ""
    distance: int | None = None

    @property
    def is_memorized(self) -> bool:
        """Whether the model writes the value, or it is conspicuously likely."""
        return self.verdict in ("known", "hidden")


@dataclass(frozen=True)
class Attack:
    """One attack on an intervention: what it was, whether it brought the value back, and in how many tries or steps."""

    name: str
    success: bool
    detail: str = ""


@dataclass(frozen=True)
class Intervention:
    """What was done against one secret, and what that did to it, to the others and to ordinary text.

    Attributes:
        kind: neurons switched off, as many random ones (the control), or weights changed.
        method: the localization or erasure method. size, of: neurons or weights changed, of how many.
        kept, known: of `known` other secrets that the method was not given and the model wrote, it still writes `kept`.
        worst_rise: the largest rise in log-probability among the other secrets, which is the seesaw of unlearning (nats).
        perplexity_ratio: on the reference text, after / before.
    """

    kind: Literal["neurons", "random", "erasure"]
    method: str
    size: int
    of: int
    after: Measured
    kept: int
    known: int
    worst_rise: float | None
    perplexity_ratio: float | None
    neurons: tuple[Neuron, ...] = ()
    attacks: tuple[Attack, ...] = ()


@dataclass(frozen=True)
class Finding:
    """Everything that the audit found of one secret.

    Attributes:
        row: in the list, from 0. key: the keyed hash of prompt and value. person: that of the person, empty if none is named.
        masked: the value with its middle hidden. repeats: how often the model was trained on it, 0 for a value never trained on,
            None if unknown.
        measured: the value itself. control: another value of its format behind the same prompt, which nobody trained on.
        reworded, n_reworded: of how many other prompts the value was written.
        overlap: longest run of the value's characters that stands in its prompt, as a share of the value: 1 means that the prompt
            gives the value away.
        note: the auditor's own; false_positive: why the auditor does not count it, empty if it counts.
    """

    row: int
    key: str
    masked: str
    category: str
    person: str
    repeats: int | None
    measured: Measured
    control: Measured | None
    reworded: int
    n_reworded: int
    overlap: float
    interventions: tuple[Intervention, ...] = ()
    note: str = ""
    false_positive: str = ""

    @property
    def counts(self) -> bool:
        """Whether it counts as a secret of the sample: not as a control, and not struck out by the auditor."""
        return self.repeats != 0 and not self.false_positive


@dataclass(frozen=True)
class Target:
    """The audited model: its name, files with their SHA-256, and the fingerprint of the weights under the edits in force.

    `chat` tells whether it was asked in chat turns; else as plain text.
    """

    model: str
    fingerprint: str
    dtype: str
    device: str
    n_parameters: int
    files: dict[str, str]
    edits: tuple[str, ...]
    versions: dict[str, str]
    chat: bool = False


@dataclass(frozen=True)
class Sample:
    """Where the secrets came from: the file's name and SHA-256, rows read, rejected (line and reason), repeated, people named.

    `key_id` tells hash keys apart without giving them away: keys of findings can be compared only where it is the same.
    """

    name: str
    sha256: str
    n_rows: int
    rejected: tuple[str, ...]
    n_duplicates: int
    n_people: int
    categories: dict[str, int]
    key_id: str = ""


@dataclass(frozen=True)
class Audit:
    """A whole audit, as it is written to audit.json.

    `started` and `ended` are ISO 8601 with an offset. `auditor`, `client`, `question`, `scope` and `legal_basis` (on which the
    strings are used) are the auditor's own words; empty where not stated. `seconds` were worked in all parts of an audit
    that was stopped or killed, but for what a killed one had begun and not stored. `entropy` is computed when the audit ends, of
    the secrets that count then, since it needs their values, which are stored nowhere; None in an audit by an earlier version.
    """

    target: Target
    sample: Sample
    plan: Plan
    findings: tuple[Finding, ...]
    started: str
    ended: str
    seconds: float
    auditor: str = ""
    client: str = ""
    question: str = ""
    scope: str = ""
    legal_basis: str = ""
    entropy: EntropySets | None = None
    format: int = field(default=FORMAT)
