"""Passwords of users: kept as argon2 hashes, and asked for where nobody looks over a shoulder."""

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import InvalidHashError, VerificationError

from privlens.errors import BadInput

HASHER = PasswordHasher()
NOBODY = HASHER.hash(os.urandom(32))
"""What an unknown user's password is held against, so that no answer comes sooner for names that do not exist."""
LINE = re.compile(r"([^:\s]+):(\$argon2\S+)")


def hash_line(user: str, password: str) -> str:
    """`user:hash`, a line of a file of users. Raises BadInput where the name cannot stand in one, or a password is short."""
    if not re.fullmatch(r"[^:\s]+", user):
        raise BadInput(f"A user's name has no colon and no space, but is {user!r}.")
    if len(password) < 8:
        raise BadInput(f"The password of {user} needs 8 characters or more.")
    return f"{user}:{HASHER.hash(password)}"


def read_users(path: str) -> tuple[dict[str, str], str]:
    """Users and hashes of a file of such lines, and a warning ("" for none) where others on the machine may read it.

    Raises:
        BadInput: no such file, no users, or a line that is none; the line's number is told, not what stands there.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        mode = stat.S_IMODE(os.stat(path).st_mode)
    except (OSError, UnicodeDecodeError):
        raise BadInput(f"The file of users, {path}, cannot be read as text.") from None
    users: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        entry = LINE.fullmatch(line.strip())
        try:
            if not entry:
                raise InvalidHashError
            extract_parameters(entry[2])
        except InvalidHashError:
            raise BadInput(f"Line {number} of {path} is not user:hash. python app.py --hash USER prints such a line.") from None
        users[entry[1]] = entry[2]
    if not users:
        raise BadInput(f"The file of users, {path}, names none. python app.py --hash USER prints a line for it.")
    open_to = f"Others on this machine can read {path}: chmod 600 {path}" if mode & 0o077 and os.name == "posix" else ""
    return users, open_to


def verified(users: Mapping[str, str], user: str, password: str) -> bool:
    """Whether that is the user's password; takes as long for users that do not exist."""
    try:
        return HASHER.verify(users.get(user, NOBODY), password) and user in users
    except (VerificationError, InvalidHashError):
        return False
