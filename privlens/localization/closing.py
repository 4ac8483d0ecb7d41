"""What closes a few neurons at a time, with all gradients measured anew in between.

One ranking with all gates open overlooks that neurons stand in for each other, in the secret as in retained text: which of them
matter shows only once the first are closed. Every step closes those that take most from what is left of the push (goal.py) for
what they add to the KL on retained text: its slope at the gates as they are, and half its curvature with all gates open, a
diagonal of the Fisher information (of the kind of Theis et al. 2018, Faster gaze prediction with dense networks and Fisher
pruning, arXiv 1801.05787). No gate is trained and nothing is drawn but the retained rows of a step.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from privlens.lm.memory import AdaptiveBatchSize, in_parts
from privlens.lm.tokens import Encoded
from privlens.localization.depth_search import fewest, first, price, reached
from privlens.localization.gates import backward
from privlens.localization.goal import Goal
from privlens.localization.gradients import value_gradient
from privlens.localization.task import Task
from privlens.retained.distributions import ReferenceDistributions
from privlens.types import Array, LocalizationStep


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
        retained: the retained rows, token ids. kept: what the model predicts in them with all neurons on.
        exists: [n_layers, width] bool. order: flat indices of the closed neurons, the first closed first.
        worth: [n_layers, width], of the last step. generator: of the choice of retained rows, on the CPU.
        growth: neurons closed by a step, as a share of those that are closed. most: how many may be closed.
        rows: retained rows that a step's KL is measured on.
    """

    task: Task
    goal: Goal
    retained: list[list[int]]
    kept: ReferenceDistributions
    exists: Tensor
    order: Tensor
    worth: Tensor
    generator: torch.Generator
    growth: float
    most: int
    rows: int
    at_once: AdaptiveBatchSize = field(default_factory=AdaptiveBatchSize)

    @cached_property
    def half_curvature(self) -> Tensor:
        """Of the retained rows, with all gates open: [n_layers, width]."""
        return half_fisher(self.task, self.retained)

    def gates(self, closed: Tensor) -> Tensor:
        """Gates [rows, n_layers, width] for flat neurons that are closed, [rows, n_layers * width] bool."""
        return (~closed).float().view(-1, *self.exists.shape)

    def closed(self) -> Tensor:
        """The closed neurons, [1, n_layers * width] bool."""
        return first(self.order, [len(self.order)], self.exists.numel())

    def are_deep(self, ns: list[int]) -> Tensor:
        """Whether the value is deep enough with the first of the closed neurons off, for each of some numbers; bool."""
        return reached(self.task, [self.goal], self.gates(first(self.order, ns, self.exists.numel())))[:, 0]

    def is_deep(self) -> bool:
        """Whether it is with all of the closed neurons off. The goal keeps the level of its rivals then, for the next step."""
        gates = self.gates(self.closed())
        self.goal = self.goal.under(self.task, gates)
        return bool(reached(self.task, [replace(self.goal, rivals=None)], gates)[0, 0])

    def fewest(self) -> int:
        """How many of the closed neurons, the first closed first, the depth needs; all of them if it is not reached."""
        return fewest(self.are_deep, len(self.order)) or len(self.order)

    def price(self) -> float:
        """KL on retained text with the closed neurons off, nats/token."""
        return price(self.task, self.kept, self.gates(self.closed()))

    def nll(self) -> float:
        """The target's with the closed neurons off, nats/token."""
        lm, ids = self.task.lm, list(self.goal.encoded.ids)
        with torch.no_grad(), lm.gated(self.gates(self.closed()), self.task.site):
            return self.goal.push.per_token(lm.logits(*lm.padded([ids])))[1].mean().item()

    def record(self, step: int, n_steps: int, stage: str, nll: float, terms: dict[str, float]) -> LocalizationStep:
        """One step, with the closed neurons off."""
        gates = self.gates(self.closed())[0].cpu().numpy()
        return LocalizationStep(step, n_steps, stage, gates, len(self.order), nll, terms)

    def step(self, barred: Tensor | None = None) -> tuple[float, dict[str, float]] | None:
        """After `is_deep`, closes some more neurons; returns the target's NLL before that (nats/token) and the terms.

        None, and nothing is closed, where no neuron is left whose closing would take anything from the push.

        Args:
            barred: flat indices of neurons that stay open.
        """
        push_slope, kl_slope, nll, terms = self._slopes(self.goal.loss)
        self.worth = worth(push_slope, kl_slope, self.half_curvature).masked_fill(~self.exists, float("-inf"))
        left = self.worth.flatten().clone()
        left[self.order if barred is None else torch.cat([self.order, barred])] = float("-inf")
        n_more = n_closed_after(len(self.order), self.growth, self.most) - len(self.order)
        best = left.argsort(descending=True)[:n_more]
        best = best[left[best] > 0]
        if not len(best):
            return None
        self.order = torch.cat([self.order, best])
        return nll, terms

    def deepen(self, barred: Tensor | None = None) -> Iterator[tuple[float, dict[str, float]]]:
        """Steps until the value is deep enough, with as few neurons as that needs, or until no neuron is left that would help.

        Yields what each step returns.

        Raises:
            Cancelled: before the next step when the task's `stop` returns true.
        """
        while not self.is_deep():
            self.task.go_on()
            taken = self.step(barred)
            if taken is None:
                return
            yield taken
        self.order = self.order[: self.fewest()]

    def reopen(self, share: float) -> Tensor:
        """Opens the share of the closed neurons that keep the value away least for what they cost; returns their flat indices.

        The others are put in the order of their worth.
        """
        logprob_slope, kl_slope, _, _ = self._slopes(lambda logits: -self.goal.push.per_token(logits)[1].sum(-1))
        closed_worth = worth(logprob_slope, kl_slope, self.half_curvature).flatten()[self.order]
        order = self.order[closed_worth.argsort(descending=True)]
        n = len(order) - max(1, round(share * len(order)))
        self.order = order[:n]
        return order[n:]

    def scores(self) -> Array:
        """Above 1/2 for what is closed, the first closed first; below it for the others, by their worth.

        [n_layers, width]; no two are equal.
        """
        n, ranked = len(self.order), self.worth.flatten().clone()
        ranked[self.order] = float("inf")
        rank = torch.empty_like(ranked)
        rest = ranked.argsort(descending=True)[n:]
        rank[torch.cat([self.order, rest])] = torch.arange(len(ranked), device=rank.device, dtype=rank.dtype)
        below = 0.5 * (len(ranked) - rank) / (len(ranked) - n + 1)
        scores = torch.where(rank < n, 1 - 0.5 * rank / max(1, n), below)
        return scores.view(self.exists.shape).cpu().numpy()

    def _slopes(self, of_target: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor, float, dict[str, float]]:
        """Gradients, with the closed neurons off, of what is asked about the target and of the KL on some retained rows,
        [n_layers, width] each; the target's NLL; and both terms.

        Args:
            of_target: logits [rows, tokens of prompt and value, V] -> [rows].
        """
        lm, target_ids = self.task.lm, list(self.goal.encoded.ids)
        gates = self.gates(self.closed())
        picked = torch.randperm(len(self.kept.ids), generator=self.generator)[: self.rows]

        def asked(part_gates: Tensor, part: slice) -> tuple[Tensor, tuple[Tensor, Tensor]]:
            with lm.gated(part_gates, self.task.site):
                logits = lm.logits(*lm.padded([target_ids] * len(part_gates)))
            answer = of_target(logits)
            return answer.sum(), (answer.detach(), self.goal.push.per_token(logits.detach())[1].mean(-1))

        def divergence(part_gates: Tensor, part: slice) -> tuple[Tensor, Tensor]:
            batch = self.kept.batch(picked[part].to(lm.device))
            with lm.gated(part_gates, self.task.site):
                kl = batch.divergence(lm.logits(batch.ids, batch.mask))
            return kl.sum() / len(picked), kl.detach()

        with lm.held():
            target_leaf, kept_leaf = (gates.clone().requires_grad_() for _ in range(2))
            [(answer, nll)] = backward(target_leaf, self.at_once, asked)
            kl = torch.cat(backward(kept_leaf.expand(len(picked), -1, -1), self.at_once, divergence))
        assert target_leaf.grad is not None and kept_leaf.grad is not None, "a backward pass leaves a gradient"
        terms = {"to go": answer.item(), "kept": kl.mean().item()}
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
