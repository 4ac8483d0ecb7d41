"""A log of everything that a model was asked in an audit: JSON lines, each of which holds the hash of the line before it.

So a line cannot be changed, taken out or put in without `verify` telling where. What was cut off at the end, only the hash of the
last line can tell, which is why the audit's manifest covers this file.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

from privlens.errors import BadInput
from privlens.process.private_files import append_private

START = "0" * 64
"""What the first line holds in place of a hash."""


class QueryLog:
    """Appends to a log, one file per audit. Raises BadInput where the file cannot be used."""

    def __init__(self, path: Path) -> None:
        """Continues the log; a last line that a killed process left unfinished is cut off."""
        self.path = path
        try:
            content = path.read_bytes() if path.exists() else b""
            whole = content[: content.rfind(b"\n") + 1]
            if len(whole) < len(content):
                os.truncate(path, len(whole))
        except OSError as cause:
            raise _unusable(path, cause) from cause
        lines = whole.splitlines()
        self.last = _hash(lines[-1]) if lines else START

    def add(self, kind: str, prompt: str, result: str, logprob: float | None) -> None:
        """Appends one query.

        Args:
            kind: of the query. prompt: the keyed hash of what was asked about, never the text. result: such as a verdict.
            logprob: of the value, in nats; None if it was not measured.
        """
        entry = {
            "before": self.last,
            "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            "prompt": prompt,
            "kind": kind,
            "result": result,
            "logprob": logprob,
        }
        line = json.dumps(entry)
        try:
            append_private(self.path, line + "\n")
        except OSError as cause:
            raise _unusable(self.path, cause) from cause
        self.last = _hash(line.encode())


def verify(path: Path) -> int | None:
    """The first line, from 1, that does not follow from the one before it, or is not a line of a log; None if all do.

    Where a line was changed or removed, that is the line after it. Raises BadInput if the file cannot be read.
    """
    before = START
    try:
        for number, line in _lines(path):
            if _before(line) != before:
                return number
            before = _hash(line)
    except OSError as cause:
        raise _unusable(path, cause) from cause
    return None


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            yield number, line.rstrip(b"\n")


def _before(line: bytes) -> str | None:
    """The hash that a line holds; None if it is not a line of a log."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry.get("before") if isinstance(entry, dict) else None


def _hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


def _unusable(path: Path, cause: OSError) -> BadInput:
    return BadInput(
        f"The log {path} cannot be used ({cause.strerror}). Findings stored so far are kept: make room, and run the same command "
        "with --resume."
    )
