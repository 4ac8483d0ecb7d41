"""Stepwise closing: a few neurons at a time, with all gradients measured anew in between, until the value is deep enough.

One ranking with all gates open overlooks that neurons stand in for each other, in the secret as in retained text: which of them
matter shows only once the first are closed. Every step closes those that take most from what is left of the push (goal.py) for
what they add to the KL on retained text: its slope at the gates as they are, and half its curvature with all gates open, a
diagonal of the Fisher information (of the kind of Theis et al. 2018, Faster gaze prediction with dense networks and Fisher
pruning, arXiv 1801.05787). No gate is trained and nothing is drawn but the retained rows of a step.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
import torch
from torch import Tensor

from privlens.lm.memory import AdaptiveBatchSize, in_parts
from privlens.lm.tokens import Encoded
from privlens.localization.depth_search import fewest, first, price, reached
from privlens.localization.gates import backward
from privlens.localization.goal import Goal, goal
from privlens.localization.gradients import value_gradient
from privlens.localization.task import Task
from privlens.retained.distributions import ReferenceDistributions, reference_distributions
from privlens.types import Array, LocalizationStep


@dataclass(frozen=True)
class StepwiseSettings:
    """Settings of the closing; `depth` and `hold` as for the mask. The rates were chosen on `demo` and on a model of another
    recipe (two layers of natural names), four targets of seed 100 each."""

    depth: str = "1000000"
    hold: float = 0.03
    growth: float = 0.2
    """Neurons closed by a step, as a share of those that are closed; two at least."""
    most: float = 0.25
    """Neurons closed at most, as a share of all."""
    own_samples: int = 64
    sample_tokens: int = 24
    rows: int = 24
    """Retained rows that a step's KL is measured on."""


def worth(push_slope: Tensor, kl_slope: Tensor, half_curvature: Tensor) -> Tensor:
    """What closing each gate takes from the push for what it costs, any shape.

    Args:
        push_slope, kl_slope: d push / d gate and d KL / d gate at the gates as they are: closing one lowers the push where the
            former is positive and raises the KL where the latter is negative. half_curvature: positive.
    """
    cost = (-kl_slope).clamp_min(0) + half_curvature
    # The root, and the mean that keeps a gate without any cost from coming first: what a step estimates is rough.
    return push_slope / (cost.sqrt() + half_curvature.sqrt().mean()).clamp_min(torch.finfo(cost.dtype).tiny)


def n_closed_after(n_closed: int, growth: float, most: int) -> int:
    """How many gates are closed after one more step."""
    return min(most, n_closed + max(2, round(growth * n_closed)))


@dataclass
class Closing:
    """The gates of all neurons and the order in which they close.

    Attributes:
        kept: what the model predicts in the retained rows with all neurons on. half_curvature: [n_layers, width].
        exists: [n_layers, width] bool. order: flat indices of the closed neurons, the first closed first.
        worth: [n_layers, width], of the last step. generator: of the choice of retained rows, on the CPU.
    """

    task: Task
    settings: StepwiseSettings
    goal: Goal
    kept: ReferenceDistributions
    half_curvature: Tensor
    exists: Tensor
    order: Tensor
    worth: Tensor
    generator: torch.Generator
    at_once: AdaptiveBatchSize = field(default_factory=AdaptiveBatchSize)

    @property
    def most(self) -> int:
        """How many may be closed."""
        return max(1, round(self.settings.most * int(self.exists.sum())))

    def gates(self, closed: Tensor) -> Tensor:
        """Gates [rows, n_layers, width] for flat neurons that are closed, [rows, n_layers * width] bool."""
        return (~closed).float().view(-1, *self.exists.shape)

    def closed(self) -> Tensor:
        """The closed neurons, [1, n_layers * width] bool."""
        return first(self.order, [len(self.order)], self.exists.numel())

    def is_deep(self, ns: list[int]) -> Tensor:
        """Whether the value is deep enough with the first of the closed neurons off, for each of some numbers; bool."""
        return reached(self.task, [self.goal], self.gates(first(self.order, ns, self.exists.numel())))[:, 0]

    def step(self) -> tuple[float, dict[str, float]] | None:
        """Closes some more neurons; returns the target's NLL before that (nats/token) and the terms.

        None, and nothing is closed, where no neuron is left whose closing would take anything from the push.
        """
        push_slope, kl_slope, nll, terms = self._slopes(self.gates(self.closed()))
        self.worth = worth(push_slope, kl_slope, self.half_curvature).masked_fill(~self.exists, float("-inf"))
        left = self.worth.flatten().clone()
        left[self.order] = float("-inf")
        n_more = n_closed_after(len(self.order), self.settings.growth, self.most) - len(self.order)
        best = left.argsort(descending=True)[:n_more]
        best = best[left[best] > 0]
        if not len(best):
            return None
        self.order = torch.cat([self.order, best])
        return nll, terms

    def scores(self, n: int) -> Array:
        """Above 1/2 for the first n closed; below it for those that closed later, and then for the others by their worth.

        [n_layers, width]; no two are equal.
        """
        ranked = self.worth.flatten().clone()
        ranked[self.order] = float("inf")
        rank = torch.empty_like(ranked)
        rest = ranked.argsort(descending=True)[len(self.order) :]
        rank[torch.cat([self.order, rest])] = torch.arange(len(ranked), device=rank.device, dtype=rank.dtype)
        below = 0.5 * (len(ranked) - rank) / (len(ranked) - n + 1)
        scores = torch.where(rank < n, 1 - 0.5 * rank / max(1, n), below)
        return scores.view(self.exists.shape).cpu().numpy()

    def _slopes(self, gates: Tensor) -> tuple[Tensor, Tensor, float, dict[str, float]]:
        """Gradients at these gates of what is left to go for the target, and of the KL on some retained rows, [n_layers, width]
        each; the target's NLL; and both terms."""
        lm, target_ids = self.task.lm, list(self.goal.encoded.ids)
        picked = torch.randperm(len(self.kept.ids), generator=self.generator)[: self.settings.rows]

        def to_go(part_gates: Tensor, part: slice) -> tuple[Tensor, tuple[Tensor, Tensor]]:
            with lm.gated(part_gates, self.task.site):
                logits = lm.logits(*lm.padded([target_ids] * len(part_gates)))
            loss = self.goal.loss(logits)
            return loss.sum(), (loss.detach(), self.goal.push.per_token(logits.detach())[1].mean(-1))

        def divergence(part_gates: Tensor, part: slice) -> tuple[Tensor, Tensor]:
            batch = self.kept.batch(picked[part].to(lm.device))
            with lm.gated(part_gates, self.task.site):
                kl = batch.divergence(lm.logits(batch.ids, batch.mask))
            return kl.sum() / len(picked), kl.detach()

        with lm.held():
            target_leaf, kept_leaf = (gates.clone().requires_grad_() for _ in range(2))
            [(left, nll)] = backward(target_leaf, self.at_once, to_go)
            kl = torch.cat(backward(kept_leaf.expand(len(picked), -1, -1), self.at_once, divergence))
        assert target_leaf.grad is not None and kept_leaf.grad is not None, "a backward pass leaves a gradient"
        terms = {"to go": left.item(), "kept": kl.mean().item()}
        return target_leaf.grad[0], kept_leaf.grad[0], nll.item(), terms


def half_fisher(task: Task, rows: Sequence[Sequence[int]], at_once: int = 16) -> Tensor:
    """Half the diagonal of the Fisher information of the retained rows, per token, with all gates open: [n_layers, width].

    By their own tokens (the empirical Fisher). Half of it times the square of a gate's change is the KL, to second order.
    """
    row_gradients = value_gradient(task.lm, task.site)

    def squared(part: Sequence[Sequence[int]]) -> list[Tensor]:
        gradients = row_gradients([Encoded(tuple(row), 1) for row in part])
        return [gradient.square() / (len(row) - 1) for gradient, row in zip(gradients, part, strict=True)]

    total = torch.zeros(task.lm.shape(task.site), device=task.lm.device, dtype=torch.float32)
    for start in range(0, len(rows), at_once):
        task.go_on()
        total += torch.stack(in_parts(squared, rows[start : start + at_once])).sum(0)
    return total / len(rows) / 2


def begin(task: Task, settings: StepwiseSettings) -> Closing:
    """All gates open. Raises BadInput for a depth that does not exist."""
    lm = task.lm
    aim = goal(lm, lm.encode(task.target), settings.depth)
    rows = task.retained_rows(settings.own_samples, settings.sample_tokens)
    half_curvature = half_fisher(task, rows)
    return Closing(
        task=task,
        settings=settings,
        goal=aim,
        kept=reference_distributions(task.lm, rows),
        half_curvature=half_curvature,
        exists=lm.exists(task.site).to(half_curvature.device),
        order=torch.empty(0, dtype=torch.long, device=half_curvature.device),
        worth=torch.zeros_like(half_curvature),
        generator=torch.Generator().manual_seed(task.seed),
    )


def n_steps_to(most: int, growth: float) -> int:
    """How many steps close as many as may be closed."""
    n_closed, n_steps = 0, 0
    while n_closed < most:
        n_closed, n_steps = n_closed_after(n_closed, growth, most), n_steps + 1
    return n_steps


def stepwise(task: Task, settings: StepwiseSettings = StepwiseSettings()) -> Iterator[LocalizationStep]:
    """Closes neurons, one record per step; the last one has as few off as the depth needs.

    The provenance says whether the depth was reached (`deep`) and its price (`price`, nats/token).

    Raises:
        Cancelled: before the next step when `task.stop` returns true; the model is unchanged.
        BadInput: for a depth that does not exist.
    """
    ones = np.ones(task.lm.shape(task.site), np.float32)
    yield LocalizationStep(0, 1, "reading the retained text", ones, 0, float("nan"))
    closing = begin(task, settings)
    n_steps = n_steps_to(closing.most, settings.growth)
    nll, terms, is_deep = float("nan"), dict[str, float](), bool(closing.is_deep([0])[0])
    for step in range(1, n_steps + 1):
        task.go_on()
        taken = None if is_deep else closing.step()
        nll, terms = taken or (nll, terms)
        is_deep = bool(closing.is_deep([len(closing.order)])[0])
        gates, result = closing.gates(closing.closed()), None
        is_last = is_deep or taken is None or step == n_steps
        if is_last:
            n = fewest(closing.is_deep, len(closing.order)) or len(closing.order)
            gates = closing.gates(first(closing.order, [n], closing.exists.numel()))
            outcome = {"deep": bool(closing.is_deep([n])[0]), "price": price(task, closing.kept, gates)}
            provenance = {**asdict(settings), "retained": len(closing.kept.ids), **outcome}
            result = task.scores("stepwise", closing.scores(n), n, provenance)
        yield LocalizationStep(
            step=step,
            n_steps=n_steps,
            stage="closing neurons, often done early",
            gates=gates[0].cpu().numpy(),
            n_closed=int((gates == 0).sum()),
            target_nll=nll,
            terms=terms,
            result=result,
        )
        if is_last:
            return
