"""What the tab Erase shows of an erasure, of attacks on it and of several methods: pure functions of what was measured."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr
import numpy as np
import pandas as pd

from privlens import plots
from privlens.lm.model import LanguageModel
from privlens.outcomes import Attack, Effect, ErasureStep, MemorizationState
from privlens.types import Edit, Exposure
from privlens.ui.tabs.erase.run import Erased
from privlens.ui.text import wording
from privlens.ui.text.wording import Fact, fact, was

EMPTY = "Choose what to erase and press Erase; you can watch it being forgotten here."
TARGETS = "What was erased: written = word for word; NLL in nats/token, exposure in bits of the most possible; before and after"
ATTACKS = (
    "Attacks: how often the value, or its tokens, came back; chance = the mean of the same for values that nobody trained on; "
    "limit = what these exceed, in any of the attacks, in at most 5 % of cases: something is left where after is above it"
)
METHODS = (
    "methods on the same secrets, with the same text to hold on to and the same rule when to stop; exposure, MA and NLL "
    "(nats/token) are means over the secrets; weights = those that differ afterwards"
)
TARGET_WIDTHS = ["200px", "100px", "100px", "110px", "110px", "95px", "95px", "280px", "320px"]
ATTACK_WIDTHS = ["160px", "95px", "95px", "95px", "95px", "95px", "420px", "420px"]
METHOD_WIDTHS = [
    "210px",
    "100px",
    "115px",
    "80px",
    "80px",
    "110px",
    "110px",
    "130px",
    "90px",
    "100px",
    "105px",
    "240px",
]
"""Of the tables' columns, so that no heading is broken on a narrow page."""


def mean(numbers: Sequence[float]) -> float:
    """Of some numbers; not a number where there are none."""
    return float(np.mean(numbers)) if numbers else math.nan


def live_facts(step: ErasureStep) -> list[Fact]:
    """The numbers of one step."""
    facts = [
        fact("entropy", f"{step.entropy:.2f}", "nats", "how open the next token is; high = any token would do"),
        fact("NLL", f"{step.nll:.2f}", "nats/token", "how surprised the model is by the private values; high = forgotten"),
        fact("MA", f"{100 * step.memorization_accuracy:.0f}", "% of tokens", "the values' tokens that are the first choice"),
    ]
    if step.perplexity_ratio is not None:
        facts.append(fact("perplexity", f"x{step.perplexity_ratio:.3f}", "", "ordinary text, after / before, as last measured"))
    if step.kept is not None and not math.isnan(step.kept):
        facts.append(fact("others kept", f"{100 * step.kept:.0f}", "%", "known secrets that no method saw, as last measured"))
    return facts


def curves(erased_steps: Sequence[ErasureStep], guard: float) -> Any:
    """The figure's update."""
    return gr.update(value=plots.erasure_curves(erased_steps, guard).to_json() if erased_steps else "")


def verdict(effects: Sequence[Effect]) -> dict[str, str]:
    """What became of the secrets, in one sentence."""
    knew = [one for one in effects if one.before.greedy_match]
    still = [one for one in effects if one.after.greedy_match]
    near = [one for one in effects if not one.after.greedy_match and one.after.forgotten is False]
    unjudged = [one for one in effects if one.after.forgotten is None]
    one = len(effects) == 1
    if still:
        what = "the value" if one else f"{len(still)} of {len(effects)} values"
        return {
            "kind": "known",
            "text": f"Still known: the model writes {what} word for word.",
            "detail": "Allow more steps or a larger share of weights.",
        }
    if not knew:
        return {"kind": "note", "text": "The model did not write this to begin with, so nothing shows that it was erased."}
    if near:
        what = "the value" if one else f"{len(near)} of {len(effects)} values"
        detail = f"{wording.STILL_HIGH if one else ''} Try the attacks below: what ranks high can often be recovered.".strip()
        text = f"Hidden, not forgotten: no longer generated, but the model still ranks {what} high among similar values."
        return {"kind": "note", "text": text, "detail": detail}
    if unjudged:
        which = "" if one else f" This concerns {len(unjudged)} of {len(effects)} values."
        return {
            "kind": "note",
            "text": f"No longer generated. {wording.UNJUDGED}{which}",
            "detail": "The attacks below ask whether something is left.",
        }
    what = "the value no longer stands out" if one else "no value stands out any more"
    return {
        "kind": "unknown",
        "text": f"Erased: no longer generated, and {what} among similar values.",
        "detail": "The attacks below ask whether something is left.",
    }


def named(said: dict[str, str], edit: str) -> dict[str, str]:
    """The same verdict, with the edit it is about: by now another secret or edit may be chosen."""
    return {**said, "detail": f"Edit: {edit}. {said.get('detail', '')}".strip()}


def result_facts(erased: Erased, lm_size: int) -> list[Fact]:
    """Everything that should have changed or stayed. `lm_size`: weights of the model."""
    did, last, how = erased.effects, erased.last, erased.kept.edit.provenance
    n = erased.kept.edit.n_weights
    return [
        fact(
            "still written",
            f"{sum(one.after.greedy_match for one in did)} of {len(did)}",
            "",
            "private values, word for word",
            was(f"{sum(one.before.greedy_match for one in did)} of {len(did)}"),
        ),
        exposure_fact(did),
        fact(
            "entropy",
            f"{last.entropy:.2f}",
            "nats",
            "how open the next token is; high = any would do",
            was(f"{erased.steps[0].entropy:.2f}"),
        ),
        pair("NLL", did, lambda state: state.nll, 2, "nats/token", "how surprised the model is by the value; high = forgotten"),
        pair(
            "MA",
            did,
            lambda state: 100 * state.memorization_accuracy,
            0,
            "% of tokens",
            "the value's tokens that are the model's first choice",
        ),
        fact(
            "others kept, unseen",
            counted(erased.unseen),
            "",
            "known secrets that the method never saw: the honest number" if erased.unseen else wording.NONE_UNSEEN,
        ),
        fact("others kept, seen", counted(erased.seen), "", "known secrets that it was given to hold on to"),
        fact(
            "perplexity",
            "-" if last.perplexity_ratio is None else f"x{last.perplexity_ratio:.3f}",
            "",
            f"ordinary text, after / before; the guard ends a run above x{erased.settings.guard:.3g}",
        ),
        fact("weights changed", f"{n:,}", f"of {lm_size:,}", f"{100 * n / lm_size:.3g} %; the rest is bit for bit as it was"),
        fact("ended", last.ended, "", f"after {how.settings.get('steps_taken', last.step)} of {last.n_steps} steps"),
        fact("time", f"{how.seconds:.0f}", "s", wording.summary(erased.kept.edit)),
    ]


def pair(name: str, did: Sequence[Effect], of: Callable[[MemorizationState], float], digits: int, unit: str, note: str) -> Fact:
    """A mean over the secrets after, beside the one before."""
    before, after = mean([of(one.before) for one in did]), mean([of(one.after) for one in did])
    return fact(name, f"{after:.{digits}f}", unit, note + ("; mean of all" if len(did) > 1 else ""), was(f"{before:.{digits}f}"))


def exposure_fact(did: Sequence[Effect]) -> Fact:
    """The mean exposure after, beside the one before; secrets of several formats have candidate spaces of several sizes."""
    before, after = [one.before.exposure for one in did], [one.after.exposure for one in did]
    alike = len({one and one.n for one in after}) == 1
    note = wording.space(after[0]) if alike else "rank among the values of each one's own format"
    note += "; mean of all" if len(did) > 1 else ""
    return fact("exposure", mean_bits(after), wording.of_most(after[0] if alike else None), note, was(mean_bits(before)))


def mean_bits(exposures: Sequence[Exposure | None]) -> str:
    """Mean exposure of those values that have one, as text; a dash where none has."""
    numbers = [one.bits for one in exposures if one is not None and one.bits is not None]
    return f"{mean(numbers):.2f}" if numbers else "-"


def counted(kept: Sequence[bool]) -> str:
    """So many of so many."""
    return f"{sum(kept)} of {len(kept)}" if kept else "none"


def targets_table(effects: Sequence[Effect]) -> pd.DataFrame:
    """A row for every erased secret."""
    rows = [
        {
            "value": one.secret.value,
            "written before": wording.NO[one.before.greedy_match],
            "after": wording.NO[one.after.greedy_match],
            "exposure before": bits_of_most(one.before.exposure),
            "exposure after": bits_of_most(one.after.exposure),
            "NLL before": f"{one.before.nll:.2f}",
            "NLL after": f"{one.after.nll:.2f}",
            "the model writes now": one.after.text.strip(),
            "prompt": one.secret.prompt,
        }
        for one in effects
    ]
    return pd.DataFrame(rows)


def bits_of_most(exposure: Exposure | None) -> str:
    """An exposure and the most that is possible in its space."""
    number = wording.bits(exposure)
    return number if exposure is None or exposure.max_bits is None else f"{number} of {exposure.max_bits:.3g}"


def changed(lm: LanguageModel, edit: Edit) -> Any:
    """Where the changed weights lie: all matrices of the layers, and what else changed."""
    counts = {name: len(change.indices) for name, change in edit.changes.items()}
    sizes = {
        name: weight.numel()
        for name, weight in lm.model.named_parameters()
        if name in counts or (weight.ndim == 2 and plots.place_of(name)[0] is not None)
    }
    return gr.update(value=plots.changed_weights(counts, sizes).to_json())


def texts(before: str, deactivated: str | None, after: str) -> tuple[Any, Any, Any]:
    """The three generations; before and erased are marked where they differ, deactivated where it differs from before."""
    first, last = plots.marked(before, after)
    _, middle = plots.marked(before, deactivated or "")
    if deactivated is None:
        middle = [("No neurons were chosen for these weights: localize them before erasing.", None)]
    return gr.update(value=first), gr.update(value=middle), gr.update(value=last)


def attacks_table(found: Sequence[Attack]) -> pd.DataFrame:
    """A row for every attack."""

    def share(number: float | None) -> str:
        return "-" if number is None else f"{100 * number:.0f} %"

    rows = [
        {
            "attack": one.name,
            "before": share(one.before),
            "after": share(one.after),
            "chance": share(one.chance),
            "limit": share(one.limit),
            "values": str(one.n_values) if one.ran else "-",
            "what was counted": one.detail,
            "note": one.note,
        }
        for one in found
    ]
    return pd.DataFrame(rows)


def verdict_of_attacks(found: Sequence[Attack]) -> dict[str, str]:
    """What the attacks brought back, in one sentence; and in the detail, what it is measured by and what could not be judged."""
    left = [one.name for one in found if one.found_something]
    judged = [one for one in found if one.limit is not None]
    unsaid = [f"{one.name} did not run" if not one.ran else f"{one.name} cannot be judged" for one in found if one.limit is None]
    without = f" {_sentence(unsaid)}: see the notes in the table." if unsaid else ""
    if not judged:
        return {"kind": "none", "text": "Nothing can be said: none of these attacks could be judged.", "detail": without.strip()}
    n = min(one.n_values for one in judged)
    level = f"measured against {n} values that nobody trained on for each secret, with at most 5 % false alarms in all"
    if left:
        return {
            "kind": "note",
            "text": f"Something is left: {' and '.join(left)} brought back more than chance.",
            "detail": f"Above the limit, {level}. How much less than before is the question.{without}",
        }
    return {
        "kind": "unknown",
        "text": "None of these attacks brought anything back beyond chance.",
        "detail": f"That is no proof: it shows that these failed, {level}.{without}",
    }


def _sentence(parts: Sequence[str]) -> str:
    """Some clauses as one, with a capital."""
    said = ", ".join(parts)
    return said[:1].upper() + said[1:]


def before_row(erased: Erased) -> dict[str, str]:
    """The model as it stands, which every method begins with."""
    row = dict.fromkeys(methods_row("before", erased), "-")
    states = [one.before for one in erased.effects]
    return {**row, "method": "before", **_states_row(states)}


def _states_row(states: Sequence[MemorizationState]) -> dict[str, str]:
    """What is left of the secrets."""
    return {
        "still written": f"{100 * mean([one.greedy_match for one in states]):.0f} %",
        "exposure (bits)": mean_bits([one.exposure for one in states]),
        "MA": f"{100 * mean([one.memorization_accuracy for one in states]):.0f} %",
        "NLL": f"{mean([one.nll for one in states]):.2f}",
    }


def methods_row(name: str, erased: Erased) -> dict[str, str]:
    """A row of the comparison."""
    last, how = erased.last, erased.kept.edit.provenance
    return {
        "method": name,
        **_states_row([one.after for one in erased.effects]),
        "kept, unseen": counted(erased.unseen),
        "kept, seen": counted(erased.seen),
        "perplexity": "-" if last.perplexity_ratio is None else f"x{last.perplexity_ratio:.3f}",
        "steps": str(how.settings.get("steps_taken", last.step)),
        "weights": f"{erased.kept.edit.n_weights:,}",
        "seconds": f"{how.seconds:.0f}",
        "ended": last.ended,
    }
