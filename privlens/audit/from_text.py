"""A list of secrets from a text: what looks private in it, each behind the words of its sentence that stand before it.

A proposal that a person corrects: forms and check digits say what a string looks like, not whose it is (see `pii`).
"""

from privlens import validation
from privlens.audit.names import Names
from privlens.audit.national_ids import national_ids
from privlens.audit.own_text import Text, private_parts
from privlens.audit.pii import find_pii

COLUMNS = ("prompt", "value", "category")


def rows_of(text: str, names: Names | None = None) -> list[dict[str, str]]:
    """The rows of a list, by column, in the order of the text, each once. Raises BadInput for a text that is too long.

    Args:
        names: finds the names of people, in place of what is written like one.
    """
    validation.text(text, "text", validation.MAX_TEXT)
    spans = find_pii(text, national_ids(text), names(text) if names else None)
    found = [(secret.prompt, secret.value, secret.category) for secret in private_parts(Text(text, is_complete=True), spans)]
    return [dict(zip(COLUMNS, cells, strict=True)) for cells in dict.fromkeys(found)]
