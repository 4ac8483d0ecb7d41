"""The bundled model in 8 and in 4 bits knows the same people by heart, and their neurons are found there as in float32."""

from pathlib import Path

import pytest

from privlens.lm.model import LanguageModel
from privlens.lm.scoring import score
from privlens.localization import Task, result_of
from privlens.secret_lists import read_secrets
from privlens.types import Secret
from privlens.zoo.loading import load

LISTED = [row.secret for row in read_secrets(Path(__file__).parents[2] / "assets" / "secrets.csv") if row.repeats]


def written(lm: LanguageModel, secrets: list[Secret]) -> list[bool]:
    """Which values the model writes word for word."""
    rows = [lm.encode(secret) for secret in secrets]
    return [found.argmax == row.value_ids for found, row in zip(score(lm, rows), rows, strict=True)]


# Measured: int8 writes the same 43 of 124 as float32, int4 one more; of the best 20 neurons 18 and 17 are the same.
@pytest.mark.parametrize(("dtype", "changed", "shared"), [("int8", 2, 15), ("int4", 4, 13)])
def test_the_demo_in_few_bits(demo: LanguageModel, dtype: str, changed: int, shared: int) -> None:
    lm = load("demo", device="cpu", dtype=dtype)
    before, now = written(demo, LISTED), written(lm, LISTED)
    assert sum(before) > 40 and sum(one != other for one, other in zip(before, now, strict=True)) <= changed

    known = [secret for secret, both in zip(LISTED, zip(before, now, strict=True), strict=True) if all(both)]
    target = next(secret for secret in known if secret.category == "name")
    kept = [secret for secret in known if secret != target]
    own, other = (set(result_of("token-gradient", Task(one, target)).top(20)) for one in (lm, demo))
    assert len(own & other) >= shared

    found = result_of("hard-concrete", Task(lm, target, tuple(kept[:20])))
    assert found.suggested_k is not None
    with lm.gated(lm.off(found.top(found.suggested_k))):
        assert written(lm, [target]) == [False]
        assert sum(written(lm, kept)) >= 0.8 * len(kept)
    assert written(lm, [target]) == [True]
