"""Seconds of two ways of doing one thing, taken in turns, and the memory that one of them needs at its peak.

Two runs in turns meet the same neighbours on the machine, so their ratio says more than either number. Knows nothing of models.
"""

import ctypes
import gc
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
Run = Callable[[], Any]


def in_turns(ours: Run, peer: Run, repeats: int, at_most: float = 120.0) -> tuple[float, float]:
    """The fastest of `repeats` runs of each in seconds, one after the other in turns; fewer where those take `at_most` seconds.

    A warm-up of each is the caller's business: whoever compares the numbers of both has run both already.
    """
    ours_s: list[float] = []
    peer_s: list[float] = []
    started = time.perf_counter()
    while len(ours_s) < repeats and (not ours_s or time.perf_counter() - started < at_most):
        ours_s.append(seconds(ours))
        peer_s.append(seconds(peer))
    return min(ours_s), min(peer_s)


def seconds(run: Run) -> float:
    """How long one run takes."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


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


def _status(name: str) -> int:
    """A line of the process's status, KiB."""
    return next(int(line.split()[1]) for line in STATUS.read_text().splitlines() if line.startswith(name + ":"))
