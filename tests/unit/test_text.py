"""Where the value begins: the same answer with or without a space, and merges across the boundary belong to the value."""

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from privlens.errors import BadInput, UnsupportedModel
from privlens.lm.model import LanguageModel
from privlens.lm.tokens import encode, joined, plain_ids, token_texts
from privlens.types import Secret


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


@pytest.mark.parametrize("prompt", ["Number:\n", "Name:\t", "号码\u3000", "Number: \n\n"])
def test_after_a_line_break_no_space_is_put(tokenizer: PreTrainedTokenizerFast, prompt: str) -> None:
    assert joined(prompt, " Mira Holt") == (prompt + "Mira Holt", len(prompt))
    encoded = encode(tokenizer, Secret(prompt, "Mira Holt"))
    assert tokenizer.decode(list(encoded.prompt_ids)) == prompt
    assert tokenizer.decode(list(encoded.value_ids)) == "Mira Holt"


@pytest.mark.parametrize("prompt", ["mailto=", "号码是", "2911-", "Mira Ho", '"', "a"])
def test_a_value_is_attached_where_that_is_said_and_no_space_is_typed(tokenizer: PreTrainedTokenizerFast, prompt: str) -> None:
    assert joined(prompt, "x", attached=True) == (prompt + "x", len(prompt))
    assert joined(prompt, "x") == (prompt + " x", len(prompt))
    assert joined(prompt, "  x ", attached=True) == (prompt + " x", len(prompt)), "it was typed behind a space"
    encoded = encode(tokenizer, Secret("the " + prompt, "7", attached=True))
    assert tokenizer.decode(list(encoded.ids)) == "the " + prompt + "7"


def test_typed_space_stands_as_it_is_typed() -> None:
    assert joined('He said "x" = ', "y") == ('He said "x" = y', len('He said "x" ='))
    assert joined("is  ", "y") == ("is  y", len("is ")), "the last of two spaces is the value's"
    assert joined("is\n ", "y") == ("is\n y", len("is\n"))
    assert joined("is", "\ny") == ("is\ny", len("is"))


@pytest.mark.parametrize(
    "value",
    ["7", "A", "...", "-", "(*)", "12.50\nand 3", "a\tb", "😀", "👩‍👧", "Zoe\u0308", "Zoë", "王丽", "$x$", "0", "é", "\u200bx"],
)
@pytest.mark.parametrize("attached", [False, True])
def test_the_value_is_in_the_values_tokens(tokenizer: PreTrainedTokenizerFast, value: str, attached: bool) -> None:
    for prompt in ("her number is", "2911-", "号码是", "😀"):
        encoded = encode(tokenizer, Secret(prompt, value, attached=attached))
        assert tokenizer.decode(list(encoded.ids)) == prompt + " " * (not attached) + value
        assert value in tokenizer.decode(list(encoded.value_ids))
        assert len(tokenizer.decode(list(encoded.prompt_ids))) <= len(prompt)


def test_what_the_text_brings_itself_is_not_put_before_it_again() -> None:
    template = trained("Her number is 555", use_regex=True, template=True)
    begin = template.bos_token_id
    whole = encode(template, Secret("Her number is", "555"))
    assert encode(template, Secret("<begin>Her number is", "555")) == whole
    assert whole.ids.count(begin) == 1
    assert plain_ids(template, "<begin>Her number", 2) == plain_ids(template, "Her number", 2)
    meant = encode(template, Secret("<begin><begin>Her number is", "555"))
    assert meant.ids.count(begin) == 2, "only what the tokenizer puts there is left out"


def test_a_merge_across_the_boundary_belongs_to_the_value() -> None:
    merging = trained('to:"Mira', use_regex=False)
    secret = Secret('write to:"', "Mira", attached=True)
    encoded = encode(merging, secret)
    assert list(encoded.ids) == merging('write to:"Mira')["input_ids"], "the pair is encoded as the model would read it"
    assert merging.decode(list(encoded.value_ids)) == 'to:"Mira'
    assert merging.decode(list(encoded.prompt_ids)) == "write "
    with pytest.raises(BadInput, match="use a longer prompt"):
        encode(merging, Secret('to:"', "Mira", attached=True))


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


@pytest.mark.parametrize("secret", [Secret("a" * 1_000_000, "555-0142"), Secret("Her number is", "5" * 1_000_000)])
def test_a_megabyte_is_refused_before_anything_is_tokenized(
    lm: LanguageModel, secret: Secret, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tokenized(*_: object, **__: object) -> None:
        raise AssertionError("a megabyte was tokenized")

    monkeypatch.setattr(type(lm.tokenizer), "__call__", tokenized)
    with pytest.raises(AssertionError, match="was tokenized"):
        lm.tokenizer("a")
    with pytest.raises(BadInput, match="characters"):
        lm.encode(secret)
