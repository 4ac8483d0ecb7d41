"""The table of masks on models that are not in the repository shows what its raw JSON says."""

import json
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_mask_on_natural_is_what_the_json_says() -> None:
    page = (ROOT / "docs/results/deletion-other-models.md").read_text(encoding="utf-8")
    recorded = json.loads((ROOT / "docs/results/data/other-models/natural-hidden.json").read_text(encoding="utf-8"))
    [row], each = recorded["rows"], recorded["each"]
    assert row["n"] == len(each) == recorded["settings"]["n"]
    numbers = [recorded["settings"]["depth"], str(row["n"]), f"{row['share']:.3f}", f"{row['target_match']:.2f}"]
    numbers += [f"10^{row['target_log10_tries_median']:.1f}", f"{row['unseen_kept']:.3f}", f"x{row['perplexity_ratio']:.3f}"]
    assert f"| natural | {' | '.join(numbers)} |" in page
    for name in ("target_match_interval", "unseen_kept_interval"):
        low, high = row[name]
        assert f"{low:.3f} to {high:.3f}" in page
