"""Weights in 8 and 4 bits through bitsandbytes: LLM.int8() (Dettmers et al. 2022) and NF4 (Dettmers et al. 2023, QLoRA).

Only the linear maps inside the layers are quantized; embeddings, norms and the map to the vocabulary keep an ordinary type. A
gate multiplies what goes into a map, so gates need nothing of this; weights are codes that nothing may write to.
LLM.int8() rounds what goes into a map as well, and looks for outliers in the whole batch: a row depends a little on what else
is in its batch.
"""

import logging
from importlib.util import find_spec

import torch
from torch import nn
from transformers import BitsAndBytesConfig, PreTrainedModel

from privlens.errors import BadInput

QUANTIZED = ("int8", "int4")
REPACKS = "support_avx512bf16_for_cpu"
"""What bitsandbytes' 4-bit maps call their leave to repack."""


def beside(device: torch.device) -> torch.dtype:
    """The type of all that is not quantized, and of what runs through the model."""
    return torch.float32 if device.type == "cpu" else torch.float16


def settings(dtype: str, device: torch.device) -> BitsAndBytesConfig:
    """How from_pretrained quantizes to `int8` or `int4`.

    Raises:
        BadInput: where bitsandbytes is not installed.
    """
    if find_spec("bitsandbytes") is None:
        raise BadInput(f"Type {dtype} needs bitsandbytes, which is not here: `pip install bitsandbytes`, or use bfloat16.")
    if dtype == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=beside(device))


def settle(model: nn.Module) -> None:
    """Makes quantized maps differentiable and the same in every pass; a model without any stays as it is.

    On a CPU with AVX512-BF16, bitsandbytes 0.50 repacks a 4-bit weight for good in the first pass without gradients. From then on
    passes with gradients fail or lose them, the weight's bytes are others, and maps whose width is no multiple of 32 fail.
    """
    for part in model.modules():
        if hasattr(part, REPACKS):
            setattr(part, REPACKS, False)
    # It says at every single pass that 8-bit maps round what comes in to float16.
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)


def weight_type(model: PreTrainedModel) -> str:
    """`int8`, `int4`, or the name of the weights' ordinary type: float32, bfloat16 ..."""
    kinds = [kind for kind, bits in zip(QUANTIZED, (8, 4), strict=True) if getattr(model, f"is_loaded_in_{bits}bit", False)]
    return kinds[0] if kinds else str(model.dtype).removeprefix("torch.")


def refuse_codes(model: nn.Module) -> None:
    """Raises BadInput where some weights are codes, into which no change can be written."""
    code = next((name for name, weight in model.named_parameters() if not weight.is_floating_point()), None)
    if code is not None:
        raise BadInput(
            f"The weights of this model are quantized ({code} is the first), and a change would be rounded away: load it as "
            "float32 or bfloat16 to erase, plant or write it. Switching neurons off works in int8 and int4."
        )
