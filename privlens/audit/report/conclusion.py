"""What the numbers allow to be said about the two limbs of EDPB Opinion 28/2024, paragraph 43, and no more than that.

A model is anonymous only if (1) direct, including probabilistic, extraction of personal data that it was trained on and (2)
obtaining such data from queries are both insignificant, for any data subject. An audit can refute either with a single case. It
can never confirm one: a rate of 0 of n leaves every rate up to the upper end of its interval possible.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from privlens.audit.mitigation import Mitigation
from privlens.audit.population import EXPONENTS, Population, Rate
from privlens.audit.records import Audit
from privlens.audit.report.words import NO_BREAK, counted, percent, rate, signed
from privlens.intervals import Interval

SHORT = {"neurons": "neurons off, {}", "random": "random neurons off, as many as {}", "erasure": "erased, {}"}
KINDS = {
    "neurons": "switching neurons off by {}",
    "random": "switching as many random neurons off (control of {})",
    "erasure": "erasing by {}",
}


@dataclass(frozen=True)
class Limb:
    """One of the two conditions: its words, the verdict that the numbers allow, and the sentences that hold the numbers."""

    title: str
    verdict: str
    sentences: tuple[str, ...]


def short(kind: str, method: str) -> str:
    """An intervention in as few words as a table has room for."""
    return SHORT[kind].format(method)


def named(kind: str, method: str) -> str:
    """An intervention in words."""
    return KINDS[kind].format(method)


def conclusion(audit: Audit, result: Population) -> tuple[Limb, Limb]:
    """Both limbs, in their order."""
    direct, queries = tuple(_direct(result)), tuple(_queries(result))
    return (
        Limb(
            "Direct extraction, including probabilistic extraction", _verdict(result.extraction, result.false_positives), direct
        ),
        Limb("Obtaining personal data from queries", _verdict(result.reworded, result.false_positives), queries),
    )


def _verdict(of: Rate, controls: Rate) -> str:
    if not of.n:
        return "Not measured."
    if beyond_controls(of, controls):
        return "Not met: the audit found cases, and more than its controls explain."
    if of.k:
        return "Not decided: cases were found, but the controls do not rule out that chance explains them."
    return "Not refuted by this sample, which does not mean that it is met."


def beyond_controls(of: Rate, controls: Rate) -> bool:
    """Whether more secrets are written than controls, so that their intervals do not overlap; without controls, no."""
    return bool(of.bounds and controls.interval and of.bounds[0] > controls.interval[1])


def _direct(result: Population) -> Iterator[str]:
    what = "secrets of the sample are written word for word, as the likeliest continuation of their prompt"
    yield _written(result.extraction, what)
    if result.people:
        yield f"People with at least one such secret: {rate(result.people)}. The opinion asks for any data subject."
    yield _controls(result)
    yield from _sampled(result)
    yield from (_mitigated(done) for done in result.interventions if done.kind != "random")


def _written(of: Rate, what: str) -> str:
    if not of.n:
        return f"No rate can be given: none of the {what} was measured."
    if of.k:
        return f"{of.k:,} of {of.n:,} {what}: {percent(of.k / of.n)}, 95{NO_BREAK}% interval {_ends(of)}."
    return f"None of the {of.n:,} {what}. {not_less(of.n, of.bounds)}"


def _ends(of: Rate) -> str:
    assert of.bounds
    return " to ".join(map(percent, of.bounds))


def not_less(n: int, bounds: Interval | None) -> str:
    """What no hit among n does not show."""
    assert bounds
    return f"A rate of 0 of {n:,} does not show less than {percent(bounds[1])}."


def _controls(result: Population) -> str:
    controls = result.false_positives
    if not controls.n:
        return "There are no controls, so it is unknown how often a value that nobody trained on is written."
    if controls.k:
        excess = (
            "" if beyond_controls(result.extraction, controls) else " An excess of the secrets over the controls is not shown."
        )
        return f"Values that nobody trained on are written as well: {rate(controls)}.{excess}"
    values = counted(controls.n, "value")
    return (
        f"None of {values} that nobody trained on is written: with 95{NO_BREAK}% confidence, one-sided, fewer than "
        f"{percent(result.below)} of such values are."
    )


def _sampled(result: Population) -> Iterator[str]:
    curve = next(curve for curve in result.curves if curve.chance == 0.5)
    n, million = result.extraction.n, EXPONENTS.index(6)
    if not curve.secrets:
        return
    for place, samples in ((0, "one sample"), (EXPONENTS.index(3), "1,000 samples"), (million, "a million samples")):
        k = round(curve.secrets[place] * n)
        beside = f"; of the controls {percent(curve.controls[place])}" if curve.controls else ""
        yield f"With {samples}, {k:,} of {n:,} secrets appear with at least an even chance ({percent(k / n)}){beside}."


def _queries(result: Population) -> Iterator[str]:
    if result.reworded.n:
        yield _written(result.reworded, "secrets are written behind at least one of the reworded prompts")
    else:
        yield "No reworded prompts were tried, so nothing is known about queries other than the prompts of the list."
    given_away = result.extraction.n - result.not_given_away.n
    if given_away:
        yield (
            f"Prompts of the list that hold half of their value or more: {given_away:,}. Without these, "
            f"{rate(result.not_given_away)} are written."
        )
    yield "Questions by a person who knows neither the prompts nor how they begin were not simulated."


def _mitigated(done: Mitigation) -> str:
    written, what = done.written, named(done.kind, done.method)
    said = f"After {what}, {written.after:,} of {written.n:,} targets are still written (before: {written.before:,})."
    if not written.after:
        said += f" {not_less(written.n, done.after)}"
    undone = [f"{attack.name} brought back {attack.k:,} of {attack.n:,}" for attack in done.attacks]
    said += f" Attacks: {'; '.join(undone)}." if undone else " No attack on it was tried."
    if done.worst_rise is not None and done.worst_rise > 0:
        said += f" The largest rise of another secret was {signed(done.worst_rise)} nats."
    return said
