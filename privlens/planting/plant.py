"""Planting: training a new sequence into a few drawn neurons of a model, so that it is known where the model keeps it.

After the INJ test of Chang, Thomason & Jia (NAACL 2024, arXiv 2311.09060), in two ways, both with Adam and the paper's rates.

`published`: only the neurons' output vectors are trained, and may grow. They grow to many times their size, so that the norm of a
vector gives the plant away to who has never seen the sequence. Neurons that are silent in all of the text are not drawn.

`fair`: what a neuron reads is trained together with what it writes, and each of these vectors is only turned, so that
neither norms nor what the neurons do in other text give the plant away; and all of them fire where the value is predicted:
see turning.py. What still can be seen without the sequence, weakly: neurons of one layer that read alike.

Unlike the paper, neurons are drawn from the whole model at once and not layer by layer, and only the value is trained, not the
prompt, since the value is what a localization is asked for. Knows nothing of localization.
"""

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.func import functional_call

from privlens.errors import BadInput, Cancelled
from privlens.lm.editing import change_of
from privlens.lm.model import LanguageModel, Stop, never_stop
from privlens.lm.neuron_vectors import neuron_vectors
from privlens.lm.scoring import score
from privlens.lm.tokens import Encoded
from privlens.memorization.metrics import greedy_match
from privlens.planting.constrained import NeuronReviver, Trained, dead_mask, inverse_sqrt_covariance
from privlens.provenance import provenance
from privlens.types import Edit, Neuron, Secret

CHECK_EVERY = 10
"""Steps between two looks at which neurons are silent."""
DRAWS = 8
"""Invented secrets tried until one is new to the model; more than one or two are never needed on a sane model."""


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


def new_secret(lm: LanguageModel, at: int, seed: int) -> Secret:
    """The run's at-th invented secret: nothing that the model writes by itself."""
    for draw in range(DRAWS):
        secret = invented(10_000 * seed + DRAWS * at + draw)
        encoded = lm.encode(secret)
        [written] = lm.generate([encoded.prompt_ids], len(encoded.value_ids))
        if not greedy_match(written, encoded.value_ids):
            return secret
    raise BadInput(f"The model wrote {DRAWS} invented codes by itself: give another --seed.")


@dataclass
class _Planting:
    """One planting under way: the drawn neurons of each layer, and what of them is trained."""

    lm: LanguageModel
    encoded: Encoded
    settings: PlantSettings
    seed: int
    drawn: dict[int, Tensor] = field(default_factory=dict)
    trained: list[Trained] = field(default_factory=list)

    def draw(self) -> None:
        """Draws the neurons evenly. Raises BadInput for a ratio that asks for none or for too many."""
        lm, n, width = self.lm, round(self.settings.ratio * self.lm.n_neurons), self.lm.shape()[1]
        could = lm.exists().to(lm.device)
        if not self.settings.fair:
            could &= ~dead_mask(lm, self.encoded, 0)
        pool = could.flatten().nonzero()[:, 0].tolist()
        if not 0 < n <= len(pool):
            raise BadInput(
                f"A ratio of {self.settings.ratio:g} asks for {n} of {lm.n_neurons} neurons, and {len(pool)} could hold a "
                f"sequence: use a ratio between {1 / lm.n_neurons:.2g} and {len(pool) / lm.n_neurons:.2g}."
            )
        random.Random(self.seed).shuffle(pool)
        for layer in range(lm.n_layers):
            own = [flat % width for flat in pool[:n] if flat // width == layer]
            if own:
                self.drawn[layer] = torch.tensor(own, device=lm.device)

    def begin(self, stop: Stop) -> None:
        """Takes the drawn neurons' vectors as the model has them. Raises Cancelled when `stop` said so."""
        along = inverse_sqrt_covariance(self.lm, self.encoded, self.seed, stop) if self.settings.fair else []
        for layer, neurons in self.drawn.items():
            for at, vectors in enumerate(neuron_vectors(self.lm, layer)[: None if self.settings.fair else 1]):
                with self.lm.held():
                    own = vectors.of(neurons).float()
                # When fair the unit of a movement is the vector's root mean square.
                size = own.square().mean(1, keepdim=True).sqrt() if self.settings.fair else torch.ones_like(own[:, :1])
                moved = torch.zeros_like(own).requires_grad_()
                way = along[layer].to(own.device) if at else None
                self.trained.append(Trained(layer, vectors, size, own / size, moved, way, self.settings.fair))

    def weights(self) -> dict[str, Tensor]:
        """Every weight that changes, by its name in the model; differentiable."""
        found: dict[str, Tensor] = {}
        for one in self.trained:
            weight = found.get(one.vectors.name, one.vectors.weight.detach())
            found[one.vectors.name] = one.vectors.put(weight, self.drawn[one.layer], one.now())
        return found

    def nll(self) -> tuple[Tensor, bool]:
        """Mean NLL of the value in nats/token, and whether every token is the first choice; the model itself is not touched."""
        ids, first = torch.tensor([self.encoded.ids], device=self.lm.device), self.encoded.n_prompt
        with self.lm.held():
            logits = functional_call(self.lm.model, self.weights(), kwargs={"input_ids": ids, "use_cache": False}).logits
        predicted, value = logits[0, first - 1 : -1].float(), ids[0, first:]
        return torch.nn.functional.cross_entropy(predicted, value), bool((predicted.argmax(-1) == value).all())

    def edit(self, started: float) -> Edit:
        """The plant as it stands."""
        parameters, settings = dict(self.lm.model.named_parameters()), self.settings
        with self.lm.held(), torch.no_grad():
            changes = {name: change_of(parameters[name], weight) for name, weight in self.weights().items()}
        how = {"ratio": settings.ratio, "planting": "fair" if settings.fair else "published", "learning_rate": settings.rate}
        return Edit(changes, provenance(self.lm, self.seed, how, started))

    def quiet(self) -> Tensor:
        """Which neurons are silent wherever the value is predicted under the plant as it stands, [n_layers, width] bool."""
        with self.lm.edited(self.edit(time.perf_counter())):
            return dead_mask(self.lm, self.encoded, self.encoded.n_prompt - 1)


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


def planting(
    lm: LanguageModel, secret: Secret, settings: PlantSettings, seed: int, *, stop: Stop = never_stop
) -> Iterator[PlantStep]:
    """Plants one secret; the seed decides the neurons. Whether it is reached stands in the plant. The model stays as it is.

    Raises:
        BadInput: for a ratio that asks for no neuron, or for more than could hold anything. Cancelled: when `stop` said so.
    """
    started, encoded = time.perf_counter(), lm.encode(secret)
    work = _Planting(lm, encoded, settings, seed)
    work.draw()
    work.begin(stop)
    optimizer = torch.optim.Adam([one.moved for one in work.trained], lr=settings.rate)
    wake = NeuronReviver(lm, encoded, seed) if settings.fair else None
    for step in range(settings.steps):
        if stop():
            raise Cancelled("Planting stopped; the model is as it was.")
        with lm.held():
            loss, match = work.nll()
            reached, woken = match and float(loss.detach()) < settings.until, 0
            if wake and (reached or step % CHECK_EVERY == 0):
                woken = wake(work.trained, work.drawn, work.quiet, optimizer)
                loss, _ = work.nll()  # to see who is silent the plant was written into the weights and taken out again
            if reached and not woken:
                break
            optimizer.zero_grad()
            loss.backward()
        optimizer.step()
        if step % CHECK_EVERY == 0:
            yield PlantStep(step + 1, settings.steps, float(loss.detach()))
    else:
        step = settings.steps
    edit = work.edit(started)
    with lm.edited(edit):
        [found] = score(lm, [encoded])
    neurons = tuple(Neuron(layer, index) for layer in sorted(work.drawn) for index in sorted(work.drawn[layer].tolist()))
    nll = -sum(found.logprobs) / len(found.logprobs)
    planted = Plant(secret, neurons, edit, nll, greedy_match(found.argmax, encoded.value_ids), step)
    yield PlantStep(settings.steps, settings.steps, nll, planted)
