"""Erased or hidden: were the neurons that support a value weakened, or did others come to suppress it?

The attribution of neuron i is A_i = h_i * df/dh_i = df/dg_i at gate g_i = 1, summed over positions, where f is the sum of the
log-odds log p - log(1 - p) of the value's private tokens. With A before and A' after the erasure, over all MLP neurons,

    D+ = sum_i max(0, max(A_i, 0) - max(A'_i, 0)), what supporters lost;
    D- = sum_i max(0, max(-A'_i, 0) - max(-A_i, 0)), what suppressors gained.

A value that is hidden can be uncovered by weakening its suppressors; erasure lives in D+.

Source: of the kind of Ssiuu (Yang et al., ICLR 2026, arXiv 2509.22263), which takes the probability p for f. Ours are log-odds:
dp = p (1 - p) d(log-odds) vanishes where p is nearly 0, so with p every attribution fades once a value is well hidden, that of
supporters too, and every hiding would look like erasing.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from privlens.erasure.attacks.setup import Array, AttackSetup
from privlens.erasure.losses import predictions
from privlens.errors import BadInput
from privlens.lm.model import LanguageModel
from privlens.lm.offload import value_of
from privlens.lm.tokens import Encoded
from privlens.memorization.candidates import private
from privlens.outcomes import AttributionShift, EraseOrHide
from privlens.provenance import provenance
from privlens.types import Change, Edit, Neuron, Secret

MAX_OTHERS = 8
"""Other memorized secrets as a control: each takes as long as a target."""
SHOWN = 300
"""Neurons in the record, for the picture. More would lie on top of one another near 0."""


def erase_or_hide(setup: AttackSetup) -> Iterator[EraseOrHide]:
    """A record for every target.

    Raises:
        BadInput: without a target. Cancelled: when `setup.stop` returned True.
    """
    if not setup.targets:
        raise BadInput("There is nothing to look at: erase at least one secret.")
    imitation = _random_edit(setup)
    shuffled = setup.before.under(imitation) if imitation else None
    others = tuple(_shift_of(setup, secret, setup.after) for secret in setup.known[:MAX_OTHERS])
    for target in setup.targets:
        setup.go_on()
        before, log_odds_before = attribution(setup.before, target)
        after, log_odds_after = attribution(setup.after, target)
        neurons = _largest(before, after)
        yield EraseOrHide(
            secret=target,
            shift=shift(before, after),
            random=shift(before, attribution(shuffled, target)[0]) if shuffled else None,
            others=others,
            log_odds_before=log_odds_before,
            log_odds_after=log_odds_after,
            neurons=neurons,
            before=tuple(float(before[neuron]) for neuron in neurons),
            after=tuple(float(after[neuron]) for neuron in neurons),
        )


def shift(before: Array, after: Array) -> AttributionShift:
    """How attributions of any one shape changed: D+ and D-."""
    return AttributionShift(
        support=float(before.clip(0).sum()),
        suppression=float((-before).clip(0).sum()),
        weakened=float((before.clip(0) - after.clip(0)).clip(0).sum()),
        grown=float(((-after).clip(0) - (-before).clip(0)).clip(0).sum()),
    )


def attribution(lm: LanguageModel, secret: Secret, gates: Tensor | None = None) -> tuple[Array, float]:
    """A_i of every MLP neuron [n_layers, width], and the value's log-odds; both in nats.

    Args:
        gates: [1, n_layers, width] that are in place, such as zeros for neurons that are off; then A_i = g_i * df/dg_i.
    """
    text = lm.encode(secret)
    all_on = torch.ones(1, *lm.shape(), device=lm.device, dtype=torch.float32)
    in_place = (all_on if gates is None else gates.float()).requires_grad_()
    with lm.held(), torch.enable_grad():
        with lm.gated(in_place):
            total = predictions(lm, [text]).log_odds[_counted(lm, text)].sum()
        [gradient] = torch.autograd.grad(total, in_place)
    attributions: Array = (gradient * in_place.detach())[0].double().cpu().numpy()
    return attributions, total.item()


def _counted(lm: LanguageModel, text: Encoded) -> Tensor:
    """[T] bool: the private tokens of a value, or all where none has a letter or digit."""
    is_private = private(lm, text)
    return is_private if bool(is_private.any()) else torch.ones_like(is_private)


def _shift_of(setup: AttackSetup, secret: Secret, after: LanguageModel) -> AttributionShift:
    setup.go_on()
    return shift(attribution(setup.before, secret)[0], attribution(after, secret)[0])


def _largest(before: Array, after: Array) -> tuple[Neuron, ...]:
    """The neurons with the largest attributions in either model."""
    size = np.maximum(np.abs(before), np.abs(after))
    order = np.argsort(-size, axis=None, kind="stable")[:SHOWN]
    width = before.shape[1]
    return tuple(Neuron(int(flat) // width, int(flat) % width) for flat in order if size.flat[flat] > 0)


def _random_edit(setup: AttackSetup) -> Edit | None:
    """An edit that changes as many weights of each parameter by the same amounts, at random places; None without one edit."""
    lm, edits = setup.before, setup.after.edits[len(setup.before.edits) :]
    if len(edits) != 1:
        return None
    rng = np.random.default_rng(setup.seed)
    parameters = dict(lm.model.named_parameters())
    changes = {}
    with lm.held():
        for name, change in edits[0].changes.items():
            weight = value_of(lm.model, name, parameters[name]).detach().flatten()
            places = np.sort(rng.choice(weight.numel(), len(change.indices), replace=False))
            old = weight[torch.tensor(places, device=weight.device)].float().cpu().numpy()
            changes[name] = Change(places, old, old + rng.permutation(change.new - change.old))
    return Edit(changes, provenance(lm, setup.seed, {"method": "random weights, changed by as much"}, 0.0))
