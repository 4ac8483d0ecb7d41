"""Seconds of two ways of doing one thing, taken in turns, and the memory that one of them needs at its peak.

Two runs in turns meet the same neighbours on the machine, so their ratio says more than either number. Knows nothing of models.
"""

import ctypes
import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
Run = Callable[[], Any]


@dataclass(frozen=True)
class Turns:
    """The fastest run of each in seconds, and what the last run of each gave."""

    ours_s: float
    peer_s: float
    ours: Any
    peer: Any


def in_turns(ours: Run, peer: Run, repeats: int, at_most: float = 120.0) -> Turns:
    """`repeats` runs of each, one after the other in turns; fewer where those take `at_most` seconds."""
    times: list[tuple[float, float]] = []
    started = time.perf_counter()
    while len(times) < repeats and (not times or time.perf_counter() - started < at_most):
        ours_s, own = timed(ours)
        peer_s, theirs = timed(peer)
        times.append((ours_s, peer_s))
    return Turns(min(one for one, _ in times), min(one for _, one in times), own, theirs)


def timed(run: Run) -> tuple[float, Any]:
    """How long one run takes in seconds, and what it gives."""
    started = time.perf_counter()
    given = run()
    return time.perf_counter() - started, given


def peak_mb(run: Run) -> float | None:
    """How far the process's resident memory rises above where it stood while this runs, MiB; None where Linux does not tell.

    What earlier runs freed is given back to the system first, so that it does not hide what this one takes.
    """
    if not RESET.exists():
        return None
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    RESET.write_text("5")  # the high-water mark falls to what is resident now
    before = _status("VmRSS")
    run()
    return (_status("VmHWM") - before) / 1024


def cost(run: Run, device: torch.device) -> tuple[float, float | None]:
    """Seconds and peak memory in MiB of one run: on a GPU by its allocator's own count, else as `peak_mb`."""
    if device.type != "cuda":
        taken: list[float] = []
        peak = peak_mb(lambda: taken.append(timed(run)[0]))
        return (taken[0], peak) if taken else (timed(run)[0], peak)
    gc.collect()
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    started = time.perf_counter()
    run()
    torch.cuda.synchronize(device)
    return time.perf_counter() - started, (torch.cuda.max_memory_allocated(device) - before) / 2**20


def _status(name: str) -> int:
    """A line of the process's status, KiB."""
    return next(int(line.split()[1]) for line in STATUS.read_text().splitlines() if line.startswith(name + ":"))
