"""How much memory a model and a run need, beside how much there is; and smaller batches when it runs out all the same.

Estimates are rough and said to be so: weights by their number and type, a run by what autograd keeps. Nothing is refused but what
cannot fit at all. Knows nothing of methods.
"""

import gc
import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import gguf
import psutil
import torch
from safetensors import safe_open

from privlens.errors import BadInput

Item = TypeVar("Item")
Result = TypeVar("Result")
logger = logging.getLogger("privlens.memory")
"""Where a smaller batch is told; the command line prints it, the page shows it."""

GB = 1e9
ROOM = 1.05
"""Weights and what their loading needs beside them."""
KEPT_WIDTHS = 12
"""Vectors of the residual width that autograd keeps for each token and layer, beside three of the MLP's width."""
BYTES = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0, "int8": 1.0, "int4": 0.5}
SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I8": 1, "U8": 1, "I32": 4, "I64": 8}


def free_bytes(device: torch.device) -> int:
    """What a device has left; for a CPU what the system could give without swapping."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()
    return int(psutil.virtual_memory().available)


def weight_bytes(path: Path, dtype: str) -> int:
    """What the weights of a folder of safetensors, or of a .gguf file, take as this type; `auto` is their own. 0 if unknown."""
    each = BYTES.get(dtype)
    if path.suffix == ".gguf":
        tensors = gguf.GGUFReader(path).tensors
        return round(sum(int(one.n_elements) for one in tensors) * (each or 4))
    total = 0.0
    for file in sorted(path.glob("*.safetensors")):
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118  # it is no dict
                part = opened.get_slice(name)
                total += math.prod(part.get_shape()) * (each or SIZES.get(part.get_dtype(), 4))
    return round(total)


def check_weights(name: str, n_bytes: int, device: torch.device) -> None:
    """Raises BadInput with numbers where a model cannot fit."""
    needed, free = ROOM * n_bytes, free_bytes(device)
    if needed > free:
        raise BadInput(
            f"{name} needs about {needed / GB:.1f} GB, but {device} has {free / GB:.1f} GB free: choose a smaller model or type "
            "(bfloat16, or int8 and int4 where bitsandbytes is installed), unload others, or use the device `spread`."
        )


def row_bytes(n_tokens: int, n_layers: int, hidden: int, width: int, vocabulary: int, itemsize: int, gradients: bool) -> int:
    """What one row of a batch needs beside the weights, roughly: logits in float32, gates, and what autograd keeps."""
    logits = n_tokens * vocabulary * (4 * (3 if gradients else 2) + itemsize)
    kept = n_tokens * (KEPT_WIDTHS * hidden + 3 * width) * itemsize * (n_layers if gradients else 2)
    return logits + kept + n_layers * width * 4 * (3 if gradients else 1)


def check_row(n_bytes: int, n_tokens: int, device: torch.device) -> None:
    """Raises BadInput with numbers where not even one row can fit."""
    free = free_bytes(device)
    if n_bytes > free:
        raise BadInput(
            f"A run over {n_tokens} tokens needs about {n_bytes / GB:.2f} GB, but {device} has {free / GB:.2f} GB free: shorten "
            "the prompt, unload other models, or load this one as a smaller type or on another device."
        )


def in_parts(work: Callable[[Sequence[Item]], list[Result]], items: Sequence[Item]) -> list[Result]:
    """work(items), or the same in halves of halves where memory runs out.

    Args:
        work: some items to as many results; whatever it took must be free again when it raises.

    Raises:
        BadInput: where one item alone does not fit.
    """
    try:
        return work(items)
    except torch.OutOfMemoryError as full:
        reason = str(full)
    half = _half(reason, len(items))
    logger.warning("Memory ran out with %d rows at once; going on with %d. Results are the same.", len(items), half)
    return in_parts(work, items[:half]) + in_parts(work, items[half:])


def smaller_step(full: torch.OutOfMemoryError, rows: int) -> int:
    """How many rows a training step shall have after memory ran out with so many. Raises BadInput where that was a single one."""
    half = _half(str(full), rows)
    logger.warning("Memory ran out with %d rows in a training step; going on with %d, with more noise.", rows, half)
    return half


def _half(reason: str, rows: int) -> int:
    release()
    if rows < 2:
        raise BadInput(
            f"Memory ran out with a single row ({reason.splitlines()[0][:200]}). Shorten the prompt, unload other models, or "
            "load this one as a smaller type or on another device."
        )
    return rows // 2


def release() -> None:
    """Gives back what nobody holds any more: to Python, and what torch kept of a GPU to the GPU."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
