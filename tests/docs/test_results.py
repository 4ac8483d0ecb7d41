"""Tables of results are those of their raw JSON, and one row of each is what the program computes today."""

import importlib.util
import json
import re
from types import ModuleType

import pytest

from tests.docs.pages import ROOT

DATA = ROOT / "docs" / "results" / "data"
TIMES = ("audit-scaling", "load-", "speed", "growth", "page", "cost")
"""Seconds, which no two machines share."""


@pytest.fixture(scope="module")
def check() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check", ROOT / "docs" / "results" / "check.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_row_of_each_table_is_what_is_computed_today(check: ModuleType) -> None:
    recorded = {path.name for path in DATA.glob("*.json") if not path.name.startswith(TIMES)}
    assert set(check.CHECKS) | set(check.SLOW) == recorded
    for compute in check.CHECKS.values():
        assert check.differing(*compute()) == []


def test_a_number_that_differs_is_told(check: ModuleType) -> None:
    row = {"nll": 2.0, "nll_interval": [1.0, 3.0]}
    assert check.differing(row, {**row, "nll": 2.00001}) == []
    assert check.differing({"exposure": None}, {"exposure": None}) == []
    assert check.differing({"exposure": None}, {"exposure": 8.0}) == ["exposure: None in the repository, 8.0 now"]
    assert check.differing({"steps": 195, "recall": 1.0}, {"steps": 194, "recall": 11 / 12}) == []
    assert check.differing({"steps": 195}, {"steps": 190}) == ["steps: 195 in the repository, 190 now"]
    assert check.differing(row, {**row, "nll": 2.1}) == ["nll: 2.0 in the repository, 2.1 now"]


def test_what_demo_has_memorized_is_what_the_json_says() -> None:
    page = (ROOT / "docs/results/memorized.md").read_text(encoding="utf-8")
    shown = re.findall(r"^\|" + r" ([\d.]+) \|" * 7 + "$", page, re.MULTILINE)
    names = ("greedy_match", "memorization_accuracy", "nll", "exposure_bits", "reworded_match")
    recorded = json.loads((DATA / "memorized.json").read_text())["rows"]
    assert shown == [(str(row["repeats"]), str(row["n"]), *(f"{row[name]:.3f}" for name in names)) for row in recorded]


@pytest.mark.parametrize("name", ["load-8", "load-30", "load-8-ten-minutes", "load-8-again"])
def test_the_waits_of_many_visitors_are_what_the_json_says(name: str) -> None:
    page = (ROOT / "docs/results/load.md").read_text(encoding="utf-8")
    rows = {row["kind"]: row for row in json.loads((DATA / f"{name}.json").read_text())["rows"]}
    assert all(row["errors"] == row["mismatches"] == 0 for row in rows.values())
    for kind in ("check", "all light"):
        row = rows[kind]
        numbers = (row["alone_p50_s"], row["p50_s"], row["p95_s"], row["max_s"], row["first_sign_max_s"])
        shown = " | ".join([str(row["requests"]), *(f"{number:.2f}" for number in numbers)])
        assert f"| {shown} |" in page


def test_the_pace_of_audits_is_what_the_json_says() -> None:
    page = (ROOT / "docs/results/audit-scaling.md").read_text(encoding="utf-8")
    recorded = json.loads((DATA / "audit-scaling.json").read_text())
    rows, [one] = recorded["rows"], recorded["one_by_one"]
    cells = [f"{one['secrets']}", f"{one['one_by_one_s']:.2f}", f"{one['batched_s']:.2f}", f"{one['ratio']:.1f}"]
    cells += [f"{one['one_by_one_passes']:.1f}", f"{one['batched_passes']:.1f}"]
    cells += [f"{one['one_by_one_tokens']:.0f}", f"{one['batched_tokens']:.0f}", f"{one['largest_difference']:.1e}"]
    assert f"| {' | '.join(cells)} |" in page
    assert [row["workers"] for row in rows] == [0, 1, 2]
    for row in rows:
        name = f"{row['workers']} Ray worker{'' if row['workers'] == 1 else 's'}" if row["workers"] else "this process"
        seconds = " | ".join(f"{row[field]:.1f}" for field in ("start_s", "seconds"))
        pace = f"{row['seconds_each']:.2f} | {row['a_second']:.2f} | {row['million_days']:.0f} | {row['load']:.1f}"
        assert f"| {name} | {row['secrets']} | {seconds} | {pace} |" in page


def test_what_is_found_of_plants_is_what_the_json_says() -> None:
    page = (ROOT / "docs/results/injection.md").read_text(encoding="utf-8")
    rare, common = (json.loads((DATA / f"injection-{ratio}.json").read_text())["rows"] for ratio in ("0.001", "0.01"))
    for method in {row["method"] for row in rare}:
        cells = []
        for rows in (rare, common):
            first, twice, _ = (row for row in rows if row["method"] == method)
            low, high = first["interval"]
            cells += [f"{first['recall']:.2f} ({low:.2f} to {high:.2f})", f"{twice['recall']:.2f}", f"{first['auc']:.3f}"]
        assert re.search(rf"^\| {method}( \(control\))? \| {re.escape(' | '.join(cells))} \|$", page, re.MULTILINE), method


def test_what_slow_methods_find_of_plants_is_what_the_json_says() -> None:
    page = (ROOT / "docs/results/injection.md").read_text(encoding="utf-8")
    recorded = [json.loads((DATA / f"injection-slow-{ratio}.json").read_text())["rows"] for ratio in ("0.001", "0.01")]
    for method in ("zero-out", "slimming", "hard-concrete-sufficient", "hard-concrete"):
        found = []
        for rows in recorded:
            first, twice, _ = (row for row in rows if row["method"] == method)
            low, high = first["interval"]
            found += [f"{first['recall']:.2f} ({low:.2f} to {high:.2f})", f"{twice['recall']:.2f}", f"{first['auc']:.3f}"]
            found.append(f"{first['seconds']:.1f}")
        assert f"| {method} | {' | '.join(found)} |" in page


def test_all_methods_switched_off_are_what_the_json_says() -> None:
    page = (ROOT / "docs/results/deletion-all-methods.md").read_text(encoding="utf-8")
    rows = json.loads((DATA / "deletion-all-methods.json").read_text())["rows"]
    assert len(rows) == 2 * len({row["method"] for row in rows})
    for row in rows:
        exponent = row["target_log10_tries_median"]
        numbers = [f"{row['target_match']:.2f}", f"10^{exponent:.1f}" if exponent else "1", f"{row['target_exposure_bits']:.1f}"]
        numbers += [f"{row['forgotten']:.2f}", f"{row['unseen_kept']:.3f}", f"x{row['perplexity_ratio']:.3f}"]
        assert re.search(rf"^\| {row['method']} \|.*{re.escape(' | '.join(numbers))} \|", page, re.MULTILINE), row["method"]


@pytest.mark.parametrize("name", ["recall", "injection-smollm2"])
def test_what_is_found_of_plants_in_smollm2_is_what_the_json_says(name: str) -> None:
    page = (ROOT / f"docs/results/{name}.md").read_text(encoding="utf-8")
    rows = json.loads((DATA / f"{name}.json").read_text())["rows"]
    for first, twice, most in zip(rows[::3], rows[1::3], rows[2::3], strict=True):
        low, high = first["interval"]
        found = (
            f"{first['recall']:.2f} ({low:.2f} to {high:.2f}) | {twice['recall']:.2f} | {most['recall']:.2f} | {first['auc']:.3f}"
        )
        assert re.search(rf"^\| {first['method']}( \(control\))? \| {re.escape(found)} \| ", page, re.MULTILINE), first["method"]


@pytest.mark.parametrize("page", ["deletion", "deletion-both-sites"])
def test_switching_off_is_what_the_json_says(page: str) -> None:
    text = (ROOT / f"docs/results/{page}.md").read_text(encoding="utf-8")
    for row in json.loads((DATA / f"{page}.json").read_text())["rows"]:
        exponent = row["target_log10_tries_median"]
        numbers = [f"{row['share']:.4f}", f"{row['target_match']:.2f}", f"{row['target_nll_change']:+.3f}"]
        numbers += [f"10^{exponent:.1f}" if exponent else "1"]
        numbers += [f"{row['target_exposure_bits']:.1f}", f"{row['target_format_bits']:.1f}"]
        numbers += [f"{row['forgotten']:.2f}", f"{row['unseen_kept']:.3f}"]
        assert f"| {row['method']} | {' | '.join(numbers)} | x{row['perplexity_ratio']:.3f} |" in text


def test_what_two_seeds_share_is_what_the_json_says() -> None:
    page = (ROOT / "docs/neurons-kin.md").read_text(encoding="utf-8")
    recorded = json.loads((DATA / "universal.json").read_text())
    for name, share in (
        (f"{0.5} or more", recorded["universal"]),
        *((str(at), one) for at, one in enumerate(recorded["by_layer"])),
    ):
        low, high = share["interval"]
        shown = f"{share['k']} of {share['n']}, {share['k'] / share['n']:.1%} ({low:.1%} to {high:.1%})"
        assert re.search(rf"{re.escape(name)} +{re.escape(shown)}", page), name


@pytest.mark.parametrize("name", ["leaks", *(path.stem for path in (DATA / "other-models").glob("*-leaks.json"))])
def test_what_is_leaked_is_what_the_json_says(name: str) -> None:
    page = (ROOT / "docs/results/leaks.md").read_text(encoding="utf-8")
    recorded = DATA / ("leaks.json" if name == "leaks" else f"other-models/{name}.json")
    assert f"](data/{recorded.relative_to(DATA).as_posix()})" in page
    for row in json.loads(recorded.read_text())["rows"]:
        low, high = row["interval"]
        assert f"| {row['what']} | {row['k']} | {row['n']} | {row['share']:.3f} | {low:.3f} to {high:.3f} |" in page


def test_speed_beside_peers_is_what_the_json_says() -> None:
    page = (ROOT / "docs/results/speed.md").read_text(encoding="utf-8")

    def three_digits(number: float) -> str:
        return f"{number:.{2 if number < 10 else 1 if number < 100 else 0}f}"

    rows = json.loads((DATA / "speed.json").read_text())["rows"]
    assert len(rows) == 10 and all(row["same_numbers"] for row in rows if "together" not in row["case"])
    for row in rows:
        numbers = " | ".join(three_digits(row[name]) for name in ("ours_s", "peer_s", "ratio"))
        assert f"| {numbers} | {row['peak_mb']:.0f} |" in page


def test_the_pace_of_the_page_is_what_the_json_says() -> None:
    page = (ROOT / "docs/results/page.md").read_text(encoding="utf-8")
    recorded = json.loads((DATA / "page.json").read_text())
    assert f"{recorded['settings']['visits']} visits" in page and recorded["from_elsewhere"] == []
    for row in recorded["rows"]:
        assert f" | {row['median']:.2f} | {row['worst']:.2f} |" in page
    run = recorded["live"]
    for number in (f"{run['bar_a_second']:.1f}", f"{run['map_a_second']:.1f}", f"{run['longest_standstill_s']:.2f}"):
        assert re.search(rf"\| {number} \|$", page, re.MULTILINE)


def test_costs_are_what_the_json_says() -> None:
    page = (ROOT / "docs/results/cost.md").read_text(encoding="utf-8")
    for row in json.loads((DATA / "cost.json").read_text())["rows"]:
        assert f"| {row['task']} | {row['seconds']:.3f} s, {row['peak_mb']:.0f} MiB |" in page


def test_growth_is_what_the_json_says() -> None:
    page = (ROOT / "docs/results/growth.md").read_text(encoding="utf-8")
    shown = [line.split()[:4] for line in re.findall(r"^```\n(.*?)^```", page, re.DOTALL | re.MULTILINE)[0].splitlines()[1:]]
    rows = json.loads((DATA / "growth.json").read_text())["rows"]
    assert shown == [[row["axis"], str(row["size"]), f"{row['seconds']:.3f}", f"{row['growth']:.3f}"] for row in rows]


def test_what_fewer_bits_keep_is_what_the_json_says() -> None:
    page = (ROOT / "docs/results/quantized.md").read_text(encoding="utf-8")
    for dtype, name in (("float32", "memorized"), ("int8", "memorized-int8"), ("int4", "memorized-int4")):
        recorded = json.loads((DATA / f"{name}.json").read_text())
        groups = {row["repeats"]: row for row in recorded["rows"]}
        shown = [f"{groups[repeats]['greedy_match']:.3f}" for repeats in (16, 64)]
        shown += [f"{groups[repeats]['nll']:.3f}" for repeats in (0, 16, 64)]
        shown += [f"{groups[64]['reworded_match']:.3f}", f"{recorded['settings']['perplexity']:.3f}"]
        assert f"| {dtype} | {' | '.join(shown)} |" in page


@pytest.mark.parametrize("name", ["erase-1", "erase-8"])
def test_erasing_is_what_the_json_says(name: str) -> None:
    page = (ROOT / f"docs/results/{name}.md").read_text(encoding="utf-8")

    def with_interval(rate: float, interval: list[float] | None, digits: int = 3) -> str:
        ends = [f"{end:.{digits}f}" for end in interval or ()]
        return f"{rate:.{digits}f}" + (f" ({' to '.join(ends)})" if ends else "")

    for row in json.loads((DATA / f"{name}.json").read_text())["rows"]:
        numbers = [str(row["draws"]), f"{row['steps']:.1f}", with_interval(row["forgotten"], row["forgotten_interval"])]
        numbers += [f"{row['target_match']:.2f}", f"10^{row['target_log10_tries']:.1f}", f"{row['target_exposure_bits']:.1f}"]
        numbers += [f"{row['seen_kept']:.3f}", with_interval(row["unseen_kept"], row["unseen_kept_interval"])]
        numbers += [f"{row['unseen_nll_rise']:+.3f}"]
        numbers += [f"x{with_interval(row['perplexity_ratio'], row['perplexity_ratio_interval'], 4)}"]
        assert f"| {row['method']} | {' | '.join(numbers)} |" in page
