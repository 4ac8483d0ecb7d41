"""LPNL: few neurons that a private value needs, found by gates that learn to close (a method of the kind of Chen et al.
2024, Learnable Privacy Neurons Localization; gates after Louizos et al. 2018, Learning Sparse Networks through L0).

The model is frozen. Only the candidates of the contrastive gate gradient may close; they start mostly open, are pushed to
make the value no likelier than others of its format, and are held back by the retained text, whose hold loosens while the
value is still written word for word. The penalty on closed gates comes late: a closed gate gets the penalty's gradient
alone, and Adam would amplify it.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from privlens.lm.memory import RowsAtOnce
from privlens.localization.gradients import MARGIN, TAU, Push, contrastive, push
from privlens.localization.task import Task
from privlens.retained.distributions import ReferenceDistributions, reference_distributions
from privlens.types import LocalizationStep

BETA, GAMMA, ZETA = 2 / 3, -0.1, 1.1
TIE = 1e-3
"""How far what decides among equal gates moves a score, before all are brought back to 0..1."""
Seen = TypeVar("Seen")


@dataclass(frozen=True)
class MaskSettings:
    """Settings of the mask; defaults are what the README's figures were made with."""

    candidates: float = 0.15
    """Share of all neurons that may close."""
    steps: int = 52
    learning_rate: float = 0.3
    start: float = 1.0
    """log_alpha at the start; 0 is half open, 1 is three quarters."""
    margin: float = MARGIN
    tau: float = TAU
    """Ends of the push, nats: this far below the mean of the format's tokens, or this NLL."""
    keep: float = 130.0
    """Weight of the KL on retained text at the start."""
    loosen: float = 0.93
    """The weight is multiplied by this after every step in which the value was still written word for word."""
    penalty: float = 0.3
    """Weight of the share of candidates that are closed, in the second half of the steps."""
    own_samples: int = 64
    sample_tokens: int = 24
    rows: int = 10
    """Retained rows in a step."""
    target_rows: int = 2
    """Rows of the target in a step, each with its own noise."""


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


def backward(gates: Tensor, at_once: RowsAtOnce, loss: Callable[[Tensor, slice], tuple[Tensor, Seen]]) -> list[Seen]:
    """The backward pass of a loss that adds up over the rows of gates, in as few parts as memory allows.

    Args:
        gates: [rows, ...], differentiable; what they were made of gets its gradient once, whatever the parts.
        loss: some rows of the gates, and which they are -> their share of the loss, and what shall be returned of them. Where
            memory runs out it is asked for all rows again.
    """
    leaf = gates.detach().requires_grad_()

    def work(rows: int) -> list[Seen]:
        leaf.grad, found = None, []
        for start in range(0, len(leaf), rows):
            own, seen = loss(leaf[start : start + rows], slice(start, min(start + rows, len(leaf))))
            own.backward()
            found.append(seen)
        return found

    found = at_once.run(work, len(leaf))
    gates.backward(leaf.grad)
    return found


def with_ties_broken(scores: Tensor, preferred: Tensor) -> Tensor:
    """Scores in 0..1 that are still in 0..1, and among equal ones the more preferred is the higher; any shape.

    Args:
        preferred: of any sign and scale; all 0 where nothing is preferred.
    """
    largest = preferred.abs().max()
    tie = TIE * preferred / largest if largest > 0 else torch.zeros_like(scores)
    return ((scores + tie + TIE) / (1 + 2 * TIE)).clamp(0, 1)  # against rounding alone


@dataclass
class Mask:
    """The gates of the candidates and what trains them.

    Attributes:
        places: [n] flat positions of the candidates. log_alpha: [n], the only thing that is trained.
        keep: the weight of the KL as it stands.
        generator: all noise and the choice of retained rows come from it, on the CPU, so that every device agrees.
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
    at_once: RowsAtOnce = field(default_factory=RowsAtOnce)

    def spread(self, gates: Tensor) -> Tensor:
        """Gates of the candidates [rows, n] among ones for all other neurons: [rows, n_layers, width]."""
        n_layers, width = self.task.lm.shape(self.task.site)
        ones = torch.ones(gates.shape[0], n_layers * width, device=gates.device, dtype=torch.float32)
        return ones.scatter(1, self.places.expand(gates.shape), gates).view(-1, n_layers, width)

    def step(self, penalty: float) -> tuple[float, dict[str, float]]:
        """One step of Adam; the target's NLL under noise (nats/token) and the terms of the loss."""
        n_target = self.settings.target_rows
        picked = torch.randperm(len(self.kept.ids), generator=self.generator)[: self.settings.rows]
        noise = torch.rand(n_target + len(picked), len(self.places), generator=self.generator, dtype=torch.float32)
        noise = noise.clamp(1e-6, 1 - 1e-6)
        closed = 1 - open_probability(self.log_alpha).mean()
        self.optimizer.zero_grad()
        with self.task.lm.held():
            gates = sample_gates(self.log_alpha, noise.to(self.log_alpha.device))
            found = backward(gates, self.at_once, lambda own, part: self._loss(own, part, picked))
        (penalty * closed).backward()
        self.optimizer.step()
        logits, pushed, kept = (torch.cat(parts) for parts in zip(*found, strict=True))
        if self.push.matches(logits):
            self.keep *= self.settings.loosen
        terms = {"push": pushed.mean().item(), "kept": kept.mean().item(), "closed": closed.item()}
        return float(self.push.per_token(logits)[1].mean()), terms

    def _loss(self, gates: Tensor, part: slice, picked: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """What some of a step's rows, the target's first and then the retained ones, add to its loss.

        With it the target's logits, its push and the retained rows' KL, of these rows.
        """
        lm, n_target, own = self.task.lm, self.settings.target_rows, list(self.push.encoded.ids)
        n_own = len(range(n_target)[part])
        batch = self.kept.batch(picked[max(0, part.start - n_target) : max(0, part.stop - n_target)].to(lm.device))
        with lm.gated(self.spread(gates), self.task.site):
            logits = lm.logits(*lm.padded([own] * n_own + batch.rows()))
        aimed = logits[:n_own, : len(own)] if n_own else logits.new_empty(0, len(own), logits.shape[-1])
        pushed = self.push(aimed)
        kept = batch.divergence(logits[n_own:, : batch.ids.shape[1]])
        loss = pushed.sum() / n_target + self.keep * (kept.sum() / len(picked))
        return loss, (aimed.detach(), pushed.detach(), kept.detach())


def start(task: Task, settings: MaskSettings) -> tuple[Mask, Tensor]:
    """A mask over the candidates that the push needs most and the retained text least; with their scores, [n_layers, width]."""
    lm = task.lm
    rows = task.retained_rows(settings.own_samples, settings.sample_tokens)
    aim = push(lm, lm.encode(task.target), settings.margin, settings.tau)
    warm = contrastive(task, aim, rows)
    exists = lm.exists(task.site).to(warm.device)
    most = min(int(exists.sum()), max(16, round(settings.candidates * int(exists.sum()))))
    places = warm.masked_fill(~exists, float("-inf")).flatten().topk(most).indices
    log_alpha = torch.full((len(places),), settings.start, device=lm.device, requires_grad=True, dtype=torch.float32)
    optimizer = torch.optim.Adam([log_alpha], lr=settings.learning_rate)
    generator = torch.Generator().manual_seed(task.seed)
    return Mask(
        task, settings, aim, reference_distributions(lm, rows), places, log_alpha, optimizer, generator, settings.keep
    ), warm


DEEP = MaskSettings(keep=10.0, steps=60)
"""A weak hold on retained text: more of the value goes, and more of its neighbours with it."""


def hard_concrete_deep(task: Task) -> Iterator[LocalizationStep]:
    """The mask with a weak hold on retained text."""
    return hard_concrete(task, DEEP, "hard-concrete-deep")


def hard_concrete(task: Task, settings: MaskSettings = MaskSettings(), name: str = "hard-concrete") -> Iterator[LocalizationStep]:
    """Trains the mask, a record a step. Scores are 1 - gate in 0..1, and among equal gates the warm start decides.

    Raises:
        Cancelled: when `task.stop` said so, before the next step; nothing is left behind in the model.
    """
    shape = task.lm.shape(task.site)
    yield LocalizationStep(0, settings.steps, "reading the retained text", np.ones(shape, np.float32), 0, float("nan"))
    mask, warm = start(task, settings)
    for step in range(1, settings.steps + 1):
        task.go_on()
        nll, terms = mask.step(settings.penalty if step > settings.steps / 2 else 0.0)
        gates = mask.spread(deterministic_gates(mask.log_alpha.detach())[None])[0].cpu().numpy()
        n_closed = int((gates < 0.5).sum())
        result = None
        if step == settings.steps:
            scores = with_ties_broken(1 - torch.from_numpy(gates), warm.cpu()).numpy()
            how = {**asdict(mask.settings), "retained": len(mask.kept.ids)}
            result = task.scores(name, scores, n_closed, how)
        yield LocalizationStep(step, settings.steps, "training the gates", gates, n_closed, nll, terms, result)
