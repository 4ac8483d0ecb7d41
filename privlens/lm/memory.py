"""Estimates of the memory that a model and a run need, and smaller batches when memory runs out anyway.

The estimates are rough: weights by their number and dtype, a run by what autograd keeps. Only what cannot fit at all is refused.
"""

import gc
import logging
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import psutil
import torch

from privlens.errors import BadInput
from privlens.lm.weight_files import SIZES, Stored

Item = TypeVar("Item")
Result = TypeVar("Result")
logger = logging.getLogger("privlens.memory")
"""Reports smaller batches; the command line prints its messages, the page shows them."""

GB = 1e9
LOAD_OVERHEAD = 1.05
"""The memory that loading needs, relative to the weights alone."""
SAVED_VECTORS = 12
"""Vectors of the residual stream's width that autograd keeps per token and layer, beside three of the MLP's width."""
BYTES = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0, "int8": 1.0, "int4": 0.5}


def free_bytes(device: torch.device) -> int:
    """The free memory of a device; for a CPU, what the system can provide without swapping."""
    if device.type == "cuda":
        idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # cached by torch for later use
        return torch.cuda.mem_get_info(device)[0] + idle
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()
    return int(psutil.virtual_memory().available)


def weight_bytes(tensors: Iterable[Stored], dtype: str) -> int:
    """The size of stored tensors when loaded as this dtype; `auto` keeps their own, which for GGUF is float32."""
    element_bytes = BYTES.get(dtype)
    return round(sum(tensor.n_elements * (element_bytes or SIZES.get(tensor.kind, 4)) for tensor in tensors))


_reserved: dict[int, tuple[torch.device, float]] = {}
"""What the model of each loading thread needs: that memory is still free at first, so two loads would both count on it."""
_reserved_lock = threading.Lock()


def check_weights(name: str, n_bytes: int, device: torch.device) -> None:
    """Reserves memory for a model until this thread leaves `settled`. Raises BadInput with numbers if it cannot fit."""
    needed = LOAD_OVERHEAD * n_bytes
    this_thread = threading.get_ident()
    with _reserved_lock:
        reserved_by_others = sum(
            size for thread, (reserved_device, size) in _reserved.items() if thread != this_thread and reserved_device == device
        )
        free = free_bytes(device) - reserved_by_others
        if needed <= free:
            _reserved[this_thread] = (device, needed)
            return
    advice = (
        f", beside {reserved_by_others / GB:.1f} GB for a model that is being loaded: try again when it is loaded, or"
        if reserved_by_others
        else ":"
    )
    raise BadInput(
        f"{name} needs about {needed / GB:.1f} GB, but {device} has {max(0.0, free) / GB:.1f} GB free{advice} choose a smaller "
        "model or type (bfloat16, or int8 and int4 where bitsandbytes is installed), unload others, or use the device `spread`."
    )


@contextmanager
def settled() -> Iterator[None]:
    """On leaving, whether the load succeeded or not, the memory that `check_weights` reserved for it is released."""
    try:
        yield
    finally:
        with _reserved_lock:
            _reserved.pop(threading.get_ident(), None)


def row_bytes(
    n_tokens: int,
    n_layers: int,
    hidden: int,
    width: int,
    vocabulary: int,
    itemsize: int,
    gradients: bool,
    checkpointed: bool = False,
) -> int:
    """A rough estimate of what one row of a batch needs beside the weights: float32 logits, gates, and what autograd keeps.

    If `checkpointed`, autograd keeps the input of every layer, and the rest of only one layer at a time.
    """
    logits_bytes = n_tokens * vocabulary * (4 * (3 if gradients else 2) + itemsize)
    layer_bytes = n_tokens * (SAVED_VECTORS * hidden + 3 * width) * itemsize
    saved_bytes = (
        layer_bytes + n_tokens * hidden * itemsize * n_layers if checkpointed else layer_bytes * (n_layers if gradients else 2)
    )
    return logits_bytes + saved_bytes + n_layers * width * 4 * (3 if gradients else 1)


def needs_checkpoints(n_bytes: int, checkpointed: int, n_tokens: int, n_retained: int, device: torch.device) -> bool:
    """Whether a run fits only with gradient checkpointing, in which case a warning is logged.

    Args:
        n_bytes, checkpointed: what it needs at least, with one row at a time, without and with gradient checkpointing.
        n_tokens, n_retained: the length of its longest row and the number of its retained texts, for the message.

    Raises:
        BadInput: with numbers, if it does not fit either way.
    """
    free = free_bytes(device)
    if n_bytes <= free:
        return False
    description = f"A run over {n_tokens} tokens" + (f" with {n_retained} retained texts" if n_retained else "")
    if checkpointed > free:
        raise BadInput(
            f"{description} needs about {n_bytes / GB:.2f} GB, or {checkpointed / GB:.2f} GB with gradient "
            f"checkpointing, but {device} has {free / GB:.2f} GB free: shorten the prompt or the texts to retain, unload other "
            "models, or load this one as a smaller type or on another device."
        )
    logger.warning(
        "%s would need about %.2f GB, and %s has %.2f GB free. It continues with gradient checkpointing, which "
        "needs about %.2f GB and takes about a third longer. Results are the same.",
        description,
        n_bytes / GB,
        device,
        free / GB,
        checkpointed / GB,
    )
    return True


@dataclass
class AdaptiveBatchSize:
    """How many rows go through a model at once: all of them until memory runs out, then half as many each time."""

    most: int = sys.maxsize

    def run(self, work: Callable[[int], Result], rows: int) -> Result:
        """work(number of rows at once); where memory runs out, the whole work is repeated with half as many.

        This is for work that accumulates over its passes: it must start from scratch whenever it is called.

        Raises:
            BadInput: if a single row does not fit.
        """
        while True:
            rows = min(rows, self.most)
            try:
                return work(rows)
            except torch.OutOfMemoryError as error:
                reason = str(error)
            self.most = _halved(reason, rows)


def in_parts(work: Callable[[Sequence[Item]], list[Result]], items: Sequence[Item]) -> list[Result]:
    """work(items); where memory runs out the items are split into halves, again and again if needed.

    Args:
        work: maps items to a list of results; it must release its memory when it raises.

    Raises:
        BadInput: if a single item does not fit.
    """
    try:
        return work(items)
    except torch.OutOfMemoryError as error:
        reason = str(error)
    half = _halved(reason, len(items))
    return in_parts(work, items[:half]) + in_parts(work, items[half:])


def _halved(reason: str, rows: int) -> int:
    """Half as many rows. Raises BadInput with the reason if there is only one."""
    release()
    if rows < 2:
        raise BadInput(
            f"Memory ran out with a single row ({reason.splitlines()[0][:200]}). Shorten the prompt, unload other models, or "
            "load this one as a smaller type or on another device."
        )
    logger.warning("Memory ran out with %d rows at once; continuing with %d. Results are the same.", rows, rows // 2)
    return rows // 2


def release() -> None:
    """Frees unused memory: Python's garbage, and what torch has cached on a GPU."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
