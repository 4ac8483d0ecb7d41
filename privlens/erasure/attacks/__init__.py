"""Hiding is not erasing: attacks that try to recover erased values, each run on the model before and after the erasure.

Reworded prompts; several sampled continuations; near copies of the value, by a beam search; the logit lens at every layer;
rounding the weights to few bits, and training on other secrets (does the erased one come back?); and a linear probe, trained on
other secrets' values, that reads the value from the hidden states. Each attack is also run on other values of the same format,
which nobody trained on: only a target that does better than these counts as recovered. A failed attack rules out that attack
alone; an attack that could not run says why, and the others continue. `erase_or_hide` is no attack: it looks at the neurons.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace

from privlens.erasure.attacks.attributions import erase_or_hide
from privlens.erasure.attacks.chance import FALSE_ALARMS, judged
from privlens.erasure.attacks.hidden_states import logit_lens, probe
from privlens.erasure.attacks.near_copies import search
from privlens.erasure.attacks.quantization import quantize
from privlens.erasure.attacks.relearning import relearn
from privlens.erasure.attacks.sampling import rewording, sample
from privlens.erasure.attacks.setup import MIN_VALUES, AttackSetup, Scores
from privlens.errors import BadInput, Cancelled, ModelDamaged, PrivlensError
from privlens.outcomes import Attack, EraseOrHide

logger = logging.getLogger("privlens.attacks")
ATTACKS: dict[str, Callable[[AttackSetup], Scores]] = {
    "sampling": sample,
    "near copies": search,
    "logit lens": logit_lens,
    "reworded prompts": rewording,
    "quantization": quantize,
    "relearning": relearn,
    "linear probe": probe,
}
"""By name, in the order in which they run."""


def planned(setup: AttackSetup) -> tuple[str, ...]:
    """The names of the attacks that will have a record."""
    omitted = set() if any(setup.reworded) else {"reworded prompts"}
    omitted |= set() if setup.train_on else {"relearning"}
    omitted |= set() if setup.known else {"linear probe"}
    return tuple(name for name in ATTACKS if name not in omitted)


def attacks(setup: AttackSetup) -> Iterator[Attack]:
    """Runs every attack of `planned`, and yields a record of each, including those that could not run.

    Raises:
        BadInput: without a target. Cancelled: when `setup.stop` returned True.
    """
    if not setup.targets:
        raise BadInput("There is nothing to attack: erase at least one secret.")
    names = planned(setup)
    judgeable = setup.with_judgeable_targets()
    for name in names:
        setup.go_on()
        yield _run_attack(name, judgeable, len(names), len(setup.targets))


def diagnosed(setup: AttackSetup) -> tuple[tuple[EraseOrHide, ...], str]:
    """The records of `erase_or_hide`, and nothing; or none, and why it could not run: the other results hold.

    Raises:
        Cancelled: when `setup.stop` returned True. ModelDamaged: where weights could not be restored.
    """
    try:
        return tuple(erase_or_hide(setup)), ""
    except (Cancelled, ModelDamaged):
        raise
    except PrivlensError as error:
        return (), f"did not run: {error}"


def _run_attack(name: str, setup: AttackSetup, n_attacks: int, n_targets: int) -> Attack:
    """One record. An exception other than Cancelled and ModelDamaged becomes a record that says why: the other results hold."""
    try:
        attack = judged(name, ATTACKS[name](setup), n_attacks, setup.seed)
    except (Cancelled, ModelDamaged):
        raise
    except PrivlensError as error:
        return Attack(name, None, None, note=f"did not run: {error}")
    except Exception as error:
        logger.exception("The attack %s failed.", name)
        reason = (str(error).splitlines() or [""])[0][:200]
        return Attack(name, None, None, note=f"did not run: {type(error).__name__}: {reason}")
    n_left_out = n_targets - len(setup.targets)
    if n_left_out:
        left_out = f"{n_left_out} of {n_targets} values left out: fewer than {MIN_VALUES} values are like them"
        attack = replace(attack, note="; ".join(filter(None, [attack.note, left_out])))
    return attack


__all__ = ["ATTACKS", "FALSE_ALARMS", "AttackSetup", "attacks", "diagnosed", "erase_or_hide", "planned"]
