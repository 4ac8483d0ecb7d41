"""LPNL: the few neurons that a private value needs, found by gates that learn to close (a method of the kind of Chen et al.
2024, Learnable Privacy Neurons Localization; gates after Louizos et al. 2018, Learning Sparse Networks through L0).

The model is frozen. Only the neurons ranked best by the contrastive gate gradient may close. Their gates start mostly open and
are trained to make the value no likelier than others of its format; a KL term on retained text holds them back, and its weight
falls as long as the value is still generated word for word. The penalty on closed gates comes late: a closed gate gets the
penalty's gradient alone, and Adam would amplify it.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from privlens.lm.memory import AdaptiveBatchSize
from privlens.localization.gradients import MARGIN, TAU, Push, contrastive, push
from privlens.localization.task import Task
from privlens.retained.distributions import ReferenceDistributions, reference_distributions
from privlens.types import LocalizationStep

BETA, GAMMA, ZETA = 2 / 3, -0.1, 1.1
"""Temperature and stretch of the HardConcrete distribution, as in Louizos et al."""
TIE = 1e-3
"""How far a tie-breaker may move a score, before scores are rescaled to 0..1. With a larger one it would also
reorder gates that differ a little."""
Details = TypeVar("Details")


@dataclass(frozen=True)
class MaskSettings:
    """Settings of the mask; the README's figures were made with the defaults.

    The defaults were chosen among about fifteen combinations, on `demo` with seeds 7, 8 and 9.
    """

    candidates: float = 0.15
    """Share of all neurons whose gates may close."""
    steps: int = 52
    learning_rate: float = 0.3
    start: float = 1.0
    """log_alpha at the start; 0 is half open, 1 is three quarters open."""
    margin: float = MARGIN
    tau: float = TAU
    """Ends of the push, nats: margin below the mean of the format's tokens, or an NLL of tau (`Push`)."""
    keep: float = 130.0
    """Initial weight of the KL on retained text; a lower one takes more of the value and of its neighbours (`DEEP`)."""
    loosen: float = 0.93
    """That weight is multiplied by this after every step in which the value was still generated word for word."""
    penalty: float = 0.3
    """Weight of the share of closed gates, in the second half of the steps."""
    own_samples: int = 64
    sample_tokens: int = 24
    rows: int = 10
    """Retained rows per step."""
    target_rows: int = 2
    """Rows of the target per step, each with its own noise."""


def sample_gates(log_alpha: Tensor, noise: Tensor) -> Tensor:
    """HardConcrete gates in 0..1 for uniform noise in (0, 1); any shape."""
    stretched = torch.sigmoid((noise.log() - (-noise).log1p() + log_alpha) / BETA)
    return (stretched * (ZETA - GAMMA) + GAMMA).clamp(0, 1)


def deterministic_gates(log_alpha: Tensor) -> Tensor:
    """The gates without noise, as they are used after training; any shape."""
    return (torch.sigmoid(log_alpha) * (ZETA - GAMMA) + GAMMA).clamp(0, 1)


def open_probability(log_alpha: Tensor) -> Tensor:
    """P(gate > 0); any shape."""
    return torch.sigmoid(log_alpha - BETA * float(np.log(-GAMMA / ZETA)))


def backward(gates: Tensor, at_once: AdaptiveBatchSize, loss: Callable[[Tensor, slice], tuple[Tensor, Details]]) -> list[Details]:
    """The backward pass of a loss that is a sum over the rows of gates, in as few parts as memory allows.

    Args:
        gates: [rows, ...], differentiable; gradients are passed on to what they depend on once, however many parts there are.
        loss: some rows of the gates, and their slice -> their part of the loss, and details of them to be returned. If memory
            runs out, it is called again for all rows.
    """
    leaf = gates.detach().requires_grad_()

    def run_parts(rows: int) -> list[Details]:
        leaf.grad = None
        details = []
        for start in range(0, len(leaf), rows):
            part_loss, part_details = loss(leaf[start : start + rows], slice(start, min(start + rows, len(leaf))))
            part_loss.backward()
            details.append(part_details)
        return details

    all_details = at_once.run(run_parts, len(leaf))
    gates.backward(leaf.grad)
    return all_details


def with_ties_broken(scores: Tensor, preferred: Tensor) -> Tensor:
    """Scores in 0..1, rescaled so that among equal ones the more preferred is the higher; still in 0..1, any shape.

    Args:
        preferred: of any sign and scale; all 0 if there is no preference.
    """
    largest = preferred.abs().max()
    tie_breaker = TIE * preferred / largest if largest > 0 else torch.zeros_like(scores)
    return ((scores + tie_breaker + TIE) / (1 + 2 * TIE)).clamp(0, 1)  # the clamp is against rounding alone


@dataclass
class Mask:
    """The gates of the candidate neurons and their training state.

    Attributes:
        kept: what the model predicts in the retained rows with all neurons on.
        places: [n] flat indices of the candidates. log_alpha: [n], the only trained parameter.
        keep: the current weight of the KL.
        generator: of all noise and of the choice of retained rows; on the CPU, so that all devices draw the same.
        at_once: how many rows of a step fit in memory together.
    """

    task: Task
    settings: MaskSettings
    push: Push
    kept: ReferenceDistributions
    places: Tensor
    log_alpha: Tensor
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    keep: float
    at_once: AdaptiveBatchSize = field(default_factory=AdaptiveBatchSize)

    def spread(self, gates: Tensor) -> Tensor:
        """Gates of all neurons [rows, n_layers, width] from those of the candidates [rows, n]; all others are 1."""
        n_layers, width = self.task.lm.shape(self.task.site)
        ones = torch.ones(gates.shape[0], n_layers * width, device=gates.device, dtype=torch.float32)
        return ones.scatter(1, self.places.expand(gates.shape), gates).view(-1, n_layers, width)

    def step(self, penalty: float) -> tuple[float, dict[str, float]]:
        """One step of Adam. Returns the target's NLL under noise (nats/token) and the terms of the loss."""
        n_target = self.settings.target_rows
        picked = torch.randperm(len(self.kept.ids), generator=self.generator)[: self.settings.rows]
        noise = torch.rand(n_target + len(picked), len(self.places), generator=self.generator, dtype=torch.float32)
        noise = noise.clamp(1e-6, 1 - 1e-6)  # its logit must be finite
        closed = 1 - open_probability(self.log_alpha).mean()
        self.optimizer.zero_grad()
        with self.task.lm.held():
            gates = sample_gates(self.log_alpha, noise.to(self.log_alpha.device))
            parts = backward(gates, self.at_once, lambda part_gates, part: self._loss(part_gates, part, picked))
        (penalty * closed).backward()
        self.optimizer.step()
        logits, remaining_push, divergence = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        if self.push.matches(logits):
            self.keep *= self.settings.loosen
        terms = {"push": remaining_push.mean().item(), "kept": divergence.mean().item(), "closed": closed.item()}
        return float(self.push.per_token(logits)[1].mean()), terms

    def _loss(self, gates: Tensor, part: slice, picked: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """The loss of a part of a step's rows, which are those of the target first and then the retained ones.

        Also returns, for these rows, the target's logits and remaining push and the retained rows' KL.
        """
        lm = self.task.lm
        target_ids = list(self.push.encoded.ids)
        n_target = self.settings.target_rows
        n_target_here = len(range(n_target)[part])
        batch = self.kept.batch(picked[max(0, part.start - n_target) : max(0, part.stop - n_target)].to(lm.device))
        with lm.gated(self.spread(gates), self.task.site):
            logits = lm.logits(*lm.padded([target_ids] * n_target_here + batch.rows()))
        if n_target_here:
            target_logits = logits[:n_target_here, : len(target_ids)]
        else:
            target_logits = logits.new_empty(0, len(target_ids), logits.shape[-1])
        remaining_push = self.push(target_logits)
        divergence = batch.divergence(logits[n_target_here:, : batch.ids.shape[1]])
        loss = remaining_push.sum() / n_target + self.keep * (divergence.sum() / len(picked))
        return loss, (target_logits.detach(), remaining_push.detach(), divergence.detach())


def start(task: Task, settings: MaskSettings) -> tuple[Mask, Tensor]:
    """An untrained mask over the neurons that the push needs most and the retained text least.

    Also returns the contrastive gate gradient by which they were chosen, [n_layers, width].
    """
    lm = task.lm
    rows = task.retained_rows(settings.own_samples, settings.sample_tokens)
    objective = push(lm, lm.encode(task.target), settings.margin, settings.tau)
    attribution = contrastive(task, objective, rows)
    exists = lm.exists(task.site).to(attribution.device)
    n_neurons = int(exists.sum())
    # At least 16: the share of a very small model would leave almost none.
    n_candidates = min(n_neurons, max(16, round(settings.candidates * n_neurons)))
    places = attribution.masked_fill(~exists, float("-inf")).flatten().topk(n_candidates).indices
    log_alpha = torch.full((len(places),), settings.start, device=lm.device, requires_grad=True, dtype=torch.float32)
    optimizer = torch.optim.Adam([log_alpha], lr=settings.learning_rate)
    generator = torch.Generator().manual_seed(task.seed)
    mask = Mask(
        task=task,
        settings=settings,
        push=objective,
        kept=reference_distributions(lm, rows),
        places=places,
        log_alpha=log_alpha,
        optimizer=optimizer,
        generator=generator,
        keep=settings.keep,
    )
    return mask, attribution


DEEP = MaskSettings(keep=10.0, steps=60)
"""A low weight of retained text: more of the value goes, and more of its neighbours with it. Chosen on `demo` with seed 7."""


def hard_concrete_deep(task: Task) -> Iterator[LocalizationStep]:
    """The mask with a low weight of retained text."""
    return hard_concrete(task, DEEP, "hard-concrete-deep")


def hard_concrete(task: Task, settings: MaskSettings = MaskSettings(), name: str = "hard-concrete") -> Iterator[LocalizationStep]:
    """Trains the mask, one record per step. Scores are 1 - gate in 0..1; ties are broken by the contrastive gate gradient.

    Raises:
        Cancelled: before the next step when `task.stop` returns true; the model is unchanged.
    """
    shape = task.lm.shape(task.site)
    yield LocalizationStep(
        step=0,
        n_steps=settings.steps,
        stage="reading the retained text",
        gates=np.ones(shape, np.float32),
        n_closed=0,
        target_nll=float("nan"),
    )
    mask, attribution = start(task, settings)
    for step in range(1, settings.steps + 1):
        task.go_on()
        nll, terms = mask.step(settings.penalty if step > settings.steps / 2 else 0.0)
        gates = mask.spread(deterministic_gates(mask.log_alpha.detach())[None])[0].cpu().numpy()
        n_closed = int((gates < 0.5).sum())
        result = None
        if step == settings.steps:
            scores = with_ties_broken(1 - torch.from_numpy(gates), attribution.cpu()).numpy()
            all_settings = {**asdict(mask.settings), "retained": len(mask.kept.ids)}
            result = task.scores(name, scores, n_closed, all_settings)
        yield LocalizationStep(
            step=step,
            n_steps=settings.steps,
            stage="training the gates",
            gates=gates,
            n_closed=n_closed,
            target_nll=nll,
            terms=terms,
            result=result,
        )
