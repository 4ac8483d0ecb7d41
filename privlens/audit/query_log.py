"""A log of everything that a model was asked in an audit: JSON lines, each with its number, its hash and that of the line before.

So a line cannot be changed, taken out or put in without `verify` telling where. What was cut off at the end, and a last line that
was written anew with a hash to fit, only the audit's manifest can tell, which is why it covers this file.
"""

import hashlib
import json
import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from privlens.errors import BadInput
from privlens.process.private_files import append_private

START = "0" * 64
"""What the first line holds in place of the hash of the line before."""
HASH = b', "hash": "'
"""Stands before a line's own hash, which is its end."""


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
        self.number = len(lines)
        entry = _entry(lines[-1]) if lines else None
        self.last = entry["hash"] if entry else START  # after a line that was changed, which `verify` tells

    def add(self, kind: str, prompt: str, result: str, logprob: float | None) -> None:
        """Appends one query.

        Args:
            kind: of the query. prompt: the keyed hash of what was asked about, never the text. result: such as a verdict.
            logprob: of the value, in nats; None if it was not measured.
        """
        entry = {
            "number": self.number + 1,
            "before": self.last,
            "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            "prompt": prompt,
            "kind": kind,
            "result": result,
            "logprob": logprob,
        }
        text = json.dumps(entry)
        digest = _hash(text.encode())
        try:
            append_private(self.path, f'{text[:-1]}{HASH.decode()}{digest}"}}\n')
        except OSError as cause:
            raise _unusable(self.path, cause) from cause
        self.number, self.last = self.number + 1, digest


def verify(path: Path) -> int | None:
    """The first line, from 1, that was changed, does not follow from the one before it, or is no line of a log; None if none is.

    Raises BadInput if the file cannot be read.
    """
    before = START
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                entry = _entry(line.rstrip(b"\n"))
                if entry is None or (entry.get("number"), entry.get("before")) != (number, before):
                    return number
                before = entry["hash"]
    except OSError as cause:
        raise _unusable(path, cause) from cause
    return None


def _entry(line: bytes) -> dict[str, Any] | None:
    """What a line says; None if its hash, which is that of the line without it, is of another line."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    text = line.rpartition(HASH)[0] + b"}"
    return entry if isinstance(entry, dict) and entry.get("hash") == _hash(text) else None


def _hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


def _unusable(path: Path, cause: OSError) -> BadInput:
    return BadInput(
        f"The log {path} cannot be used ({cause.strerror}). Findings stored so far are kept: make room, and run the same command "
        "with --resume."
    )
