"""Passwords of users, stored as argon2 hashes."""

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
"""Hash that an unknown user's password is verified against, so that the time of the answer does not tell which users exist."""
USER_LINE = re.compile(r"([^:\s]+):(\$argon2\S+)")


def hash_line(user: str, password: str) -> str:
    """`user:hash`, a line of a users file. Raises BadInput for a name that it cannot hold, or a short password."""
    if not re.fullmatch(r"[^:\s]+", user):
        raise BadInput(f"A user name must not contain a colon or a space, but is {user!r}.")
    if len(password) < 8:
        raise BadInput(f"The password of {user} must have at least 8 characters.")
    return f"{user}:{HASHER.hash(password)}"


def read_users(path: str) -> tuple[dict[str, str], str]:
    """Users and hashes of a users file, and a warning ("" for none) if others on the machine can read it.

    Raises:
        BadInput: no such file, no users, or an invalid line; the message gives the line's number, not its content.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        mode = stat.S_IMODE(os.stat(path).st_mode)
    except (OSError, UnicodeDecodeError):
        raise BadInput(f"The users file {path} cannot be read as text.") from None
    users: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        entry = USER_LINE.fullmatch(line.strip())
        try:
            if not entry:
                raise InvalidHashError
            extract_parameters(entry[2])
        except InvalidHashError:
            raise BadInput(
                f"Line {number} of {path} is not user:hash. Use a line that python app.py --hash USER prints."
            ) from None
        users[entry[1]] = entry[2]
    if not users:
        raise BadInput(f"The users file {path} names none. Add a line that python app.py --hash USER prints.")
    warning = f"Others on this machine can read {path}: chmod 600 {path}" if mode & 0o077 and os.name == "posix" else ""
    return users, warning


def verified(users: Mapping[str, str], user: str, password: str) -> bool:
    """Whether that is the user's password; takes equally long for users that do not exist."""
    try:
        return HASHER.verify(users.get(user, NOBODY), password) and user in users
    except (VerificationError, InvalidHashError):
        return False
