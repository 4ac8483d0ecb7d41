"""The logit lens on a whole text, before and after neurons are off or weights are edited: where a value becomes visible.

A layer's reading is what the model would predict if it were the last (lm/logit_lens.py). It says what the model's own head can
read there, not all that is there: a value may be present in a form that later layers turn into a prediction.

Source: nostalgebraist, interpreting GPT: the logit lens (2020).
"""

import time
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from privlens.errors import Cancelled
from privlens.lm.gating import random_like
from privlens.lm.logit_lens import read_layers, residuals
from privlens.lm.model import LanguageModel, Stop, never_stop
from privlens.lm.tokens import Encoded, token_texts
from privlens.memorization.check import control
from privlens.neurons.lens_records import LensReading, LensResult, LensStep
from privlens.provenance import provenance
from privlens.types import Neuron, Secret


def reading(lm: LanguageModel, encoded: Encoded, off: Sequence[Neuron] = ()) -> LensReading:
    """What every layer would predict at every token of one text, with some neurons off.

    Raises:
        BadInput: for a neuron that does not exist. UnsupportedModel: if layers cannot be read as the model itself does.
    """
    whole_text = Encoded(encoded.ids, 1)

    def keep(logits: Tensor, values: Tensor) -> Tensor:
        probabilities = logits.softmax(-1)
        top = probabilities.max(-1)
        true = probabilities.gather(1, values[:, None])
        rank = (logits > logits.gather(1, values[:, None])).sum(1) + 1
        return torch.stack([top.indices.float(), top.values, true[:, 0], rank.float()], dim=1)  # ids are below 2^24

    with lm.gated(lm.off(off) if off else None):
        read = read_layers(lm, residuals(lm, [whole_text]), keep).cpu()
    ids, top, true, rank = read.unbind(-1)
    return LensReading(
        tokens=tuple(token_texts(lm.tokenizer, encoded.ids)),
        n_prompt=encoded.n_prompt,
        top_tokens=tuple(tuple(token_texts(lm.tokenizer, layer)) for layer in ids.long().tolist()),
        top_probability=top.numpy(),
        true_probability=true.numpy(),
        true_rank=rank.long().numpy(),
    )


def lens(
    lm: LanguageModel,
    secret: Secret,
    *,
    off: Sequence[Neuron] = (),
    edited: LanguageModel | None = None,
    seed: int = 0,
    stop: Stop = never_stop,
) -> Iterator[LensStep]:
    """The lens on a secret; yields after every text that is read.

    Args:
        off: MLP neurons that are off afterwards. edited: a view of the model under an edit, which is in place afterwards.
        seed: of the random neurons and of the value that nobody trained on.

    Raises:
        BadInput: for a secret or neuron that cannot be used. UnsupportedModel: see `reading`. Cancelled: if `stop` returned True.
    """
    started = time.perf_counter()
    off = tuple(dict.fromkeys(off))
    secret = lm.settled(secret)
    encoded = lm.encode(secret)
    rival = control(lm, secret, seed)
    plan: dict[str, tuple[LanguageModel, Encoded, Sequence[Neuron]]] = {"before": (lm, encoded, ())}
    if off or edited is not None:
        plan["after"] = (lm if edited is None else edited, encoded, off)
    if off:
        plan["random"] = (lm, encoded, random_like(lm.widths(), len(off), seed))
    if rival:
        plan["control"] = (lm, lm.encode(rival), ())
    readings: dict[str, LensReading] = {}
    for step, (name, (view, text, neurons)) in enumerate(plan.items(), 1):
        if stop():
            raise Cancelled("Stopped while reading the layers; nothing was changed.")
        readings[name] = reading(view, text, neurons)
        yield LensStep(step, len(plan) + 1, STAGES[name])
    settings = {"off": len(off), "edited": "" if edited is None else edited.fingerprint}
    result = LensResult(
        secret=secret,
        before=readings["before"],
        after=readings.get("after"),
        random=readings.get("random"),
        control=readings.get("control"),
        off=off,
        provenance=provenance(lm, seed, settings, started),
    )
    yield LensStep(len(plan) + 1, len(plan) + 1, "done", result)


STAGES = {
    "before": "all neurons on",
    "after": "afterwards",
    "random": "random neurons off",
    "control": "a value that nobody trained on",
}
