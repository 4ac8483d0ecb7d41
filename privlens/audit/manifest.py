"""What a folder of an audit holds, file by file, and a signature over that: whoever gets the folder can check it without us.

manifest.json lists the size and SHA-256 of every other file. manifest.sig is an Ed25519 signature (RFC 8032) of its bytes, 64 of
them, and manifest.pub the public key in PEM, so that OpenSSL checks them too:
`openssl pkeyutl -verify -pubin -inkey manifest.pub -rawin -in manifest.json -sigfile manifest.sig`.
A key that lies beside the signature proves only that nothing was changed by accident: who signed shows in a key that was
received some other way.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from pydantic import ValidationError

from privlens.audit.query_log import verify as first_broken
from privlens.errors import BadInput
from privlens.process.private_files import private_file, write_private
from privlens.types import from_json, to_object

MANIFEST, SIGNATURE, PUBLIC_KEY = "manifest.json", "manifest.sig", "manifest.pub"
UNLISTED = (MANIFEST, SIGNATURE, PUBLIC_KEY)
"""Files that the manifest cannot list: itself, and what is made from it."""
LOG = "queries.jsonl"
"""The log of queries, whose lines have hashes and are chained by them (query_log.py)."""
CHUNK = 1 << 20
"""Bytes read at once, so that weights of many gigabytes need no memory."""
FORMAT = 1

State = Literal["same", "changed", "missing", "added"]
Signed = Literal["good", "bad", "by another key", "not signed"]


@dataclass(frozen=True)
class Entry:
    """One file: its size in bytes and its SHA-256 in hexadecimal."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """All files of a folder, by their path in it with slashes; when it was written (UTC), and with which versions."""

    files: dict[str, Entry]
    made: str
    versions: dict[str, str]
    format: int = FORMAT


@dataclass(frozen=True)
class Verification:
    """What became of each file since the manifest was written, and of the signature.

    Attributes:
        made: when the manifest was written. key: SHA-256 of the key that the signature was checked with, empty if there is none.
        given: whether that key came from the person and not from the folder.
        broken_log_line: the first line of the log that was changed or does not follow from the one before; None if all do.
    """

    files: dict[str, State]
    signature: Signed
    key: str
    given: bool
    made: str
    broken_log_line: int | None = None

    @property
    def log_in_words(self) -> str:
        """What became of the chain of the log."""
        if LOG not in self.files:
            return "none"
        return f"BROKEN at line {self.broken_log_line}" if self.broken_log_line else "unbroken"

    @property
    def good(self) -> bool:
        """Whether all is as it was: no file differs, and the signature is good, or missing where none was asked for."""
        unchanged = all(state == "same" for state in self.files.values()) and self.broken_log_line is None
        return unchanged and (self.signature == "good" or (self.signature == "not signed" and not self.given))


def write_manifest(folder: Path, key: Ed25519PrivateKey | None = None, versions: Mapping[str, str] | None = None) -> Manifest:
    """Lists every file of a folder in manifest.json, and signs it; without a key an older signature is removed.

    Args:
        versions: of what the folder was written with, for the record.

    Raises:
        BadInput: if the folder holds a link, whose target might change unseen. OSError: if it cannot be read or written.
    """
    manifest = Manifest(
        files={name: _entry(folder / name) for name in _listed(folder)},
        made=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        versions=dict(versions or {}),
    )
    for name in (SIGNATURE, PUBLIC_KEY):
        (folder / name).unlink(missing_ok=True)
    write_private(folder / MANIFEST, json.dumps(to_object(manifest), indent=1) + "\n")
    if key:
        with private_file(folder / SIGNATURE) as file:
            file.write_bytes(key.sign((folder / MANIFEST).read_bytes()))
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        write_private(folder / PUBLIC_KEY, public.decode())
    return manifest


def _listed(folder: Path) -> Iterator[str]:
    for name, is_link in sorted(_names(folder)):
        if is_link:
            raise BadInput(f"{folder / name} is a link, and what it points to may change unseen: replace it by a copy.")
        yield name


def _names(folder: Path) -> Iterator[tuple[str, bool]]:
    """Every file below a folder, by its path in it, and whether it is a link; links to folders are not followed."""
    for parent, folders, files in os.walk(folder):
        for name in (*files, *(name for name in folders if (Path(parent) / name).is_symlink())):
            path = Path(parent) / name
            relative = path.relative_to(folder).as_posix()
            if relative not in UNLISTED:
                yield relative, path.is_symlink()


def _entry(path: Path) -> Entry:
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return Entry(size, digest.hexdigest())


def verify(folder: Path, public_key: Path | None = None) -> Verification:
    """Compares a folder with its manifest, and the manifest with its signature; nothing is written.

    Args:
        public_key: of the auditor, in PEM, received some other way; by default the one in the folder.

    Raises:
        BadInput: if there is no manifest, it cannot be read, or the key is none.
    """
    manifest = _read(folder)
    signature, key = _signature(folder, public_key)
    try:
        files = _states(folder, manifest)
        broken = first_broken(folder / LOG) if (folder / LOG).is_file() else None
    except OSError as cause:
        raise BadInput(f"{cause.filename} cannot be read ({cause.strerror}): make it readable and verify again.") from cause
    return Verification(files, signature, fingerprint(key) if key else "", public_key is not None, manifest.made, broken)


def _read(folder: Path) -> Manifest:
    path = folder / MANIFEST
    try:
        manifest = from_json(Manifest, path.read_text("utf-8"))
    except FileNotFoundError as cause:
        raise BadInput(f"{folder} has no {MANIFEST}: name the folder that an audit was written to.") from cause
    except (OSError, UnicodeDecodeError, ValidationError) as cause:
        raise BadInput(
            f"{path} is no manifest that can be read: it is damaged or was changed, so nothing can be verified."
        ) from cause
    if manifest.format != FORMAT:
        raise BadInput(
            f"{path} has format {manifest.format}, this version of PrivLens reads {FORMAT}: verify it with a newer one."
        )
    return manifest


def _states(folder: Path, manifest: Manifest) -> dict[str, State]:
    present = dict(_names(folder))
    states: dict[str, State] = {}
    for name, entry in manifest.files.items():
        if name not in present:
            states[name] = "missing"
        else:
            states[name] = "same" if not present[name] and _entry(folder / name) == entry else "changed"
    return {**states, **dict.fromkeys(sorted(present.keys() - manifest.files.keys()), "added")}


def _signature(folder: Path, public_key: Path | None) -> tuple[Signed, Ed25519PublicKey | None]:
    """The state of the signature, and the key that it was checked with."""
    given = read_public(public_key) if public_key else None
    signature = folder / SIGNATURE
    if not signature.is_file():
        return "not signed", given
    beside = read_public(folder / PUBLIC_KEY) if (folder / PUBLIC_KEY).is_file() else None
    key = given or beside
    if key is None:
        raise BadInput(f"{folder} has a signature and no {PUBLIC_KEY}: give the auditor's with --public-key.")
    if _signs(key, folder):
        return "good", key
    return ("by another key" if given and beside and _signs(beside, folder) else "bad"), key


def _signs(key: Ed25519PublicKey, folder: Path) -> bool:
    try:
        key.verify((folder / SIGNATURE).read_bytes(), (folder / MANIFEST).read_bytes())
    except InvalidSignature:
        return False
    return True


def read_public(path: Path) -> Ed25519PublicKey:
    """A public key from a PEM file. Raises BadInput for anything else."""
    try:
        key = load_pem_public_key(path.read_bytes())
    except OSError as cause:
        raise BadInput(f"{path} cannot be read ({cause.strerror}): give the file of a public key.") from cause
    except Exception as cause:  # of many kinds, for bytes that are no key
        raise BadInput(f"{path} is no public key in PEM: give the .pub file that `privlens audit-key` wrote.") from cause
    if not isinstance(key, Ed25519PublicKey):
        raise BadInput(f"{path} is a key of another kind than Ed25519: give the .pub file that `privlens audit-key` wrote.")
    return key


def fingerprint(key: Ed25519PublicKey) -> str:
    """SHA-256 of the 32 bytes of the key, in hexadecimal: short enough to be read out over the telephone, in parts."""
    return hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()
