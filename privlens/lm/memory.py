"""How much memory a model and a run need, beside how much there is; and smaller batches when it runs out all the same.

Estimates are rough and said to be so: weights by their number and type, a run by what autograd keeps. Nothing is refused but what
cannot fit at all. Knows nothing of methods.
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
"""Where a smaller batch is told; the command line prints it, the page shows it."""

GB = 1e9
ROOM = 1.05
"""Weights and what their loading needs beside them."""
KEPT_WIDTHS = 12
"""Vectors of the residual width that autograd keeps for each token and layer, beside three of the MLP's width."""
BYTES = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0, "int8": 1.0, "int4": 0.5}


def free_bytes(device: torch.device) -> int:
    """What a device has left; for a CPU what the system could give without swapping."""
    if device.type == "cuda":
        idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # torch keeps it, for whatever comes next
        return torch.cuda.mem_get_info(device)[0] + idle
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()
    return int(psutil.virtual_memory().available)


def weight_bytes(tensors: Iterable[Stored], dtype: str) -> int:
    """What stored tensors take as this type; `auto` is their own, of a GGUF's float32."""
    each = BYTES.get(dtype)
    return round(sum(one.n_elements * (each or SIZES.get(one.kind, 4)) for one in tensors))


_promised: dict[int, tuple[torch.device, float]] = {}
"""Of every thread that loads, what its model needs; at first that is still free, so that two would both find room."""
_promising = threading.Lock()


def check_weights(name: str, n_bytes: int, device: torch.device) -> None:
    """Keeps room for a model until this thread's load is `settled`. Raises BadInput with numbers where it cannot fit."""
    needed, own = ROOM * n_bytes, threading.get_ident()
    with _promising:
        others = sum(size for thread, (where, size) in _promised.items() if thread != own and where == device)
        free = free_bytes(device) - others
        if needed <= free:
            _promised[own] = (device, needed)
            return
    loading = f", beside {others / GB:.1f} GB for a model that is being loaded: try again when it is there, or" if others else ":"
    raise BadInput(
        f"{name} needs about {needed / GB:.1f} GB, but {device} has {max(0.0, free) / GB:.1f} GB free{loading} choose a smaller "
        "model or type (bfloat16, or int8 and int4 where bitsandbytes is installed), unload others, or use the device `spread`."
    )


@contextmanager
def settled() -> Iterator[None]:
    """At the end of a load, well or not, the room that `check_weights` kept for it is as free as the device says."""
    try:
        yield
    finally:
        with _promising:
            _promised.pop(threading.get_ident(), None)


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
    """What one row of a batch needs beside the weights, roughly: logits in float32, gates, and what autograd keeps.

    With `checkpointed` autograd keeps what goes into every layer, and the rest of one layer at a time.
    """
    logits = n_tokens * vocabulary * (4 * (3 if gradients else 2) + itemsize)
    layer = n_tokens * (KEPT_WIDTHS * hidden + 3 * width) * itemsize
    kept = layer + n_tokens * hidden * itemsize * n_layers if checkpointed else layer * (n_layers if gradients else 2)
    return logits + kept + n_layers * width * 4 * (3 if gradients else 1)


def needs_checkpoints(n_bytes: int, checkpointed: int, n_tokens: int, n_retained: int, device: torch.device) -> bool:
    """Whether a run fits only with gradient checkpointing, which is then told.

    Args:
        n_bytes: what it needs at least, one row at once, without; checkpointed: with it.
        n_tokens, n_retained: of its longest row; its retained texts. They are named in what is told.

    Raises:
        BadInput: with numbers, where it fits in neither way.
    """
    free = free_bytes(device)
    if n_bytes <= free:
        return False
    run = f"A run over {n_tokens} tokens" + (f" with {n_retained} retained texts" if n_retained else "")
    if checkpointed > free:
        raise BadInput(
            f"{run} needs about {n_bytes / GB:.2f} GB, or {checkpointed / GB:.2f} GB with gradient "
            f"checkpointing, but {device} has {free / GB:.2f} GB free: shorten the prompt or the texts to keep, unload other "
            "models, or load this one as a smaller type or on another device."
        )
    logger.warning(
        "%s would need about %.2f GB, and %s has %.2f GB free. It goes on with gradient checkpointing, which "
        "needs about %.2f GB and takes about a third longer. Results are the same.",
        run,
        n_bytes / GB,
        device,
        free / GB,
        checkpointed / GB,
    )
    return True


@dataclass
class RowsAtOnce:
    """How many rows go through a model at once: all that there are until memory runs out, from then on half as many."""

    most: int = sys.maxsize

    def run(self, work: Callable[[int], Result], rows: int) -> Result:
        """work(rows at once); where memory runs out, all of it again with half as many.

        For work that adds up over its passes: it must begin from nothing whenever it is called.

        Raises:
            BadInput: where one row alone does not fit.
        """
        while True:
            rows = min(rows, self.most)
            try:
                return work(rows)
            except torch.OutOfMemoryError as full:
                reason = str(full)
            self.most = _same_with_fewer(reason, rows)


def in_parts(work: Callable[[Sequence[Item]], list[Result]], items: Sequence[Item]) -> list[Result]:
    """work(items), or the same in halves of halves where memory runs out.

    Args:
        work: some items to a list of results; whatever it took must be free again when it raises.

    Raises:
        BadInput: where one item alone does not fit.
    """
    try:
        return work(items)
    except torch.OutOfMemoryError as full:
        reason = str(full)
    half = _same_with_fewer(reason, len(items))
    return in_parts(work, items[:half]) + in_parts(work, items[half:])


def _same_with_fewer(reason: str, rows: int) -> int:
    release()
    if rows < 2:
        raise BadInput(
            f"Memory ran out with a single row ({reason.splitlines()[0][:200]}). Shorten the prompt, unload other models, or "
            "load this one as a smaller type or on another device."
        )
    logger.warning("Memory ran out with %d rows at once; going on with %d. Results are the same.", rows, rows // 2)
    return rows // 2


def release() -> None:
    """Gives back what nobody holds any more: to Python, and what torch kept of a GPU to the GPU."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
