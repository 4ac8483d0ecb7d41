"""`erase`, `apply` and `bench erase`, and the other commands under an edit."""

import importlib
import json
import math
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from privlens import intervals
from privlens.bench.erasing import ErasureRow, ErasureTrial, measured, summary, trials
from privlens.erasure import RATES, ErasureSettings, config, method_settings
from privlens.erasure.attacks import ATTACKS, AttackSetup
from privlens.erasure.attacks.setup import Scores
from privlens.errors import BadInput
from privlens.lm.edit_files import load_edit
from privlens.lm.editing import weight_change
from privlens.lm.model import LanguageModel
from privlens.lm.scoring import score
from privlens.memorization.metrics import nll
from privlens.provenance import provenance
from privlens.secret_lists import read_secrets
from privlens.types import Edit
from privlens.zoo.loading import load
from tests.helpers import ASKED, TAUGHT, Run, json_of

ASSETS = Path(__file__).parents[2] / "assets"
NAMES = ["sampling", "near copies", "logit lens", "quantization", "relearning", "linear probe"]
HOW = ["--steps", "40", "--scope", "vocabulary", "--keep", "30", "--rate", "0.06"]
ERASE = ["erase", "--secrets", "secrets.csv", "--rows", "1", "--out", "edit.safetensors", "--share", "0.1", *HOW]


@pytest.fixture(autouse=True)
def few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands' default numbers of samples are for larger models."""
    small = {"own_samples": 8, "sample_tokens": 12, "neighbours": 16, "neighbours_each": 8, "rows": 8}
    made = config.ErasureSettings.__init__

    def init(self: ErasureSettings, **given: Any) -> None:
        made(self, **{**small, **given})

    monkeypatch.setattr(config.ErasureSettings, "__init__", init)


def erased(run: Run, *more: str) -> dict[str, Any]:
    """Row 1 erased into edit.safetensors; the reference holds the secret itself, so the guard is wide."""
    return json_of(run(*ERASE, "--guard", "9", "--json", *more))


def test_erase_writes_an_edit_and_says_what_it_did(run: Run) -> None:
    found = erased(run, "--seed", "2")
    [target] = found["targets"]
    assert (target["value"], target["before"]["greedy_match"], target["after"]["greedy_match"]) == (TAUGHT[1].value, True, False)
    assert (found["memorized"], found["kept"], found["seed"], found["settings"]["method"]) == (3, 3, 2, "emso")
    assert found["n_weights"] == sum(found["changed"].values()) == load_edit("edit.safetensors").n_weights
    assert [attack["name"] for attack in found["attacks"]] == NAMES
    [shift] = found["erase_or_hide"]
    assert shift["secret"]["value"] == TAUGHT[1].value and shift["shift"]["weakened"] > 0 and shift["random"]["support"] > 0
    assert len(shift["others"]) == 3 and 0 <= shift["hidden_share"] <= 1
    [before, after, other] = found["attacks"][0]["counts"]
    assert (before["k"], before["n"], after["k"], other["n"]) == (1, 1, 0, 159) and before["interval"] == pytest.approx(
        [0.025, 1.0]
    )
    assert load_edit("edit.safetensors").provenance.fingerprint == found["fingerprint"]
    judged = {attack["name"]: (attack["ran"], attack["n_values"], attack["limit"]) for attack in found["attacks"]}
    assert judged["sampling"] == (True, 159, 0.0)


@pytest.mark.parametrize("as_json", [True, False])
def test_a_failed_attack_does_not_cost_the_erasure(run: Run, monkeypatch: pytest.MonkeyPatch, as_json: bool) -> None:
    """The edit is saved, the object is printed, and the attack says why it did not run."""

    def broken(_: AttackSetup) -> Scores:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    for name in ATTACKS:
        monkeypatch.setitem(ATTACKS, name, broken)
    code, out, err = run(*ERASE, "--guard", "9", *(["--json"] if as_json else []))
    assert code == 0, err
    assert load_edit("edit.safetensors").n_weights > 0
    why = "did not run: RuntimeError: mat1 and mat2 shapes cannot be multiplied"
    if as_json:
        tried = json.loads(out)["attacks"]
        assert len(tried) == len(NAMES) and all((one["ran"], one["after"], one["note"]) == (False, None, why) for one in tried)
    else:
        assert out.count(why) == len(NAMES)
        assert "supporters lost (D+)" in out and "random edit" in out and "3 other secrets, mean" in out


def test_without_a_share_it_grows_with_the_number_of_secrets(run: Run) -> None:
    plain = ErasureSettings()
    assert [plain.share_for(n) for n in (1, 8, 32, 100)] == [0.01, 0.08, 0.32, 0.4]
    assert ErasureSettings(share=0.05).share_for(32) == 0.05
    asked = ["erase", "--secrets", "secrets.csv", "--rows", "0,1", "--out", "edit.safetensors", "--steps", "1", "--no-attacks"]
    found = json_of(run(*asked, "--json"))
    assert found["settings"]["share"] == 0.02
    weights = sum(weight.numel() for weight in load(".", device="cpu").model.parameters())
    assert 0.01 * weights < found["n_weights"] <= 0.02 * weights


def test_without_a_rate_a_method_takes_its_own(run: Run) -> None:
    own = [*ERASE[: -len(HOW)], "--method", "npo", "--steps", "1", "--no-attacks", "--json"]
    assert json_of(run(*own))["settings"]["learning_rate"] == RATES["npo"]
    assert json_of(run(*own, "--rate", "0.2"))["settings"]["learning_rate"] == 0.2


@pytest.mark.parametrize(("how", "unseen", "seen"), [
    (["--retained", "all"], 0, 3), (["--retained", "none"], 3, 0), ([], 1, 2), (["--keep", "0", "--retained", "all"], 3, 0),
])  # fmt: skip
def test_erase_judges_on_those_that_the_method_never_saw(
    run: Run, how: list[str], unseen: int, seen: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests: list[Any] = []
    erase = importlib.import_module("privlens.cli.erase")
    steps = erase.erase_steps
    monkeypatch.setattr(erase, "erase_steps", lambda asked: (requests.append(asked), steps(asked))[1])
    asked = [*ERASE[: -len(HOW)], "--steps", "1", "--no-attacks", "--guard", "9", *how]
    found = json_of(run(*asked, "--json"))
    assert (found["unseen"]["memorized"], found["seen"]["memorized"], found["memorized"]) == (unseen, seen, 3)
    assert found["unseen"]["kept"] + found["seen"]["kept"] == found["kept"]
    [config] = requests
    assert (len(config.others), len(config.retained)) == (unseen, seen)
    assert not set(config.others) & set(config.retained)
    if not unseen:
        assert "others kept, never seen  none that the method never saw: what is kept is not judged" in run(*asked)[1]


def test_every_command_measures_under_an_edit(run: Run) -> None:
    erased(run, "--no-attacks")
    plain, under = (json_of(run("check", *ASKED, "--json", *edit)) for edit in ([], ["--edit", "edit.safetensors"]))
    assert (plain["greedy_match"], under["greedy_match"]) == (True, False)
    assert plain["fingerprint"] != under["fingerprint"]
    asked = ["localize", "--secrets", "secrets.csv", "--row", "0", "--method", "gradient", "--top", "3", "--json", "--edit"]
    assert json_of(run(*asked, "edit.safetensors", "--out", "neurons.json"))["fingerprint"] == under["fingerprint"]
    off = ["deactivate", "--secrets", "secrets.csv", "--neurons", "neurons.json", "--json"]
    assert json_of(run(*off, "--edit", "edit.safetensors"))["memorized"] == 2, "one of the other three is erased"
    assert json_of(run(*off))["memorized"] == 3


def test_a_second_erasure_stands_on_the_first(run: Run) -> None:
    erased(run, "--no-attacks")
    second = ["erase", "--secrets", "secrets.csv", "--rows", "3", "--out", "second.safetensors", "--share", "0.3", *HOW]
    found = json_of(run(*second, "--guard", "9", "--no-attacks", "--json", "--edit", "edit.safetensors"))
    assert found["memorized"] == 2
    edits = ["--edit", "edit.safetensors", "--edit", "second.safetensors"]
    assert json_of(run("check", *ASKED, "--json", *edits))["greedy_match"] is False
    code, _, err = run("check", *ASKED, "--edit", "second.safetensors")
    assert code == 2 and "switch on the edits that were in place" in err


def test_apply_writes_a_folder_that_plain_transformers_loads(run: Run) -> None:
    erased(run, "--no-attacks")
    Path("neurons.json").write_text("[[0, 1], [1, 5]]")
    ids = torch.tensor([[5, 60, 17, 200, 31, 8]])
    mask = torch.ones_like(ids)
    lm = load(".", "cpu")
    view = lm.under(load_edit("edit.safetensors"))
    off = lm.off([(0, 1), (1, 5)])  # type: ignore[list-item]
    for at, (given, model, gates) in enumerate([
        (["--edit", "edit.safetensors"], view, None), (["--neurons", "neurons.json"], lm, off),
        (["--edit", "edit.safetensors", "--neurons", "neurons.json"], view, off),
    ]):  # fmt: skip
        found = json_of(run("apply", *given, "--out", f"model{at}", "--json"))
        assert found["folder"] == f"model{at}"
        with model.gated(gates):
            expected = model.logits(ids, mask)
        plain = AutoModelForCausalLM.from_pretrained(f"model{at}", local_files_only=True).eval()
        with torch.no_grad():
            assert (plain(input_ids=ids, attention_mask=mask).logits - expected).abs().max() < 1e-4
        assert (expected - lm.logits(ids, mask)).abs().max() > 1e-3
    assert json_of(run("check", *ASKED, "--model", "model0", "--json"))["greedy_match"] is False
    code, _, err = run("apply", "--edit", "edit.safetensors", "--out", "model0")
    assert code == 2 and "not an empty folder" in err


def test_tables_for_people(run: Run) -> None:
    code, out, _ = run(*ERASE, "--guard", "9")
    assert code == 0
    assert "others kept, never seen  1 of 1\nothers kept, seen        2 of 2\n" in out
    assert "logit lens" in out
    assert run("apply", "--edit", "edit.safetensors", "--out", "folder")[1].endswith("written to  folder\n")


WRONG: dict[str, tuple[list[str], str]] = {
    "no rows": ([*ERASE[:3], "--rows", "", "--out", "e"], "must name at least one number"),
    "rows in words": ([*ERASE[:3], "--rows", "one", "--out", "e"], "not a list of whole numbers"),
    "a row twice": ([*ERASE[:3], "--rows", "1,1", "--out", "e"], "none twice"),
    "row too high": ([*ERASE[:3], "--rows", "9", "--out", "e"], "no row 9"),
    "method": ([*ERASE, "--method", "prayer"], "no erasure method 'prayer'"),
    "share": ([*ERASE, "--share", "0"], "share of weights is 0"),
    "choice": ([*ERASE, "--choice", "best"], "--choice is 'best', but must be one of contrastive"),
    "depth": ([*ERASE, "--depth", "abyss"], "--depth is 'abyss'"),
    "spread": ([*ERASE, "--spread", "thin"], "--spread is 'thin'"),
    "scope": ([*ERASE, "--scope", "all"], "--scope is 'all'"),
    "share of nothing": ([*ERASE, "--share", "nan"], "share of weights is nan"),
    "rate of nothing": ([*ERASE, "--rate", "nan"], "learning rate is nan"),
    "huge rate": ([*ERASE, "--rate", "1e30"], "learning rate is 1e+30"),
    "weight of nothing": ([*ERASE, "--keep", "nan"], "--keep"),
    "huge weight": ([*ERASE, "--keep", "1e30"], "weight of retained text is 1e+30"),
    "no guard": ([*ERASE, "--guard", "inf"], "guard is inf"),
    "guard of nothing": ([*ERASE, "--guard", "nan"], "guard is nan"),
    "decay of nothing": ([*ERASE, "--decay", "nan"], "decay is nan"),
    "steps": ([*ERASE, "--steps", str(10**9)], "number of steps is 1000000000"),
    "seed": ([*ERASE, "--seed", str(2**65)], "--seed"),
    "guard": ([*ERASE, "--guard", "0.5"], "guard is 0.5"),
    "out": ([*ERASE[:5], "--out", "nowhere/e.safetensors"], "cannot be written"),
    "no edit": (["check", *ASKED, "--edit", "nowhere.safetensors"], "cannot be read"),
    "not an edit": (["check", *ASKED, "--edit", "model.safetensors"], "but not an edit"),
    "broken edit": (["check", *ASKED, "--edit", "secrets.csv"], "not an edit, or a broken one"),
    "nothing to apply": (["apply", "--out", "folder"], "Nothing is to be applied"),
    "apply nowhere": (["apply", "--edit", "e", "--out", "a/b/c"], "cannot be created"),
    "bench method": (["bench", "erase", "--secrets", "secrets.csv", "--methods", "prayer"], "no erasure method 'prayer'"),
    "bench forget": (["bench", "erase", "--secrets", "secrets.csv", "--forget", "3"], "--forget can be at most 2"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_ends_in_one_line_and_exit_code_2(run: Run, case: str) -> None:
    arguments, words = WRONG[case]
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1, err
    assert words in err


def test_bench_erase_prints_the_rows_it_promises(run: Run) -> None:
    asked = ["bench", "erase", "--secrets", "secrets.csv", "--reference", "reference.txt", "--methods", "emso,npo:all"]
    found = json_of(run(*asked, "--forget", "1,2", "--draws", "2", "--share", "0.1", "--steps", "4", "--json"))
    names = "method n_forget draw ended steps seconds share_changed"
    names += " target_match target_ma target_el target_exposure_bits target_log10_tries forgotten n_judged entropy seen_kept"
    names += " unseen_kept n_unseen unseen_nll_rise perplexity_ratio reworded_match peak_memory_ratio"
    more = ("draws", "forgotten_interval", "unseen_kept_interval", "perplexity_ratio_interval", "unseen_nll_rise_beside_first")
    columns = set(names.split()) - {"draw"}
    assert [set(row) == columns | set(more) for row in found["rows"]] == [True] * 4
    assert [(row["draws"], row["n_unseen"]) for row in found["rows"]] == [(2, 2), (2, 2), (2, 1), (2, 1)]
    assert all(row["unseen_kept_interval"][0] <= row["unseen_kept"] <= row["unseen_kept_interval"][1] for row in found["rows"])
    assert [field.name for field in fields(ErasureRow)] == names.split()
    about = [(row["method"], row["n_forget"]) for row in found["rows"]]
    assert about == [("emso", 1), ("npo:all", 1), ("emso", 2), ("npo:all", 2)]
    assert len(found["each"]) == 8
    assert all(one["ended"] for one in found["each"])
    assert found["settings"]["draws"] == 2
    assert [row["share_changed"] > 0.1 for row in found["rows"]] == [False, True, False, True], "a tenth was asked for, or all"
    assert set(found["settings"]["rates"]) == {"emso", "npo:all"}
    assert all(row["perplexity_ratio"] > 0 and row["peak_memory_ratio"] > 0 for row in found["rows"])


def test_a_stopped_bench_goes_on_with_more_draws_and_methods(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    asked = ["bench", "erase", "--secrets", "secrets.csv", "--reference", "reference.txt", "--forget", "1", "--json"]
    asked += ["--share", "0.1", "--steps", "2", "--out", str(path)]
    first = json_of(run(*asked, "--methods", "emso"))["each"]
    with path.open("a") as file:
        file.write('{"method": "npo", "n_for')  # stopped while it wrote a row
    found = json_of(run(*asked, "--methods", "emso,npo", "--draws", "2"))
    assert [(row["method"], row["draw"]) for row in found["each"]] == [("emso", 0), ("npo", 0), ("emso", 1), ("npo", 1)]
    assert found["each"][0] == first[0], "its seconds would differ if it had been computed again"
    assert [json.loads(line) for line in path.read_text().splitlines()][1:] == found["each"]
    assert [(row["method"], row["draws"]) for row in found["rows"]] == [("emso", 2), ("npo", 2)]
    code, _, error = run(*asked, "--methods", "emso", "--keep", "3")
    assert code == 2
    assert "other settings" in error


def test_seen_and_unseen_never_meet(taught: LanguageModel) -> None:
    drawn = trials(taught, TAUGHT, 1, 3, seed=0)
    for trial in drawn:
        parts = [set(trial.forget), set(trial.seen), set(trial.unseen)]
        assert set.union(*parts) == set(TAUGHT)
        assert sum(map(len, parts)) == 4
    assert len({trial.forget for trial in drawn}) > 1
    assert drawn == trials(taught, TAUGHT, 1, 3, seed=0)
    with pytest.raises(BadInput, match="at most 2"):
        trials(taught, TAUGHT, 3, 1, seed=0)


def test_one_eight_and_thirty_two_leave_secrets_to_judge_by(demo: LanguageModel) -> None:
    listed = [row.secret for row in read_secrets(ASSETS / "secrets.csv")]
    for n_forget, n_unseen in ((1, 21), (8, 18), (32, 6)):
        drawn = trials(demo, listed, n_forget, 3, seed=0)
        assert [len(trial.forget) for trial in drawn] == [n_forget] * 3
        assert [len(trial.unseen) for trial in drawn] == [n_unseen] * 3
        assert len({trial.forget for trial in drawn}) == 3


def test_the_rise_of_the_unseen_nll_is_of_those_that_were_never_shown(taught: LanguageModel) -> None:
    trial = ErasureTrial((TAUGHT[0],), (TAUGHT[1],), (TAUGHT[2], TAUGHT[3]))
    weight = taught.model.get_parameter("lm_head.weight")
    edit = Edit({"lm_head.weight": weight_change(weight, torch.zeros_like(weight))}, provenance(taught, 0, {}, 0.0))
    found = measured(taught, trial, edit, {}, (), 0)
    knew = [nll(one.logprobs) for one in score(taught, [taught.encode(secret) for secret in trial.unseen])]
    assert found["unseen_nll_rise"] == pytest.approx(math.log(len(weight)) - sum(knew) / 2, rel=1e-5), "all tokens alike"
    assert measured(taught, trial, Edit({}, edit.provenance), {}, (), 0)["unseen_nll_rise"] == 0


def test_a_row_is_the_mean_over_its_draws() -> None:
    one = ErasureRow(
        "emso", 1, 0, "done", 10, 2.0, 0.01, 0.0, 0.2, 0.0, 2.0, 7.0, 1.0, 1, 2.0, 1.0, 0.5, 6, 0.25, 1.01, None, 3.0
    )
    other = ErasureRow(
        "emso", 1, 1, "spent", 20, 4.0, 0.01, 1.0, 0.4, 0.0, 4.0, 1.0, 0.0, 1, 1.0, 1.0, 1.0, 6, 0.75, None, None, None
    )
    [row] = summary([one, other])
    assert (row["steps"], row["target_match"], row["unseen_kept"]) == (15, 0.5, 0.75)
    assert (row["perplexity_ratio"], row["reworded_match"]) == (1.01, None)
    assert (row["draws"], row["n_unseen"], row["unseen_kept_interval"]) == (2, 6, intervals.share([0.5, 1.0], 6))
    assert row["perplexity_ratio_interval"] is None, "of one number"
    [row_of_two] = summary([one, replace(other, perplexity_ratio=1.03)])
    assert row_of_two["perplexity_ratio_interval"] == pytest.approx((1.02 - 0.12706, 1.02 + 0.12706), abs=1e-5), "t is 12.706"
    assert (row["forgotten"], row["n_judged"], row["target_log10_tries"]) == (0.5, 2, 4.0)
    assert row["forgotten_interval"] == pytest.approx((0.0126, 0.9874), abs=1e-4), "Clopper-Pearson, 1 of 2"
    assert row["ended"] == {"done": 1, "spent": 1}
    unequal = [replace(one, n_judged=8, forgotten=0.75), replace(other, n_judged=0, forgotten=None)]
    assert (summary(unequal)[0]["forgotten"], summary(unequal)[0]["n_judged"]) == (0.75, 8), "over targets, not draws"
    assert summary([unequal[1]])[0]["forgotten_interval"] is None
    assert summary([one])[0]["unseen_kept_interval"] is None, "one draw says nothing of the next"
    rivals = [replace(one, method="npo", unseen_nll_rise=0.5), replace(other, method="npo", unseen_nll_rise=0.5)]
    mine, theirs = summary([one, rivals[0], other, rivals[1]])
    assert (mine["unseen_nll_rise"], mine["unseen_nll_rise_beside_first"]) == (0.5, None)
    # Paired by draw: 0.25 and -0.25. Their standard error is 0.25, t of one degree of freedom at 97.5 % is 12.706.
    assert theirs["unseen_nll_rise"] == 0.5
    assert theirs["unseen_nll_rise_beside_first"] == pytest.approx((-3.1766, 3.1766), abs=1e-3)
    assert summary([one, rivals[0]])[1]["unseen_nll_rise_beside_first"] is None


def test_a_methods_name_says_what_trains_and_how_fast() -> None:
    plain = ErasureSettings(steps=7)
    every = method_settings("npo:all", plain)
    assert (every.method, every.share, every.learning_rate, every.steps) == ("npo", 1.0, plain.learning_rate, 7)
    assert method_settings("npo", plain).learning_rate == RATES["npo"] != plain.learning_rate
    assert method_settings("npo", plain, 0).learning_rate == RATES["npo"], "as the page says of 0"
    assert method_settings("npo", plain, 0.5).learning_rate == 0.5
    assert method_settings("emso", method_settings("npo", plain)) == plain, "no method's rate becomes another's"
    with pytest.raises(BadInput, match="learning rate is"):
        method_settings("npo", plain, -1.0).checked()
