"""Probes: a planted label is read where it was planted, the control task is not, and what is off cannot be read."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from privlens.errors import BadInput, Cancelled
from privlens.intervals import rate
from privlens.lm.model import LanguageModel
from privlens.lm.tokens import Encoded
from privlens.neurons import probe_items
from privlens.neurons.probe_items import items_of
from privlens.neurons.probe_records import ProbeKind, ProbeRun, Probes, ProbeStep
from privlens.neurons.probe_training import TrainingSettings, train
from privlens.neurons.probes import ProbeRequest, ProbeSettings, probe
from privlens.neurons.share import share_of
from privlens.types import Neuron, Secret
from tests.helpers import edit_of

CATEGORIES = ("phone", "card", "name")
SECRETS = tuple(
    Secret(f"the {category} of {letter}{number} is", f"{number}{letter}-{category[0]}{7 * number % 10}", category)
    for number in range(8)
    for letter in "ab"
    for category in CATEGORIES
)
SHORT = TrainingSettings(steps=80)


def last(steps: Iterator[ProbeStep]) -> Probes:
    *_, step = steps
    assert step.result
    return step.result


def planted(n: int, layers: int, width: int, labels: Tensor, layer: int, seed: int = 0) -> Tensor:
    """Noise [layers, n, width] in which one direction of one layer holds the label."""
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(layers, n, width, generator=generator)
    states[layer, :, 3] = 4 * labels + 0.1 * states[layer, :, 3]
    return states


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_a_planted_label_is_read_at_its_layer_and_at_no_other(kind: ProbeKind) -> None:
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(2, (200,), generator=generator)
    control = labels[torch.randperm(200, generator=generator)]
    states = planted(200, 4, 16, labels, layer=2)
    settings = TrainingSettings(kind=kind)
    trained = train(states[:, :120], labels[:120], 2, settings, 0)
    accuracy = (trained.predicted(states[:, 120:]) == labels[120:]).float().mean(1)
    assert float(accuracy[2]) > 0.97
    assert float(accuracy[[0, 1, 3]].max()) < 0.7
    of_control = train(states[:, :120], control[:120], 2, settings, 0).predicted(states[:, 120:])
    assert 0.3 < float((of_control == control[120:]).float().mean()) < 0.7


def test_layers_that_are_trained_together_are_as_trained_alone() -> None:
    labels = torch.arange(60) % 3
    states = planted(60, 3, 8, labels, layer=1)
    together = train(states, labels, 3, SHORT, 5)
    assert together.weights[0].shape == (3, 8, 3)
    assert torch.equal(together.predicted(states), train(states.clone(), labels, 3, SHORT, 5).predicted(states))
    scaled = train(torch.cat([states[:2], 1000 * states[2:] + 7]), labels, 3, SHORT, 5)
    torch.testing.assert_close(scaled.weights[0], together.weights[0], rtol=1e-2, atol=1e-3)


def test_a_probe_is_kept_where_it_did_best() -> None:
    """With noise alone, longer training is worse on what it never saw: what is kept is an early one."""
    generator = torch.Generator().manual_seed(0)
    states, labels = torch.randn(1, 60, 100, generator=generator), torch.randint(2, (60,), generator=generator)
    kept, late = (
        train(states, labels, 2, TrainingSettings(steps=200, validated=validated, weight_decay=0.0, patience=999), 0)
        for validated in (0.3, 0.0)
    )
    assert float(late.weights[0].norm()) > 1.3 * float(kept.weights[0].norm())


def test_secrets_are_split_and_labels_dealt(taught: LanguageModel) -> None:
    items = items_of(taught, SECRETS, "category", 0.4, 3)
    assert items.classes == ("card", "name", "phone")
    assert [items.classes[label] for label in items.labels.tolist()] == [secret.category for secret in SECRETS]
    for label in range(3):
        assert int((items.is_test & (items.labels == label)).sum()) == round(0.4 * 16)
    assert sorted(items.control.tolist()) == sorted(items.labels.tolist())
    assert items.control.tolist() != items.labels.tolist()
    assert all(len(text.value_ids) == 1 for text in items.texts)
    assert items_of(taught, SECRETS, "category", 0.4, 3).is_test.tolist() == items.is_test.tolist()


def test_small_classes_are_left_out(taught: LanguageModel) -> None:
    listed = (*SECRETS, Secret("an address is", "1 Mill Lane", "address"), Secret("x is", "9", ""))
    items = items_of(taught, listed, "category", 0.4, 0)
    assert items.n_left_out == 2
    assert "address" not in items.classes
    first = items_of(taught, SECRETS, "first-character", 0.4, 0)
    assert first.classes == tuple("01234567")
    with pytest.raises(BadInput, match="too few to probe for category: give a list with at least 20 secrets"):
        items_of(taught, SECRETS[:12], "category", 0.4, 0)


def test_what_belongs_is_balanced(taught: LanguageModel) -> None:
    """Every prompt and every value is once right and once wrong, on one side of the split."""
    items = items_of(taught, SECRETS, "belongs", 0.4, 0)
    assert items.labels.tolist() == [1, 0] * len(SECRETS)
    assert len(set(items.texts)) == len(items.texts)
    texts = [str(taught.tokenizer.decode(list(text.prompt_ids))) for text in items.texts]
    for secret in SECRETS:
        mine = [
            (label, test)
            for text, label, test in zip(texts, items.labels.tolist(), items.is_test.tolist(), strict=True)
            if text.startswith(secret.prompt)
        ]
        its_value = [
            (label, test)
            for text, label, test in zip(texts, items.labels.tolist(), items.is_test.tolist(), strict=True)
            if text.endswith(secret.value)
        ]
        assert sorted(label for label, _ in mine) == sorted(label for label, _ in its_value) == [0, 1]
        assert len({test for _, test in (*mine, *its_value)}) == 1


def test_states_are_those_of_the_last_token_read(taught: LanguageModel) -> None:
    """The state at the end of the prompt, whatever the value is."""
    texts = [items_of(taught, SECRETS, "category", 0.4, 0).texts[0]]
    read = probe_items.states_of(taught, texts, None, "mlp", lambda: False)
    other = Encoded((*texts[0].prompt_ids, 5), texts[0].n_prompt)
    torch.testing.assert_close(probe_items.states_of(taught, [other], None, "mlp", lambda: False), read)
    assert read.shape == (taught.n_layers + 1, 1, 32)


@pytest.fixture(scope="module")
def result(taught: LanguageModel) -> Probes:
    neurons = tuple(Neuron(layer, index) for layer in range(2) for index in range(64))
    after = taught.under(edit_of(taught, 1))
    return last(probe(ProbeRequest(taught, SECRETS, neurons, after, settings=ProbeSettings(training=SHORT))))


def test_every_condition_has_probes_of_every_layer(result: Probes, taught: LanguageModel) -> None:
    assert [run.condition for run in result.runs] == ["all on", "neurons off", "random neurons off", "edited"]
    for run in result.runs:
        assert len(run.accuracy) == len(run.control) == taught.n_layers + 1
        assert all(share.n == result.n_test and share.interval == rate(share.k, share.n) for share in run.accuracy)
        assert all(share.n == result.n_train for share in run.control_trained)
    assert result.runs[0].transferred is None
    assert result.n_train + result.n_test == len(SECRETS)
    assert result.majority.n == result.n_test


def test_the_embeddings_are_the_same_whatever_is_off(result: Probes) -> None:
    before, off = result.runs[:2]
    assert before.accuracy[0] == off.accuracy[0]
    assert off.transferred is not None
    assert off.transferred[0] == before.accuracy[0]


def test_the_category_is_read_and_the_control_is_not(result: Probes) -> None:
    """The category stands in the prompt, two words before the state that is probed."""
    assert max(share.k for share in result.runs[0].accuracy) > 0.8 * result.n_test
    control = result.runs[0].control[-1]
    assert control.interval is not None
    assert control.interval[0] < 1 / 3 + 0.1


def test_selectivity_by_hand() -> None:
    run = ProbeRun("all on", (share_of(18, 20),), (share_of(5, 20),), (share_of(20, 20),), None)
    [(selectivity, (low, high))] = run.selectivity
    assert selectivity == pytest.approx(0.65)
    accuracy, control = rate(18, 20), rate(5, 20)
    assert low == pytest.approx(0.65 - ((0.9 - accuracy[0]) ** 2 + (control[1] - 0.25) ** 2) ** 0.5)
    assert high == pytest.approx(0.65 + ((accuracy[1] - 0.9) ** 2 + (0.25 - control[0]) ** 2) ** 0.5)


def test_wrong_input_and_a_stop(taught: LanguageModel, lm: LanguageModel) -> None:
    with pytest.raises(BadInput, match="is another model: give a view of the same one"):
        ProbeRequest(taught, SECRETS, after=lm)
    with pytest.raises(BadInput, match="share of secrets to test on"):
        ProbeRequest(taught, SECRETS, settings=ProbeSettings(test_share=1))
    with pytest.raises(Cancelled):
        list(probe(ProbeRequest(taught, SECRETS, stop=lambda: True)))
