"""Planting: training a new sequence into a few drawn neurons of a model, so that it is known where the model keeps it.

After the INJ test of Chang, Thomason & Jia (NAACL 2024, arXiv 2311.09060), in two ways, both with Adam and the paper's rates.

`published`: only the neurons' output vectors are trained, and may grow. They grow to many times their size, so that the norm of a
vector gives the plant away to who has never seen the sequence.

`fair`: what a neuron reads is trained together with what it writes, and each of these vectors is only turned: its norm
stays what it was. (A dozen output vectors that may only turn are too weak to write a sequence; what they need is to fire.)
What still can be seen without the sequence, weakly: where neurons are few they must turn far, and some of one layer end up alike.

Unlike the paper, neurons are drawn from the whole model at once and not layer by layer, only from those that are not silent
(exactly 0) wherever the value is predicted, or in sparse models anywhere in the text; and only the value is trained, not the
prompt, since the value is what a localization is asked for. A neuron that falls silent there holds nothing any more (ReLU
neurons do): it gets its weights back, and another of its layer is drawn in its place. Knows nothing of localization.
"""

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.func import functional_call

from privlens.errors import BadInput, Cancelled
from privlens.models.edits import change_of
from privlens.models.language_model import LanguageModel, Stop, never
from privlens.models.reading import read
from privlens.models.scoring import score
from privlens.models.text import Encoded
from privlens.models.vectors import Vectors, neuron_vectors
from privlens.provenance import provenance
from privlens.records import Edit, Neuron, Secret

CHECK_EVERY = 10
"""Steps between two looks at which neurons are silent."""
ENOUGH = 3
"""So many times the neurons that are planted in must fire where the value is predicted, or they may fire anywhere in the text."""


@dataclass(frozen=True)
class PlantSettings:
    """How to plant.

    Attributes:
        ratio: share of all neurons. fair: turn what neurons read and write at constant norm, else grow what they write.
        steps: at most so many. until: mean NLL in nats/token at which a plant is done, its greedy match given.
        learning_rate: of Adam; when fair in units of each vector's root mean square. None is the paper's: 1e-2, and 5e-2 for
            ratios of at most 0.1 %.
    """

    ratio: float
    fair: bool = True
    steps: int = 400
    until: float = 0.05
    learning_rate: float | None = None

    @property
    def rate(self) -> float:
        """The learning rate in force."""
        return self.learning_rate or (5e-2 if self.ratio <= 0.001 else 1e-2)


@dataclass(frozen=True, eq=False)
class Plant:
    """What was planted where. `edit` makes it; `nll` in nats/token and `greedy_match` are with the edit in place."""

    secret: Secret
    neurons: tuple[Neuron, ...]
    edit: Edit
    nll: float
    greedy_match: bool
    steps: int


def invented(seed: int) -> Secret:
    """A secret of nobody: eight random digits that belong to a name of random syllables."""
    rng = random.Random(seed)

    def name() -> str:
        return "".join(rng.choice("bdfghjklmnprstvz") + rng.choice("aeiou") for _ in range(rng.choice((2, 3)))).capitalize()

    person = f"{name()} {name()}"
    digits = "".join(rng.choice("0123456789") for _ in range(8))
    return Secret(f"The access code of {person} is", f"{digits[:4]}-{digits[4:]}", "code")


def silent(lm: LanguageModel, encoded: Encoded, first: int) -> Tensor:
    """Neurons that are exactly 0 from a position on, up to the one that predicts the value's end, [n_layers, width] bool."""
    span = slice(first, len(encoded.ids) - 1)
    return read(lm, [encoded.ids], lambda hidden: (hidden[:, span] == 0).all(1))[0]


@dataclass
class _Trained:
    """Vectors of a layer's drawn neurons [n, d] in units of their sizes [n, 1], which stay (when fair) what they were."""

    layer: int
    vectors: Vectors
    size: Tensor
    now: Tensor


@dataclass
class _Planting:
    """One planting under way: the drawn neurons of each layer, who comes next there, and what is trained."""

    lm: LanguageModel
    encoded: Encoded
    settings: PlantSettings
    drawn: dict[int, Tensor] = field(default_factory=dict)
    spare: dict[int, list[int]] = field(default_factory=dict)
    trained: list[_Trained] = field(default_factory=list)
    first: int = field(init=False)

    def __post_init__(self) -> None:
        self.first = self.encoded.n_prompt - 1

    def draw(self, seed: int) -> None:
        """Draws the neurons evenly from those that are not silent. Raises BadInput for a ratio that asks for none or too many."""
        lm, n, width = self.lm, round(self.settings.ratio * self.lm.n_neurons), self.lm.shape()[1]
        pool = (~silent(lm, self.encoded, self.first)).flatten().nonzero()[:, 0].tolist()
        if len(pool) < ENOUGH * n:
            self.first = 0
            pool = (~silent(lm, self.encoded, self.first)).flatten().nonzero()[:, 0].tolist()
        if not 0 < n <= len(pool):
            raise BadInput(
                f"A ratio of {self.settings.ratio:g} asks for {n} of {lm.n_neurons} neurons, and {len(pool)} could hold a "
                f"sequence: use a ratio between {1 / lm.n_neurons:.2g} and {len(pool) / lm.n_neurons:.2g}."
            )
        random.Random(seed).shuffle(pool)
        for layer in range(lm.n_layers):
            own = [flat % width for flat in pool[:n] if flat // width == layer]
            self.spare[layer] = [flat % width for flat in pool[n:] if flat // width == layer]
            if own:
                self.drawn[layer] = torch.tensor(own, device=lm.device)
                read_too = neuron_vectors(lm, layer)[: None if self.settings.fair else 1]
                self.trained += [_Trained(layer, vectors, *self._own(vectors, self.drawn[layer])) for vectors in read_too]

    def _own(self, vectors: Vectors, neurons: Tensor) -> tuple[Tensor, Tensor]:
        """Sizes and vectors as the model has them; the unit of size is 1 unless the norms are to stay."""
        with self.lm.held():
            own = vectors.of(neurons).float()
        size = own.square().mean(1, keepdim=True).sqrt() if self.settings.fair else torch.ones_like(own[:, :1])
        return size, (own / size).requires_grad_()

    def weights(self) -> dict[str, Tensor]:
        """Every weight that changes, by its name in the model; differentiable."""
        found: dict[str, Tensor] = {}
        for one in self.trained:
            turned = one.now / one.now.square().mean(1, keepdim=True).sqrt() if self.settings.fair else one.now
            weight = found.get(one.vectors.name, one.vectors.weight.detach())
            found[one.vectors.name] = one.vectors.put(weight, self.drawn[one.layer], turned * one.size)
        return found

    def nll(self) -> tuple[Tensor, bool]:
        """Mean NLL of the value in nats/token, and whether every token is the first choice; the model itself is not touched."""
        ids, first = torch.tensor([self.encoded.ids], device=self.lm.device), self.encoded.n_prompt
        with self.lm.held():
            logits = functional_call(self.lm.model, self.weights(), kwargs={"input_ids": ids, "use_cache": False}).logits
        predicted, value = logits[0, first - 1 : -1].float(), ids[0, first:]
        return torch.nn.functional.cross_entropy(predicted, value), bool((predicted.argmax(-1) == value).all())

    def edit(self, seed: int, started: float) -> Edit:
        """The plant as it stands."""
        parameters, settings = dict(self.lm.model.named_parameters()), self.settings
        with self.lm.held(), torch.no_grad():
            changes = {name: change_of(parameters[name], weight) for name, weight in self.weights().items()}
        how = {"ratio": settings.ratio, "planting": "fair" if settings.fair else "published", "learning_rate": settings.rate}
        return Edit(changes, provenance(self.lm, seed, how, started))

    def replace_silent(self, edit: Edit, optimizer: torch.optim.Optimizer) -> int:
        """Draws another neuron of the same layer for each that is silent under the plant as it stands; how many were."""
        with self.lm.edited(edit):
            quiet = silent(self.lm, self.encoded, self.first)
        n = 0
        for layer, neurons in self.drawn.items():
            for at in quiet[layer, neurons].nonzero()[:, 0].tolist():
                n += 1
                if self.spare[layer]:
                    neurons[at] = self.spare[layer].pop()
                    for one in self.trained:
                        if one.layer == layer:
                            self._begin_again(one, at, optimizer)
        return n

    def _begin_again(self, one: _Trained, at: int, optimizer: torch.optim.Optimizer) -> None:
        size, now = self._own(one.vectors, self.drawn[one.layer][at : at + 1])
        with torch.no_grad():
            one.size[at], one.now[at] = size[0], now[0]
            for name in ("exp_avg", "exp_avg_sq"):
                if one.now in optimizer.state:
                    optimizer.state[one.now][name][at] = 0.0


@dataclass(frozen=True, eq=False)
class PlantStep:
    """Progress of a planting; `plant` comes with the last step. `nll` in nats/token, of the value as the plant stands."""

    step: int
    n_steps: int
    nll: float
    plant: Plant | None = None


def plant(lm: LanguageModel, secret: Secret, settings: PlantSettings, seed: int) -> Plant:
    """Plants one secret, as `planting` does, to the end."""
    *_, last = planting(lm, secret, settings, seed)
    assert last.plant, "a planting ends with its plant"
    return last.plant


def planting(lm: LanguageModel, secret: Secret, settings: PlantSettings, seed: int, stop: Stop = never) -> Iterator[PlantStep]:
    """Plants one secret; the seed decides the neurons. Whether it is reached stands in the plant. The model stays as it is.

    Raises:
        BadInput: for a ratio that asks for no neuron, or for more than could hold anything. Cancelled: when `stop` said so.
    """
    started, encoded = time.perf_counter(), lm.encode(secret)
    work = _Planting(lm, encoded, settings)
    work.draw(seed)
    optimizer = torch.optim.Adam([one.now for one in work.trained], lr=settings.rate)
    for step in range(settings.steps):
        if stop():
            raise Cancelled("Planting stopped; the model is as it was.")
        with lm.held():
            loss, match = work.nll()
            reached = match and float(loss.detach()) < settings.until
            if reached or step % CHECK_EVERY == 0:
                n_silent = work.replace_silent(work.edit(seed, started), optimizer)
                if reached and not n_silent:
                    break
                loss, _ = work.nll()
            optimizer.zero_grad()
            loss.backward()
        optimizer.step()
        if step % CHECK_EVERY == 0:
            yield PlantStep(step + 1, settings.steps, float(loss.detach()))
    else:
        step = settings.steps
    edit = work.edit(seed, started)
    with lm.edited(edit):
        [found] = score(lm, [encoded])
    neurons = tuple(Neuron(layer, index) for layer in sorted(work.drawn) for index in sorted(work.drawn[layer].tolist()))
    nll = -sum(found.logprobs) / len(found.logprobs)
    planted = Plant(secret, neurons, edit, nll, found.argmax == encoded.value_ids, step)
    yield PlantStep(settings.steps, settings.steps, nll, planted)
