"""Models with random weights, made in memory: for measuring cost, they know nothing.

The GPT-2 reads single characters. Its MLPs have ReLU, for the sake of a peer that scales what goes into the activation function
and not what comes out: with ReLU both are the same.
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

VOCABULARY = "(" + "".join(chr(0x4E00 + at) for at in range(511))
"""One token a character; the bracket ends a prompt, and there is no space."""


def random_gpt2(n_layers: int, width: int, room: int, seed: int = 0, hidden: int | None = None) -> LanguageModel:
    """n_layers of `width` neurons on `hidden` numbers, or a quarter of that, reading at most `room` tokens; float32, CPU."""
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
    letters = Tokenizer(models.WordLevel({letter: at for at, letter in enumerate(VOCABULARY)}, unk_token="("))
    letters.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    letters.decoder = decoders.Fuse()
    names = ["input_ids", "attention_mask"]
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=letters, model_input_names=names, clean_up_tokenization_spaces=False)
    return LanguageModel(f"random GPT-2, {n_layers} x {width}", model, tokenizer)


def random_llama(n_layers: int, hidden: int, width: int, device: str, dtype: str, seed: int = 0) -> LanguageModel:
    """A Llama with random weights, made on its device, with the tokenizer of `demo`: for cost alone, it knows nothing.

    Heads are 128 wide (one head where the hidden size is no multiple of that), a quarter of them hold keys and values.

    Raises:
        BadInput: for a device or type that is not to be had, and for int8 and int4.
    """
    on, heads = pick_device(device), max(1, hidden // 128)
    if dtype in QUANTIZED:
        raise BadInput(f"Random weights are not quantized: use a type other than {dtype}, or a model from a folder.")
    weights = pick_dtype(dtype, on)
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
    with torch.device(on):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16 if weights == "auto" else weights)
    draw_weights(model, config.initializer_range, seed)
    return LanguageModel(f"random Llama, {n_layers} x {hidden} x {width}", model, tokenizer)


def random_secret(lm: LanguageModel, prompt_tokens: int, value_tokens: int, seed: int = 0) -> Secret:
    """Random characters, and as the value what the model itself writes behind them: greedy decoding is the true continuation."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(1, len(VOCABULARY), (prompt_tokens - 1,), generator=generator).tolist()
    [written] = lm.generate([[*drawn, 0]], value_tokens)
    prompt, value = (str(lm.tokenizer.decode(ids)) for ids in ([*drawn, 0], written))
    secret = Secret(prompt, value, attached=True)
    assert lm.encode(secret) == Encoded((*drawn, 0, *written), prompt_tokens), "a token is a character"
    return secret
