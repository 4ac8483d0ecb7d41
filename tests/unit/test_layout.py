"""The layout finder: the right projections of every architecture, and a refusal in words for the others."""

import pytest
from torch import nn
from transformers import MambaConfig, MambaForCausalLM, MixtralConfig, MixtralForCausalLM, PreTrainedModel

from privlens.errors import UnsupportedModel
from privlens.lm.layout import Layout, find_layout, widths
from tests.helpers import ARCHITECTURES, HIDDEN, LAYERS, WIDTH, Maker, random_model

PROJECTIONS = {
    "gpt2": ("mlp.c_proj", "attn.c_proj"),
    "gpt_neo": ("mlp.c_proj", "attn.attention.out_proj"),
    "gpt_neox": ("mlp.dense_4h_to_h", "attention.dense"),
    "llama": ("mlp.down_proj", "self_attn.o_proj"),
    "qwen2": ("mlp.down_proj", "self_attn.o_proj"),
    "phi": ("mlp.fc2", "self_attn.dense"),
    "phi3": ("mlp.down_proj", "self_attn.o_proj"),
    "opt": ("fc2", "self_attn.out_proj"),
    "gptj": ("mlp.fc_out", "attn.out_proj"),
    "bloom": ("mlp.dense_4h_to_h", "self_attention.dense"),
    "falcon": ("mlp.dense_4h_to_h", "self_attention.dense"),
    "mistral": ("mlp.down_proj", "self_attn.o_proj"),
    "qwen3": ("mlp.down_proj", "self_attn.o_proj"),
    "gemma2": ("mlp.down_proj", "self_attn.o_proj"),
    "gemma3": ("mlp.down_proj", "self_attn.o_proj"),
    "olmo2": ("mlp.down_proj", "self_attn.o_proj"),
    "starcoder2": ("mlp.c_proj", "self_attn.o_proj"),
    "stablelm": ("mlp.down_proj", "self_attn.o_proj"),
    "mpt": ("ffn.down_proj", "attn.out_proj"),
}
"""By name, as the architectures call them; the finder goes by structure."""


def names(model: PreTrainedModel, projections: tuple[nn.Module, ...]) -> list[str]:
    """Full names of modules in their model."""
    return [name for part in projections for name, module in model.named_modules() if module is part]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_finds_the_output_projections(tiny: Maker, architecture: str) -> None:
    lm = tiny(architecture)
    for projections, ending in zip((lm.layout.mlp, lm.layout.attention), PROJECTIONS[architecture], strict=True):
        found = names(lm.model, projections)
        assert [name.endswith(f".{layer}.{ending}") for layer, name in enumerate(found)] == [True] * LAYERS
    width = 4 * HIDDEN if architecture in ("bloom", "mpt") else WIDTH  # their configs name no width
    assert [widths(part) for part in lm.layout.mlp] == [(width, HIDDEN)] * LAYERS
    assert (lm.n_layers, lm.d_mlp, lm.n_neurons) == (LAYERS, width, LAYERS * width)
    assert lm.shape("attention") == (LAYERS, HIDDEN)


@pytest.mark.parametrize("architecture", ["gpt2", "opt", "llama", "gpt_neox"])
def test_an_mlp_as_wide_as_the_residual_stream_is_not_taken_for_attention(architecture: str) -> None:
    same = {"gpt2": {"n_inner": HIDDEN}, "opt": {"ffn_dim": HIDDEN}}.get(architecture, {"intermediate_size": HIDDEN})
    model = random_model(architecture, 32, **same)
    assert all(name.endswith(PROJECTIONS[architecture][0]) for name in names(model, find_layout(model).mlp))


def test_refuses_experts_and_state_spaces_naming_what_it_looked_for() -> None:
    sizes = {"vocab_size": 32, "hidden_size": HIDDEN, "num_hidden_layers": LAYERS}
    experts = MixtralConfig(**sizes, intermediate_size=WIDTH, num_attention_heads=2, num_key_value_heads=2, num_local_experts=2)
    for model in (MixtralForCausalLM(experts), MambaForCausalLM(MambaConfig(**sizes))):
        with pytest.raises(UnsupportedModel, match="a list of 3 layers, each with an MLP of linear layers 16 -> width -> 16"):
            find_layout(model)


def test_a_site_without_projections_is_refused_in_words() -> None:
    with pytest.raises(UnsupportedModel, match="attention"):
        Layout(layers=(), mlp=(nn.Linear(2, 2),), attention=()).site("attention")
