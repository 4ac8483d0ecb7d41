"""LPNL: few neurons that a private value needs, found by gates that learn to close (a method of the kind of Chen et al.
2024, Learnable Privacy Neurons Localization; gates after Louizos et al. 2018, Learning Sparse Networks through L0).

The model is frozen. Only the candidates of the contrastive gate gradient may close; they start half open, are pushed to
make the value unlikely, and held back by the retained text. The penalty on closed gates comes late.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from privlens.errors import Cancelled
from privlens.localization.gradients import contrastive
from privlens.localization.retained import keep, retained_rows
from privlens.localization.task import Task
from privlens.models.text import encode
from privlens.records import LocalizationStep

BETA, GAMMA, ZETA = 2 / 3, -0.1, 1.1


@dataclass(frozen=True)
class MaskSettings:
    """Settings of the mask; defaults are what the README's figures were made with."""

    candidates: float = 0.04
    """Share of all neurons that may close."""
    steps: int = 40
    learning_rate: float = 0.15
    tau: float = 4.0
    """The push on a token ends where its NLL has reached this, nats."""
    keep: float = 30.0
    """Weight of the KL on retained text."""
    penalty: float = 1.0
    """Weight of the mean probability of being closed, from half of the steps on."""
    own_samples: int = 48
    sample_tokens: int = 24
    rows: int = 16
    """Retained rows in a step."""


def sampled(log_alpha: Tensor, noise: Tensor) -> Tensor:
    """HardConcrete gates in 0..1 for uniform noise in (0, 1); any shape."""
    stretched = torch.sigmoid((noise.log() - (-noise).log1p() + log_alpha) / BETA)
    return (stretched * (ZETA - GAMMA) + GAMMA).clamp(0, 1)


def settled(log_alpha: Tensor) -> Tensor:
    """The gates without noise, as they are used after training; any shape."""
    return (torch.sigmoid(log_alpha) * (ZETA - GAMMA) + GAMMA).clamp(0, 1)


def open_probability(log_alpha: Tensor) -> Tensor:
    """P(gate > 0); any shape."""
    return torch.sigmoid(log_alpha - BETA * torch.log(torch.tensor(-GAMMA / ZETA)))


def hard_concrete(task: Task, settings: MaskSettings = MaskSettings()) -> Iterator[LocalizationStep]:
    """Trains the mask. Scores are 1 - gate for neurons that moved, with the warm start as the tie-break."""
    lm = task.lm
    n_layers, width = lm.shape(task.site)
    rows = retained_rows(task, settings.own_samples, settings.sample_tokens)
    warm = contrastive(task, rows)
    yield LocalizationStep(0, settings.steps, "warm start", torch.ones(n_layers, width).numpy(), 0, float("nan"))
    kept = keep(lm, rows)
    n_candidates = max(16, round(settings.candidates * n_layers * width))
    places = warm.flatten().topk(n_candidates).indices
    log_alpha = torch.zeros(n_candidates, device=lm.device, requires_grad=True)
    optimizer = torch.optim.Adam([log_alpha], lr=settings.learning_rate)
    generator = torch.Generator().manual_seed(task.seed)
    target = encode(lm.tokenizer, task.target)

    def spread(gates: Tensor) -> Tensor:
        full = torch.ones(n_layers * width, device=lm.device)
        return full.scatter(0, places, gates).view(1, n_layers, width)

    for step in range(1, settings.steps + 1):
        if task.stop():
            raise Cancelled("Localization stopped; the model and the neurons you had are as they were.")
        noise = torch.rand(n_candidates, generator=generator).clamp(1e-6, 1 - 1e-6).to(lm.device)
        picked = torch.randperm(len(rows), generator=generator)[: settings.rows]
        batch = kept.batch(picked.to(lm.device))
        ids, mask = lm.padded([target.ids, *(row[: int(m)] for row, m in zip(batch.ids.tolist(), batch.mask.sum(1), strict=True))])
        with lm.gated(spread(sampled(log_alpha, noise)), task.site):
            logits = lm.logits(ids, mask)
        own = logits[0, target.n_prompt - 1 : len(target.ids) - 1].log_softmax(-1)
        nll = -own.gather(1, torch.tensor(target.value_ids, device=lm.device)[:, None])[:, 0]
        push = (settings.tau - nll).clamp_min(0).mean()
        divergence = batch.divergence(logits[1:, : batch.ids.shape[1]]).mean()
        closed = 1 - open_probability(log_alpha).mean()
        late = settings.penalty if step > settings.steps / 2 else 0.0
        loss = push + settings.keep * divergence + late * closed
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        gates = spread(settled(log_alpha.detach()))[0]
        terms = {"push": float(push), "kept": float(divergence), "closed": float(closed)}
        n_closed = int((gates < 0.5).sum())
        result = None
        if step == settings.steps:
            scores = 1 - gates + 1e-3 * warm / warm.abs().max()
            result = task.scores("hard-concrete", scores.cpu().numpy(), n_closed, asdict(settings))
        yield LocalizationStep(step, settings.steps, "training", gates.cpu().numpy(), n_closed, float(nll.mean()), terms, result)
