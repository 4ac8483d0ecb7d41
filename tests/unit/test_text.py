"""Where the value begins: the same answer with or without a space, and merges across the boundary belong to the value."""

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from privlens.errors import BadInput, UnsupportedModel
from privlens.models.text import encode, joined, plain_ids, token_texts
from privlens.records import Secret


def trained(text: str, use_regex: bool, template: bool = False) -> PreTrainedTokenizerFast:
    """Byte-level BPE that knows one text by heart; without the regex it merges across words and marks."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)
    bpe.decoder = decoders.ByteLevel()
    special = ["<begin>", "<end>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator([text] * 50, trainer)
    if template:
        ends = [("<begin>", 0), ("<end>", 1)]
        bpe.post_processor = processors.TemplateProcessing(single="<begin> $A <end>", special_tokens=ends)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token="<begin>", eos_token="<end>", pad_token="<end>")


@pytest.mark.parametrize("prompt", ["Her number is", "Her number is "])
@pytest.mark.parametrize("value", ["555-0142", " 555-0142", "  555-0142 "])
def test_spaces_at_the_boundary_make_no_difference(tokenizer: PreTrainedTokenizerFast, prompt: str, value: str) -> None:
    encoded = encode(tokenizer, Secret(prompt, value))
    assert encoded == encode(tokenizer, Secret("Her number is", "555-0142"))
    assert tokenizer.decode(list(encoded.value_ids)) == " 555-0142"
    assert tokenizer.decode(list(encoded.prompt_ids)) == "Her number is"


@pytest.mark.parametrize("prompt", ["Number:\n", "mailto=", "mail <", "Name:\t", "the file ("])
def test_after_a_line_break_or_an_opening_mark_no_space_is_put(tokenizer: PreTrainedTokenizerFast, prompt: str) -> None:
    assert joined(prompt, " Mira Holt") == (prompt + "Mira Holt", len(prompt))
    encoded = encode(tokenizer, Secret(prompt, "Mira Holt"))
    assert tokenizer.decode(list(encoded.prompt_ids)) == prompt
    assert tokenizer.decode(list(encoded.value_ids)) == "Mira Holt"


def test_a_mark_with_a_space_behind_it_keeps_the_space() -> None:
    assert joined('He said "x" = ', "y") == ('He said "x" = y', len('He said "x" ='))


def test_a_merge_across_the_boundary_belongs_to_the_value() -> None:
    merging = trained('to:"Mira', use_regex=False)
    secret = Secret('write to:"', "Mira")
    encoded = encode(merging, secret)
    assert list(encoded.ids) == merging('write to:"Mira')["input_ids"], "the pair is encoded as the model would read it"
    assert merging.decode(list(encoded.value_ids)) == 'to:"Mira'
    assert merging.decode(list(encoded.prompt_ids)) == "write "
    with pytest.raises(BadInput, match="use a longer prompt"):
        encode(merging, Secret('to:"', "Mira"))


def test_special_tokens_around_the_text_are_no_part_of_the_value() -> None:
    template = trained("Her number is 555", use_regex=True, template=True)
    encoded = encode(template, Secret("Her number is", "555"))
    assert encoded.ids[0] == template.bos_token_id
    assert template.eos_token_id not in encoded.ids
    assert template.decode(list(encoded.value_ids)) == " 555"


@pytest.mark.parametrize(
    ("prompt", "value", "what"), [("", "x", "prompt"), (" \n", "x", "prompt"), ("x", "", "value"), ("x", " \n ", "value")]
)
def test_empty_input_is_refused_in_words(tokenizer: PreTrainedTokenizerFast, prompt: str, value: str, what: str) -> None:
    with pytest.raises(BadInput, match=f"{what} is empty"):
        encode(tokenizer, Secret(prompt, value))


def test_a_tokenizer_without_offsets_is_refused(tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(tokenizer), "is_fast", property(lambda _: False))
    with pytest.raises(UnsupportedModel, match="fast version"):
        encode(tokenizer, Secret("a", "b"))


def test_tokens_read_as_text_and_plain_text_is_cut(tokenizer: PreTrainedTokenizerFast) -> None:
    ids = tokenizer("the garden — né")["input_ids"]
    assert plain_ids(tokenizer, "the garden — né", 3) == ids[:3]
    assert "".join(token_texts(tokenizer, tokenizer("the garden")["input_ids"])) == "the garden"
    assert "\N{REPLACEMENT CHARACTER}" in "".join(token_texts(tokenizer, tokenizer("—")["input_ids"]))
