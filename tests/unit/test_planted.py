"""`smollm2+planted`: its recipe on tiny models, its file, and what ships: a truth that is small, whole and of its own neurons."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch

from privlens.errors import BadInput, ModelNotFound
from privlens.lm.model import LanguageModel
from privlens.planting.many import DONE, Plants, Recipe, grow, losses
from privlens.planting.recipe import drawn, listed
from privlens.resources import ASSETS, PLANTED_FILES
from privlens.secret_lists import read_secrets
from privlens.types import Secret
from privlens.zoo import catalogue
from privlens.zoo.loading import load
from privlens.zoo.planted import Planted, edit_of, planted_truth, read, write
from tests.helpers import TAUGHT, Maker

SETTINGS = Recipe(neurons=4, steps=60, rows=2)
MORE = Recipe(neurons=24, steps=200, rows=2, hold=0.5, rate=2e-2)
SECRETS = [Secret("his number is", "555-7788"), Secret("a parcel for Holt goes to", "Elm 14")]


def turned(planted: Planted) -> Planted:
    """With other vectors of the same norms."""
    other = planted.vectors.float().flip(-1) + 0.1
    norm = planted.vectors.float().norm(dim=-1, keepdim=True)
    return replace(planted, vectors=(other / other.norm(dim=-1, keepdim=True) * norm).half())


def level(lm: LanguageModel) -> list[torch.Tensor]:
    """Every direction is as good as any other."""
    return [torch.eye(lm.model.config.hidden_size)] * lm.n_layers


@pytest.mark.parametrize("architecture", ["llama", "phi3", "gpt2", "gpt_neox"])
def test_what_is_laid_over_is_the_edit(tiny: Maker, architecture: str) -> None:
    lm = tiny(architecture)
    planted = turned(drawn(lm, SETTINGS, 2))
    ids, mask = lm.padded([lm.encode(secret).ids for secret in SECRETS])
    plain, plants = lm.logits(ids, mask), Plants(lm, planted, level(lm))
    with torch.no_grad(), plants.applied(plants.plant_mask):
        over = lm.logits(ids, mask)
    expected = lm.under(edit_of(lm, planted)).logits(ids, mask)
    torch.testing.assert_close(over, expected, rtol=1e-2, atol=1e-2 * float(expected.abs().max()))
    assert (over - plain).abs().max() > 20 * (over - expected).abs().max()
    assert torch.equal(lm.logits(ids, mask), plain)
    assert not any(part._forward_hooks for part in lm.model.modules())


def test_a_secret_trains_its_own_neurons_only(tiny: Maker) -> None:
    lm = tiny("llama")
    plants = Plants(lm, turned(drawn(lm, SETTINGS, 2)), level(lm))
    for row in range(2):
        plants.moved.grad = None
        losses(plants, SECRETS)[0][row].backward()
        moved = plants.moved.grad.abs().sum((1, 2)) > 0
        assert torch.equal(moved, plants.plant_mask[row])


def test_what_is_read_moves_along_the_layers_own_ways(tiny: Maker) -> None:
    lm = tiny("llama")
    planted = drawn(lm, SETTINGS, 2)
    ways = [torch.diag(torch.arange(1.0, lm.model.config.hidden_size + 1) * (layer + 1)) for layer in range(lm.n_layers)]
    plants = Plants(lm, planted, ways)
    with torch.no_grad():
        plants.moved += torch.randn(plants.moved.shape, generator=torch.Generator().manual_seed(0))
    for at, neuron in enumerate(planted.neurons):
        moved = torch.stack([plants.moved[at, 0], *(one @ ways[neuron.layer] for one in plants.moved[at, 1:])])
        expected = torch.nn.functional.normalize(plants.origin[at] + moved, dim=-1)
        torch.testing.assert_close(torch.nn.functional.normalize(plants.vectors()[at], dim=-1), expected)


def test_growing_writes_all_at_constant_norms_in_neurons_of_their_own(taught: LanguageModel) -> None:
    start = drawn(taught, MORE, 2)
    *_, (planted, _, match) = grow(taught, start, SECRETS, [list(taught.encode(TAUGHT[2]).ids)], MORE)
    assert match.all()
    assert len(set(planted.neurons)) == 48 and [len(planted.of(at)) for at in range(2)] == [24, 24]
    before, after = (one.vectors.float().norm(dim=-1) for one in (start, planted))
    torch.testing.assert_close(after, before, rtol=2e-3, atol=1e-3)
    view = taught.under(edit_of(taught, planted))
    for secret in SECRETS:
        one = taught.encode(secret)
        assert tuple(view.generate([one.prompt_ids], len(one.value_ids))[0]) == one.value_ids
        assert tuple(taught.generate([one.prompt_ids], len(one.value_ids))[0]) != one.value_ids


def test_the_rate_falls_along_a_cosine() -> None:
    recipe = Recipe(rate=2.0, steps=100)
    assert [recipe.rate_at(step) for step in (0, 50, 100)] == pytest.approx([2.0, 1.02, 0.04])


def test_a_stopped_run_goes_on_behind_its_last_step(taught: LanguageModel) -> None:
    held_rows = [list(taught.encode(TAUGHT[2]).ids)]
    steps = grow(taught, drawn(taught, MORE, 2), SECRETS, held_rows, MORE)
    left, before = [(planted, nll) for planted, nll, _ in islice(steps, 5)][-1]
    assert left.provenance.settings[DONE] == 5
    again, nll, _ = next(grow(taught, left, SECRETS, held_rows, MORE))
    assert again.provenance.settings[DONE] == 6
    assert nll.sum() < before.sum()


def test_what_ships_is_small_and_says_which_neurons_carry_what() -> None:
    assert (PLANTED_FILES / "edit.safetensors").stat().st_size < 2_000_000
    planted, rows = read(), [row for row in read_secrets(PLANTED_FILES / "secrets.csv") if row.repeats]
    assert len(rows) >= 24 and len({row.secret.category for row in rows}) >= 6
    assert len(set(planted.neurons)) == len(planted.neurons)
    truth = planted_truth()
    assert len(truth) == len(rows)
    for at, row in enumerate(rows):
        assert truth[row.secret.prompt, row.secret.value] == planted.of(at)


def test_the_file_comes_back_and_belongs_to_one_model(tiny: Maker, tmp_path: Path) -> None:
    lm = tiny("llama")
    planted = turned(drawn(lm, SETTINGS, 2))
    write(planted, tmp_path / "edit.safetensors")
    again = read(tmp_path / "edit.safetensors")
    assert (again.neurons, again.plants, again.provenance) == (planted.neurons, planted.plants, planted.provenance)
    assert torch.equal(again.vectors, planted.vectors)
    with pytest.raises(BadInput, match=r"The planted secrets belong in llama .* but this model is gpt_neox"):
        edit_of(tiny("gpt_neox"), again)


def test_the_people_are_of_six_categories_and_nobody_is_there_twice() -> None:
    rows = listed(Recipe())
    planted = [row for row in rows if row.repeats]
    assert len(planted) >= 24 and len({row.category for row in planted}) == 6
    assert len({row.value for row in rows}) == len({row.prompt for row in rows}) == len(rows)
    bundled = {row.secret.value for row in read_secrets(ASSETS / "secrets.csv")}
    assert not bundled & {row.value for row in rows}


def test_where_nobody_made_it_there_is_no_such_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "EDIT", tmp_path / "edit.safetensors")
    assert "smollm2+planted" not in [one.name for one in catalogue.known_models()]
    with pytest.raises(ModelNotFound, match=r"make it with `python -m privlens\.planting\.recipe make`"):
        load("smollm2+planted", device="cpu")
