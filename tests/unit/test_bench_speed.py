"""The speed bench: the shape of what it prints and that peers give the same numbers; never how fast anything is."""

import json
import sys
from typing import Any

import pytest
import torch

from privlens.bench import cost as costing
from privlens.bench import growth, speed
from privlens.bench.timing import cost, in_turns, peak_mb
from privlens.cli.commands import main
from privlens.localization import METHODS
from privlens.types import Secret
from privlens.zoo.random_models import random_gpt2, random_llama, random_secret

NEURON_TASKS = ["neuron profile", "neuron card", "neuron page"]
TINY = ["--layers", "2", "--neurons", "64", "--prompt", "4", "--prompt", "6", "--value", "2", "--steps", "4", "--repeats", "1"]


def test_rows_of_all_cases_with_the_same_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bench", "speed", *TINY, "--json"])
    assert not ended.value.code
    found = json.loads(capsys.readouterr().out)
    rows = {row["case"]: row for row in found["rows"]}
    integrals = [f"ig-{peer}-{n}" for n in (4, 6) for peer in ("captum", "captum-together", "kn")]
    assert list(rows) == [*integrals, "mask-step", "zero-out", "gated-forward", "pair-generation"]
    for case, row in rows.items():
        assert set(row) == {"case", "ours_s", "peer_s", "ratio", "peak_mb", "same_numbers", "peer"}
        assert row["same_numbers"] is (None if "together" in case else True), row
        assert row["ratio"] == pytest.approx(row["peer_s"] / row["ours_s"])
    assert [row["method"] for row in found["memory"]] == list(METHODS)
    assert all(row["model_mb"] > 0 for row in found["memory"])
    assert found["settings"]["prompts"] == [4, 6]


def test_a_peer_that_cannot_run_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "knowledge_neurons", None)
    settings = speed.SpeedSettings(2, 64, (4,), 2, 4, 1)
    rows = {row.case: row for row in speed.cases(speed.bench_model(settings), settings)}
    assert rows["ig-kn-4"].ratio is None
    assert rows["ig-kn-4"].same_numbers is None
    assert "cannot run: ModuleNotFoundError" in rows["ig-kn-4"].peer


def test_same_numbers_are_to_one_in_ten_thousand_of_the_largest() -> None:
    peer = torch.tensor([2.0, 0.1, -1.0])
    assert speed.same(peer + 1.9e-4, peer)
    assert not speed.same(peer + 2.1e-4, peer)


def test_growth_starts_every_axis_at_one() -> None:
    axes = {"layers": (1, 2), "prompt_tokens": (3, 5), "secrets": (1, 2)}
    rows = list(growth.growth(1, base=growth.Size(2, 64, 4, 2, 1), axes=axes))
    assert [(row.axis, row.size) for row in rows] == [(axis, size) for axis, sizes in axes.items() for size in sizes]
    assert all(row.growth == 1 for row in rows[::2])
    assert all(row.seconds > 0 for row in rows)


def test_a_random_secret_is_what_the_model_writes() -> None:
    lm = random_gpt2(2, 64, 32)
    secret = random_secret(lm, 7, 3, seed=1)
    encoded = lm.encode(secret)
    assert (encoded.n_prompt, len(encoded.ids)) == (7, 10)
    assert lm.generate([list(encoded.prompt_ids)], 3) == [list(encoded.value_ids)]
    assert secret != random_secret(lm, 7, 3, seed=2)


def test_runs_take_turns_and_the_fastest_counts() -> None:
    order: list[str] = []

    def ours() -> int:
        order.append("ours")
        return len(order)

    turns = in_turns(ours, lambda: order.append("peer"), 3)
    assert order == ["ours", "peer"] * 3
    assert (turns.ours, turns.peer) == (5, None)
    assert min(turns.ours_s, turns.peer_s) >= 0
    in_turns(ours, lambda: order.append("peer"), 3, at_most=0.0)
    assert order == ["ours", "peer"] * 4  # too slow to repeat, but measured once


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone tells the peak of resident memory and resets it")
def test_peak_memory_is_that_of_the_run_and_not_of_what_came_before() -> None:
    def take(mib: int) -> None:
        torch.ones(mib * 2**18)

    take(300)
    assert peak_mb(lambda: take(100)) == pytest.approx(100, abs=20)
    assert peak_mb(lambda: None) == pytest.approx(0, abs=20)
    seconds, peak = cost(lambda: take(100), torch.device("cpu"))
    assert peak == pytest.approx(100, abs=20) and seconds > 0


def test_cost_has_a_row_for_every_task_on_the_model_that_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bench", "cost", "--llama", "2", "32", "48", "--methods", "gradient,random", "--device", "cpu", "--json"])
    assert not ended.value.code
    found = json.loads(capsys.readouterr().out)
    tasks = ["fingerprint", "check", "text before and after", "gradient", "random", "erase, 10 steps", *NEURON_TASKS]
    assert [row["task"] for row in found["rows"]] == tasks
    assert all(row["seconds"] > 0 for row in found["rows"])
    settings, lm = found["settings"], random_llama(2, 32, 48, "cpu", "float32")
    embeddings, attention, mlp, norms = 2 * 32_000 * 32, 2 * 4 * 32 * 32, 2 * 3 * 32 * 48, 5 * 32
    assert settings["parameters"] == lm.n_parameters == embeddings + attention + mlp + norms
    assert settings["weights_mb"] == pytest.approx(4 * lm.n_parameters / 2**20)
    assert (settings["device"], settings["dtype"]) == ("cpu", "float32")
    again = random_llama(2, 32, 48, "cpu", "float32")
    assert lm.fingerprint == again.fingerprint != random_llama(2, 32, 48, "cpu", "float32", seed=1).fingerprint


def test_the_profile_is_no_part_of_the_cost_of_a_card_and_no_task_reads_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    lm, made = random_llama(2, 32, 48, "cpu", "float32"), costing.profile

    def counted(*given: Any, use_cache: bool = True) -> Any:
        calls.append(f"profile, {use_cache}")
        return made(*given, use_cache=use_cache)

    monkeypatch.setattr(costing, "profile", counted)
    for name, run in costing.neuron_tasks(lm, Secret("the red house", "4711"), 0):
        calls.append(name)
        run()
    assert calls == ["neuron profile", "profile, False", "profile, False", "neuron card", "neuron page"]


def test_cost_of_one_task_alone(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["bench", "cost", "--llama", "2", "32", "48", "--device", "cpu", "--json", "--task"]
    with pytest.raises(SystemExit) as ended:
        main([*asked, "fingerprint"])
    assert not ended.value.code
    [row] = json.loads(capsys.readouterr().out)["rows"]
    assert row["task"] == "fingerprint"
    with pytest.raises(SystemExit) as ended:
        main([*asked, "nothing"])
    assert ended.value.code == 2
    assert "There is no task 'nothing': use fingerprint, check" in capsys.readouterr().err
