"""An auditor's key pair: Ed25519, the private half in a PEM file (PKCS 8) that only its owner can read."""

import os
import stat
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from privlens.audit.manifest import fingerprint
from privlens.errors import BadInput
from privlens.process.private_files import write_private

ENCRYPTED = b"ENCRYPTED PRIVATE KEY"
"""What the first line of such a PEM file says."""


def make_key(path: Path, passphrase: str = "") -> str:
    """Writes a new private key to `path` and its public key to `path`.pub; returns the public key's fingerprint.

    Args:
        passphrase: encrypts the private key; empty for none.

    Raises:
        BadInput: if either file exists, which is never overwritten, or cannot be written.
    """
    public_path = path.with_name(path.name + ".pub")
    for existing in (path, public_path):
        if existing.exists():
            raise BadInput(f"{existing} exists, and a key is never overwritten: give another name.")
    key = Ed25519PrivateKey.generate()
    encryption: KeySerializationEncryption = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    public = key.public_key()
    try:
        write_private(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption).decode())
        write_private(public_path, public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())
    except OSError as cause:
        raise BadInput(f"{path} cannot be written ({cause.strerror}): give a file in a folder that exists.") from cause
    return fingerprint(public)


def needs_passphrase(path: Path) -> bool:
    """Whether a private key is encrypted. Raises BadInput if the file cannot be read."""
    return ENCRYPTED in _bytes_of(path).partition(b"\n")[0]


def read_key(path: Path, passphrase: str = "") -> Ed25519PrivateKey:
    """The private key of a file.

    Raises:
        BadInput: if it is missing, no such key, readable by others, or the passphrase is wrong.
    """
    content = _bytes_of(path)
    if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise BadInput(f"{path} is a private key that others can read: run `chmod 600` on it, or make a new one.")
    try:
        key = load_pem_private_key(content, passphrase.encode() if needs_passphrase(path) else None)
    except (ValueError, TypeError) as cause:  # TypeError: an empty passphrase for a key that has one
        problem = "the passphrase is wrong, or the file is damaged" if needs_passphrase(path) else "this is no private key in PEM"
        raise BadInput(f"{path} cannot be used: {problem}. Give the file that `privlens audit-key` wrote.") from cause
    if not isinstance(key, Ed25519PrivateKey):
        raise BadInput(f"{path} is a key of another kind than Ed25519: give the file that `privlens audit-key` wrote.")
    return key


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as cause:
        raise BadInput(f"{path} cannot be read ({cause.strerror}): give the file of a private key.") from cause
