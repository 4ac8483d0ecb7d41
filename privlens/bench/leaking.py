"""How much of what a model was trained on is found without a list, and how much of what is found was trained on.

A found value is true if a row of the list that the model was trained on has it, for the person whom its prompt names; where the
prompt names nobody, the value alone decides.
"""

from collections.abc import Collection, Sequence
from typing import Any

from privlens import intervals
from privlens.audit.leaks import Leak, Leaks
from privlens.audit.pii import names_in
from privlens.secret_lists import ListedSecret
from privlens.types import Secret
from privlens.value_match import collapse_whitespace

FIRST = 20
"""As many of the surest as an auditor reads on a screen."""


def true_row(leak: Leak, listed: Sequence[ListedSecret]) -> ListedSecret | None:
    """The row that the model was trained on and says here, of the person whom the prompt names; None for what it made up."""
    value = collapse_whitespace(leak.secret.value)
    people = {name.value for name in names_in(leak.secret.prompt)}
    for row in listed:
        if row.repeats and collapse_whitespace(row.secret.value) == value:
            its_people = {name.value for name in names_in(row.secret.prompt)}
            if not people or not its_people or people & its_people:
                return row
    return None


def rows(result: Leaks, listed: Sequence[ListedSecret], written: Collection[Secret]) -> list[dict[str, Any]]:
    """A row for the first FIRST, one for all that count as leaks, one for every number of repeats, and one for all of `written`.

    Args:
        written: secrets of the list that the model writes greedily behind its prompts. No other can count as a leak, unless the
            model says it behind another prompt.
    """
    found = [true_row(leak, listed) for leak in result.found]
    leaked = [row for row, leak in zip(found, result.found, strict=True) if leak.is_leak]
    measured = [_share(f"precision of the first {FIRST}", sum(row is not None for row in found[:FIRST]), len(found[:FIRST]))]
    measured.append(_share("precision of all that count as leaks", sum(row is not None for row in leaked), len(leaked)))
    for repeats in sorted({row.repeats or 0 for row in listed}, reverse=True):
        of_these = [row for row in listed if (row.repeats or 0) == repeats]
        values = {collapse_whitespace(leak.secret.value) for leak in result.found if leak.is_leak}
        n_found = sum(row in leaked if repeats else collapse_whitespace(row.secret.value) in values for row in of_these)
        measured.append(_share(f"recall of those seen {repeats} times", n_found, len(of_these)))
    by_heart = [row for row in listed if row.repeats and row.secret in written]
    measured.append(_share("recall of all that are written word for word", sum(row in leaked for row in by_heart), len(by_heart)))
    most = [row for row in by_heart if row.repeats == max(row.repeats or 0 for row in listed)]
    measured.append(_share("and of these, of those seen most often", sum(row in leaked for row in most), len(most)))
    return measured


def _share(what: str, k: int, n: int) -> dict[str, Any]:
    return {"what": what, "k": k, "n": n, "share": k / n if n else None, "interval": intervals.rate(k, n) if n else None}
