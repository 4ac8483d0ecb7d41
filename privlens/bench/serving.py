"""The app in a process of its own, as a person starts it: what it takes of the machine is then its own."""

import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import httpx
import psutil

from privlens.errors import PrivlensError

THIS = (sys.executable, "-m", "privlens")
STARTS_WITHIN, ENDS_WITHIN = 300.0, 30.0
"""Seconds until the page must answer, and until its process must be gone."""


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on. gradio itself would leave a socket open for every port that it finds taken."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def served(model: str, program: Sequence[str | Path] = THIS, cwd: Path | None = None) -> Iterator[tuple[str, psutil.Process]]:
    """The page with this model, on a free port; its address, and the process.

    Args:
        program: how `privlens` is called, if not as here. cwd: the folder it runs in.

    Raises:
        PrivlensError: where it does not start, with what it said.
    """
    address, port = "http://127.0.0.1", free_port()
    command = [*program, "app", "--port", str(port), "--model", model]
    with tempfile.TemporaryFile() as said:  # a pipe that nobody empties would stop it one day
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said, cwd=cwd)
        try:
            _wait_for(f"{address}:{port}", process, said)
            yield f"{address}:{port}", psutil.Process(process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(ENDS_WITHIN)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_for(address: str, process: "subprocess.Popen[bytes]", said: IO[bytes]) -> None:
    until = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < until:
        if process.poll() is not None:
            said.seek(0)
            raise PrivlensError(f"The page did not start: {said.read().decode(errors='replace')[-500:]}")
        with suppress(httpx.TransportError):
            httpx.get(address, trust_env=False)
            return
        time.sleep(0.5)
    raise PrivlensError(f"The page did not answer within {STARTS_WITHIN:.0f} s.")
