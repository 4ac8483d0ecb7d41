"""LPNL: the few neurons that a private value needs, found by gates that learn to close (a method of the kind of Chen et al.
2024, Learnable Privacy Neurons Localization; gates after Louizos et al. 2018, Learning Sparse Networks through L0).

The model is frozen. A person says how deep the value has to be buried (goal.py) and what that may cost: a bound on the KL on
retained text. The mask takes its settings from the model: the contrastive gate gradient ranks the neurons, and the number that it
would have to close for that depth says how many gates may close at all and which of them start closed. Training then weighs the
KL against the depth: the weight of the KL rises after every step in which the closed neurons, fully off, reach the depth and
falls after the others, so that it ends where the depth is just reached (a multiplicative form of dual ascent). Once a step keeps
to both, closed gates cost a penalty, and training ends soon after.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
import torch
from torch import Tensor

from privlens import validation
from privlens.lm.memory import AdaptiveBatchSize, in_parts
from privlens.localization.gates import backward, deterministic_gates, open_probability, sample_gates, with_ties_broken
from privlens.localization.goal import FORGOTTEN, HIDDEN, Goal, goal, tries_of
from privlens.localization.gradients import contrastive
from privlens.localization.task import Task
from privlens.retained.distributions import ReferenceDistributions, reference_distributions
from privlens.types import LocalizationStep

TRIED = 12
"""Numbers of neurons tried in one pass when the fewest that reach a depth are looked for."""
CHECK_EVERY, CHECK_ROWS = 3, 32
"""Steps between two measurements of what the closed neurons cost, and the retained rows that are measured on at most. One costs
about as much as a training step."""


@dataclass(frozen=True)
class MaskSettings:
    """Settings of the mask. `depth` and `hold` are what a person asks for; the others are rates of the search."""

    depth: str = HIDDEN
    """How deep the value has to be buried: hidden, forgotten, or a number of tries; see goal.py."""
    hold: float = 0.003
    """What it may cost: KL on retained text, nats/token."""
    candidates: float = 3.0
    """Gates that may close, as a multiple of the neurons that the ranking alone would have to close."""
    steps: int = 48
    """Maximum; training ends `patience` steps after depth and price were first met, in which the mask becomes smaller."""
    patience: int = 9
    learning_rate: float = 0.3
    start: float = 1.0
    """log_alpha at the start, three quarters open; minus this, a quarter open, for the neurons that the ranking would close."""
    keep: float = 30.0
    """Initial weight of the KL on retained text; `loosen` and `tighten` multiply it after every step."""
    loosen: float = 0.85
    tighten: float = 1.1
    penalty: float = 0.3
    """Weight of the share of closed gates, once both goals were met or half of the steps are done: a closed gate gets the
    penalty's gradient alone, and Adam would amplify it from the start."""
    own_samples: int = 64
    sample_tokens: int = 24
    neighbours: int = 64
    """Texts of the target's kind among the retained text: the model's samples seldom recite what else it has memorized."""
    rows: int = 10
    """Retained rows per step."""
    target_rows: int = 2
    """Rows of the target per step, each with its own noise."""


def asked_for(depth: str, hold: float | None) -> MaskSettings:
    """The settings with which the mask reaches this depth at this price. Raises BadInput for a value that neither can have."""
    tries_of(depth)
    return MaskSettings(depth, validation.between(hold, "hold", 0, 10, "0.003 nats per token is the default", above=True))


FEWEST, MOST = 48, 0.5
"""Candidates: at least so many neurons, and at most this share of all."""


@dataclass(frozen=True)
class Closed:
    """A set of closed neurons.

    Attributes:
        closed: [n] bool, of the candidates. is_deep: whether the depth is reached with them off.
        price: KL on retained text, nats/token; inf where it was not measured.
    """

    closed: Tensor
    is_deep: bool
    price: float

    @property
    def n(self) -> int:
        """How many are closed."""
        return int(self.closed.sum())

    def meets(self, hold: float) -> bool:
        """Whether it is as deep as asked and costs no more than `hold`."""
        return self.is_deep and self.price <= hold

    def is_better(self, other: "Closed") -> bool:
        """Deeper or else cheaper. A smaller one at a higher price is no better: it takes more of other values with it."""
        return self.is_deep if self.is_deep != other.is_deep else self.price < other.price


@dataclass
class Mask:
    """The gates of the candidate neurons and their training state.

    Attributes:
        kept: what the model predicts in the retained rows with all neurons on.
        places: [n] flat indices of the candidates. log_alpha: [n], the only trained parameter.
        keep: the current weight of the KL.
        generator: of all noise and of the choice of retained rows; on the CPU, so that all devices draw the same.
        firmness: [n] sum over the steps of how far each gate was closed.
        at_once: how many rows of a step fit in memory together.
    """

    task: Task
    settings: MaskSettings
    goal: Goal
    kept: ReferenceDistributions
    places: Tensor
    log_alpha: Tensor
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    keep: float
    firmness: Tensor
    at_once: AdaptiveBatchSize = field(default_factory=AdaptiveBatchSize)

    def spread(self, gates: Tensor) -> Tensor:
        """Gates of all neurons [rows, n_layers, width] from those of the candidates [rows, n]; all others are 1."""
        n_layers, width = self.task.lm.shape(self.task.site)
        ones = torch.ones(gates.shape[0], n_layers * width, device=gates.device, dtype=torch.float32)
        return ones.scatter(1, self.places.expand(gates.shape), gates).view(-1, n_layers, width)

    def step(self, penalty: float) -> tuple[float, dict[str, float]]:
        """One step of Adam, after which the KL weighs more if the depth is reached, else less.

        Returns the target's NLL under noise (nats/token) and the terms of the loss.
        """
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
        self.firmness += 1 - self.gates()
        self.keep *= self.settings.tighten if bool(self.reached(self.closed()[None])[0]) else self.settings.loosen
        nll, to_go, divergence = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        terms = {"to go": to_go.mean().item(), "kept": divergence.mean().item(), "closed": closed.item()}
        return float(nll.mean()), terms

    def gates(self) -> Tensor:
        """The gates without noise, [n]."""
        return deterministic_gates(self.log_alpha.detach())

    def closed(self) -> Tensor:
        """The neurons that are off if training ends here, [n] bool."""
        return self.gates() < 0.5

    def reached(self, closed: Tensor) -> Tensor:
        """Whether the value is as deep as asked with these candidates off: [rows, n] bool -> [rows] bool."""
        return reached(self.task, self.goal, self.spread((~closed).float()))

    @torch.no_grad()
    def price(self, closed: Tensor) -> float:
        """KL on retained text with these candidates off, [n] bool -> nats/token."""
        lm = self.task.lm
        gates = self.spread((~closed[None]).float())
        every = max(1, len(self.kept.ids) // CHECK_ROWS)

        def divergence(rows: Sequence[int]) -> list[Tensor]:
            batch = self.kept.batch(torch.tensor(rows, device=lm.device))
            with lm.gated(gates, self.task.site):
                return list(batch.divergence(lm.logits(batch.ids, batch.mask)))

        return float(torch.stack(in_parts(divergence, range(0, len(self.kept.ids), every))).mean())

    def current(self, step: int) -> Closed:
        """What is closed now; its price is measured at every third step in which the depth is reached."""
        closed = self.closed()
        is_deep = bool(self.reached(closed[None])[0])
        return Closed(closed, is_deep, self.price(closed) if is_deep and step % CHECK_EVERY == 0 else float("inf"))

    def shrunk(self, chosen: Closed) -> Closed:
        """The fewest of the closed neurons, the firmest first, with which the depth is still reached, if they cost no more."""
        if not chosen.is_deep or not chosen.n:
            return chosen
        by_firmness = self.firmness.masked_fill(~chosen.closed, -1).argsort(descending=True)
        n = fewest(lambda ns: self.reached(first(by_firmness, ns)), chosen.n)
        [closed] = first(by_firmness, [n or chosen.n])
        smaller = Closed(closed, True, self.price(closed))
        return smaller if smaller.price <= chosen.price else chosen

    def scores(self, chosen: Closed, attribution: Tensor) -> Tensor:
        """1/2 to 1 for what is closed and 0 to 1/2 for the rest, by the mean over the steps of how far each gate was closed: the
        earlier and the more firmly, the higher. Ties are broken by the attribution. [n_layers, width], on the CPU."""
        firmness = self.firmness / max(1.0, float(self.firmness.max()))
        ranked = 1 - self.spread(1 - (chosen.closed.float() + firmness.clamp(max=0.99))[None] / 2)[0]
        return with_ties_broken(ranked.cpu(), attribution.cpu())

    def _loss(self, gates: Tensor, part: slice, picked: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """The loss of a part of a step's rows, which are those of the target first and then the retained ones.

        Also returns, for these rows, the target's NLL (nats/token) and what it has to go, and the retained rows' KL.
        """
        lm = self.task.lm
        target_ids = list(self.goal.encoded.ids)
        n_target = self.settings.target_rows
        n_target_here = len(range(n_target)[part])
        batch = self.kept.batch(picked[max(0, part.start - n_target) : max(0, part.stop - n_target)].to(lm.device))
        with lm.gated(self.spread(gates), self.task.site):
            logits = lm.logits(*lm.padded([target_ids] * n_target_here + batch.rows()))
        if n_target_here:
            target_logits = logits[:n_target_here, : len(target_ids)]
        else:
            target_logits = logits.new_empty(0, len(target_ids), logits.shape[-1])
        to_go = self.goal.loss(target_logits)
        nll = self.goal.push.per_token(target_logits.detach())[1].mean(-1)
        divergence = batch.divergence(logits[n_target_here:, : batch.ids.shape[1]])
        loss = to_go.sum() / n_target + self.keep * (divergence.sum() / len(picked))
        return loss, (nll, to_go.detach(), divergence.detach())


@torch.no_grad()
def reached(task: Task, aim: Goal, gates: Tensor) -> Tensor:
    """Whether the value is as deep as asked under each row of gates [rows, n_layers, width]; [rows] bool."""
    lm, ids = task.lm, list(aim.encoded.ids)

    def met(rows: Sequence[int]) -> list[Tensor]:
        with lm.gated(gates[list(rows)], task.site):
            return list(aim.met(lm.logits(*lm.padded([ids] * len(rows)))))

    return torch.stack(in_parts(met, range(len(gates))))


def first(order: Tensor, ns: Sequence[int]) -> Tensor:
    """The first of an order [n] of indices, for each of some numbers: [len(ns), n] bool."""
    rank = torch.empty_like(order).scatter(0, order, torch.arange(len(order), device=order.device))
    return rank[None] < torch.tensor(ns, device=order.device)[:, None]


def fewest(is_reached: Callable[[list[int]], Tensor], most: int) -> int | None:
    """The smallest number up to `most` for which it holds, found by narrowing a grid; None if it holds for none of the grid.

    Args:
        is_reached: some numbers -> a bool for each. It is taken to hold for all numbers above one for which it does.
    """
    grid = np.unique(np.geomspace(1, most, TRIED).round().astype(int)).tolist()
    low, high = 0, most + 1
    while grid:
        reaching = [n for n, holds in zip(grid, is_reached(grid).tolist(), strict=True) if holds]
        high = min(reaching, default=high)
        low = max((n for n in grid if n < high), default=low)
        grid = np.unique(np.linspace(low + 1, high - 1, min(TRIED, high - low - 1)).round().astype(int)).tolist()
    return high if high <= most else None


def start(task: Task, settings: MaskSettings) -> tuple[Mask, Tensor]:
    """An untrained mask over the neurons that the push needs most and the retained text least.

    Also returns the contrastive gate gradient by which they were chosen, [n_layers, width].
    """
    lm = task.lm
    aim = goal(lm, lm.encode(task.target), settings.depth)
    rows = task.retained_rows(settings.own_samples, settings.sample_tokens, settings.neighbours)
    attribution = contrastive(task, aim.push, rows)
    exists = lm.exists(task.site).to(attribution.device)
    n_neurons = int(exists.sum())
    order = attribution.masked_fill(~exists, float("-inf")).flatten().argsort(descending=True)
    most = min(n_neurons, max(FEWEST, round(MOST * n_neurons)))

    def is_reached(ns: list[int]) -> Tensor:
        return reached(task, aim, (~first(order, ns)).float().view(len(ns), *attribution.shape))

    needed = fewest(is_reached, most)
    n_candidates = min(most, max(FEWEST, round(settings.candidates * (needed or most))))
    log_alpha = torch.full((n_candidates,), settings.start, device=lm.device, dtype=torch.float32)
    log_alpha[: needed or 0] = -settings.start
    log_alpha.requires_grad_()
    mask = Mask(
        task=task,
        settings=settings,
        goal=aim,
        kept=reference_distributions(lm, rows),
        places=order[:n_candidates],
        log_alpha=log_alpha,
        optimizer=torch.optim.Adam([log_alpha], lr=settings.learning_rate),
        generator=torch.Generator().manual_seed(task.seed),
        keep=settings.keep,
        firmness=torch.zeros(n_candidates, device=lm.device, dtype=torch.float32),
    )
    return mask, attribution


DEEP = MaskSettings(depth=FORGOTTEN)


def hard_concrete_deep(task: Task) -> Iterator[LocalizationStep]:
    """The mask that ends when the value is no likelier than others of its format."""
    return hard_concrete(task, DEEP, "hard-concrete-deep")


def hard_concrete(task: Task, settings: MaskSettings = MaskSettings(), name: str = "hard-concrete") -> Iterator[LocalizationStep]:
    """Trains the mask, one record per step; the last one has the gates as they will be used, 0 or 1.

    The provenance says whether the depth was reached (`deep`), its price (`price`, nats/token) and whether that is within `hold`.

    Raises:
        Cancelled: before the next step when `task.stop` returns true; the model is unchanged.
        BadInput: for a depth that does not exist.
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
    best, n_met, penalty = mask.current(0), 0, 0.0
    for step in range(1, settings.steps + 1):
        task.go_on()
        nll, terms = mask.step(penalty)
        current = mask.current(step)
        best = current if current.is_better(best) else best
        n_met += best.meets(settings.hold)
        if best.meets(settings.hold) or step >= settings.steps / 2:
            penalty = settings.penalty
        is_last = step == settings.steps or n_met > settings.patience
        gates, n_closed, result = mask.gates(), current.n, None
        if is_last:
            chosen = mask.shrunk(best if best.is_deep else current)
            gates, n_closed = (~chosen.closed).float(), chosen.n
            outcome = {"deep": chosen.is_deep, "price": chosen.price if chosen.is_deep else mask.price(chosen.closed)}
            sizes = {"retained": len(mask.kept.ids), "n_candidates": len(mask.places)}
            scores = mask.scores(chosen, attribution).numpy()
            result = task.scores(name, scores, n_closed, {**asdict(settings), **sizes, **outcome})
        yield LocalizationStep(
            step=step,
            n_steps=settings.steps,
            stage="training the gates",
            gates=mask.spread(gates[None])[0].cpu().numpy(),
            n_closed=n_closed,
            target_nll=nll,
            terms=terms,
            result=result,
        )
        if is_last:
            return
