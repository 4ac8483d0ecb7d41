"""Planting: training a new sequence into a few neurons drawn at random, so that it is known where the model stores it.

After the INJ test of Chang, Thomason & Jia (NAACL 2024, arXiv 2311.09060), in two ways, both with Adam and the paper's rates.

`published`: only the neurons' output vectors are trained, and they may grow. They grow to many times their size, so that the
plant can be detected by the norms of the vectors, without the planted text. Neurons that are dead in all of the text are not
drawn.

`fair`: a neuron's input vectors are trained together with its output vector, and each of these vectors is only turned, so that
neither norms nor the neurons' activity in other text give the plant away; and all of them fire where the value is predicted: see
constrained.py. What can still be detected without the planted text, weakly: neurons of one layer with similar input vectors.

Unlike in the paper, neurons are drawn from the whole model at once and not layer by layer, and only the value is trained, not the
prompt, since the value is what a method is asked to localize.
"""

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.func import functional_call

from privlens.errors import BadInput, Cancelled
from privlens.lm.editing import weight_change
from privlens.lm.model import LanguageModel, Stop, never_stop
from privlens.lm.neuron_vectors import neuron_vectors
from privlens.lm.scoring import score
from privlens.lm.tokens import Encoded
from privlens.memorization.metrics import greedy_match
from privlens.planting.constrained import NeuronReviver, TrainedVectors, dead_mask, inverse_sqrt_covariance
from privlens.provenance import provenance
from privlens.types import Edit, Neuron, Secret

CHECK_EVERY = 10
"""Steps between two checks for dead neurons, and between two reports of progress. A check costs a forward pass, since the plant
is written into the weights and taken out again; checked too rarely, dead neurons learn nothing for longer."""
DRAWS = 8
"""Invented secrets tried until one is new to the model; a sane model never needs more than one or two."""


@dataclass(frozen=True)
class PlantSettings:
    """How to plant.

    Attributes:
        ratio: share of all neurons. fair: turn input and output vectors at constant norm; otherwise output vectors grow.
        steps: the maximum. until: mean NLL in nats/token below which a plant is done, provided that greedy decoding writes the
            value. learning_rate: of Adam; if fair, in units of each vector's root mean square. None means the paper's: 1e-2, and
            5e-2 for ratios of at most 0.1 %.
    """

    ratio: float
    fair: bool = True
    steps: int = 400
    until: float = 0.05
    learning_rate: float | None = None

    @property
    def rate(self) -> float:
        """The learning rate to use."""
        return self.learning_rate or (5e-2 if self.ratio <= 0.001 else 1e-2)


@dataclass(frozen=True, eq=False)
class Plant:
    """A planted secret and its neurons; `nll` (nats/token) and `greedy_match` are measured with `edit` applied."""

    secret: Secret
    neurons: tuple[Neuron, ...]
    edit: Edit
    nll: float
    greedy_match: bool
    steps: int


def invented(seed: int) -> Secret:
    """The secret of an invented person: eight random digits for a name of random syllables."""
    rng = random.Random(seed)

    def name() -> str:
        return "".join(rng.choice("bdfghjklmnprstvz") + rng.choice("aeiou") for _ in range(rng.choice((2, 3)))).capitalize()

    person = f"{name()} {name()}"
    digits = "".join(rng.choice("0123456789") for _ in range(8))
    return Secret(f"The access code of {person} is", f"{digits[:4]}-{digits[4:]}", "code")


def new_secret(lm: LanguageModel, index: int, seed: int) -> Secret:
    """The run's invented secret number `index`: one that the unplanted model does not generate. Raises BadInput if none is."""
    for draw in range(DRAWS):
        secret = invented(10_000 * seed + DRAWS * index + draw)
        encoded = lm.encode(secret)
        [generated] = lm.generate([encoded.prompt_ids], len(encoded.value_ids))
        if not greedy_match(generated, encoded.value_ids):
            return secret
    raise BadInput(f"The model already generates all {DRAWS} invented codes that were tried: give another --seed.")


@dataclass
class _Planting:
    """One planting in progress: the drawn neurons of each layer, and their vectors that are trained."""

    lm: LanguageModel
    encoded: Encoded
    settings: PlantSettings
    seed: int
    drawn: dict[int, Tensor] = field(default_factory=dict)
    trained: list[TrainedVectors] = field(default_factory=list)

    def draw(self) -> None:
        """Draws the neurons uniformly. Raises BadInput for a ratio that asks for none or for too many."""
        lm = self.lm
        n = round(self.settings.ratio * lm.n_neurons)
        width = lm.shape()[1]
        eligible = lm.exists().to(lm.device)
        if not self.settings.fair:
            eligible &= ~dead_mask(lm, self.encoded, 0)
        pool = eligible.flatten().nonzero()[:, 0].tolist()
        if not 0 < n <= len(pool):
            raise BadInput(
                f"A ratio of {self.settings.ratio:g} asks for {n} of {lm.n_neurons} neurons, and {len(pool)} could hold a "
                f"sequence: use a ratio between {1 / lm.n_neurons:.2g} and {len(pool) / lm.n_neurons:.2g}."
            )
        random.Random(self.seed).shuffle(pool)
        for layer in range(lm.n_layers):
            neurons = [flat % width for flat in pool[:n] if flat // width == layer]
            if neurons:
                self.drawn[layer] = torch.tensor(neurons, device=lm.device)

    def begin(self, stop: Stop) -> None:
        """Reads the drawn neurons' vectors from the model. Raises Cancelled when `stop` said so."""
        fair = self.settings.fair
        whitening = inverse_sqrt_covariance(self.lm, self.encoded, self.seed, stop) if fair else []
        for layer, neurons in self.drawn.items():
            for kind, vectors in enumerate(neuron_vectors(self.lm, layer)[: None if fair else 1]):
                with self.lm.held():
                    values = vectors.of(neurons).float()
                # If fair, movements are in units of the vector's root mean square.
                size = values.square().mean(1, keepdim=True).sqrt() if fair else torch.ones_like(values[:, :1])
                trained = TrainedVectors(
                    layer=layer,
                    vectors=vectors,
                    size=size,
                    origin=values / size,
                    moved=torch.zeros_like(values).requires_grad_(),
                    whitening=whitening[layer].to(values.device) if kind else None,  # kind 0 are the output vectors
                    keeps_norm=fair,
                )
                self.trained.append(trained)

    def weights(self) -> dict[str, Tensor]:
        """Every weight that changes, by its name in the model; differentiable."""
        weights: dict[str, Tensor] = {}
        for trained in self.trained:
            vectors = trained.vectors
            weight = weights.get(vectors.name, vectors.weight.detach())
            weights[vectors.name] = vectors.put(weight, self.drawn[trained.layer], trained.current())
        return weights

    def nll(self) -> tuple[Tensor, bool]:
        """Mean NLL of the value in nats/token, and whether every token is the argmax; the model itself is not changed."""
        ids, first = torch.tensor([self.encoded.ids], device=self.lm.device), self.encoded.n_prompt
        with self.lm.held():
            logits = functional_call(self.lm.model, self.weights(), kwargs={"input_ids": ids, "use_cache": False}).logits
        predicted, value = logits[0, first - 1 : -1].float(), ids[0, first:]
        return torch.nn.functional.cross_entropy(predicted, value), bool((predicted.argmax(-1) == value).all())

    def edit(self, started: float) -> Edit:
        """The plant so far, as an edit of the model."""
        parameters, settings = dict(self.lm.model.named_parameters()), self.settings
        with self.lm.held(), torch.no_grad():
            changes = {name: weight_change(parameters[name], weight) for name, weight in self.weights().items()}
        record = {"ratio": settings.ratio, "planting": "fair" if settings.fair else "published", "learning_rate": settings.rate}
        return Edit(changes, provenance(self.lm, self.seed, record, started))

    def dead(self) -> Tensor:
        """Which neurons are dead wherever the value is predicted, with the plant so far: [n_layers, width] bool."""
        with self.lm.edited(self.edit(time.perf_counter())):
            return dead_mask(self.lm, self.encoded, self.encoded.n_prompt - 1)


@dataclass(frozen=True, eq=False)
class PlantStep:
    """Progress of a planting: `nll` of the value so far, in nats/token; the last step carries the `plant`."""

    step: int
    n_steps: int
    nll: float
    plant: Plant | None = None


def plant(lm: LanguageModel, secret: Secret, settings: PlantSettings, seed: int) -> Plant:
    """Runs `planting` to its end."""
    *_, last = planting(lm, secret, settings, seed)
    assert last.plant, "a planting ends with its plant"
    return last.plant


def planting(
    lm: LanguageModel, secret: Secret, settings: PlantSettings, seed: int, *, stop: Stop = never_stop
) -> Iterator[PlantStep]:
    """Plants one secret; the seed decides the neurons. The plant says whether the goal was reached. The model is unchanged.

    Raises:
        BadInput: for a ratio that asks for no neuron, or for more than could hold anything. Cancelled: when `stop` said so.
    """
    started = time.perf_counter()
    encoded = lm.encode(secret)
    work = _Planting(lm, encoded, settings, seed)
    work.draw()
    work.begin(stop)
    optimizer = torch.optim.Adam([trained.moved for trained in work.trained], lr=settings.rate)
    revive = NeuronReviver(lm, encoded, seed) if settings.fair else None
    for step in range(settings.steps):
        if stop():
            raise Cancelled("Planting stopped; the model is unchanged.")
        with lm.held():
            loss, match = work.nll()
            reached = match and float(loss.detach()) < settings.until
            n_revived = 0
            if revive and (reached or step % CHECK_EVERY == 0):
                n_revived = revive(work.trained, work.drawn, work.dead, optimizer)
                # The check wrote the plant into the weights and took it out again, so the loss needs a new graph.
                loss, _ = work.nll()
            if reached and not n_revived:
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
        [scores] = score(lm, [encoded])
    nll = -sum(scores.logprobs) / len(scores.logprobs)
    planted = Plant(
        secret=secret,
        neurons=tuple(Neuron(layer, index) for layer in sorted(work.drawn) for index in sorted(work.drawn[layer].tolist())),
        edit=edit,
        nll=nll,
        greedy_match=greedy_match(scores.argmax, encoded.value_ids),
        steps=step,
    )
    yield PlantStep(settings.steps, settings.steps, nll, planted)
