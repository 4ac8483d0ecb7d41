"""Shuts the server down cleanly on Ctrl-C, on the signal of a service manager or container, and when its terminal closes."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
GRACE_SECONDS = 8.0
"""Seconds after which a server that is still shutting down is killed; less than the ten that containers are given."""


class Terminated(SystemExit):
    """Raised in the main thread by a signal; the exit code is the one that shells use, 128 plus the signal's number."""


@contextmanager
def ending(clean: Callable[[], None]) -> Iterator[None]:
    """Inside, the first signal raises Terminated and the process exits after the block; a second one exits at once.

    Args:
        clean: called before the process exits on a signal, even if the block does not finish.
    """
    code: list[int] = []

    def exit_now() -> None:
        # Not by a normal interpreter exit: other threads may still be computing, and torch then aborts.
        clean()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code[0])

    def handle_signal(number: int, _: FrameType | None) -> None:
        if code:
            exit_now()
        code.append(128 + number)
        timer = threading.Timer(GRACE_SECONDS, exit_now)
        timer.daemon = True
        timer.start()
        raise Terminated(128 + number)

    # A signal that is already ignored, as SIGHUP is under nohup, stays ignored.
    previous = {number: signal.getsignal(number) for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN}
    for number in previous:
        signal.signal(number, handle_signal)
    try:
        yield
    except Terminated:
        exit_now()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
