"""Firefox by its own protocol, Marionette: Playwright drives only a Firefox of its own build, and Debian has no driver.

https://firefox-source-docs.mozilla.org/testing/marionette/Protocol.html: each message is its length, a colon, and JSON.
"""

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.helpers import wait_until

FIREFOX = "firefox-esr"
TAB, ENTER = "\ue004", "\ue007"
"""WebDriver's names of keys."""


class Firefox:
    """One window of a Firefox that listens on a port of this machine."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        self._answers = self._socket.makefile("rb")
        self._read()  # its greeting
        self.call("WebDriver:NewSession", capabilities={})

    def _read(self) -> Any:
        length = b""
        while (digit := self._answers.read(1)) != b":":
            length += digit
        return json.loads(self._answers.read(int(length)))

    def call(self, command: str, **given: Any) -> Any:
        """A command's answer. Raises RuntimeError with what Firefox says against it."""
        message = json.dumps([0, 1, command, given]).encode()
        self._socket.sendall(b"%d:%s" % (len(message), message))
        _, _, error, answer = self._read()
        if error:
            raise RuntimeError(f"{command}: {error['message']}")
        return answer

    def run(self, script: str) -> Any:
        """What an expression of JavaScript comes to."""
        return self.call("WebDriver:ExecuteScript", script=f"return {script}", args=[])["value"]

    def press(self, *keys: str) -> None:
        """Presses keys, one after the other."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self.call("WebDriver:PerformActions", actions=[{"type": "key", "id": "keyboard", "actions": actions}])

    def wait(self, wanted: str) -> None:
        """Waits until an expression holds."""
        wait_until(lambda: bool(self.run(f"Boolean({wanted})")))

    def close(self) -> None:
        self.call("Marionette:Quit", flags=["eForceQuit"])
        self._answers.close()
        self._socket.close()


@contextmanager
def firefox(home: Path) -> Iterator[Firefox]:
    """A headless Firefox with a new profile in an empty folder."""
    (home / "user.js").write_text('user_pref("marionette.port", 0);\n')  # a free one
    command = [FIREFOX, "--headless", "--no-remote", "--marionette", "--profile", home]
    env, port = {**os.environ, "HOME": str(home)}, home / "MarionetteActivePort"
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: port.exists() and bool(port.read_text()))
            browser = Firefox(int(port.read_text()))
            yield browser
            browser.close()
        finally:
            process.terminate()
