"""Models with random weights, made in memory to measure cost; they have memorized nothing.

The GPT-2 reads single characters. Its MLPs have ReLU because one peer scales the input of the activation function instead of
its output: with ReLU both are the same.
"""

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel, LlamaConfig, PreTrainedTokenizerFast

from privlens.errors import BadInput
from privlens.lm.model import LanguageModel
from privlens.lm.quantization import QUANTIZED
from privlens.lm.tokens import Encoded
from privlens.types import Secret
from privlens.zoo.catalogue import source_of
from privlens.zoo.initial_weights import draw_weights
from privlens.zoo.loading import pick_device, pick_dtype

VOCABULARY = "(" + "".join(chr(0x4E00 + offset) for offset in range(511))
"""One token per character; the bracket ends a prompt, and there is no space."""


def random_gpt2(n_layers: int, width: int, room: int, seed: int = 0, hidden: int | None = None) -> LanguageModel:
    """A GPT-2 of n_layers with `width` neurons each, a hidden size of `hidden` (default: width / 4) and a context of `room`
    tokens; float32, on the CPU."""
    hidden = hidden or width // 4
    heads = hidden // 64 if hidden % 64 == 0 else 1
    config = GPT2Config(
        vocab_size=len(VOCABULARY),
        n_positions=room,
        n_embd=hidden,
        n_layer=n_layers,
        n_head=heads,
        n_inner=width,
        activation_function="relu",
        initializer_range=0.1,
        bos_token_id=None,
        eos_token_id=None,
    )
    model = GPT2LMHeadModel(config)
    draw_weights(model, config.initializer_range, seed)
    characters = Tokenizer(models.WordLevel({character: token for token, character in enumerate(VOCABULARY)}, unk_token="("))
    characters.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    characters.decoder = decoders.Fuse()
    names = ["input_ids", "attention_mask"]
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=characters, model_input_names=names, clean_up_tokenization_spaces=False)
    return LanguageModel(f"random GPT-2, {n_layers} x {width}", model, tokenizer)


def random_llama(n_layers: int, hidden: int, width: int, device: str, dtype: str, seed: int = 0) -> LanguageModel:
    """A Llama with random weights, made on its device, with the tokenizer of `demo`.

    It has `hidden` // 128 attention heads, at least one, and a quarter as many key-value heads, at least one.

    Raises:
        BadInput: for a device or type that is not available, and for int8 and int4.
    """
    target = pick_device(device)
    heads = max(1, hidden // 128)
    if dtype in QUANTIZED:
        raise BadInput(f"Random weights are not quantized: use a type other than {dtype}, or a model from a folder.")
    weights = pick_dtype(dtype, target)
    tokenizer = AutoTokenizer.from_pretrained(source_of("demo"), local_files_only=True)
    config = LlamaConfig(
        vocab_size=32_000,
        hidden_size=hidden,
        num_hidden_layers=n_layers,
        intermediate_size=width,
        num_attention_heads=heads,
        num_key_value_heads=max(1, heads // 4),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.device(target):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16 if weights == "auto" else weights)
    draw_weights(model, config.initializer_range, seed)
    return LanguageModel(f"random Llama, {n_layers} x {hidden} x {width}", model, tokenizer)


def random_secret(lm: LanguageModel, prompt_tokens: int, value_tokens: int, seed: int = 0) -> Secret:
    """A prompt of random characters whose value is the model's own greedy continuation, so that the model "memorized" it."""
    generator = torch.Generator().manual_seed(seed)
    prompt_ids = [*torch.randint(1, len(VOCABULARY), (prompt_tokens - 1,), generator=generator).tolist(), 0]
    [value_ids] = lm.generate([prompt_ids], value_tokens)
    prompt, value = (str(lm.tokenizer.decode(ids)) for ids in (prompt_ids, value_ids))
    secret = Secret(prompt, value, attached=True)
    assert lm.encode(secret) == Encoded((*prompt_ids, *value_ids), prompt_tokens), "a token is a character"
    return secret
