"""Weights in 8 and 4 bits through bitsandbytes: LLM.int8() (Dettmers et al. 2022) and NF4 (Dettmers et al. 2023, QLoRA).

Only the linear layers inside the decoder layers are quantized; embeddings, norms and the head keep an ordinary dtype. A gate
multiplies the input of a linear layer, so gates work as usual; the weights are codes and cannot be edited.
LLM.int8() also rounds the inputs of linear layers, and looks for outliers in the whole batch: a row depends slightly on what else
is in its batch.
"""

import logging
from importlib.util import find_spec

import torch
from torch import nn
from transformers import BitsAndBytesConfig, PreTrainedModel

from privlens.errors import BadInput

QUANTIZED = ("int8", "int4")
REPACK_FLAG = "support_avx512bf16_for_cpu"
"""The attribute of bitsandbytes' 4-bit layers that allows repacking."""


def beside(device: torch.device) -> torch.dtype:
    """The dtype of activations and of everything that is not quantized."""
    return torch.float32 if device.type == "cpu" else torch.float16


def settings(dtype: str, device: torch.device) -> BitsAndBytesConfig:
    """The config with which from_pretrained quantizes to `int8` or `int4`.

    Raises:
        BadInput: if bitsandbytes is not installed.
    """
    if find_spec("bitsandbytes") is None:
        raise BadInput(f"Type {dtype} needs bitsandbytes, which is not installed: `pip install bitsandbytes`, or use bfloat16.")
    if dtype == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=beside(device))


def settle(model: nn.Module) -> None:
    """Makes quantized layers differentiable and the same in every pass; a model without any is not changed.

    On a CPU with AVX512-BF16, bitsandbytes 0.50 permanently repacks a 4-bit weight in the first pass without gradients. After
    that, passes with gradients fail or lose them, the weight's bytes differ, and layers whose width is not a multiple of 32 fail.
    """
    for module in model.modules():
        if hasattr(module, REPACK_FLAG):
            setattr(module, REPACK_FLAG, False)
    # It warns in every single pass that 8-bit layers round their inputs to float16.
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)


def weight_type(model: PreTrainedModel) -> str:
    """`int8`, `int4`, or the name of the weights' ordinary dtype, such as float32 or bfloat16."""
    quantized = [kind for kind, bits in zip(QUANTIZED, (8, 4), strict=True) if getattr(model, f"is_loaded_in_{bits}bit", False)]
    return quantized[0] if quantized else str(model.dtype).removeprefix("torch.")


def refuse_codes(model: nn.Module) -> None:
    """Raises BadInput if some weights are quantized, since these cannot be edited."""
    first = next((name for name, weight in model.named_parameters() if not weight.is_floating_point()), None)
    if first is not None:
        raise BadInput(
            f"The weights of this model are quantized ({first} is the first), and a change would be rounded away: load it as "
            "float32 or bfloat16 to erase, plant or write it. Switching neurons off works in int8 and int4."
        )
