"""Audits on disk: audit.json in a folder."""

from pathlib import Path

from pydantic import ValidationError

from privlens.audit.records import FORMAT, Audit
from privlens.errors import BadInput
from privlens.types import from_json

AUDIT = "audit.json"


def read_audit(folder: Path) -> Audit:
    """The audit that a folder holds.

    Raises:
        BadInput: if there is none, it is damaged, or of a format that this version does not read.
    """
    path = folder / AUDIT
    try:
        audit = from_json(Audit, path.read_text("utf-8"))
    except FileNotFoundError as cause:
        raise BadInput(f"{folder} has no {AUDIT}: name the folder that an audit was written to.") from cause
    except OSError as cause:
        raise BadInput(f"{path} cannot be read ({cause.strerror}): make it readable, or name another folder.") from cause
    except (UnicodeDecodeError, ValidationError) as cause:
        raise BadInput(f"{path} is damaged or no audit: take it from a backup, or run the audit again.") from cause
    if audit.format != FORMAT:
        raise BadInput(
            f"{path} has format {audit.format}, and this version of PrivLens reads {FORMAT}: use the one that wrote it."
        )
    return audit
