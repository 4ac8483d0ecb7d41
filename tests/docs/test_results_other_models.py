"""The table of masks on models that are not in the repository shows what its raw JSON says."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("model", ["natural"])
def test_switching_off_in_another_model_is_what_the_json_says(model: str) -> None:
    page = (ROOT / "docs/results/deletion-other-models.md").read_text(encoding="utf-8")
    recorded = json.loads((ROOT / f"docs/results/data/other-models/{model}.json").read_text(encoding="utf-8"))
    assert recorded["settings"]["depth"] == "1000000"
    for row in recorded["rows"]:
        assert row["n"] == recorded["settings"]["n"]
        low, high = row["unseen_kept_interval"]
        exponent = row["target_log10_tries_median"]
        numbers = [str(row["n"]), f"{row['share']:.4f}", f"{row['target_match']:.2f}", f"10^{exponent:.1f}" if exponent else "1"]
        numbers += [f"{row['unseen_kept']:.3f} ({low:.3f} to {high:.3f})", f"x{row['perplexity_ratio']:.3f}"]
        assert f"| {model} | {row['method']} | {' | '.join(numbers)} |" in page
