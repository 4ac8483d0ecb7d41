"""The page served in this process, and a guard on every connection it makes."""

import gc
import socket
from collections.abc import Iterator

import pytest

from privlens.bench.serving import free_port
from tests.helpers import MODEL, idle, wait_until

LEFT_OPEN = ("<socket.socket", "<function BaseEventLoop.__del__", "<ssl.SSLSocket")
"""What gradio's server and client leave for the garbage collector to close; it warns of each, long after."""


def pytest_configure(config: pytest.Config) -> None:
    """Nothing else is forgiven."""
    for what in LEFT_OPEN:
        config.addinivalue_line("filterwarnings", f"ignore:Exception ignored in. {what}:pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="session")
def outward() -> Iterator[list[str]]:
    """Every address beyond this machine that was looked up or connected to while the page was served."""
    seen: list[str] = []
    connect, lookup = socket.socket.connect, socket.getaddrinfo
    local = {"127.0.0.1", "localhost", "0.0.0.0", "::1", ""}

    def watched_connect(self: socket.socket, address: object) -> None:
        host = str(address[0]) if isinstance(address, tuple) else ""
        if host not in local:
            seen.append(host)
        return connect(self, address)  # type: ignore[arg-type]

    def watched_lookup(host: object, *rest: object, **named: object) -> object:
        if str(host or "") not in local:
            seen.append(str(host))
        return lookup(host, *rest, **named)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", watched_connect)
        patch.setattr(socket, "getaddrinfo", watched_lookup)
        yield seen


@pytest.fixture(scope="session")
def address(outward: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the page is served."""
    from privlens.ui import build_cache, build_ui, launch

    page = build_ui(build_cache(MODEL, allow_paths=[str(tmp_path_factory.getbasetemp())]))  # the tests' own models lie there
    yield launch(page, port=free_port(), prevent_thread_lock=True, quiet=True)
    page.close()
    wait_until(idle)
    gc.collect()  # while LEFT_OPEN is still forgiven: at the very end of a run pytest forgives nothing
