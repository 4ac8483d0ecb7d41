"""How the server ends: by Ctrl-C, by what a service manager or a container sends, or with its terminal, and cleanly each time."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

BY = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
PATIENCE = 8.0
"""Seconds until a server that does not come to its end is ended all the same; containers are given ten."""


class Ended(SystemExit):
    """Raised in the main thread by a signal; the code is the one that shells use, 128 and the signal's number."""


@contextmanager
def ending(clean: Callable[[], None]) -> Iterator[None]:
    """Inside, the first signal raises Ended, and the process is gone after the block; a second one ends it at once.

    Args:
        clean: what must be done before the process is gone, whatever happens.
    """
    code: list[int] = []

    def leave() -> None:
        # Not by way of the interpreter's own end: threads may be in the midst of a calculation, and torch then aborts.
        clean()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code[0])

    def end(number: int, _: FrameType | None) -> None:
        if code:
            leave()
        code.append(128 + number)
        patience = threading.Timer(PATIENCE, leave)
        patience.daemon = True
        patience.start()
        raise Ended(128 + number)

    # A signal that is ignored already, as SIGHUP is under nohup, stays so.
    before = {number: signal.getsignal(number) for number in BY if signal.getsignal(number) is not signal.SIG_IGN}
    for number in before:
        signal.signal(number, end)
    try:
        yield
    except Ended:
        leave()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
