"""The app in a separate process, as a user starts it, so that its memory and threads can be measured by themselves."""

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

PRIVLENS = (sys.executable, "-m", "privlens")
START_TIMEOUT, STOP_TIMEOUT = 300.0, 30.0
"""Seconds until the page must answer, and until its process must have ended before it is killed. Generous, since a loaded machine
takes long to import the libraries and to read a model: they only bound the wait for a page that never comes or never goes."""


def free_port() -> int:
    """A free port of 127.0.0.1. (gradio itself would leave a socket open for every port that it finds taken.)"""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def served(model: str, program: Sequence[str | Path] = PRIVLENS, cwd: Path | None = None) -> Iterator[tuple[str, psutil.Process]]:
    """Context manager that serves the page with this model on a free port, and yields its address and process.

    Args:
        program: the command that starts `privlens`, by default this installation. cwd: the folder it runs in.

    Raises:
        PrivlensError: if it does not start, with the end of its error output.
    """
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [*program, "app", "--port", str(port), "--model", model]
    with tempfile.TemporaryFile() as log:  # a pipe that nobody reads would fill up and block the process
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log, cwd=cwd)
        try:
            _wait_for(address, process, log)
            yield address, psutil.Process(process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_for(address: str, process: "subprocess.Popen[bytes]", log: IO[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        if process.poll() is not None:
            log.seek(0)
            raise PrivlensError(f"The page did not start: {log.read().decode(errors='replace')[-500:]}")
        with suppress(httpx.TransportError):
            httpx.get(address, trust_env=False)
            return
        time.sleep(0.5)
    raise PrivlensError(f"The page did not answer within {START_TIMEOUT:.0f} s.")
