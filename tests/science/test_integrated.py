"""Integrated gradients: captum's numbers on every layout, complete, and the same where a model cannot restart."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import BloomConfig, BloomForCausalLM, PreTrainedTokenizerFast

from privlens.errors import Cancelled
from privlens.lm.model import LanguageModel
from privlens.lm.restart import plain_pass
from privlens.lm.tokens import Encoded
from privlens.localization import METHODS, Task
from privlens.localization.integrated import (
    IntegralSettings,
    Rule,
    captum_integral,
    integral,
    integrated_gradients,
    points,
    single_token_texts,
)
from privlens.secret_lists import read_secrets
from privlens.types import LocalizationStep, Secret, Site
from tests.helpers import LAYERS, Maker, random_model

SECRETS = Path(__file__).parents[2] / "assets" / "secrets.csv"
SECRET = Secret("Anna, the keeper of the gate is", "Mira Holt")
ENCODED = Encoded((5, 60, 17, 200, 31, 8, 44, 102, 9), 6)
"""A prompt of six tokens, a value of three."""


def assert_same(ours: Tensor, peer: Tensor) -> None:
    """To 1e-4 of the largest number."""
    assert peer.abs().max() > 1e-5, "there must be something to compare"
    assert float((ours - peer).abs().max()) <= 1e-4 * float(peer.abs().max())


def by_captum(lm: LanguageModel, encoded: Encoded, layer: int, steps: int, site: Site = "mlp") -> Tensor:
    return torch.stack([captum_integral(lm, one, layer, steps, site) for one in single_token_texts(encoded)]).sum(0)


def scores(lm: LanguageModel, secret: Secret = SECRET, steps: int = 20) -> tuple[Tensor, dict[str, Any]]:
    """What the method gives, and the settings it recorded."""
    *_, last = integrated_gradients(Task(lm, secret), IntegralSettings(steps))
    assert last.result is not None
    return torch.tensor(last.result.scores), last.result.provenance.settings


@pytest.mark.parametrize("site", ["mlp", "attention"])
@pytest.mark.parametrize("architecture", ["gpt2", "gpt_neox", "llama"])
def test_restarting_gives_captums_numbers(tiny: Maker, architecture: str, site: Site) -> None:
    lm = tiny(architecture)
    past = plain_pass(lm, ENCODED.ids[:-1])
    for layer in range(LAYERS):
        ours = integral(lm, past, ENCODED, layer, points(20), site)
        assert ours is not None
        assert_same(ours, by_captum(lm, ENCODED, layer, 20, site))


@pytest.mark.parametrize("architecture", ["gpt_neo", "qwen2", "phi", "phi3", "opt"])
def test_the_other_layouts_restart_too(tiny: Maker, architecture: str) -> None:
    lm = tiny(architecture)
    ours = integral(lm, plain_pass(lm, ENCODED.ids[:-1]), ENCODED, 1, points(5))
    assert ours is not None
    assert_same(ours, by_captum(lm, ENCODED, 1, 5))


def probability(lm: LanguageModel, at: int, off: int | None) -> float:
    """P of the token at a place, with one layer switched off at the position that predicts it by a hook of the test's own."""

    def switch_off(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (torch.cat([inputs[0][:, :-1], torch.zeros_like(inputs[0][:, -1:])], 1),)

    ids = torch.tensor([ENCODED.ids[:at]])
    handle = None if off is None else lm.layout.mlp[off].register_forward_pre_hook(switch_off)
    found = float(lm.logits(ids, torch.ones_like(ids))[0, -1].softmax(-1)[ENCODED.ids[at]])
    if handle:
        handle.remove()
    return found


def test_a_layers_attributions_add_up_to_what_switching_it_off_there_does(lm: LanguageModel) -> None:
    past, places = plain_pass(lm, ENCODED.ids[:-1]), range(ENCODED.n_prompt, len(ENCODED.ids))
    expected = [sum(probability(lm, at, None) - probability(lm, at, layer) for at in places) for layer in range(LAYERS)]
    assert max(map(abs, expected)) > 1e-3
    for layer in range(LAYERS):
        ours = integral(lm, past, ENCODED, layer, points(2000))
        assert ours is not None
        assert float(ours.sum()) == pytest.approx(expected[layer], abs=1e-3 * float(ours.abs().sum()))


def test_the_middles_are_nearer_to_the_integral_than_the_ends(demo: LanguageModel) -> None:
    """Of the largest attribution of the first and the last layer, against 500 points."""
    encoded = demo.encode(read_secrets(SECRETS)[44].secret)
    past = plain_pass(demo, encoded.ids[:-1])

    def both(alphas: list[float]) -> Tensor:
        found = [integral(demo, past, encoded, layer, alphas) for layer in (0, demo.n_layers - 1)]
        return torch.stack([one for one in found if one is not None])

    fine = both(points(500))
    middle, end = (float((both(alphas) - fine).abs().max() / fine.abs().max()) for alphas in (points(20), points(20, "end")))
    assert middle < 0.005
    assert end > 0.02


@pytest.mark.parametrize("rule", ["middle", "end"])
def test_points_are_exact_where_the_rule_is(rule: Rule) -> None:
    """The middles integrate a straight line exactly; the ends are off by half a step, 1 / 2m."""
    mean = sum(points(4, rule)) / 4
    assert mean == pytest.approx(0.5 if rule == "middle" else 0.5 + 1 / 8)
    assert points(4, "end") == [0.25, 0.5, 0.75, 1.0]
    assert points(4) == [0.125, 0.375, 0.625, 0.875]


@pytest.mark.parametrize("rule", ["middle", "end"])
def test_each_rule_is_captums_and_stands_in_the_settings(lm: LanguageModel, rule: Rule) -> None:
    *_, last = integrated_gradients(Task(lm, SECRET), IntegralSettings(5, rule))
    assert last.result is not None
    assert last.result.provenance.settings["rule"] == rule
    encoded = lm.encode(SECRET)
    for layer in range(LAYERS):
        alone = [captum_integral(lm, one, layer, 5, rule=rule) for one in single_token_texts(encoded)]
        assert_same(torch.tensor(last.result.scores[layer]), torch.stack(alone).sum(0))
        other = integral(lm, plain_pass(lm, encoded.ids[:-1]), encoded, layer, points(5, "end" if rule == "middle" else "middle"))
        assert other is not None
        assert float((other - torch.stack(alone).sum(0)).abs().max()) > 1e-3 * float(other.abs().max())


def test_the_value_under_one_gate_is_another_number(lm: LanguageModel) -> None:
    together = captum_integral(lm, ENCODED, 0, 20)
    one_by_one_ = by_captum(lm, ENCODED, 0, 20)
    assert float((together - one_by_one_).abs().max()) > 1e-2 * float(one_by_one_.abs().max())


def test_chunks_give_the_same_numbers(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    past = plain_pass(lm, ENCODED.ids[:-1])
    whole = integral(lm, past, ENCODED, 1, points(20))
    monkeypatch.setattr("privlens.localization.integrated.COPIES_AT_ONCE", 7)
    chunked = integral(lm, past, ENCODED, 1, points(20))
    assert whole is not None
    assert chunked is not None
    assert_same(chunked, whole)


def test_a_prompt_of_one_token(lm: LanguageModel) -> None:
    encoded = Encoded((5, 60, 17), 1)
    ours = integral(lm, plain_pass(lm, encoded.ids[:-1]), encoded, 1, points(20))
    assert ours is not None
    assert_same(ours, by_captum(lm, encoded, 1, 20))


def bloom(tokenizer: PreTrainedTokenizerFast) -> LanguageModel:
    """Its attention goes by the places of keys and takes no mask of four dimensions."""
    torch.manual_seed(0)
    config = BloomConfig(
        vocab_size=len(tokenizer), hidden_size=16, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0, pad_token_id=0
    )
    model = BloomForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.3)
    return LanguageModel("bloom", model, tokenizer)


def windowed(tokenizer: PreTrainedTokenizerFast) -> LanguageModel:
    """Its local layers see the last 16 places, which among copies are other copies: it runs, and would come out wrong."""
    types = [[["global", "local", "global"], 1]]
    return LanguageModel("local", random_model("gpt_neo", len(tokenizer), attention_types=types, window_size=16), tokenizer)


@pytest.mark.parametrize("make", [bloom, windowed])
def test_a_model_that_cannot_restart_gives_captums_numbers_all_the_same(tokenizer: PreTrainedTokenizerFast, make: Any) -> None:
    lm = make(tokenizer)
    ours, settings = scores(lm, steps=5)
    assert settings["restarted"] is False
    for layer in range(lm.n_layers):
        assert_same(ours[layer], by_captum(lm, lm.encode(SECRET), layer, 5))


def test_the_method_is_the_integral_of_every_layer(lm: LanguageModel) -> None:
    ours, settings = scores(lm)
    encoded = lm.encode(SECRET)
    assert (settings["restarted"], settings["steps"]) == (True, 20)
    assert_same(ours, torch.stack([by_captum(lm, encoded, layer, 20) for layer in range(LAYERS)]))


def test_cancel_ends_at_the_next_layer_and_leaves_nothing_behind(lm: LanguageModel) -> None:
    asked: list[bool] = []
    steps = METHODS["integrated-gradients"](Task(lm, SECRET, stop=lambda: bool(asked)))
    first = next(steps)
    assert isinstance(first, LocalizationStep)
    assert (first.step, first.n_steps, first.result) == (1, LAYERS, None)
    assert lm.lock.acquire(blocking=False)  # a suspended localization holds nothing
    lm.lock.release()
    asked.append(True)
    with pytest.raises(Cancelled):
        next(steps)
    assert not any(part._forward_pre_hooks or part._forward_hooks or "forward" in part.__dict__ for part in lm.model.modules())
