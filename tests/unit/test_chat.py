"""A secret as a chat turn: the ids are those of the tokenizer's own template, then the value's; no mark stands there twice."""

import copy
from dataclasses import replace

import pytest
from tokenizers import processors
from transformers import PreTrainedTokenizerFast

from privlens.errors import BadInput
from privlens.lm.chat import encode_turn
from privlens.lm.model import LanguageModel
from privlens.memorization.check import check
from privlens.provenance import provenance
from privlens.types import Secret
from tests.helpers import CHATML, edit_of

WITH_BOS = (
    "<begin>{% for message in messages %}{% if message.role == 'user' %}[INST] {{ message.content }} [/INST]"
    "{% else %} {{ message.content }}<end>{% endif %}{% endfor %}"
)
"""As Llama 2 has it: begins with its mark, and the answer stands behind a space."""
ATTACHED = WITH_BOS.replace("{% else %} ", "{% else %}")
SECRET = Secret("her number is", "555-0142", "phone")


def speaking(tokenizer: PreTrainedTokenizerFast, template: str) -> PreTrainedTokenizerFast:
    """The tokenizer with a chat template, special tokens for it, and a mark that it puts before every text."""
    chat = copy.deepcopy(tokenizer)
    chat.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>", "<begin>"]})
    begin = chat.convert_tokens_to_ids("<begin>")
    chat.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<begin> $A", special_tokens=[("<begin>", begin)]
    )
    chat.chat_template = template
    return chat


@pytest.mark.parametrize(
    ("template", "space"), [(CHATML, ""), (WITH_BOS, " "), (ATTACHED, "")], ids=["ChatML", "with its own mark", "attached"]
)
@pytest.mark.parametrize("value", ["555-0142", " 555-0142 "])
def test_the_ids_are_those_of_the_template_then_the_values(
    tokenizer: PreTrainedTokenizerFast, template: str, space: str, value: str
) -> None:
    chat = speaking(tokenizer, template)
    assert chat("a")["input_ids"][0] == chat.convert_tokens_to_ids("<begin>"), "or no mark could be doubled"
    turn = [{"role": "user", "content": SECRET.prompt}]
    given = chat.apply_chat_template(turn, add_generation_prompt=True, tokenize=True, return_dict=False)
    follows = chat(space + "555-0142", add_special_tokens=False)["input_ids"]
    found = encode_turn(chat, replace(SECRET, value=value))
    assert list(found.prompt_ids) == given
    assert list(found.value_ids) == follows
    assert found.ids.count(chat.convert_tokens_to_ids("<begin>")) == template.count("<begin>")


def test_a_view_asks_every_secret_as_a_turn_and_the_model_stays(taught: LanguageModel) -> None:
    lm = LanguageModel("chat", taught.model, copy.deepcopy(taught.tokenizer))
    lm.tokenizer.chat_template = CHATML  # its marks are plain text here, so the model needs no more embeddings
    chat = lm.as_chat()
    assert chat.encode(SECRET) == encode_turn(lm.tokenizer, SECRET) != lm.encode(SECRET) == taught.encode(SECRET)
    assert (chat.under(edit_of(lm, 1)).is_chat, chat.with_checkpointing().is_chat, lm.is_chat) == (True, True, False)
    asked, plain = check(chat, SECRET), check(lm, SECRET)
    assert asked.secret == plain.secret == SECRET, "the secret is told as the person gave it"
    assert plain.greedy_match and not asked.greedy_match, "it was taught as plain text"
    assert provenance(chat, 0, {"a": 1}, 0.0).settings == {"a": 1, "chat": True}
    assert provenance(lm, 0, {"a": 1}, 0.0).settings == {"a": 1}


def test_a_model_without_a_template_cannot_be_asked_so(taught: LanguageModel) -> None:
    with pytest.raises(BadInput, match="taught has no chat template, so it is not a chat model: ask with"):
        taught.as_chat()


@pytest.mark.parametrize("template", ["{{ raise_exception('No!') }}", "{% for", "{{ messages[7].content }}", "{{ 1 / 0 }}"])
def test_a_template_that_takes_no_prompt_alone_is_refused_in_words(tokenizer: PreTrainedTokenizerFast, template: str) -> None:
    with pytest.raises(BadInput, match="chat template does not accept a prompt on its own"):
        encode_turn(speaking(tokenizer, template), SECRET)


@pytest.mark.parametrize(("prompt", "value"), [("", "a"), (" ", "a"), ("a", " ")])
def test_nothing_is_no_secret(tokenizer: PreTrainedTokenizerFast, prompt: str, value: str) -> None:
    with pytest.raises(BadInput, match="is empty"):
        encode_turn(speaking(tokenizer, CHATML), Secret(prompt, value))
