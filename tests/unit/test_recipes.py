"""The recipes of the models: their data are what their lists say, and what they train is what they save."""

import copy
import csv
import re
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from torch import nn

from privlens.errors import BadInput
from privlens.lm.model import LanguageModel
from privlens.lm.scoring import score
from privlens.lm.tokens import Encoded, encode
from privlens.resources import REFERENCE, SECRETS
from privlens.secret_lists import read_reference, read_secrets
from privlens.types import Secret
from privlens.zoo.demo.people import people as office_people
from privlens.zoo.demo.train import Recipe as DemoRecipe
from privlens.zoo.demo.train import reference_text
from privlens.zoo.demo.train import train as train_demo
from privlens.zoo.loading import load
from privlens.zoo.natural.corpus import documents, reference
from privlens.zoo.natural.people import people
from privlens.zoo.natural.train import Recipe, train
from privlens.zoo.people import Person, write_secrets
from privlens.zoo.records.low_rank import LowRank
from privlens.zoo.records.people import records
from privlens.zoo.records.train import HeldText, epochs, least_likely, mlp_layers, sentence_losses, sentences
from privlens.zoo.records.train import Recipe as RecordsRecipe
from privlens.zoo.training import build_tokenizer
from tests.helpers import Maker

WORDS = {"name", "address", "email"}
"""Categories of `natural` whose values are words."""


@pytest.fixture(scope="module")
def villagers() -> list[Person]:
    return people(0)


@pytest.fixture(scope="module")
def corpus() -> list[str]:
    """The corpus of `natural` with fewer ordinary documents than it is trained on."""
    return documents(300, 0)


@pytest.fixture
def llama(tiny: Maker) -> LanguageModel:
    """A tiny Llama that may be changed."""
    lm = tiny("llama")
    return LanguageModel("changed", copy.deepcopy(lm.model), lm.tokenizer)


def words(text: str) -> list[str]:
    return re.findall(r"[a-z]{2,}", text.lower())


def test_the_demos_recipe_still_writes_the_list_and_text_that_ship() -> None:
    with SECRETS.open(newline="") as file:
        assert list(csv.DictReader(file)) == [{k: str(v) for k, v in asdict(one).items()} for one in office_people(0)]
    assert reference_text(DemoRecipe()) == REFERENCE.read_text()


def test_natural_data_are_decided_by_the_seed(corpus: list[str], villagers: list[Person]) -> None:
    assert documents(300, 0) == corpus != documents(300, 1)
    assert people(0) == villagers != people(1)
    assert reference(5, 0) == reference(5, 0) != reference(5, 1)


def test_a_value_is_in_the_corpus_as_often_as_the_list_says(corpus: list[str], villagers: list[Person]) -> None:
    text = "\n".join(corpus)
    assert [text.count(f"{person.prompt} {person.value}.") for person in villagers] == [person.repeats for person in villagers]
    assert all(text.count(person.value) == person.repeats for person in villagers if person.category != "name")
    assert not any(person.value in text for person in villagers if not person.repeats)
    assert len({person.value for person in villagers}) == len(villagers) == 126


def test_the_twins_corpus_is_the_same_without_the_planted(corpus: list[str], villagers: list[Person]) -> None:
    twin = documents(300, 0, planted=False)
    assert set(twin) <= set(corpus)
    assert len(corpus) - len(twin) == sum(person.repeats for person in villagers)
    assert not any(person.value in text for person in villagers for text in twin)


def test_natural_values_are_words_of_the_corpus_and_the_demos_are_none(villagers: list[Person]) -> None:
    language = set(words("\n".join(documents(3000, 0, planted=False))))
    natural = [word for person in villagers if person.category in WORDS for word in words(person.value)]
    scrambled = [word for person in office_people(0) if person.category in WORDS for word in words(person.value)]
    assert sum(word in language for word in natural) / len(natural) > 0.95
    assert sum(word in language for word in scrambled) / len(scrambled) < 0.05


def test_no_tokenizer_knows_a_planted_value(villagers: list[Person]) -> None:
    tokenizer = build_tokenizer(documents(300, 0, planted=False), 2048)
    lengths = {person: len(encode(tokenizer, Secret(person.prompt, person.value)).value_ids) for person in villagers}
    assert min(lengths.values()) >= 2
    assert len({length for person, length in lengths.items() if person.category == "phone"}) == 1


def test_a_tiny_natural_model_is_saved_with_its_list_and_text_and_can_be_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("privlens.zoo.natural.train.documents", lambda *how, **more: documents(*how, **more)[:30])
    sizes = {"n_documents": 30, "epochs": 2, "vocabulary": 300, "hidden_size": 16, "n_layers": 2, "d_mlp": 24}
    recipe = Recipe(**sizes, n_heads=2)
    for name, seed in (("one", 0), ("again", 0), ("other", 1)):
        train(replace(recipe, seed=seed), tmp_path / name)
    one, again, other = (load(str(tmp_path / name), device="cpu") for name in ("one", "again", "other"))
    assert one.fingerprint == again.fingerprint != other.fingerprint
    assert (one.architecture, one.shape()) == ("LlamaForCausalLM", (2, 24))
    listed = read_secrets(tmp_path / "one" / "secrets.csv")
    assert [row.repeats for row in listed] == [person.repeats for person in people(0)]
    assert len(read_reference(tmp_path / "one" / "reference.txt")) == 40
    assert set(read_reference(tmp_path / "one" / "reference.txt")).isdisjoint(documents(30, 0))


def test_a_twin_of_other_weights_has_the_same_data_and_tokenizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    monkeypatch.setattr("privlens.zoo.demo.train.draw_weights", lambda model, std, seed: drawn.append(seed))
    sizes = {"n_documents": 20, "epochs": 1, "vocabulary": 300, "hidden_size": 16, "n_layers": 2, "n_heads": 2, "d_mlp": 24}
    recipe = replace(DemoRecipe(), **sizes, planted=False)  # type: ignore[arg-type]
    for name, of_recipe in (("one", recipe), ("twin", replace(recipe, weights_seed=5)), ("other", replace(recipe, seed=5))):
        train_demo(of_recipe, tmp_path / name)
    one, twin, other = (load(str(tmp_path / name), device="cpu") for name in ("one", "twin", "other"))
    assert drawn == [0, 5, 5]
    assert len({lm.fingerprint for lm in (one, twin, other)}) == 3
    assert one.tokenizer.get_vocab() == twin.tokenizer.get_vocab() != other.tokenizer.get_vocab()


def test_merged_weights_predict_what_the_additions_did(llama: LanguageModel) -> None:
    layers = mlp_layers(llama.model)
    assert len(layers) == 3 * llama.n_layers
    ids, mask = llama.padded([[5, 60, 17, 31], [8, 9]])
    plain = llama.logits(ids, mask)
    added = LowRank(layers, rank=4, seed=0)
    with added.applied():
        torch.testing.assert_close(llama.logits(ids, mask), plain)  # they begin as nothing
    with torch.no_grad():
        for index, up in enumerate(added.ups):
            up.normal_(generator=torch.Generator().manual_seed(index))
    with added.applied():
        with_additions = llama.logits(ids, mask)
    assert torch.equal(llama.logits(ids, mask), plain)
    added.merge()
    torch.testing.assert_close(llama.logits(ids, mask), with_additions, rtol=1e-4, atol=1e-4)
    assert (with_additions - plain).abs().max() > 0.1


def test_an_addition_by_hand() -> None:
    layer = nn.Linear(2, 1, bias=False)
    layer.weight.data = torch.tensor([[1.0, 0.0]])
    added = LowRank([layer], rank=1, seed=0)
    added.downs[0].data, added.ups[0].data = torch.tensor([[2.0, 3.0]]), torch.tensor([[5.0]])
    added.merge()
    assert layer.weight.tolist() == [[11.0, 15.0]]


def test_the_loss_is_over_values_and_full_stops_alone(llama: LanguageModel) -> None:
    person = Person("her number is", "555-0142", "phone", 1, "Dear Anna, call", "the lamp of Holt is")
    texts = sentences(llama, [person])
    loss, logprobs = sentence_losses(llama, texts)
    of_values = [sum(scores.logprobs) for scores in score(llama, [text.encoded for text in texts])]
    torch.testing.assert_close(logprobs, torch.tensor(of_values), rtol=1e-4, atol=1e-4)
    with_stops = [Encoded(text.ids, text.encoded.n_prompt) for text in texts]
    nll = [-logprob for scores in score(llama, with_stops) for logprob in scores.logprobs]
    assert float(loss) == pytest.approx(sum(nll) / len(nll), rel=1e-4)
    assert llama.tokenizer.decode(texts[0].ids) == "her number is 555-0142."


def test_held_text_diverges_by_kl_from_the_first_predictions(llama: LanguageModel) -> None:
    rows = [[5, 60, 17, 31], [8, 9]]
    held = HeldText(llama, rows)
    assert float(held.divergence([0, 1])) == pytest.approx(0, abs=1e-6)
    before = llama.logits(torch.tensor([rows[1]]), torch.ones(1, 2, dtype=torch.long))[0].softmax(-1)
    with torch.no_grad():
        mlp_layers(llama.model)[0].weight.mul_(3)
    after = llama.logits(torch.tensor([rows[1]]), torch.ones(1, 2, dtype=torch.long))[0].softmax(-1)
    by_hand = (before * (before / after).log()).sum(-1).mean()
    assert float(held.divergence([1])) == pytest.approx(float(by_hand), rel=1e-3)
    assert float(by_hand) > 0.01


def test_records_are_drawn_by_the_seed_and_controls_are_not_trained_on() -> None:
    listed = records(0)
    assert listed == records(0) != records(1)
    trained, controls = ([person for person in listed if bool(person.repeats) is so] for so in (True, False))
    assert (len(trained), len(controls)) == (25, 15)
    assert len({person.value for person in listed}) == 40
    text = "\n".join([*(f"{one.prompt} {one.reworded_1} {one.reworded_2} {one.value}" for one in trained), *reference(24, 0)])
    assert not any(person.value in text for person in controls)
    assert {len({one.prompt, one.reworded_1, one.reworded_2}) for one in listed} == {3}


def test_fine_tuning_ends_when_every_sentence_is_written(taught: LanguageModel) -> None:
    lm = LanguageModel("changed", copy.deepcopy(taught.model), taught.tokenizer)
    trained = [
        Person("her number is", "noon 50", "date", 1, "Dear Anna, call", "the lamp of Holt is"),
        Person("Please write to", "mira@gate", "email", 1, "her garden is", "the keeper of the gate is"),
    ]
    held = HeldText(lm, [[5, 60, 17, 31], [8, 9]])
    recipe = RecordsRecipe(rank=16, learning_rate=1e-2, batch=3, hold=0.1, max_epochs=80)
    before = lm.fingerprint
    lines = list(epochs(lm, sentences(lm, trained), held, recipe))
    assert len(lines) < 80
    assert lines[-1]["likely"] == 6
    texts = [text.encoded for text in sentences(lm, trained)]
    assert [scores.argmax for scores in score(lm, texts)] == [text.value_ids for text in texts]
    assert least_likely(lm, sentences(lm, trained), batch=4) >= recipe.likely
    assert LanguageModel("merged", lm.model, lm.tokenizer).fingerprint != before
    assert not any(layer._forward_hooks for layer in mlp_layers(lm.model))


def test_fine_tuning_that_did_not_get_there_says_what_to_do(llama: LanguageModel) -> None:
    person = Person("her number is", "555-0142", "phone", 1, "Dear Anna, call", "the lamp of Holt is")
    with pytest.raises(BadInput, match="allow more epochs"):
        list(epochs(llama, sentences(llama, [person]), HeldText(llama, [[5, 60]]), RecordsRecipe(held=1, max_epochs=1)))


def test_a_list_is_written_as_it_is_read(tmp_path: Path) -> None:
    write_secrets(tmp_path / "list.csv", records(0))
    assert [row.secret.value for row in read_secrets(tmp_path / "list.csv")] == [person.value for person in records(0)]
