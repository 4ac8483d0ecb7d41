"""What the tab Erase shows of an erasure, of attacks on it and of several methods: pure functions of what was measured."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr
import numpy as np
import pandas as pd

from privlens import plots
from privlens.lm.model import LanguageModel
from privlens.memorization.depth import tries_in_words
from privlens.outcomes import Attack, Effect, EraseOrHide, ErasureStep, MemorizationState
from privlens.types import Edit, Exposure
from privlens.ui.tabs.erase.run import Erased
from privlens.ui.text import en, wording
from privlens.ui.text.wording import Fact, fact

TARGET_WIDTHS = ["200px", "100px", "100px", "100px", "110px", "110px", "110px", "95px", "95px", "280px", "320px"]
ATTACK_WIDTHS = ["160px", "95px", "95px", "95px", "95px", "95px", "420px", "420px"]
COUNT_WIDTHS = ["160px", "360px", "110px", "140px"]
METHOD_WIDTHS = [
    "210px",
    "100px",
    "130px",
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
        fact("entropy", f"{step.entropy:.2f}", "nats", en.NOTE_ENTROPY),
        fact("NLL", f"{step.nll:.2f}", "nats/token", en.NOTE_NLL_VALUES),
        fact("MA", f"{100 * step.memorization_accuracy:.0f}", "% of tokens", en.NOTE_MA_VALUES),
    ]
    if step.n_forgotten is not None:
        facts.append(fact("forgotten", f"{step.n_forgotten} of {step.n_targets}", "", en.NOTE_FORGOTTEN_LAST))
    if step.perplexity_ratio is not None:
        facts.append(fact("perplexity", f"x{step.perplexity_ratio:.3f}", "", en.NOTE_PERPLEXITY_LAST))
    if step.kept is not None and not math.isnan(step.kept):
        facts.append(fact("others kept", f"{100 * step.kept:.0f}", "%", en.NOTE_KEPT_LAST))
    return facts


def curves(erased_steps: Sequence[ErasureStep], guard: float) -> Any:
    """The figure's update."""
    return gr.update(value=plots.erasure_curves(erased_steps, guard).to_json() if erased_steps else "")


def verdict(effects: Sequence[Effect]) -> dict[str, str]:
    """What became of the secrets, in one sentence."""
    n = len(effects)
    n_known_before = sum(effect.before.greedy_match for effect in effects)
    n_still = sum(effect.after.greedy_match for effect in effects)
    verdicts = [effect.after.verdict for effect in effects]
    n_near, n_avoided = verdicts.count("hidden"), verdicts.count("avoided")
    unjudged = [effect.after.exposure for effect in effects if effect.after.verdict is None]
    if n_still:
        return {"kind": "known", "text": en.still_known(n_still, n), "detail": en.STILL_KNOWN_HELP}
    if not n_known_before:
        return {"kind": "note", "text": en.NOTHING_TO_ERASE}
    if n_near:
        return {"kind": "note", "text": en.still_ranked(n_near, n), "detail": en.TRY_ATTACKS}
    if n_avoided:
        return {"kind": "note", "text": en.avoided(n_avoided, n), "detail": en.TRY_ATTACKS}
    if unjudged:
        text = f"{en.NOT_GENERATED} {en.unjudged(unjudged[0])}{en.concerns(len(unjudged), n)}"
        return {"kind": "note", "text": text, "detail": en.ATTACKS_TELL}
    return {"kind": "unknown", "text": en.erased(n), "detail": en.ATTACKS_TELL}


def named(verdict: dict[str, str], edit: str) -> dict[str, str]:
    """The same verdict, with the edit it is about: by now another secret or edit may be chosen."""
    return {**verdict, "detail": en.of_edit(edit, verdict.get("detail", ""))}


def result_facts(erased: Erased, lm_size: int) -> list[Fact]:
    """Everything that should have changed or stayed. `lm_size`: weights of the model."""
    effects, last, how = erased.effects, erased.last, erased.kept.edit.provenance
    n = erased.kept.edit.n_weights
    return [
        fact(
            "still written",
            f"{sum(effect.after.greedy_match for effect in effects)} of {len(effects)}",
            "",
            en.NOTE_WRITTEN,
            en.before(f"{sum(effect.before.greedy_match for effect in effects)} of {len(effects)}"),
        ),
        tries_fact(effects),
        exposure_fact(effects),
        fact(
            "entropy",
            f"{last.entropy:.2f}",
            "nats",
            en.NOTE_ENTROPY_END,
            en.before(f"{erased.steps[0].entropy:.2f}"),
        ),
        pair("NLL", effects, lambda state: state.nll, 2, "nats/token", en.NOTE_NLL_END),
        pair(
            "MA",
            effects,
            lambda state: 100 * state.memorization_accuracy,
            0,
            "% of tokens",
            en.NOTE_MA_END,
        ),
        fact(
            "others kept, unseen",
            counted(erased.unseen),
            "",
            en.NOTE_UNSEEN if erased.unseen else en.NONE_UNSEEN,
        ),
        fact("others kept, seen", counted(erased.seen), "", en.NOTE_SEEN),
        fact(
            "perplexity",
            "-" if last.perplexity_ratio is None else f"x{last.perplexity_ratio:.3f}",
            "",
            en.note_guard(erased.settings.guard),
        ),
        fact("weights changed", f"{n:,}", f"of {lm_size:,}", en.note_changed(n / lm_size)),
        fact("ended", last.ended, "", en.note_ended(how.settings.get("steps_taken", last.step), last.n_steps)),
        fact("time", f"{how.seconds:.0f}", "s", wording.summary(erased.kept.edit)),
    ]


def pair(
    name: str, effects: Sequence[Effect], number_of: Callable[[MemorizationState], float], digits: int, unit: str, note: str
) -> Fact:
    """A mean over the secrets after, beside the one before."""
    before, after = mean([number_of(effect.before) for effect in effects]), mean([number_of(effect.after) for effect in effects])
    return fact(name, f"{after:.{digits}f}", unit, en.mean_of_all(note, len(effects)), en.before(f"{before:.{digits}f}"))


def tries_fact(effects: Sequence[Effect]) -> Fact:
    """The samples for an even chance of the least hidden of the secrets, before and after."""
    before, after = (max(state.logprob for state in states) for states in states_of(effects))
    return fact(
        "tries", tries_in_words(after), "for an even chance", en.note_least(len(effects)), en.before(tries_in_words(before))
    )


def states_of(effects: Sequence[Effect]) -> tuple[list[MemorizationState], list[MemorizationState]]:
    """All states before, and all after."""
    return [effect.before for effect in effects], [effect.after for effect in effects]


def exposure_fact(effects: Sequence[Effect]) -> Fact:
    """The mean exposure after, beside the one before; secrets of several formats have candidate spaces of several sizes."""
    before, after = [effect.before.exposure for effect in effects], [effect.after.exposure for effect in effects]
    alike = len({exposure and exposure.n for exposure in after}) == 1
    note = wording.space(after[0]) if alike else en.RANK_MIXED
    return fact(
        "exposure",
        mean_bits(after),
        wording.of_most(after[0] if alike else None),
        en.mean_of_all(note, len(effects)),
        en.before(mean_bits(before)),
    )


def mean_bits(exposures: Sequence[Exposure | None]) -> str:
    """Mean exposure of those values that have one, as text; a dash where none has."""
    numbers = [exposure.bits for exposure in exposures if exposure is not None and exposure.bits is not None]
    return f"{mean(numbers):.2f}" if numbers else "-"


def counted(kept: Sequence[bool]) -> str:
    """How many were kept, of how many."""
    return f"{sum(kept)} of {len(kept)}" if kept else "none"


def targets_table(effects: Sequence[Effect]) -> pd.DataFrame:
    """A row for every erased secret."""
    rows = [
        {
            "value": effect.secret.value,
            "written before": en.NO_YES[effect.before.greedy_match],
            "after": en.NO_YES[effect.after.greedy_match],
            "tries before": tries_in_words(effect.before.logprob),
            "tries after": tries_in_words(effect.after.logprob),
            "exposure before": bits_of_most(effect.before.exposure),
            "exposure after": bits_of_most(effect.after.exposure),
            "NLL before": f"{effect.before.nll:.2f}",
            "NLL after": f"{effect.after.nll:.2f}",
            "the model writes now": effect.after.text.strip(),
            "prompt": effect.secret.prompt,
        }
        for effect in effects
    ]
    return pd.DataFrame(rows)


def bits_of_most(exposure: Exposure | None) -> str:
    """An exposure and the most that is possible in its space."""
    number = wording.bits(exposure)
    return number if exposure is None or exposure.max_bits is None else f"{number} of {exposure.max_bits:.3g}"


def changed(lm: LanguageModel, edit: Edit) -> Any:
    """Which weights changed: all matrices of the layers, and anything else that changed."""
    counts = {name: len(change.indices) for name, change in edit.changes.items()}
    sizes = {
        name: weight.numel()
        for name, weight in lm.model.named_parameters()
        if name in counts or (weight.ndim == 2 and plots.layer_and_matrix(name)[0] is not None)
    }
    return gr.update(value=plots.changed_weights(counts, sizes).to_json())


def texts(before: str, deactivated: str | None, after: str) -> tuple[Any, Any, Any]:
    """The three generations; before and erased are marked where they differ, deactivated where it differs from before."""
    first, last = plots.marked(before, after)
    _, middle = plots.marked(before, deactivated or "")
    if deactivated is None:
        middle = [(en.ERASE_NO_NEURONS, None)]
    return gr.update(value=first), gr.update(value=middle), gr.update(value=last)


def attacks_table(attacks: Sequence[Attack]) -> pd.DataFrame:
    """A row for every attack."""

    def share(number: float | None) -> str:
        return "-" if number is None else f"{100 * number:.0f} %"

    rows = [
        {
            "attack": attack.name,
            "before": share(attack.before),
            "after": share(attack.after),
            "chance": share(attack.chance),
            "limit": share(attack.limit),
            "values": str(attack.n_values) if attack.ran else "-",
            "what was counted": attack.detail,
            "note": attack.note,
        }
        for attack in attacks
    ]
    return pd.DataFrame(rows)


def counts_table(attacks: Sequence[Attack]) -> pd.DataFrame:
    """A row for every count of whole values that came back."""
    rows = [
        {
            "attack": attack.name,
            "came back": count.what,
            "values": f"{count.k} of {count.n}",
            "95 % interval": f"{100 * count.interval[0]:.1f} to {100 * count.interval[1]:.1f} %",
        }
        for attack in attacks
        for count in attack.counts
    ]
    return pd.DataFrame(rows)


def shift_facts(records: Sequence[EraseOrHide], note: str) -> list[Fact]:
    """What supporters lost and suppressors gained, the mean over the secrets."""
    if not records:
        return [fact("erased or hidden", "-", "", note)] if note else []
    lost, gained = (mean([number(record) for record in records]) for number in (_weakened, _grown))
    share = f"{100 * gained / (lost + gained):.0f}" if lost + gained else "-"
    support = mean([record.shift.support for record in records])
    return [
        fact("supporters lost", f"{lost:.2f}", "nats", en.note_lost(support)),
        fact("suppressors gained", f"{gained:.2f}", "nats", en.NOTE_GAINED),
        fact("hidden", share, "%", en.NOTE_HIDDEN),
    ]


def _weakened(record: EraseOrHide) -> float:
    return record.shift.weakened


def _grown(record: EraseOrHide) -> float:
    return record.shift.grown


def shift_picture(records: Sequence[EraseOrHide]) -> Any:
    """The figure's update."""
    return gr.update(value=plots.erase_or_hide(records).to_json() if records else "")


def verdict_of_attacks(attacks: Sequence[Attack]) -> dict[str, str]:
    """What the attacks brought back, in one sentence; and in the detail, what it is measured by and what could not be judged."""
    left = [attack.name for attack in attacks if attack.found_something]
    judged = [attack for attack in attacks if attack.limit is not None]
    unjudged = [attack for attack in attacks if attack.limit is None]
    unsaid = [en.cannot_be_judged(attack.name) if attack.ran else en.did_not_run(attack.name) for attack in unjudged]
    without = en.see_table(_sentence(unsaid)) if unsaid else ""
    if not judged:
        return {"kind": "none", "text": en.ATTACKS_UNJUDGED, "detail": without.strip()}
    n = min(attack.n_values for attack in judged)
    level = en.attack_level(n)
    if left:
        return {
            "kind": "note",
            "text": en.something_left(left),
            "detail": en.above_limit(level, without),
        }
    return {
        "kind": "unknown",
        "text": en.NOTHING_LEFT,
        "detail": en.no_proof(level, without),
    }


def _sentence(parts: Sequence[str]) -> str:
    """Some clauses as one, with a capital."""
    sentence = ", ".join(parts)
    return sentence[:1].upper() + sentence[1:]


def before_row(erased: Erased) -> dict[str, str]:
    """The model before, which every method starts from."""
    row = dict.fromkeys(methods_row("before", erased), "-")
    states = [effect.before for effect in erased.effects]
    return {**row, "method": "before", **_states_row(states)}


def _states_row(states: Sequence[MemorizationState]) -> dict[str, str]:
    """What is left of the secrets."""
    return {
        "still written": f"{100 * mean([state.greedy_match for state in states]):.0f} %",
        "tries (likeliest)": tries_in_words(max(state.logprob for state in states)),
        "exposure (bits)": mean_bits([state.exposure for state in states]),
        "MA": f"{100 * mean([state.memorization_accuracy for state in states]):.0f} %",
        "NLL": f"{mean([state.nll for state in states]):.2f}",
    }


def methods_row(name: str, erased: Erased) -> dict[str, str]:
    """A row of the comparison."""
    last, how = erased.last, erased.kept.edit.provenance
    return {
        "method": name,
        **_states_row([effect.after for effect in erased.effects]),
        "kept, unseen": counted(erased.unseen),
        "kept, seen": counted(erased.seen),
        "perplexity": "-" if last.perplexity_ratio is None else f"x{last.perplexity_ratio:.3f}",
        "steps": str(how.settings.get("steps_taken", last.step)),
        "weights": f"{erased.kept.edit.n_weights:,}",
        "seconds": f"{how.seconds:.0f}",
        "ended": last.ended,
    }
