"""Reads the auditor's list, and names every secret so that nobody but the auditor can tell whose it is.

A plain hash of a phone number is no disguise: all numbers can be tried. So the hash is keyed (HMAC-SHA256), and the key stays
with the auditor. Beside it stands the masked value, `54••-••57`.
"""

import hashlib
import hmac
import os
import secrets as random_bytes
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from privlens.audit.records import Sample
from privlens.errors import BadInput
from privlens.list_files import Rejected, csv_text
from privlens.process.private_files import write_private
from privlens.retained.others import key_of
from privlens.secret_lists import ListedSecret, ListFile, read_list_file
from privlens.types import Secret
from privlens.value_match import collapse_whitespace

KEY_BYTES = 32
"""Of a fresh key: as long as what SHA-256 gives, beyond which HMAC gains nothing."""
SHORTEST_KEY = 16
"""Bytes; a shorter key could be tried out, as a short value can."""
NAME_DIGITS = 32
"""Hexadecimal digits of a keyed hash that are kept: at 128 bits no two secrets of a list share theirs."""
DOT = "•"
KEY_ID = "which key this is"
"""Hashed with a key, it tells keys apart and gives none away."""


@dataclass(frozen=True)
class SampledSecret:
    """A row of the list to be measured: its number from 0, counting every row that was read, and its names."""

    row: int
    key: str
    person: str
    listed: ListedSecret

    @property
    def secret(self) -> Secret:
        """The prompt and the private value."""
        return self.listed.secret


@dataclass(frozen=True)
class ReadSample:
    """A list as read for an audit: what the report says of it, the secrets, each once, and the rows that cannot be used."""

    sample: Sample
    secrets: tuple[SampledSecret, ...]
    rejected: tuple[Rejected, ...]

    @property
    def listed(self) -> tuple[Secret, ...]:
        """The secrets alone, in the order of the list."""
        return tuple(sampled.secret for sampled in self.secrets)


def read_sample(path: str | Path, key: bytes) -> ReadSample:
    """A list of secrets (CSV, JSON lines, JSON, Parquet), each secret once.

    Args:
        key: of the keyed hash, from `read_key`.

    Raises:
        BadInput: if the file cannot be read, lacks a column, or has no row that can be used.
    """
    return sample_of(read_list_file(path), key)


def sample_of(read: ListFile, key: bytes) -> ReadSample:
    """A list that was read, each secret once, named by the key."""
    entries = read.secrets.entries
    rejected = tuple(_without_content(entry) for entry in entries if isinstance(entry, Rejected))
    rows = [(row, entry) for row, entry in enumerate(entries) if isinstance(entry, ListedSecret)]
    first: dict[str, SampledSecret] = {}
    for row, listed in rows:
        plain = key_of(listed.secret)
        if plain not in first:
            person = keyed_hash(key, "person", listed.person) if listed.person else ""
            first[plain] = SampledSecret(row, secret_key(key, listed.secret), person, listed)
    sampled = tuple(first.values())
    sample = Sample(
        name=read.name,
        sha256=read.sha256,
        n_rows=len(entries),
        rejected=tuple(map(str, rejected)),
        n_duplicates=len(rows) - len(sampled),
        n_people=len({secret.person for secret in sampled} - {""}),
        categories=dict(Counter(secret.secret.category for secret in sampled)),
        key_id=keyed_hash(key, KEY_ID),
    )
    return ReadSample(sample, sampled, rejected)


def _without_content(entry: Rejected) -> Rejected:
    """The row with a reason that quotes none of its cells, where a private value may have slipped into the wrong column."""
    reason = entry.reason
    if reason.startswith("repeats is "):
        reason = "repeats is not a whole number. Write a whole number, or nothing"
    if reason.startswith("there is no "):
        reason = reason.split(", but ")[0] + ". Add it"
    return Rejected(entry.line, reason, entry.unit)


def rejected_csv(rejected: Iterable[Rejected]) -> str:
    """The rows that were left out, as CSV with the columns line and reason; no cell of the list is in it."""
    return csv_text(("line", "reason"), ((entry.line, entry.reason) for entry in rejected))


def key_beside(folder: Path) -> Path:
    """Where the key of an audit lies unless said otherwise: beside its folder, never in it."""
    full = Path(os.path.abspath(folder))  # for `.`, which has no name
    return full.with_name(f"{full.name}.key")


def read_key(path: Path, may_make: bool = True) -> bytes:
    """The auditor's key, from a file that only its owner can read; where there is none, a fresh random one is written to it.

    Args:
        may_make: if not, a key that is missing is told.

    Raises:
        BadInput: for a key that is too short, or a file that can be neither read nor written.
    """
    try:
        if may_make and not path.exists():
            write_private(path, random_bytes.token_hex(KEY_BYTES) + "\n")
        key = path.read_bytes().strip()
    except OSError as cause:
        raise BadInput(f"The key {path} cannot be read or written ({cause.strerror}): give another file to --key.") from cause
    if len(key) < SHORTEST_KEY:
        raise BadInput(
            f"The key in {path} has {len(key)} characters, but needs {SHORTEST_KEY}: name a new file, and one is made."
        )
    return key


def keyed_hash(key: bytes, *parts: str) -> str:
    """32 hexadecimal digits: HMAC-SHA256 of the parts, in each of which only the kind of white space does not matter."""
    message = "\n".join(map(collapse_whitespace, parts)).encode()
    return hmac.new(key, message, hashlib.sha256).hexdigest()[:NAME_DIGITS]


def secret_key(key: bytes, secret: Secret) -> str:
    """The keyed hash that names a secret."""
    return keyed_hash(key, secret.prompt, secret.value)


def masked(text: str) -> str:
    """The text with its letters and digits hidden, as the page hides them (mask.js): 54••-••57.

    At most the first and last two letters or digits stay, and never more than half of them. Where the page shows two dots for a
    character that JavaScript counts as two, so does this.
    """
    places = [place for place, sign in enumerate(text) if unicodedata.category(sign)[0] in "LN"]
    n_open = min(2, len(places) // 4)
    hidden = set(places[n_open : len(places) - n_open])
    return "".join(DOT * (2 if ord(sign) > 0xFFFF else 1) if place in hidden else sign for place, sign in enumerate(text))
