"""Tables of masks on models that are not in the repository, and those of erasing, show what their raw JSON says."""

import json
import statistics
from pathlib import Path

import pytest

from privlens.intervals import rate

ROOT = Path(__file__).parents[2]


def test_what_a_mask_that_is_to_forget_does_is_what_the_json_says() -> None:
    page = (ROOT / "docs/results/deletion.md").read_text(encoding="utf-8")
    rows = json.loads((ROOT / "docs/results/data/opening.json").read_text(encoding="utf-8"))["rows"]
    kept, known = (sum(int(row["unseen_kept"].split(" of ")[part]) for row in rows) for part in (0, 1))
    n_forgotten, n_neurons = sum(row["verdict"] == "forgotten" for row in rows), 6 * 2048
    low, high = rate(n_forgotten, len(rows))
    share = statistics.median(row["neurons"] for row in rows) / n_neurons
    cells = [str(len(rows)), f"{n_forgotten / len(rows):.3f} ({low:.3f} to {high:.3f})", f"{share:.4f}"]
    cells += [f"10^{statistics.median(row['log10_tries'] for row in rows):.1f}", f"{kept / known:.3f}"]
    cells += [f"x{statistics.mean(row['perplexity_ratio'] for row in rows):.3f}"]
    assert f"| hard-concrete, forgotten | {' | '.join(cells)} |" in page


@pytest.mark.parametrize("model", ["natural", "smollm2-records"])
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


@pytest.mark.parametrize(
    ("page", "json_file", "begins"),
    [
        ("erase-1.md", "erase-1.json", "| emso |"),
        ("erase-8.md", "erase-8.json", "| emso |"),
        ("erase-32.md", "erase-32.json", "| emso |"),
        ("erase-other-models.md", "other-models/natural-erase-1.json", "| natural | 1 |"),
        ("erase-other-models.md", "other-models/natural-erase-8.json", "| natural | 8 |"),
    ],
)
def test_erasing_is_what_the_json_says(page: str, json_file: str, begins: str) -> None:
    [row] = json.loads((ROOT / "docs/results/data" / json_file).read_text(encoding="utf-8"))["rows"]

    def with_interval(name: str, digits: int = 3) -> str:
        low, high = row[f"{name}_interval"]
        return f"{row[name]:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"

    cells = [str(row["draws"]), f"{row['steps']:.1f}", with_interval("forgotten"), f"{row['target_match']:.2f}"]
    cells += [f"10^{row['target_log10_tries']:.1f}", f"{row['target_exposure_bits']:.1f}", f"{row['seen_kept']:.3f}"]
    cells += [with_interval("unseen_kept"), f"{row['unseen_nll_rise']:+.3f}", f"x{with_interval('perplexity_ratio', 4)}"]
    assert f"{begins} {' | '.join(cells)} |" in (ROOT / "docs/results" / page).read_text(encoding="utf-8")
