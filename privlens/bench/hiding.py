"""Whether the diagnosis "erased or hidden" tells which of the two was done, where it is known.

Of memorized values, the neurons that support a value most are switched off (erased: D+), or those that suppress it most are
turned up (hidden: D-); as many random neurons off are the control. Neither is pure: layers above a neuron answer its change, and
some of theirs come to suppress the value when it is switched off. So the three ways are to be compared with one another.
"""

import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from privlens.erasure.attacks.attributions import attribution, shift
from privlens.erasure.attacks.setup import Array
from privlens.errors import BadInput
from privlens.intervals import Interval, share
from privlens.lm.model import LanguageModel
from privlens.lm.scoring import score
from privlens.memorization.states import known
from privlens.secret_lists import ListedSecret

TURNED = 32
"""Neurons that are turned for each value: few beside all, and enough to lower its log-odds."""
UP = 3.0
"""By how much suppressors are turned up: enough to change what the model writes."""


@dataclass(frozen=True)
class ShiftRow:
    """What the diagnosis says of one way of making `n` memorized values unlikelier; means over them, in nats.

    `hidden_share` is the mean share of the change that is suppression, with its interval; None where nothing changed.
    """

    turned: str
    n: int
    still_written: int
    weakened: float
    grown: float
    hidden_share: float | None
    hidden_interval: Interval | None


def run(
    lm: LanguageModel, listed: Sequence[ListedSecret], most: int, seed: int, tell: Callable[[str], None]
) -> Iterator[ShiftRow]:
    """A row for each way of turning the gates of TURNED neurons, on the most repeated memorized secrets.

    Raises:
        BadInput: if the model knows none of them.
    """
    trained = sorted((row for row in listed if row.repeats), key=lambda row: -(row.repeats or 0))
    secrets = known(lm, [row.secret for row in trained])[:most]
    if not secrets:
        raise BadInput("The model knows none of the secrets on this list, so there is nothing to hide or to erase.")
    texts = [lm.encode(secret) for secret in secrets]
    before = [attribution(lm, secret)[0] for secret in secrets]
    for name, turn in WAYS.items():
        tell(f"{name}: {len(secrets)} secrets")
        gates = [turn(scores, random.Random(f"{seed} {row}")).to(lm.device) for row, scores in enumerate(before)]
        after = [attribution(lm, secret, gate)[0] for secret, gate in zip(secrets, gates, strict=True)]
        shifts = [shift(then, now) for then, now in zip(before, after, strict=True)]
        shares = [moved.hidden_share for moved in shifts if moved.hidden_share is not None]
        states = score(lm, texts, torch.cat(gates))
        yield ShiftRow(
            turned=name,
            n=len(secrets),
            still_written=sum(state.argmax == text.value_ids for state, text in zip(states, texts, strict=True)),
            weakened=statistics.fmean(moved.weakened for moved in shifts),
            grown=statistics.fmean(moved.grown for moved in shifts),
            hidden_share=statistics.fmean(shares) if shares else None,
            hidden_interval=share(shares, 1),
        )


def _gates(scores: Array, chosen: Sequence[int], gate: float) -> Tensor:
    """[1, n_layers, width]: a gate for the chosen neurons, 1 for the others."""
    gates = torch.ones(scores.size, dtype=torch.float32)
    gates[list(chosen)] = gate
    return gates.view(1, *scores.shape)


def _supporters_off(scores: Array, _: random.Random) -> Tensor:
    return _gates(scores, np.argsort(-scores, axis=None)[:TURNED].tolist(), 0.0)


def _suppressors_up(scores: Array, _: random.Random) -> Tensor:
    return _gates(scores, np.argsort(scores, axis=None)[:TURNED].tolist(), UP)


def _random_off(scores: Array, rng: random.Random) -> Tensor:
    return _gates(scores, rng.sample(range(scores.size), TURNED), 0.0)


WAYS: dict[str, Callable[[Array, random.Random], Tensor]] = {
    "supporters off": _supporters_off,
    "suppressors up": _suppressors_up,
    "random neurons off": _random_off,
}
"""Ways of turning neurons, by name: attributions [n_layers, width] -> gates."""
