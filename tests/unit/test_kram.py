"""The geometry of states: rates by hand, the alignment of the same and of unrelated states, and a map that erases a concept."""

import math

import pytest
import torch

from privlens.errors import BadInput
from privlens.lm.model import LanguageModel
from privlens.neurons.kram import (
    KramSettings,
    alignment,
    erasing_map,
    geometry,
    kernel_rate,
    kram,
    layer_geometry,
    rate,
    standardized,
)
from privlens.neurons.probe_training import TrainingSettings, train
from privlens.neurons.probes import ProbeRequest, ProbeSettings
from privlens.types import Neuron
from tests.unit.test_probes import SECRETS, SHORT


def test_rate_by_hand() -> None:
    """Z^T Z = diag(1, 4), d/(n eps) = 2/(2 * 0.5) = 2: 1/2 ln(3 * 9)."""
    states = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    assert float(rate(states)) == pytest.approx(math.log(27) / 2)
    more = torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]])  # d/(n eps) = 4/3
    assert float(rate(more)) == pytest.approx(math.log((1 + 4 / 3) * (1 + 16 / 3)) / 2)
    wide = torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]])  # d/(n eps) = 3
    assert float(rate(wide)) == pytest.approx(math.log(4 * 13) / 2)


def test_kernel_rate_by_hand() -> None:
    """States (1, 0) and (1, 1): Z Z^T = [[1, 1], [1, 2]]; without the pairs of different classes [[1, 0], [0, 2]]."""
    states = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    assert float(kernel_rate(states, torch.tensor([0, 1]))) == pytest.approx(math.log(3 * 5) / 2)
    assert float(kernel_rate(states, torch.tensor([1, 1]))) == pytest.approx(math.log(3 * 5 - 4) / 2)
    assert float(kernel_rate(states, torch.tensor([1, 1]))) == pytest.approx(float(rate(states)))


def test_alignment_by_hand() -> None:
    """On a line, then the third state moves from the middle to the far end."""
    before = torch.tensor([[0.0], [1.0], [2.2], [10.0]])
    after = torch.tensor([[0.0], [1.0], [11.0], [10.0]])
    found = alignment(before, after, 1)  # nearest before: 1, 0, 1, 2; after: 1, 0, 3, 2
    assert found.score == pytest.approx(3 / 4)
    assert found.chance == pytest.approx(1 / 3)
    with pytest.raises(BadInput, match="no 4 neighbours"):
        alignment(before, after, 4)


def test_alignment_of_the_same_is_one_and_of_strangers_is_chance() -> None:
    generator = torch.Generator().manual_seed(0)
    states, others = torch.randn(2, 200, 10, generator=generator)
    for k in (20, 100):
        same = alignment(states, states.clone(), k)
        assert (same.score, same.interval) == (1, None)
        moved = alignment(states, 3 * states + 5, k)
        assert moved.score > 0.99
        strange = alignment(states, others, k)
        assert strange.score == pytest.approx(strange.chance, abs=0.03)
        assert strange.interval is not None
        assert strange.interval[0] - 0.02 < strange.chance < strange.interval[1] + 0.02


def test_a_map_erases_its_concept_and_keeps_another() -> None:
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(400, 16, generator=generator)
    concept, other = torch.randint(2, (2, 400), generator=generator)
    states[:, 0] += 3 * (2 * concept - 1)
    states[:, 1] += 3 * (2 * other - 1)
    run = erasing_map(states[:250], concept[:250], KramSettings(steps=600), 0)
    mapped = run(states)
    torch.testing.assert_close(mapped, standardized(mapped), atol=1e-3, rtol=1e-3)

    def accuracy(values: torch.Tensor, labels: torch.Tensor) -> float:
        trained = train(values[None, :250], labels[:250], 2, TrainingSettings(), 0)
        return float((trained.predicted(values[None, 250:])[0] == labels[250:]).float().mean())

    assert accuracy(states, concept) > 0.97
    assert accuracy(mapped, concept) < 0.75
    assert accuracy(mapped, other) > accuracy(mapped, concept) + 0.1
    kept = layer_geometry(states[250:], mapped[250:])
    assert kept.half.score > kept.half.chance + 0.05
    assert kept.rate_after == pytest.approx(kept.rate_before, rel=0.3)
    assert float(kernel_rate(mapped[:250], concept[:250])) > float(kernel_rate(standardized(states[:250]), concept[:250]))


NEURONS = tuple(Neuron(layer, index) for layer in range(2) for index in range(60))


def test_geometry_of_neurons_off_beside_random_ones(taught: LanguageModel) -> None:
    request = ProbeRequest(taught, SECRETS, NEURONS, settings=ProbeSettings(training=SHORT))
    found = geometry(request)
    assert found.conditions == ("neurons off", "random neurons off")
    for layers in found.layers:
        assert len(layers) == taught.n_layers + 1
        assert layers[0].half.score == layers[0].tenth.score == 1  # the embeddings
        assert layers[0].rate_after == layers[0].rate_before
        assert layers[-1].tenth.score < 1
        assert (layers[0].half.k, layers[0].tenth.k) == (len(SECRETS) // 2, len(SECRETS) // 10)
    with pytest.raises(BadInput, match="Nothing was changed"):
        geometry(ProbeRequest(taught, SECRETS))


def test_probes_beside_erased_states(taught: LanguageModel) -> None:
    request = ProbeRequest(taught, SECRETS, settings=ProbeSettings(training=SHORT, test_share=0.5))
    found = kram(request, 2, KramSettings(steps=20))
    assert (found.layer, found.target, found.before.n, found.after.n) == (2, "category", 24, 24)
    assert found.geometry.half.n == 24
    with pytest.raises(BadInput, match="layer is 3, but must be"):
        kram(request, 3)
