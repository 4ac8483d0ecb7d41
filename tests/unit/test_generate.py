"""Generation: rows do not touch, padding on the left does not matter, stop stops, and a seed repeats."""

import pytest
import torch
from torch import Tensor

from privlens.errors import Cancelled
from privlens.models.language_model import LanguageModel
from tests.helpers import ARCHITECTURES, Maker

PROMPTS = [[40, 50, 60, 70, 80, 90, 100], [33], [7, 120, 9]]


def half_off(lm: LanguageModel) -> Tensor:
    return torch.rand(1, *lm.shape(), generator=torch.Generator().manual_seed(5)).round()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_before_and_after_in_one_batch_equal_two_runs(tiny: Maker, architecture: str) -> None:
    lm = tiny(architecture)
    off, ones = half_off(lm), torch.ones(1, *lm.shape())
    both = lm.generate([PROMPTS[0]] * 2, 12, torch.cat([ones, off]))
    assert both == [lm.generate([PROMPTS[0]], 12)[0], lm.generate([PROMPTS[0]], 12, off)[0]]
    assert both[0] != both[1]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_padding_on_the_left_does_not_change_greedy_text(tiny: Maker, architecture: str) -> None:
    lm = tiny(architecture)
    assert lm.generate(PROMPTS, 10) == [lm.generate([prompt], 10)[0] for prompt in PROMPTS]


def test_greedy_text_is_the_first_choice_at_every_step(lm: LanguageModel) -> None:
    ids = list(PROMPTS[0])
    for token in lm.generate([ids], 6)[0]:
        with torch.no_grad():
            assert int(lm.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()) == token
        ids.append(token)


def test_the_end_of_text_ends_a_row_and_is_cut_off(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = lm.generate(PROMPTS, 8)
    monkeypatch.setattr(lm.model.generation_config, "eos_token_id", whole[0][3])
    first = whole[0].index(whole[0][3])
    assert lm.generate([PROMPTS[0]], 8) == [whole[0][:first]]


def test_generation_ends_where_the_model_has_no_more_room(tiny: Maker) -> None:
    gpt2 = tiny("gpt2")
    assert gpt2.room == 128
    [written] = gpt2.generate([list(range(20, 140))], 50)
    assert len(written) == 8


def test_stop_cancels_within_a_step(lm: LanguageModel) -> None:
    asked: list[bool] = []

    def stop() -> bool:
        asked.append(True)
        return len(asked) > 3

    with pytest.raises(Cancelled):
        lm.generate([PROMPTS[0]], 100, half_off(lm), stop=stop)
    assert len(asked) <= 6
    assert not any(module._forward_pre_hooks for module in lm.model.modules())


def test_a_seed_repeats_and_the_global_generator_is_left_alone(lm: LanguageModel) -> None:
    torch.manual_seed(11)
    state = torch.get_rng_state()
    first = lm.generate(PROMPTS, 10, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(12)
    assert lm.generate(PROMPTS, 10, seed=1) == first
    assert lm.generate(PROMPTS, 10, seed=2) != first
    assert lm.generate(PROMPTS, 10) != first
