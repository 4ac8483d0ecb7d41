"""Results in words and numbers for the page: every number with its unit and one line on what it means.

Returns plain lists and dicts; the page sets them as text, so nothing is escaped here.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, TypedDict

from privlens.lm.model import LanguageModel
from privlens.lm.quantization import weight_type
from privlens.memorization.depth import tries_in_words
from privlens.memorization.whose import listed_owner
from privlens.outcomes import Comparison, Effect
from privlens.retained.others import kept_counts, same_secret
from privlens.secret_lists import ListedSecret, SecretList
from privlens.types import Exposure, FormatExposure, Lift, Memorization, NeuronScores, Secret, TokenScore, Verdict
from privlens.ui.state.session import Localization, NeuronChoice
from privlens.ui.text import en

SAID = 3
"""Owners that are written out."""


Place = Literal["", "more", "origin"]
"""Where a number stands: among the first, folded away, or in the line that says what a result was made with."""


class Fact(TypedDict):
    """One number: its name, value, the number beside it, unit, meaning, and where it stands."""

    name: str
    value: str
    beside: str
    unit: str
    note: str
    place: Place


def fact(name: str, value: str, unit: str = "", note: str = "", beside: str = "", place: Place = "") -> Fact:
    """One number for the page's list."""
    return Fact(name=name, value=value, beside=beside, unit=unit, note=note, place=place)


def folded(facts: Iterable[Fact]) -> list[Fact]:
    """The same numbers, folded away: those for people who want to look further."""
    return [{**fact, "place": "more"} for fact in facts]


def of_model(lm: LanguageModel) -> list[Fact]:
    """What a model is."""
    return [
        fact("model", lm.name, "", lm.architecture),
        fact("neurons", f"{lm.n_layers} x {lm.d_mlp:,}", "", en.LAYERS_AND_NEURONS + of_widths(lm.widths())),
        fact("parameters", f"{lm.n_parameters / 1e6:,.1f}", "million", f"{weight_type(lm.model)} on {lm.device}"),
        *(
            [
                fact(
                    "active edits",
                    str(len(lm.edits)),
                    "",
                    en.weights_changed(sum(edit.n_weights for edit in lm.edits)),
                )
            ]
            if lm.edits
            else []
        ),
    ]


def of_widths(widths: tuple[int, ...]) -> str:
    """A word on layers that differ in width; nothing where all are alike."""
    return en.narrowest(min(widths)) if len(set(widths)) > 1 else ""


def of_check(checked: Memorization, control: Memorization | None) -> list[Fact]:
    """Every metric of a secret beside the control's, where there is one."""

    def beside(number: Callable[[Memorization], str]) -> str:
        return en.control(number(control)) if control else ""

    first = [
        fact(
            "written word for word",
            en.NO_YES[checked.greedy_match],
            "",
            en.NOTE_GREEDY,
            beside(lambda check: en.NO_YES[check.greedy_match]),
        ),
        fact(
            "tries",
            tries_in_words(checked.sampled_logprob),
            "for an even chance",
            en.note_tries(checked.temperature, checked.top_k),
            beside(lambda check: tries_in_words(check.sampled_logprob)),
        ),
        in_format(checked.format_exposure, beside(lambda check: format_bits(check.format_exposure))),
    ]
    more = [
        fact(
            "exposure",
            bits(checked.exposure),
            of_most(checked.exposure),
            en.note_exposure(checked.candidate_space, checked.exposure.fair),
            beside(lambda check: bits(check.exposure)),
        ),
        lift_fact(checked.lift, beside(lambda check: lift_nats(check.lift))),
        fact("NLL", f"{checked.nll:.3f}", "nats/token", en.NOTE_NLL, beside(lambda check: f"{check.nll:.3f}")),
        fact(
            "memorization accuracy (MA)",
            f"{100 * checked.memorization_accuracy:.0f}",
            "% of tokens",
            en.NOTE_MA,
            beside(lambda check: f"{100 * check.memorization_accuracy:.0f}"),
        ),
        fact(
            "extraction strength (ES)",
            f"{100 * checked.extraction_strength:.0f}",
            "% of tokens",
            en.NOTE_ES,
            beside(lambda check: f"{100 * check.extraction_strength:.0f}"),
        ),
        fact(
            "extraction likelihood (EL)",
            f"{100 * checked.extraction_likelihood:.0f}",
            "% of 3-grams",
            en.NOTE_EL,
            beside(lambda check: f"{100 * check.extraction_likelihood:.0f}"),
        ),
    ]
    return [*first, *folded(more)]


def of_tokens(tokens: Sequence[TokenScore]) -> list[tuple[str, float, int]]:
    """Text, probability and rank of every token."""
    return [(score.token, math.exp(score.logprob), score.rank) for score in tokens]


def verdict_of_check(checked: Memorization, control: Memorization | None) -> dict[str, str]:
    """Whether the secret is memorized, in one sentence."""
    beside = en.NO_CONTROL
    if control:
        beside = en.control_exposure(bits(control.exposure, 1))
    if checked.secret.value.strip() in checked.secret.prompt:
        beside = en.value_in_prompt(beside)
    if checked.greedy_match:
        return {"kind": "known", "text": en.MEMORIZED, "detail": beside}
    if control is None:
        return {"kind": "unknown", "text": en.NOT_MEMORIZED, "detail": beside}
    if checked.exposure.standing is None:
        return {"kind": "unknown", "text": en.NOT_MEMORIZED_UNRANKED, "detail": beside}
    if partly_memorized(checked, control):
        return {"kind": "known", "text": en.PARTLY_MEMORIZED, "detail": beside}
    return {"kind": "unknown", "text": en.NOT_PREFERRED, "detail": beside}


def partly_memorized(checked: Memorization, control: Memorization) -> bool:
    """Whether a value that is not generated is the first of its kind by a clear lead: 2 bits over the control.

    A value made of words, of whose kind enough others are listed, has to be so among these: by its lift, and by 2 nats over every
    other prompt. Words lead random letters without being memorized.
    """
    lead = (checked.exposure.bits or 0) - (control.exposure.bits or 0)
    if checked.exposure.rank > 2 or checked.exposure.standing != "first" or lead <= 2:
        return False
    if checked.lift is None or checked.exposure.fair:
        return True
    return checked.verdict == "hidden" and checked.lift.margin > 2


def of_effect(effect: Effect) -> list[Fact]:
    """The target before and after."""
    before, after = effect.before, effect.after
    return [
        fact(
            "written word for word",
            en.NO_YES[after.greedy_match],
            "",
            en.NOTE_GREEDY_OFF,
            en.before(en.NO_YES[before.greedy_match]),
        ),
        fact(
            "tries",
            tries_in_words(after.logprob),
            "for an even chance",
            en.note_tries(1.0, 0),
            en.before(tries_in_words(before.logprob)),
        ),
        in_format(after.format_exposure, en.before(format_bits(before.format_exposure))),
        *folded(
            [
                fact(
                    "exposure",
                    bits(after.exposure),
                    of_most(after.exposure),
                    space(after.exposure),
                    en.before(bits(before.exposure)),
                ),
                lift_fact(after.lift, en.before(lift_nats(before.lift))),
                fact("NLL", f"{after.nll:.3f}", "nats/token", en.NOTE_NLL_OFF, en.before(f"{before.nll:.3f}")),
            ]
        ),
    ]


def verdict_of_effect(effect: Effect, n_off: int) -> dict[str, str]:
    """What the neurons that are off did, in one sentence."""
    before, after = effect.before, effect.after
    if not n_off:
        return {"kind": "note", "text": en.NO_NEURON_OFF}
    if not before.greedy_match:
        return {"kind": "note", "text": en.NOT_KNOWN_BEFORE}
    if not after.greedy_match and after.exposure is None:
        return {"kind": "note", "text": en.FORGOTTEN_PENDING}
    tries = en.tries_before_and_after(tries_in_words(before.logprob), tries_in_words(after.logprob))
    return verdict_off(after.greedy_match, after.verdict, tries, after.exposure)


def verdict_off(greedy_match: bool, verdict: Verdict | None, detail: str, exposure: Exposure | None = None) -> dict[str, str]:
    """What became of a known value with neurons off; `detail` says how deep it is, `exposure` why there is no verdict."""
    if greedy_match:
        return {"kind": "known", "text": en.STILL_KNOWN_OFF}
    if verdict is None:
        return {"kind": "note", "text": f"{en.NOT_GENERATED} {en.unjudged(exposure)}", "detail": detail}
    if verdict == "hidden":
        return {"kind": "note", "text": en.HIDDEN, "detail": f"{detail} {en.MORE_NEURONS}"}
    if verdict == "avoided":
        return {"kind": "note", "text": en.AVOIDED, "detail": f"{detail} {en.FEWER_NEURONS}"}
    return {"kind": "unknown", "text": en.FORGOTTEN, "detail": detail}


OTHERS_MOST = 1000
"""Listed secrets that a run takes beside its targets, at most."""
OWNERS_MOST = 5000
"""Rows in which the owner of what a model writes is looked up, at most."""


def whose(effects: Sequence[Effect], listed: Sequence[ListedSecret]) -> dict[str, str]:
    """That another listed person's data is written in place of a secret, as the part `whose` of a verdict; else nothing."""
    rows = [row.secret for row in listed[:OWNERS_MOST]]
    found = [(effect, match) for effect in effects if (match := listed_owner(effect.after.text, effect.secret, rows))]
    owners = [
        (en.in_place_of(effect.secret.value) if len(effects) > 1 else "") + en.owned_by(match.kind, match.row, match.secret.value)
        for effect, match in found[:SAID]
    ]
    return {"whose": en.another_person(owners, len(found) - SAID)} if owners else {}


def bits(exposure: Exposure | None, digits: int = 2) -> str:
    """Exposure as text; a dash where it was not measured, or where no other value has the format."""
    return "-" if exposure is None or exposure.bits is None else f"{exposure.bits:.{digits}f}"


def in_format(exposure: FormatExposure | None, beside: str) -> Fact:
    """The exposure among all values of the format, with its interval."""
    if exposure is None:
        return fact("exposure in the whole format", "-", "", en.FORMAT_UNKNOWN, beside)
    note = en.note_format(exposure.low_bits, exposure.high_bits, exposure.n_draws)
    return fact("exposure in the whole format", format_bits(exposure), f"bits of {exposure.max_bits:.1f}", note, beside)


def format_bits(exposure: FormatExposure | None) -> str:
    """It as text; a dash where it was not measured."""
    return "-" if exposure is None else f"{exposure.bits:.1f}"


def lift_fact(lift: Lift | None, beside: str) -> Fact:
    """How much the value is its own prompt's."""
    if lift is None:
        return fact("lift of its own prompt", "-", "", en.LIFT_UNKNOWN, beside)
    note = en.note_lift(lift.rank, lift.n, lift.margin)
    return fact("lift of its own prompt", lift_nats(lift), "nats", note, beside)


def lift_nats(lift: Lift | None) -> str:
    """It as text; a dash where it was not measured."""
    return "-" if lift is None else f"{lift.nats:+.1f}"


def of_most(exposure: Exposure | None) -> str:
    """The unit of an exposure, with the most that is possible in its space."""
    return "bits" if exposure is None or exposure.max_bits is None else f"bits of {exposure.max_bits:.3g}"


def space(exposure: Exposure | None) -> str:
    """What an exposure's number means in its own space."""
    if exposure is None:
        return en.RANK_UNKNOWN
    if exposure.max_bits is None or exposure.chance_bits is None:
        return en.RANK_ALONE
    return en.rank_among(exposure.n, exposure.max_bits, exposure.chance_bits, exposure.fair)


def of_comparison(comparison: Comparison, retained: frozenset[Secret]) -> list[Fact]:
    """Everything that should have changed or stayed, beside as many random neurons."""
    chosen, random = comparison.chosen, comparison.random
    (unseen, _), (by_random, _) = kept_counts(chosen, retained), kept_counts(random, retained)
    facts = [
        fact("neurons off", str(len(chosen.neurons)), "", en.NOTE_RANDOM),
        fact(
            "tries for the secret",
            tries_in_words(chosen.target.after.logprob),
            "for an even chance",
            en.many_is_forgotten(tries_in_words(chosen.target.before.logprob)),
            en.random(tries_in_words(random.target.after.logprob)),
        ),
        fact(
            "secret's exposure",
            bits(chosen.target.after.exposure),
            of_most(chosen.target.after.exposure),
            en.low_is_forgotten(bits(chosen.target.before.exposure)),
            en.random(bits(random.target.after.exposure)),
        ),
        fact(
            "secret's NLL",
            f"{chosen.target.after.nll:.3f}",
            "nats/token",
            en.high_is_forgotten(f"{chosen.target.before.nll:.3f}"),
            en.random(f"{random.target.after.nll:.3f}"),
        ),
        fact(
            "other secrets kept",
            f"{chosen.kept} of {chosen.memorized}",
            "",
            en.NOTE_OTHERS_KEPT,
            en.random(f"{random.kept} of {random.memorized}"),
        ),
        fact(
            "of these, never seen",
            f"{unseen.kept} of {unseen.known}",
            "",
            en.NOTE_UNSEEN_KEPT,
            en.random(f"{by_random.kept} of {by_random.known}"),
        )
        if unseen.known
        else fact("of these, never seen", "none", "", en.NONE_UNSEEN),
    ]
    if chosen.perplexity_before is not None and chosen.perplexity_after is not None:
        ratio, floor = chosen.perplexity_ratio or 0.0, random.perplexity_ratio or 0.0
        note = en.note_perplexity(chosen.perplexity_before, ratio)
        facts.append(fact("perplexity of the reference", f"{chosen.perplexity_after:.2f}", "", note, en.random(f"x{floor:.3f}")))
    return facts


def of_judges(n_unseen: int, n_retained: int) -> list[Fact]:
    """By how many other secrets it is judged what is kept."""
    if not n_unseen:
        return [fact("others that judge", "none", "", en.NONE_UNSEEN)]
    return [fact("others that judge", f"{n_unseen:,}", "", en.note_judges(n_retained))]


def of_choice(choice: NeuronChoice, located: Localization | None, n_neurons: int) -> list[Fact]:
    """The chosen neurons, in numbers."""
    off = choice.switched_off
    layers = ", ".join(map(str, sorted({neuron.layer for neuron in off}))) or "none"
    suggested = located.scores.suggested_k if located else None
    suggestion = en.NO_SUGGESTED_K if suggested is None else en.suggested_k(suggested)
    return [
        fact("neurons off", f"{len(off):,}", f"of {n_neurons:,}", en.chosen_share(len(off) / n_neurons, suggestion)),
        fact("in layers", layers, "", en.back_on(len(choice.switched_on))),
    ]


def secret_differs(located: Localization, secret: Secret) -> bool:
    """Whether the neurons were localized for another secret than the one in the sidebar."""
    return not any(same_secret(target, secret) for target in (located.target, *located.voters))


def of_list(found: SecretList) -> str:
    """What was read from a visitor's list, what was left out and why."""
    n, categories = len(found.rows), len({row.secret.category for row in found.rows if row.secret.category})
    few = en.list_sampled(OTHERS_MOST) if n > OTHERS_MOST else ""
    if n > OWNERS_MOST:
        few += en.owners_sampled(OWNERS_MOST)
    return " ".join(filter(None, (en.list_read(n, categories), few, found.left_out, found.doubt)))


def listed(row: ListedSecret, category: str = "") -> str:
    """A listed secret's value, its category where asked for, and how a model came to know it where the list says so."""
    trained = "planted" if row.planted else {None: "", 0: "control, 0x"}.get(row.repeats, f"{row.repeats}x")
    known = ", ".join(fact for fact in (category, trained) if fact)
    value = cut(row.secret.value)
    return f"{value} ({known})" if known else value


def cut(text: str, most: int = 100) -> str:
    """A text of a length to be read."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def of_goal(scores: NeuronScores) -> list[Fact]:
    """Whether a mask reached the depth it was asked for, and at which price; nothing of another method."""
    settings = scores.provenance.settings
    if "deep" not in settings:
        return []
    deep, price, hold = settings["deep"], settings["price"], settings["hold"]
    asked = en.DEPTHS.get(settings["depth"], settings["depth"])
    return [
        fact(
            "depth",
            "reached" if deep else "not reached",
            "",
            f"{asked}: {en.NOTE_DEPTH[deep]}",
        ),
        fact("price", f"{price:.2g}", f"of {hold:g} nats/token", en.NOTE_PRICE[price <= hold]),
    ]


def time_of(record: Any) -> Fact:
    """How long a result took, and what it depends on."""
    return fact("time", f"{record.provenance.seconds:.1f}", "s", summary(record), place="origin")


def summary(record: Any) -> str:
    """Seed, seconds and versions of a result in one line."""
    provenance = record.provenance
    versions = ", ".join(f"{name} {number}" for name, number in provenance.versions.items())
    return f"{provenance.model} ({provenance.fingerprint}), seed {provenance.seed}, {provenance.seconds:.1f} s, {versions}"
