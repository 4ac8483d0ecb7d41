"""Seconds of two ways of doing the same thing, measured alternately, and the peak memory of one.

Alternating runs share the machine with the same other work, so their ratio says more than either number.
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
class PairedRuns:
    """The fastest run of each in seconds, and the result of the last run of each."""

    ours_s: float
    peer_s: float
    ours: Any
    peer: Any


def in_turns(ours: Run, peer: Run, repeats: int, at_most: float = 120.0) -> PairedRuns:
    """`repeats` runs of each, alternately; fewer once `at_most` seconds have passed, so that slow peers do not take hours."""
    times: list[tuple[float, float]] = []
    started = time.perf_counter()
    while len(times) < repeats and (not times or time.perf_counter() - started < at_most):
        ours_s, our_result = timed(ours)
        peer_s, peer_result = timed(peer)
        times.append((ours_s, peer_s))
    return PairedRuns(
        ours_s=min(seconds for seconds, _ in times),
        peer_s=min(seconds for _, seconds in times),
        ours=our_result,
        peer=peer_result,
    )


def timed(run: Run) -> tuple[float, Any]:
    """Seconds that one run takes, and its result."""
    started = time.perf_counter()
    result = run()
    return time.perf_counter() - started, result


def peak_mb(run: Run) -> float | None:
    """How far the process's resident memory rises during a run, in MiB; None if the system does not report it (not Linux).

    What earlier runs freed is returned to the system first, so that it does not hide what this one takes.
    """
    if not RESET.exists():
        return None
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    RESET.write_text("5")  # resets the peak (VmHWM) to what is resident now
    before = _status("VmRSS")
    run()
    return (_status("VmHWM") - before) / 1024


def cost(run: Run, device: torch.device) -> tuple[float, float | None]:
    """Seconds and peak memory in MiB of one run: on a GPU as counted by torch's allocator, else as `peak_mb`."""
    if device.type != "cuda":
        seconds: list[float] = []
        peak = peak_mb(lambda: seconds.append(timed(run)[0]))
        return (seconds[0], peak) if seconds else (timed(run)[0], peak)
    gc.collect()
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    started = time.perf_counter()
    run()
    torch.cuda.synchronize(device)
    return time.perf_counter() - started, (torch.cuda.max_memory_allocated(device) - before) / 2**20


def _status(name: str) -> int:
    """One value of the process's status, in KiB."""
    return next(int(line.split()[1]) for line in STATUS.read_text().splitlines() if line.startswith(name + ":"))
