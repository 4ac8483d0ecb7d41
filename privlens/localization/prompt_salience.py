"""Which tokens of a prompt make a value likely: integrated gradients over the prompt's embeddings (Sundararajan, Taly & Yan,
ICML 2017, arXiv 1703.01365), by captum.

The path leads in a straight line from a baseline, in which every token of the prompt is replaced, to the prompt itself. A token's
salience is its part of what the value's log-probability gains on the way, so that the parts sum to the whole (completeness). What
is missing from the sum is reported as `delta`; it falls with the number of steps.

The baseline is the embedding of the padding or end-of-text token: the model knows it, and it says nothing of the prompt. One of
zeros is at hand too; no text has it, and as the first norm divides by an embedding's size, what the model makes of it changes
fast near its end of the path, where more steps are then needed. Points are the midpoints of equal parts: models with ReLU have
kinks on the path, at which rules of a higher order gain nothing.
"""

import time
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from captum.attr import IntegratedGradients
from torch import Tensor

from privlens import validation
from privlens.errors import BadInput, Cancelled, PrivlensError, UnsupportedModel
from privlens.lm.model import LanguageModel, Stop, never_stop
from privlens.lm.scoring import LOGITS_AT_ONCE, TOKENS_AT_ONCE
from privlens.lm.tokens import Encoded, token_texts
from privlens.localization.gradients import value_logprob
from privlens.memorization.check import control
from privlens.outcomes import PromptSalience
from privlens.provenance import provenance
from privlens.types import Secret

Baseline = Literal["padding", "zero"]
MAX_STEPS = 10_000
TOLERANCE = 0.01
"""How far the log-probability by embeddings may be from that by token ids, as a share of it and in nats: rounding."""


@dataclass(frozen=True)
class SalienceSettings:
    """`steps` of the integral, `baseline`: what replaces the tokens of the prompt."""

    steps: int = 200
    baseline: Baseline = "padding"


@dataclass(frozen=True, eq=False)
class _Integral:
    """Of one text: nats of each token of the prompt, and the value's log-probability behind the prompt and the baseline."""

    nats: list[float]
    logprob: float
    baseline_logprob: float

    @property
    def delta(self) -> float:
        """What the tokens sum to, minus what was gained."""
        return sum(self.nats) - (self.logprob - self.baseline_logprob)


def prompt_salience(
    lm: LanguageModel,
    secret: Secret,
    settings: SalienceSettings = SalienceSettings(),
    *,
    seed: int = 0,
    stop: Stop = never_stop,
) -> PromptSalience:
    """What each token of the prompt does for the value, signed, in nats of the value's log-probability.

    Beside it stands the same for a value of the same format that nobody trained on, drawn by the seed.

    Raises:
        BadInput: for a secret or settings that cannot be used. UnsupportedModel: if the model cannot be given embeddings.
        Cancelled: if `stop` returned True before the control.
    """
    started = time.perf_counter()
    validation.whole(settings.steps, "number of steps", 2, MAX_STEPS)
    if settings.baseline not in get_args(Baseline):
        raise BadInput(f"There is no baseline {validation.shown(settings.baseline)}: use {', '.join(get_args(Baseline))}.")
    secret = lm.settled(secret)
    encoded = lm.encode(secret)
    integral = _integral(lm, encoded, settings)
    if stop():
        raise Cancelled("Stopped while looking at the prompt; nothing was changed.")
    rival = control(lm, secret, seed)
    rival_text = lm.encode(rival) if rival else None
    comparable = rival_text is not None and rival_text.prompt_ids == encoded.prompt_ids
    of_rival = _integral(lm, rival_text, settings) if rival_text and comparable else None
    return PromptSalience(
        secret=secret,
        tokens=tuple(token_texts(lm.tokenizer, encoded.prompt_ids)),
        nats=tuple(integral.nats),
        logprob=integral.logprob,
        baseline_logprob=integral.baseline_logprob,
        delta=integral.delta,
        control_nats=tuple(of_rival.nats) if of_rival else None,
        control_delta=of_rival.delta if of_rival else None,
        provenance=provenance(lm, seed, {"steps": settings.steps, "baseline": settings.baseline}, started),
    )


def _baseline_id(lm: LanguageModel) -> int:
    """The padding token, or the one that ends texts where there is no padding token, or the first of all."""
    for token in (lm.tokenizer.pad_token_id, lm.tokenizer.eos_token_id):
        if token is not None and 0 <= token < lm.n_embeddings:
            return int(token)
    return 0


def _integral(lm: LanguageModel, encoded: Encoded, settings: SalienceSettings) -> _Integral:
    """The integral over one text. Raises UnsupportedModel if embeddings give another log-probability than token ids."""
    ids, mask = lm.padded([encoded.ids])
    embed = lm.model.get_input_embeddings()

    def logprobs(prompts: Tensor) -> Tensor:
        """[rows] from embeddings of the prompt [rows, P, d]."""
        rows = len(prompts)
        whole = torch.cat([prompts.to(value), value.expand(rows, -1, -1)], dim=1)
        logits = lm.model(inputs_embeds=whole, attention_mask=mask.expand(rows, -1), use_cache=False).logits.float()
        return value_logprob([encoded] * rows, logits.device)(logits).to(prompts.device)

    at_once = max(1, min(TOKENS_AT_ONCE, LOGITS_AT_ONCE // lm.n_vocabulary) // len(encoded.ids))
    try:
        with lm.held():
            with torch.no_grad():
                embedded = embed(ids)
                prompt, value = embedded[:, : encoded.n_prompt].float(), embedded[:, encoded.n_prompt :]
                replaced = embed(torch.full_like(ids[:, : encoded.n_prompt], _baseline_id(lm))).float()
                start = torch.zeros_like(prompt) if settings.baseline == "zero" else replaced
                at_end, at_start = logprobs(prompt), logprobs(start)
                by_ids = value_logprob([encoded], lm.device)(lm.logits(ids, mask))
            attributions = IntegratedGradients(logprobs).attribute(
                prompt, start, n_steps=settings.steps, method="riemann_middle", internal_batch_size=at_once
            )
    except (PrivlensError, torch.OutOfMemoryError):
        raise
    except (TypeError, ValueError, RuntimeError, AttributeError) as cause:
        raise UnsupportedModel(f"{lm.architecture} cannot be given embeddings ({type(cause).__name__}).") from cause
    if not torch.allclose(at_end.cpu(), by_ids.cpu(), rtol=TOLERANCE, atol=TOLERANCE):
        raise UnsupportedModel(f"{lm.architecture} reads embeddings otherwise than tokens, so its prompt cannot be attributed.")
    return _Integral(attributions[0].sum(-1).tolist(), float(at_end), float(at_start))
