"""LPNL: the few neurons that a private value needs, found by gates that learn to close (a method of the kind of Chen et al.
2024, Learnable Privacy Neurons Localization; gates after Louizos et al. 2018, Learning Sparse Networks through L0).

The model is frozen. A person says how deep the value has to be buried (goal.py) and what that may cost: a bound on the KL on
retained text. Only the neurons ranked best by the contrastive gate gradient may close; their gates start mostly open. The KL
holds them back, and its weight falls as long as the value is still written; where the depth is not reached after the usual number
of steps, it falls faster until it is. The penalty on closed gates comes late: a closed gate gets the penalty's gradient alone,
and Adam would amplify it. In the end, of the neurons that closed, those that the contrastive gradient ranks best are taken, as
few as the depth needs. (How firmly a gate closed is no measure of what its neuron does: Adam moves all of them at the same
pace.) Where they do not bury the value as deep as asked, or cost more than they may, or where a person wants it, they are
exchanged for cheaper ones (exchange.py).
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from privlens import validation
from privlens.lm.memory import AdaptiveBatchSize
from privlens.localization.closing import Closing
from privlens.localization.depth_search import fewest, first, price, reached
from privlens.localization.exchange import GROWTH, ROUNDS, ROWS, ending
from privlens.localization.gates import backward, deterministic_gates, open_probability, sample_gates, with_ties_broken
from privlens.localization.goal import FORGOTTEN, HIDDEN, Goal, goal, tries_of
from privlens.localization.gradients import contrastive
from privlens.localization.task import Task
from privlens.retained.distributions import ReferenceDistributions, reference_distributions
from privlens.types import LocalizationStep, NeuronScores

FEWEST = 48
"""Candidates, at least: the share of a very small model would leave almost none."""
MOST_ROUNDS = 100
"""Of exchange, so that a slip of the hand does not keep a machine busy for hours."""
BELOW = 0.499
"""Scores of what is not closed are at most this."""
CHECK_EVERY = 3
"""Steps between two measurements of what the closed neurons cost."""


@dataclass(frozen=True)
class MaskSettings:
    """Settings of the mask. `depth` and `hold` are what a person asks for; the others are rates of the search.

    The rates are those of the mask before it had an end, chosen on `demo` with seeds 7 to 9; `patience` and `give_way` on `demo`
    with seed 31.
    """

    depth: str = "1000000"
    """How deep the value has to be buried: hidden, forgotten, or a number of tries; see goal.py."""
    hold: float = 0.03
    """What it may cost: KL on retained text, nats/token."""
    candidates: float = 0.15
    """Gates that may close, as a share of all neurons."""
    usual_steps: int = 48
    steps: int = 100
    """Maximum. Training ends after the usual steps if the depth is reached by then, else when it is."""
    patience: int = 9
    """For the depth `hidden` training ends this many steps after depth and price were first met, in which the mask settles."""
    learning_rate: float = 0.3
    start: float = 1.0
    """log_alpha at the start; 0 is half open, 1 is three quarters open."""
    keep: float = 130.0
    """Initial weight of the KL on retained text."""
    loosen: float = 0.93
    """That weight is multiplied by this after every step in which the value is still written with the closed neurons off."""
    give_way: float = 0.85
    """And by this after every further step in which the depth is not reached."""
    penalty: float = 0.3
    """Weight of the share of closed gates, once depth and price were met or half of the usual steps are done."""
    own_samples: int = 64
    sample_tokens: int = 24
    rows: int = 10
    """Retained rows per step."""
    target_rows: int = 2
    """Rows of the target per step, each with its own noise."""
    rounds: int = ROUNDS
    """Of exchange at the end, at most (exchange.py); 0 leaves the neurons as they were found."""


def asked_for(depth: str, hold: float | None, rounds: int | None = None) -> MaskSettings:
    """The settings with which the mask reaches this depth at this price, in so many rounds of exchange or the usual ones.

    Raises:
        BadInput: for a value that one of them cannot have.
    """
    tries_of(depth)
    price = validation.between(hold, "hold", 0, 10, "0.03 nats per token is the default", above=True)
    rounds = ROUNDS if rounds is None else validation.whole(rounds, "number of rounds of exchange", 0, MOST_ROUNDS)
    return MaskSettings(depth, price, rounds=rounds)


@dataclass
class Mask:
    """The gates of the candidate neurons and their training state.

    Attributes:
        retained: the retained rows, token ids. kept: what the model predicts in them with all neurons on.
        places: [n] flat indices of the candidates, the best by the contrastive gradient first.
        log_alpha: [n], the only trained parameter.
        keep: the current weight of the KL.
        generator: of all noise and of the choice of retained rows; on the CPU, so that all devices draw the same.
        firmness: [n] sum over the steps of how far each gate was closed.
        at_once: how many rows of a step fit in memory together.
    """

    task: Task
    settings: MaskSettings
    goal: Goal
    retained: list[list[int]]
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
        self.firmness += 1 - self.gates()
        nll, to_go, divergence = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        terms = {"to go": to_go.mean().item(), "kept": divergence.mean().item(), "closed": closed.item()}
        return float(nll.mean()), terms

    def gates(self) -> Tensor:
        """The gates without noise, [n]."""
        return deterministic_gates(self.log_alpha.detach())

    def closed(self) -> Tensor:
        """The neurons that are off if training ends here, [n] bool."""
        return self.gates() < 0.5

    def loosen(self, step: int, is_deep: bool, is_hidden: bool) -> None:
        """Lets the KL weigh less, if this step has left the value written, or has come late and not reached the depth."""
        if step > self.settings.usual_steps and not is_deep:
            self.keep *= self.settings.give_way
        elif not is_deep and not is_hidden:
            self.keep *= self.settings.loosen

    def depths(self, closed: Tensor) -> tuple[bool, bool]:
        """Whether the value is as deep as asked, and whether it is no longer written, with these candidates off ([n] bool)."""
        gates = self.spread((~closed[None]).float())
        self.goal = self.goal.under(self.task, gates)
        at_level = replace(self.goal, rivals=None)
        [[is_deep, is_hidden]] = reached(self.task, [at_level, replace(at_level, depth=HIDDEN)], gates).tolist()
        return is_deep, is_hidden

    def reached(self, closed: Tensor) -> Tensor:
        """Whether the value is as deep as asked with each of these sets of candidates off: [rows, n] -> [rows], bool."""
        return reached(self.task, [self.goal], self.spread((~closed).float()))[:, 0]

    def price(self, closed: Tensor) -> float:
        """KL on retained text with these candidates off, [n] bool -> nats/token."""
        return price(self.task, self.kept, self.spread((~closed[None]).float()))

    def shrunk(self) -> Tensor:
        """The fewest of the closed neurons, the best candidates first, with which the depth is reached; all of them if it is not.

        Flat indices in that order.
        """
        closed = self.closed()
        order, n_closed = closed.int().argsort(descending=True, stable=True), int(closed.sum())
        n = fewest(lambda ns: self.reached(first(order, ns, len(closed))), n_closed)
        return self.places[order[: n_closed if n is None else n]]

    def closing(self) -> Closing:
        """What has closed, the best candidates first, as few as the depth needs; ready for exchange."""
        lm = self.task.lm
        exists = lm.exists(self.task.site).to(lm.device)
        return Closing(
            task=self.task,
            goal=self.goal,
            retained=self.retained,
            kept=self.kept,
            exists=exists,
            order=self.shrunk(),
            worth=torch.zeros(exists.shape, device=lm.device, dtype=torch.float32),
            generator=self.generator,
            growth=GROWTH,
            most=len(self.places),
            rows=ROWS,
        )

    def scores(self, order: Tensor, attribution: Tensor) -> Tensor:
        """1/2 to 1 for what is closed, by its place, and below 1/2 for the rest, by the mean over the steps of how far each gate
        was closed, and where that is equal by the attribution. [n_layers, width], on the CPU.

        Args:
            order: flat indices of what is closed, the best first. attribution: [n_layers, width].
        """
        firmness = 1 - self.spread(1 - self.firmness[None] / max(1.0, float(self.firmness.max())))[0]
        ranked = (with_ties_broken(firmness.cpu(), attribution.cpu()) * BELOW).flatten()
        ranked[order.cpu()] = torch.linspace(1, 0.5, len(order) + 1, dtype=torch.float32)[:-1]
        return ranked.view(attribution.shape)

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


def start(task: Task, settings: MaskSettings) -> tuple[Mask, Tensor]:
    """An untrained mask over the neurons that the push needs most and the retained text least.

    Also returns the contrastive gate gradient by which they were chosen, [n_layers, width].
    """
    lm = task.lm
    aim = goal(task, settings.depth)
    rows = task.retained_rows(settings.own_samples, settings.sample_tokens)
    attribution = contrastive(task, aim.push, rows)
    exists = lm.exists(task.site).to(attribution.device)
    n_neurons = int(exists.sum())
    order = attribution.masked_fill(~exists, float("-inf")).flatten().argsort(descending=True)
    n_candidates = min(n_neurons, max(FEWEST, round(settings.candidates * n_neurons)))
    log_alpha = torch.full((n_candidates,), settings.start, device=lm.device, requires_grad=True, dtype=torch.float32)
    mask = Mask(
        task=task,
        settings=settings,
        goal=aim,
        retained=rows,
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
    """The mask that ends when the value may pass for one of its rivals."""
    return hard_concrete(task, DEEP, "hard-concrete-deep")


def hard_concrete(task: Task, settings: MaskSettings = MaskSettings(), name: str = "hard-concrete") -> Iterator[LocalizationStep]:
    """Trains the mask, one record per step; the last one has the gates as they will be used, 0 or 1.

    The provenance says whether the depth was reached (`deep`), its price (`price`, nats/token) and whether that is within `hold`.

    Raises:
        Cancelled: before the next step when `task.stop` returns true; the model is unchanged.
        BadInput: for a depth that does not exist.
    """
    shape, n_usual = task.lm.shape(task.site), min(settings.usual_steps, settings.steps)
    yield LocalizationStep(
        step=0,
        n_steps=n_usual,
        stage="reading the retained text",
        gates=np.ones(shape, np.float32),
        n_closed=0,
        target_nll=float("nan"),
    )
    mask, attribution = start(task, settings)
    n_met, penalty = 0, 0.0
    for step in range(1, settings.steps + 1):
        task.go_on()
        nll, terms = mask.step(penalty)
        closed = mask.closed()
        is_deep, is_hidden = mask.depths(closed)
        mask.loosen(step, is_deep, is_hidden)
        if n_met or (is_deep and step % CHECK_EVERY == 0 and mask.price(closed) <= settings.hold):
            n_met += 1
        if n_met or step >= settings.usual_steps / 2:
            penalty = settings.penalty
        is_enough = is_deep and (n_met > settings.patience if settings.depth == HIDDEN else step >= settings.usual_steps)
        if is_enough or step == settings.steps:
            break
        yield LocalizationStep(
            step=step,
            n_steps=n_usual if step <= n_usual else settings.steps,
            stage="training the gates" if step <= n_usual else "not deep enough yet: training on",
            gates=mask.spread(mask.gates()[None])[0].cpu().numpy(),
            n_closed=int(closed.sum()),
            target_nll=nll,
            terms=terms,
        )
    closing = mask.closing()

    def result(outcome: dict[str, Any]) -> NeuronScores:
        sizes = {"retained": len(mask.kept.ids), "n_candidates": len(mask.places)}
        scores = mask.scores(closing.order, attribution).numpy()
        return task.scores(name, scores, len(closing.order), {**asdict(settings), **sizes, **outcome})

    yield from ending(closing, settings.rounds, step, terms, result)
