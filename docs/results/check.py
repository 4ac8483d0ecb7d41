"""Recomputes one cheap row of each table that has its raw JSON here, and compares: .venv/bin/python docs/results/check.py

Ends with 1 where a number differs by more than another machine's rounding explains.
"""

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from privlens.bench import deletion
from privlens.bench.repeats import by_repeats
from privlens.resources import REFERENCE, SECRETS
from privlens.secret_lists import read_reference, read_secrets
from privlens.zoo.loading import load

DATA = Path(__file__).parent / "data"
TOLERANCE = 1e-3
"""Relative; float32 sums in another order differ by some 1e-6, a changed method by far more."""
Row = dict[str, Any]


def memorized() -> tuple[Row, Row]:
    """The controls and the secrets that were seen 64 times: the row of the latter, recorded and anew."""
    recorded = json.loads((DATA / "memorized.json").read_text())["rows"][-1]
    listed = [row for row in read_secrets(SECRETS) if row.repeats == recorded["repeats"]]
    [anew] = by_repeats(load("demo"), listed, 0)
    return recorded, anew


def deletion_of_one() -> tuple[Row, Row]:
    """The contrastive gradient on the first target of the table, recorded and anew."""
    recorded = json.loads((DATA / "deletion.json").read_text())
    row = next(one for one in recorded["each"] if one["method"] == "contrastive-gradient")
    lm, secrets = load("demo"), [listed.secret for listed in read_secrets(SECRETS)]
    settings = recorded["settings"]
    trial = deletion.trials(lm, secrets, read_reference(REFERENCE), settings["n"], settings["seed"])[0]
    scores = deletion.localized(lm, trial, row["method"])
    anew = deletion.deletion(lm, trial, scores, round(row["share"] * scores.n_neurons), row["budget"])
    names = ("match", "accuracy", "nll_change", "seen_kept", "unseen_kept", "n_unseen", "perplexity_ratio")
    return {name: row[name] for name in names}, {name: getattr(anew, name) for name in names}


CHECKS: dict[str, Callable[[], tuple[Row, Row]]] = {"memorized.json": memorized, "deletion.json": deletion_of_one}


def differing(recorded: Row, anew: Row) -> list[str]:
    """The columns whose numbers differ, with both."""
    return [
        f"{name}: {recorded[name]} in the repository, {anew[name]} now"
        for name in recorded
        if not name.endswith("interval") and not math.isclose(recorded[name], anew[name], rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    ]


def main() -> int:
    wrong = 0
    for name, check in CHECKS.items():
        found = differing(*check())
        print(f"{name}: {'; '.join(found) or 'as recorded'}")
        wrong += bool(found)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
