"""Generation: rows do not touch, padding on the left does not matter, stop stops, and a seed repeats."""

import copy

import pytest
import torch
from torch import Tensor
from transformers import BartConfig, BartForCausalLM, GenerationConfig, PreTrainedTokenizerFast, TrOCRConfig, TrOCRForCausalLM

from privlens.errors import BadInput, Cancelled
from privlens.lm.model import LanguageModel
from privlens.lm.scoring import score
from privlens.memorization.check import check
from privlens.memorization.states import memorization_states
from privlens.types import Secret
from tests.helpers import ARCHITECTURES, HIDDEN, TAUGHT, Maker, random_model

PROMPTS = [[40, 50, 60, 70, 80, 90, 100], [33], [7, 120, 9]]


WISHES = {
    "stop_strings": ["e", "a"], "suppress_tokens": [5], "begin_suppress_tokens": [5], "bad_words_ids": [[5]], "max_time": 1e-9,
    "sequence_bias": [[[5], -100.0]], "exponential_decay_length_penalty": [1, 9.0], "num_beams": 3, "do_sample": True,
    "temperature": 0.1, "return_dict_in_generate": True, "cache_implementation": "quantized",
    "cache_config": {"backend": "quanto"}, "watermarking_config": {"greenlist_ratio": 0.5, "bias": 9.0},
    "continuous_batching_config": None, "top_p": 0.2, "typical_p": 0.2, "renormalize_logits": True,
    "min_length": 90, "min_new_tokens": 5, "max_length": 1, "max_new_tokens": 1, "use_cache": False, "token_healing": True,
    "repetition_penalty": 9.0, "early_stopping": True, "num_beam_groups": 2, "diversity_penalty": 1.0, "guidance_scale": 9.0,
    "epsilon_cutoff": 0.5, "eta_cutoff": 0.5, "min_p": 0.5, "dola_layers": "high", "speculation_type": "dflash", "use_mtp": True,
    "assistant_confidence_threshold": 0.1, "num_assistant_tokens_schedule": "heuristic", "assistant_ensemble_weight": 0.5,
    "forced_bos_token_id": 5, "forced_eos_token_id": 5, "pad_token_id": 10**6, "bos_token_id": 10**6, "a_field_to_come": 3,
}  # fmt: skip
"""What a model's own files may ask for. Every other field of transformers is set to 3."""
FOLLOWED = {"eos_token_id"}


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


def first_choices(lm: LanguageModel, ids: list[int], n_tokens: int) -> list[int]:
    """Greedy decoding written out: the whole text is read anew for every token."""
    written: list[int] = []
    with torch.no_grad():
        for _ in range(n_tokens):
            written.append(int(lm.model(input_ids=torch.tensor([ids + written]), use_cache=False).logits[0, -1].argmax()))
    return written


def test_of_all_that_a_models_files_may_ask_only_the_end_of_text_is_followed(
    lm: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = PROMPTS[:1] * 2
    greedy, sample_gates = [first_choices(lm, PROMPTS[0], 6)] * 2, lm.generate(prompts, 6, seed=1)
    fields = sorted({name for name in vars(GenerationConfig()) if not name.startswith("_")} | set(WISHES))
    assert len(fields) > 60
    wrong = []
    for field in fields:
        if field in FOLLOWED:
            continue
        wishes = GenerationConfig(eos_token_id=lm.model.generation_config.eos_token_id)
        setattr(wishes, field, WISHES.get(field, 3))
        monkeypatch.setattr(lm.model, "generation_config", wishes)
        if (lm.generate(prompts, 6), lm.generate(prompts, 6, seed=1)) != (greedy, sample_gates):
            wrong.append(field)
        assert lm.model.generation_config is wishes, "it is the model's own again"
    assert not wrong


def test_a_models_wishes_are_its_own_again_whatever_was_raised(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    wishes = lm.model.generation_config

    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("in the midst")

    monkeypatch.setattr(lm.model, "forward", fails)
    with pytest.raises(RuntimeError, match="in the midst"):
        lm.generate(PROMPTS, 3)
    assert lm.model.generation_config is wishes


@pytest.mark.parametrize("ends", [None, 1, 2, 3])
def test_ends_of_text_may_be_none_one_or_several(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch, ends: int | None) -> None:
    monkeypatch.setattr(lm.model, "generation_config", GenerationConfig(eos_token_id=None))
    whole = first_choices(lm, PROMPTS[0], 8)
    assert lm.generate([PROMPTS[0]], 8) == [whole]
    tokens = list(dict.fromkeys(whole))[-ends:] if ends else []
    eos = {None: None, 1: tokens[0] if tokens else None}.get(ends, tokens)
    monkeypatch.setattr(lm.model, "generation_config", GenerationConfig(eos_token_id=eos))
    first = min((whole.index(token) for token in tokens), default=8)
    assert lm.generate([PROMPTS[0]], 8) == [whole[:first]]


LIMITED = ["gpt2", "gpt_neox", "opt", "mpt"]


@pytest.mark.parametrize("architecture", LIMITED)
@pytest.mark.parametrize("seed", [None, 1])
def test_a_rows_room_is_its_own(tiny: Maker, architecture: str, seed: int | None) -> None:
    """Among others that are longer or shorter, each is written to the model's last token and not further."""
    lm = tiny(architecture)
    rows = [list(range(20, 20 + length)) for length in (120, 126, 9, 120, 128)]
    found = lm.generate(rows, 10, seed=seed)
    assert [len(ids) for ids in found] == [8, 2, 10, 8, 1]
    if seed is None:
        assert found == [first_choices(lm, row, len(ids)) for row, ids in zip(rows, found, strict=True)]


@pytest.mark.parametrize(
    ("named", "room"),
    [
        ({"max_position_embeddings": 40}, 40), ({"max_position_embeddings": -1, "n_positions": 50}, 50), ({"n_ctx": 60}, 60),
        ({"max_seq_len": 70}, 70), ({"max_seq_length": 80}, 80), ({"max_position_embeddings": 40, "n_ctx": 60}, 40),
        ({"n_ctx": 0}, None), ({"max_position_embeddings": None}, None), ({"max_seq_len": -1}, None), ({}, None),
        ({"n_ctx": True, "max_seq_len": 9}, 9),
    ],
)  # fmt: skip
def test_the_room_is_read_by_whatever_name_it_has(
    tiny: Maker, monkeypatch: pytest.MonkeyPatch, named: dict[str, int | None], room: int | None
) -> None:
    lm = tiny("bloom")  # which names none itself
    for name, value in named.items():
        monkeypatch.setattr(lm.model.config, name, value, raising=False)
    assert lm.room == (room or lm.room)
    assert room or lm.room > 10**6


def test_check_and_recall_agree_where_the_text_just_fits(taught: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    for secret in TAUGHT:
        encoded = taught.encode(secret)
        monkeypatch.setattr(taught.model.config, "max_position_embeddings", len(encoded.ids))
        monkeypatch.setattr("privlens.memorization.check.candidates", lambda *_: [])
        found, again = check(taught, secret), memorization_states(taught, [secret])[0]
        assert found.greedy_match and again.greedy_match
        assert found.continuation.strip() == secret.value
        assert found.extraction_likelihood == found.extraction_strength == found.memorization_accuracy == 1
        monkeypatch.undo()


@pytest.mark.parametrize("kind", ["bart", "trocr"])
def test_rows_whose_positions_padding_would_move_are_not_padded(tokenizer: PreTrainedTokenizerFast, kind: str) -> None:
    common = {"vocab_size": len(tokenizer), "d_model": HIDDEN, "max_position_embeddings": 64, "encoder_layers": 2}
    common |= {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 1}
    sizes = {"decoder_layers": 2, "decoder_attention_heads": 2, "decoder_ffn_dim": 24}
    torch.manual_seed(0)
    if kind == "bart":
        model = BartForCausalLM(BartConfig(**common, **sizes, forced_eos_token_id=5, is_decoder=True))
    else:
        model = TrOCRForCausalLM(TrOCRConfig(**common, **sizes, cross_attention_hidden_size=HIDDEN))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.3)
    lm = LanguageModel(kind, model, tokenizer)
    found = lm.generate(PROMPTS, 8)
    assert found == [lm.generate([prompt], 8)[0] for prompt in PROMPTS]
    assert found == [first_choices(lm, prompt, len(ids)) for prompt, ids in zip(PROMPTS, found, strict=True)]
    assert any(found)


@pytest.mark.parametrize("padding", ["[PAD]", None])
def test_padding_that_the_model_has_no_row_for_is_masked(tokenizer: PreTrainedTokenizerFast, padding: str | None) -> None:
    """[PAD] was added to the tokenizer and not to the model."""
    padded = copy.deepcopy(tokenizer)
    padded.pad_token = padding
    model = random_model("gpt_neox", len(tokenizer))
    if padding:
        padded.add_special_tokens({"pad_token": padding})
        assert padded.pad_token_id == model.config.vocab_size
    usual, lm = (LanguageModel("padded", model, own) for own in (tokenizer, padded))
    assert 0 <= lm.pad_id < len(tokenizer)
    assert lm.generate(PROMPTS, 5) == usual.generate(PROMPTS, 5)
    encoded = [lm.encode(secret) for secret in TAUGHT]
    assert score(lm, encoded) == score(usual, encoded)


@pytest.mark.parametrize("rows", [2, 4, 5])
def test_gates_of_another_number_of_rows_are_refused(lm: LanguageModel, rows: int) -> None:
    encoded, gates = [lm.encode(Secret("her number is", value)) for value in "abc"], torch.ones(rows, *lm.shape())
    for ask in (lambda: score(lm, encoded, gates), lambda: lm.generate(PROMPTS, 2, gates)):
        with pytest.raises(BadInput, match=f"{rows} rows of gates were given for a batch of 3; give one row"):
            ask()


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
