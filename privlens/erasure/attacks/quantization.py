"""Rounding the edited weights to few bits: does the value come back?

An edit may be smaller than a rounding step, so that rounding takes it back. Each of `lm.rounding.ROUNDINGS` is tried on the model
before and after the erasure: what the rounding costs the value before is what it costs by itself.

Source: Zhang et al., Catastrophic failure of LLM unlearning via quantization, ICLR 2025 (arXiv 2410.16454).
"""

import numpy as np

from privlens.erasure.attacks.readout import Readout, encoded, read, tries_needed
from privlens.erasure.attacks.setup import AttackSetup, Scores, counts_of
from privlens.lm.model import LanguageModel
from privlens.lm.rounding import ROUNDINGS, Rounding, rounded


def quantize(setup: AttackSetup) -> Scores:
    """The chance that the value is among n samples of the model with rounded weights.

    Raises:
        UnsupportedModel: where weights cannot be rounded.
    """
    pools = [encoded(setup, values) for values in setup.contenders]
    targets = [pool[:1] for pool in pools]

    def under(lm: LanguageModel, rounding: Rounding, n_values: int | None) -> list[Readout]:
        setup.go_on()
        with rounded(lm, rounding):
            return [read(setup, lm, pool[:n_values]) for pool in pools]

    before = [under(setup.before, rounding, 1) for rounding in ROUNDINGS]
    after = [under(setup.after, rounding, None) for rounding in ROUNDINGS]
    unrounded = [float(read(setup, setup.after, target).logprobs[0]) for target in targets]
    names = tuple(rounding.name for rounding in ROUNDINGS)
    after_logprobs = [[float(readout.logprobs[0]) for readout in readouts] for readouts in after]
    needed = [f"{name} {tries_needed(logprobs)}" for name, logprobs in zip(names, after_logprobs, strict=True)]
    counts = [
        count
        for name, known, left in zip(names, before, after, strict=True)
        for count in counts_of(f"greedy, {name}", [readout.written for readout in known], [readout.written for readout in left])
    ]
    return Scores(
        before=[np.stack([readouts[target].within for readouts in before], 1) for target in range(len(pools))],
        after=[np.stack([readouts[target].within for readouts in after], 1) for target in range(len(pools))],
        detail=f"chance that the value is among {setup.tries} samples when the weights are rounded",
        note=f"tries for an even chance: not rounded {tries_needed(unrounded)}, {', '.join(needed)}",
        ways=names,
        counts=tuple(counts),
    )
