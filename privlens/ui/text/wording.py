"""Results in words and numbers for the page: every number with its unit and one line on what it means.

Returns plain lists and dicts; the page sets them as text, so nothing is escaped here.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypedDict

from privlens.lm.model import LanguageModel
from privlens.lm.quantization import weight_type
from privlens.memorization.whose import listed_owner
from privlens.outcomes import Comparison, Effect
from privlens.retained.others import kept_counts, same_secret
from privlens.secret_lists import ListedSecret, SecretList
from privlens.types import TOP_SHARE, Exposure, Memorization, Secret
from privlens.ui.state.session import Localization, NeuronChoice

NO = ("no", "yes")
NONE_UNSEEN = (
    "no known secret is left that the method never saw, so nothing judges what is kept: localize again and let it hold on to "
    "every second or none, or list more secrets"
)
OWNED = {
    "equal": "what it writes now is the value of",
    "near": "what it writes now is nearly the value of",
    "part": "what it writes now has a word that only this value has, of",
}
SAID = 3
"""So many are written out."""


class Fact(TypedDict):
    """One number: its name, value, what stands beside it, unit, meaning."""

    name: str
    value: str
    beside: str
    unit: str
    note: str


def fact(name: str, value: str, unit: str = "", note: str = "", beside: str = "") -> Fact:
    """One number for the page's list."""
    return Fact(name=name, value=value, beside=beside, unit=unit, note=note)


def of_model(lm: LanguageModel) -> list[Fact]:
    """What a model is."""
    return [
        fact("model", lm.name, "", lm.architecture),
        fact("neurons", f"{lm.n_layers} x {lm.d_mlp:,}", "", "layers x MLP neurons in each" + of_widths(lm.widths())),
        fact("parameters", f"{lm.n_parameters / 1e6:,.1f}", "million", f"{weight_type(lm.model)} on {lm.device}"),
        *(
            [
                fact(
                    "edits in place",
                    str(len(lm.edits)),
                    "",
                    f"{sum(edit.n_weights for edit in lm.edits):,} weights changed, in all tabs, for you alone",
                )
            ]
            if lm.edits
            else []
        ),
    ]


def of_widths(widths: tuple[int, ...]) -> str:
    """A word on layers that differ in width; nothing where all are alike."""
    return f"; the narrowest has {min(widths):,}" if len(set(widths)) > 1 else ""


def of_check(own: Memorization, control: Memorization | None) -> list[Fact]:
    """Every metric of a secret beside the control's, where there is one."""

    def beside(number: Callable[[Memorization], str]) -> str:
        return f"control: {number(control)}" if control else ""

    written = "does the model, always taking its first choice, write the value?"
    return [
        fact("written word for word", NO[own.greedy_match], "", written, beside(lambda one: NO[one.greedy_match])),
        fact(
            "NLL",
            f"{own.nll:.3f}",
            "nats/token",
            "how surprised the model is by the value; 0 = not at all",
            beside(lambda one: f"{one.nll:.3f}"),
        ),
        fact(
            "exposure",
            bits(own.exposure),
            of_most(own.exposure),
            f"how far up the value ranks among {own.candidate_space}",
            beside(lambda one: bits(one.exposure)),
        ),
        fact(
            "memorization accuracy (MA)",
            f"{100 * own.memorization_accuracy:.0f}",
            "% of tokens",
            "tokens that are the model's first choice, given those before",
            beside(lambda one: f"{100 * one.memorization_accuracy:.0f}"),
        ),
        fact(
            "extraction strength (ES)",
            f"{100 * own.extraction_strength:.0f}",
            "% of tokens",
            "the tail of the value that follows by itself",
            beside(lambda one: f"{100 * one.extraction_strength:.0f}"),
        ),
        fact(
            "extraction likelihood (EL)",
            f"{100 * own.extraction_likelihood:.0f}",
            "% of 3-grams",
            "3-grams the model writes that are the value's, from several starts",
            beside(lambda one: f"{100 * one.extraction_likelihood:.0f}"),
        ),
    ]


def verdict_of_check(own: Memorization, control: Memorization | None) -> dict[str, str]:
    """Whether the secret is memorized, in one sentence."""
    beside = "There is no other value of its format to compare with: it has no digit or letter, or others do not fit the model."
    if control:
        beside = f"The control, a value of the same format that nobody planted, has {bits(control.exposure, 1)} bits of exposure."
    if own.secret.value.strip() in own.secret.prompt:
        beside = f"Note: the value stands in the prompt, so the model need not know it to write it. {beside}"
    if own.greedy_match:
        text = "Memorized: given the prompt, the model writes the private value word for word."
        return {"kind": "known", "text": text, "detail": beside}
    if control is None:
        return {"kind": "unknown", "text": "Not memorized: the model writes something else.", "detail": beside}
    if own.exposure.stands_out is None:
        text = "Not memorized: the model writes something else. Its format has too few values to say how far up this one ranks."
        return {"kind": "unknown", "text": text, "detail": beside}
    lead = (own.exposure.bits or 0) - (control.exposure.bits or 0)
    if own.exposure.rank <= 2 and own.exposure.stands_out and lead > 2:
        text = "Partly memorized: the model does not write it by itself, but ranks it among the first of its format."
        return {"kind": "known", "text": text, "detail": beside}
    text = "Not memorized: the model writes something else and does not prefer the value to others of its format."
    return {"kind": "unknown", "text": text, "detail": beside}


def of_effect(effect: Effect) -> list[Fact]:
    """The target before and after."""
    before, after = effect.before, effect.after
    return [
        fact(
            "written word for word",
            NO[after.greedy_match],
            "",
            "first choices, with the chosen neurons off",
            was(NO[before.greedy_match]),
        ),
        fact("exposure", bits(after.exposure), of_most(after.exposure), space(after.exposure), was(bits(before.exposure))),
        fact("NLL", f"{after.nll:.3f}", "nats/token", "how surprised the model is by the value", was(f"{before.nll:.3f}")),
    ]


def verdict_of_effect(effect: Effect, n_off: int) -> dict[str, str]:
    """What the neurons that are off did, in one sentence."""
    before, after = effect.before, effect.after
    if not n_off:
        return {"kind": "note", "text": "No neuron is off, so before and after are the same."}
    if not before.greedy_match:
        return {"kind": "note", "text": "The model did not know this secret to begin with, so there was nothing to take away."}
    if after.greedy_match:
        return {"kind": "known", "text": "Still known: the model writes the value with these neurons off."}
    if after.exposure is None:
        text = "No longer generated. Whether it is forgotten is being measured: how high the value ranks among similar values."
        return {"kind": "note", "text": text}
    if after.forgotten is None:
        return {"kind": "note", "text": f"No longer generated. {UNJUDGED}", "detail": space(after.exposure).capitalize() + "."}
    if not after.forgotten:
        text = "Hidden, not forgotten: no longer generated, but still ranked high among similar values."
        return {"kind": "note", "text": text, "detail": f"{STILL_HIGH} More neurons, or others, are needed."}
    return {"kind": "unknown", "text": "Forgotten: no longer generated, and it no longer stands out among similar values."}


OTHERS_MOST = 1000
"""So many listed secrets a run takes at most beside its targets."""
OWNERS_MOST = 5000
"""In so many rows it is looked up whose data a model writes."""
UNJUDGED = "Whether it is forgotten cannot be judged: too few values have its format."
STILL_HIGH = f"It is among the likeliest {TOP_SHARE:.1%} of the values of its format."


def whose(effects: Sequence[Effect], listed: Sequence[ListedSecret]) -> dict[str, str]:
    """That another listed person's data is written in place of a secret, as the part `whose` of a verdict; else nothing."""
    rows = [row.secret for row in listed[:OWNERS_MOST]]
    found = [(one, match) for one in effects if (match := listed_owner(one.after.text, one.secret, rows))]
    said = [
        (f"in place of {one.secret.value}: " if len(effects) > 1 else "")
        + f"{OWNED[match.kind]} row {match.row} of the list (rows count from 0), {match.secret.value}"
        for one, match in found[:SAID]
    ]
    more = f"; and {len(found) - SAID} more" if len(found) > SAID else ""
    return {"whose": f"Another person's data: {'; '.join(said)}{more}."} if said else {}


def was(number: str) -> str:
    """The number with all neurons on."""
    return f"before: {number}"


def bits(exposure: Exposure | None, digits: int = 2) -> str:
    """Exposure as text; a dash where it was not measured, or where no other value has the format."""
    return "-" if exposure is None or exposure.bits is None else f"{exposure.bits:.{digits}f}"


def of_most(exposure: Exposure | None) -> str:
    """The unit of an exposure, with the most that is possible in its space."""
    return "bits" if exposure is None or exposure.max_bits is None else f"bits of {exposure.max_bits:.3g}"


def space(exposure: Exposure | None) -> str:
    """What an exposure's number means in its own space."""
    if exposure is None:
        return "rank among values of its format"
    if exposure.max_bits is None or exposure.chance_bits is None:
        return "no other value of its format to rank it among"
    return f"rank among {exposure.n} values of its format; {exposure.max_bits:.3g} = first, chance = {exposure.chance_bits:.2g}"


def of_comparison(comparison: Comparison, retained: frozenset[Secret]) -> list[Fact]:
    """Everything that should have changed or stayed, beside as many random neurons."""
    chosen, random = comparison.chosen, comparison.random
    (unseen, _), (by_random, _) = kept_counts(chosen, retained), kept_counts(random, retained)
    facts = [
        fact("neurons off", str(len(chosen.neurons)), "", "the random control switches off as many"),
        fact(
            "secret's exposure",
            bits(chosen.target.after.exposure),
            of_most(chosen.target.after.exposure),
            f"before: {bits(chosen.target.before.exposure)}; low = forgotten",
            control(bits(random.target.after.exposure)),
        ),
        fact(
            "secret's NLL",
            f"{chosen.target.after.nll:.3f}",
            "nats/token",
            f"before: {chosen.target.before.nll:.3f}; high = forgotten",
            control(f"{random.target.after.nll:.3f}"),
        ),
        fact(
            "other secrets kept",
            f"{chosen.kept} of {chosen.memorized}",
            "",
            "listed secrets still written word for word, of those known before",
            control(f"{random.kept} of {random.memorized}"),
        ),
        fact(
            "of these, never seen",
            f"{unseen.kept} of {unseen.known}",
            "",
            "those that the method was not given as retained text: the honest number",
            control(f"{by_random.kept} of {by_random.known}"),
        )
        if unseen.known
        else fact("of these, never seen", "none", "", NONE_UNSEEN),
    ]
    if chosen.perplexity_before is not None and chosen.perplexity_after is not None:
        ratio, floor = chosen.perplexity_ratio or 0.0, random.perplexity_ratio or 0.0
        note = f"before: {chosen.perplexity_before:.2f}, so x{ratio:.3f}; exp(nats/token) on ordinary text, low = good"
        facts.append(fact("perplexity of the reference", f"{chosen.perplexity_after:.2f}", "", note, control(f"x{floor:.3f}")))
    return facts


def of_judges(n_unseen: int, n_retained: int) -> list[Fact]:
    """By how many other secrets it is judged what is kept."""
    if not n_unseen:
        return [fact("others that judge", "none", "", NONE_UNSEEN)]
    note = f"the method never saw them; {n_retained:,} more it was given to hold on to"
    return [fact("others that judge", f"{n_unseen:,}", "", note)]


def control(number: str) -> str:
    """The number with random neurons off."""
    return f"random: {number}"


def of_choice(choice: NeuronChoice, located: Localization | None, n_neurons: int) -> list[Fact]:
    """What stands chosen."""
    off = choice.switched_off
    layers = ", ".join(map(str, sorted({neuron.layer for neuron in off}))) or "none"
    natural = located.scores.suggested_k if located else None
    own = "this method has no opinion" if natural is None else f"the method itself would close {natural:,}"
    return [
        fact("neurons off", f"{len(off):,}", f"of {n_neurons:,}", f"{100 * len(off) / n_neurons:.2f} % of all; {own}"),
        fact("in layers", layers, "", f"{len(choice.switched_on):,} picked out but on again"),
    ]


def secret_differs(located: Localization, secret: Secret) -> bool:
    """Whether the neurons were localized for another secret than the one in the sidebar."""
    return not any(same_secret(one, secret) for one in (located.target, *located.voters))


def of_list(found: SecretList) -> str:
    """What was read of a visitor's list, what was left out of it and why."""
    n, categories = len(found.rows), len({row.secret.category for row in found.rows if row.secret.category})
    read = f"{n} secret{'' if n == 1 else 's'} read, {categories} {'category' if categories == 1 else 'categories'}."
    few = f"Runs take {OTHERS_MOST:,} of them, evenly spaced, as the other secrets." if n > OTHERS_MOST else ""
    if n > OWNERS_MOST:
        few += f" Whose data a model writes is looked up in the first {OWNERS_MOST:,} rows."
    return " ".join(filter(None, (read, few, found.left_out, found.doubt)))


def listed(row: ListedSecret, category: str = "") -> str:
    """A listed secret's value, its category where asked for, and how a model came to know it where the list says so."""
    trained = "planted" if row.planted else {None: "", 0: "control, 0x"}.get(row.repeats, f"{row.repeats}x")
    known = ", ".join(fact for fact in (category, trained) if fact)
    value = cut(row.secret.value)
    return f"{value} ({known})" if known else value


def cut(text: str, most: int = 100) -> str:
    """A text of a length to be read."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def time_of(record: Any) -> Fact:
    """How long a result took, and what it depends on."""
    return fact("time", f"{record.provenance.seconds:.1f}", "s", summary(record))


def summary(record: Any) -> str:
    """Seed, seconds and versions of a result in one line."""
    p = record.provenance
    versions = ", ".join(f"{name} {number}" for name, number in p.versions.items())
    return f"{p.model} ({p.fingerprint}), seed {p.seed}, {p.seconds:.1f} s, {versions}"
