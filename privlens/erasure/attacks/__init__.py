"""Hiding is not erasing: ways of getting erased values back, each tried on the model before and after the erasure.

Reworded prompts; several sampled continuations; the logit lens at every layer; training on other secrets (does the erased one
come back?); and a linear probe, trained on other secrets' values, that reads the value off the hidden states. Each is tried in
the same way on other values of the format, which nobody trained on: only what stands out among these counts as something left.
An attack that fails shows only that this one failed; one that could not be tried says why, and the others go on.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace

from privlens.erasure.attacks.chance import FALSE_ALARMS, judged
from privlens.erasure.attacks.hidden_states import logit_lens, probe
from privlens.erasure.attacks.relearning import relearning
from privlens.erasure.attacks.sampling import rewording, sampling
from privlens.erasure.attacks.setup import LEAST, AttackSetup, Scores
from privlens.errors import BadInput, Cancelled, ModelDamaged, PrivlensError
from privlens.outcomes import Attack

logger = logging.getLogger("privlens.attacks")
ATTACKS: dict[str, Callable[[AttackSetup], Scores]] = {
    "sampling": sampling,
    "logit lens": logit_lens,
    "reworded prompts": rewording,
    "relearning": relearning,
    "linear probe": probe,
}
"""By name, in the order in which they are tried."""


def planned(siege: AttackSetup) -> tuple[str, ...]:
    """The names of the attacks there will be a record of."""
    without = set() if any(siege.reworded) else {"reworded prompts"}
    without |= set() if siege.train_on else {"relearning"}
    without |= set() if siege.known else {"linear probe"}
    return tuple(name for name in ATTACKS if name not in without)


def attacks(siege: AttackSetup) -> Iterator[Attack]:
    """Every attack of `planned`, a record each, also of those that could not be tried.

    Raises:
        BadInput: without a target. Cancelled: when `siege.stop` said so.
    """
    if not siege.targets:
        raise BadInput("There is nothing to attack: erase at least one secret.")
    names, chosen = planned(siege), siege.fit_for_judging()
    for name in names:
        siege.go_on()
        yield _tried(name, chosen, len(names), len(siege.targets))


def _tried(name: str, siege: AttackSetup, n_attacks: int, n_targets: int) -> Attack:
    """One record; what is raised, but Cancelled and ModelDamaged, becomes one that says why: all else stands without it."""
    try:
        found = judged(name, ATTACKS[name](siege), n_attacks, siege.seed)
    except (Cancelled, ModelDamaged):
        raise
    except PrivlensError as error:
        return Attack(name, None, None, note=f"did not run: {error}")
    except Exception as error:
        logger.exception("The attack %s failed.", name)
        reason = (str(error).splitlines() or [""])[0][:200]
        return Attack(name, None, None, note=f"did not run: {type(error).__name__}: {reason}")
    if len(siege.targets) < n_targets:
        left_out = f"{n_targets - len(siege.targets)} of {n_targets} values left out: fewer than {LEAST} values are like them"
        found = replace(found, note="; ".join(filter(None, [found.note, left_out])))
    return found


__all__ = ["ATTACKS", "FALSE_ALARMS", "AttackSetup", "attacks", "planned"]
