"""The command line: one JSON object on stdout, one line on stderr and exit code 2 for whatever a person got wrong."""

import io
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from privlens.localization import METHODS
from privlens.retained.others import key_of
from tests.helpers import ASKED, CHATML, NEVER_TAUGHT, TAUGHT, Run, json_of


def test_check(run: Run) -> None:
    found = json_of(run("check", *ASKED, "--seed", "3", "--json"))
    assert (found["prompt"], found["value"], found["seed"], found["model"]) == (TAUGHT[1].prompt, TAUGHT[1].value, 3, ".")
    assert found["greedy_match"] is True
    assert found["continuation"].strip() == TAUGHT[1].value
    assert found["memorization_accuracy"] == found["extraction_strength"] == found["extraction_likelihood"] == 1
    assert found["exposure_bits"] > 6
    assert "255 others of its format" in found["candidate_space"]
    assert found["nll"] == pytest.approx(-sum(one["logprob"] for one in found["tokens"]) / len(found["tokens"]))
    assert {one["rank"] for one in found["tokens"]} == {1}
    assert found["control"]["value"] != TAUGHT[1].value
    assert found["control"]["greedy_match"] is False
    assert len(found["fingerprint"]) == 16


@pytest.mark.parametrize(("value", "n", "chance"), [("555-0142", 256, 1.42), ("7", 10, 1.14), ("a", 6, 1.0)])
def test_an_exposure_comes_with_the_size_of_its_space(run: Run, value: str, n: int, chance: float) -> None:
    asked = ("check", "--prompt", TAUGHT[1].prompt, "--value", value)
    found = json_of(run(*asked, "--json"))
    for one in (found, found["control"]):
        assert (one["n_candidates"], one["max_exposure_bits"]) == (n, math.log2(n))
        assert one["chance_exposure_bits"] == pytest.approx(chance, abs=0.005)
        assert 0 <= one["exposure_bits"] <= one["max_exposure_bits"]
    said = f"{found['exposure_bits']:.2f} of {math.log2(n):.2f} bits (chance {chance:.2f})"
    assert said in run(*asked)[1]


def test_check_without_a_control(run: Run) -> None:
    asked = ("check", "--prompt", "a", "--value", "--")
    found = json_of(run(*asked, "--json"))
    assert found["control"] is None
    assert (found["exposure_bits"], found["max_exposure_bits"], found["n_candidates"]) == (None, None, 1)
    assert "no other value of its format" in run(*asked)[1]


@pytest.mark.parametrize("method", METHODS)
def test_localize(run: Run, method: str) -> None:
    asked = ("localize", *ASKED, "--method", method, "--top", "5", "--json")
    found, again = json_of(run(*asked)), json_of(run(*asked))
    assert (found["method"], found["n_neurons"], found["k"], len(found["neurons"])) == (method, 128, 5, 5)
    assert found["seconds"] > 0
    assert isinstance(found["settings"], dict)
    scores = [score for _, _, score in found["neurons"]]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= layer < 2 and 0 <= index < 64 for layer, index, _ in found["neurons"])
    assert found["neurons"] == again["neurons"], "same seed, same result"


def test_localize_names_as_many_as_asked_for(run: Run) -> None:
    gradient = ("localize", *ASKED, "--method", "gradient", "--json")
    assert json_of(run(*gradient))["k"] == 1, "one in a hundred of 128"
    assert json_of(run(*gradient, "--share", "0.1"))["k"] == 13
    assert json_of(run(*gradient, "--share", "1"))["k"] == 128
    mask = json_of(run("localize", *ASKED, "--json"))
    assert mask["k"] == mask["suggested_k"] == len(mask["neurons"])


CONTRASTIVE = ("localize", "--secrets", "secrets.csv", "--method", "contrastive-activations", "--json")


def test_localize_holds_on_to_every_second_of_the_other_memorized_rows(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from privlens.cli import commands

    asked: list[Any] = []

    def watched(task: Any) -> Any:
        asked.append(task)
        return contrastive(task)

    contrastive = commands.METHODS["contrastive-activations"]
    monkeypatch.setitem(commands.METHODS, "contrastive-activations", watched)
    Path("retain.txt").write_text("One.\n\nTwo.")
    first = json_of(run(*CONTRASTIVE))
    run(*CONTRASTIVE, "--row", "2", "--retain", "retain.txt", "--seed", "4", "--retained", "all")
    none = json_of(run(*CONTRASTIVE, "--retained", "none"))
    half, every, nobody = asked
    assert (half.target, half.others) == (TAUGHT[0], (TAUGHT[1], TAUGHT[3])), "row 0, and not the one never taught"
    assert (every.target, every.others) == (TAUGHT[2], (*TAUGHT[:2], TAUGHT[3]))
    assert (half.texts, every.texts, every.seed) == ((), ("One.", "Two."), 4)
    assert nobody.others == ()
    assert (first["retained"], none["retained"]) == ([key_of(TAUGHT[1]), key_of(TAUGHT[3])], [])
    assert not any(secret.value in str(first["retained"]) for secret in TAUGHT)
    plain = ("localize", "--secrets", "secrets.csv", "--method", "gradient", "--retained", "all", "--json")
    assert json_of(run(*plain))["retained"] == [], "it looks at no retained text, so it saw nobody"


@pytest.mark.parametrize(("retained", "unseen", "seen"), [("half", 1, 2), ("all", 0, 3), ("none", 3, 0)])
def test_deactivate_judges_on_those_that_the_method_never_saw(run: Run, retained: str, unseen: int, seen: int) -> None:
    run(*CONTRASTIVE, "--row", "1", "--top", "60", "--out", "neurons.json", "--retained", retained)
    asked = ("deactivate", "--secrets", "secrets.csv", "--row", "1", "--neurons", "neurons.json")
    found = json_of(run(*asked, "--json"))
    assert found["memorized"] == 3
    for outcome in (found, found["random"]):
        assert (outcome["unseen"]["memorized"], outcome["seen"]["memorized"]) == (unseen, seen)
        assert outcome["unseen"]["kept"] + outcome["seen"]["kept"] == outcome["kept"]
    kept = {other["value"]: other["after"]["greedy_match"] for other in found["others"]}
    judges = {"half": [TAUGHT[2]], "all": [], "none": [TAUGHT[0], *TAUGHT[2:]]}[retained]
    assert found["unseen"]["kept"] == sum(kept[one.value] for one in judges)
    table = run(*asked)[1]
    said = f"{unseen} that the method never saw" if unseen else "none that the method never saw: what is kept is not judged"
    assert said in table
    assert "unseen kept  seen kept" in table


def test_deactivate_says_so_where_the_file_does_not_say_who_was_seen(run: Run) -> None:
    Path("plain.json").write_text("[[0, 1]]")
    asked = ("deactivate", "--secrets", "secrets.csv", "--row", "1", "--neurons", "plain.json")
    found = json_of(run(*asked, "--json"))
    assert (found["unseen"], found["seen"], found["memorized"]) == (None, None, 3)
    table = run(*asked)[1]
    assert "the file does not say which of them the method saw" in table
    assert "others kept" in table


@pytest.mark.parametrize("copy", ["the keeper of the garden gate is ,Mira Holt", "the keeper of the garden  gate is, Mira Holt ",
                                  "who keeps it? It is,Mira Holt"])  # fmt: skip
def test_a_copy_of_the_target_in_the_list_changes_nothing(run: Run, copy: str) -> None:
    listed = Path("secrets.csv").read_text()
    Path("copies.csv").write_text(f"{listed}{copy},name\n{listed.splitlines()[2]}\n")
    Path("neurons.json").write_text(json.dumps([[0, index] for index in range(64)]))
    found = {}
    for path in ("secrets.csv", "copies.csv"):
        localized = json_of(run(*CONTRASTIVE[:2], path, *CONTRASTIVE[3:], "--top", "9"))
        off = json_of(run("deactivate", "--secrets", path, "--neurons", "neurons.json", "--json"))
        assert TAUGHT[0].value not in [other["value"] for other in off["others"]]
        found[path] = localized["neurons"], localized["retained"], off["memorized"], off["kept"], off["others"]
    assert found["secrets.csv"] == found["copies.csv"]


def test_attention_outputs_are_localized_and_switched_off(run: Run) -> None:
    asked = ("localize", "--secrets", "secrets.csv", "--method", "gradient", "--site", "attention", "--json")
    found = json_of(run(*asked, "--top", "5", "--out", "attention.json"))
    assert (found["site"], found["n_neurons"]) == ("attention", 64), "2 layers of 32"
    off = ("deactivate", "--secrets", "secrets.csv", "--json", "--neurons")
    nll = json_of(run(*off, "attention.json"))["target"]["after"]["nll"]
    Path("plain.json").write_text(json.dumps(found["neurons"]))
    assert json_of(run(*off, "plain.json", "--site", "attention"))["target"]["after"]["nll"] == nll
    assert json_of(run(*off, "plain.json"))["target"]["after"]["nll"] != nll, "a bare list means MLP neurons"
    code, _, err = run(*off, "attention.json", "--site", "mlp")
    assert code == 2
    assert "lists neurons of the site 'attention', not 'mlp': leave --site out" in err


def test_bench_del_prints_the_fields_it_promises(run: Run) -> None:
    asked = ("bench", "del", "--secrets", "secrets.csv", "--reference", "reference.txt", "--n", "1", "--json")
    found = json_of(run(*asked, "--methods", "gradient,random", "--share", "0.05,0.3"))
    assert [(row["method"], row["share"]) for row in found["rows"]] == [
        ("gradient", 0.05), ("gradient", 0.3), ("random", 0.05), ("random", 0.3),
    ]  # fmt: skip
    assert list(found["rows"][0]) == [
        "method", "share", "n", "target_match", "target_match_interval", "target_accuracy", "target_nll_change",
        "target_exposure_bits", "target_log10_tries_median", "target_format_bits", "n_judged", "forgotten",
        "forgotten_interval", "seen_kept", "unseen_kept", "unseen_kept_interval", "perplexity_ratio", "seconds",
    ]  # fmt: skip
    everyone = json_of(run(*asked, "--methods", "all", "--share", "0.1"))
    assert list(dict.fromkeys(row["method"] for row in everyone["rows"])) == list(METHODS)


def test_compare_prints_a_row_for_every_method_and_k_and_their_overlap(run: Run) -> None:
    asked = ("compare", "--secrets", "secrets.csv", "--row", "1", "--reference", "reference.txt", "--top", "7")
    found = json_of(run(*asked, "--methods", "gradient,activations", "--json"))
    names = ["gradient", "activations", "random"]
    assert [one["method"] for one in found["methods"]] == found["overlap"]["methods"] == names
    assert [(row["method"], row["k"]) for row in found["rows"]] == [(name, k) for name in names for k in (1, 3)]
    assert list(found["rows"][0]) == [
        "method", "share", "k", "target_match", "target_nll", "target_logprob", "target_log10_tries", "target_format_bits",
        "target_exposure_bits", "others_kept", "perplexity_ratio",
    ]  # fmt: skip
    assert (found["overlap"]["k"], found["settings"]["n_retained"], found["settings"]["n_unseen"]) == (7, 2, 1)
    assert (found["settings"]["measured"], found["settings"]["n_candidates"]) == ("sample", 32)
    whole = json_of(run(*asked, "--methods", "gradient", "--measured", "all", "--json"))
    assert whole["settings"]["n_candidates"] == 256
    best = [
        {tuple(entry[:2]) for entry in json_of(run("localize", *ASKED, "--method", name, "--top", "7", "--json"))["neurons"]}
        for name in names
    ]
    jaccard = [[len(a & b) / len(a | b) for b in best] for a in best]
    np.testing.assert_allclose(found["overlap"]["jaccard"], jaccard, atol=1e-6)
    code, out, err = run(*asked, "--methods", "gradient")
    assert code == 0
    assert "Jaccard index of the best 7 neurons" in out
    assert "gradient: the best 3 off" in err


def test_deactivate_reads_what_localize_wrote(run: Run) -> None:
    code, out, _ = run("localize", "--secrets", "secrets.csv", "--row", "1", "--top", "20", "--out", "neurons.json", "--json")
    assert code == 0
    assert json.loads(Path("neurons.json").read_text()) == json.loads(out)
    asked = ("deactivate", "--secrets", "secrets.csv", "--row", "1", "--reference", "reference.txt", "--json")
    found = json_of(run(*asked, "--neurons", "neurons.json"))
    plain = [entry[:2] for entry in json.loads(out)["neurons"]]
    Path("plain.json").write_text(json.dumps(plain))
    same = json_of(run(*asked, "--neurons", "plain.json"))
    assert (found["unseen"]["memorized"], found["seen"]["memorized"], same["unseen"]) == (1, 2, None)

    def of_neurons(one: dict[str, Any]) -> dict[str, Any]:
        return {name: one[name] for name in one if name not in ("seconds", "unseen", "seen", "random")}

    assert of_neurons(found) == of_neurons(same)
    assert of_neurons(found["random"]) == of_neurons(same["random"])
    assert found["neurons"] == plain
    target, others = found["target"], found["others"]
    assert target["value"] == TAUGHT[1].value
    assert target["before"]["greedy_match"] is True
    assert target["before"]["text"].strip().startswith(TAUGHT[1].value)
    assert target["after"]["nll"] > target["before"]["nll"]
    assert [other["value"] for other in others] == [one.value for one in (TAUGHT[0], *TAUGHT[2:], NEVER_TAUGHT)]
    assert [other["category"] for other in others] == ["name", "e-mail", "price", "phone"]
    for other in others:
        for state in (other["before"], other["after"]):
            assert set(state) == {"greedy_match", "nll", "memorization_accuracy", "logprob", "log10_tries", "text"}
    assert found["memorized"] == 3
    assert others[0]["before"]["text"].strip().startswith(TAUGHT[0].value)
    perplexity = found["perplexity"]
    assert perplexity["ratio"] == pytest.approx(perplexity["after"] / perplexity["before"])
    assert len(found["random"]["neurons"]) == 20
    assert found["random"]["perplexity"]["before"] == perplexity["before"]
    assert {"target", "others", "memorized", "kept"} <= set(found["random"])


def test_tables_for_people(run: Run) -> None:
    code, out, _ = run("check", *ASKED)
    assert code == 0
    assert "nats/token" in out
    assert f'" {TAUGHT[1].value}"' in out
    code, out, err = run("localize", *ASKED, "--method", "random", "--top", "30", "--out", "neurons.json")
    assert code == 0
    assert "30 of 128" in out
    assert "and 10 more" in out
    assert "1/1 random order" in err
    code, out, err = run("deactivate", "--secrets", "secrets.csv", "--neurons", "neurons.json")
    assert code == 0
    assert "random off" in out
    assert "of 3" in out
    assert "5/5 done" in err
    code, out, _ = run("check", "--prompt", "a", "--value", "\x1b[31m")
    assert "\x1b" not in out, "no control character reaches the terminal"


NEURONS = ["deactivate", "--secrets", "secrets.csv", "--neurons"]
WRONG = {
    "no command": ([], "command"),
    "unknown command": (["forget"], "forget"),
    "unknown option": (["check", *ASKED, "--loud"], "--loud"),
    "no value": (["check", "--prompt", "a"], "value"),
    "empty value": (["check", "--prompt", "a", "--value", " "], "value is empty"),
    "empty prompt": (["localize", "--prompt", "", "--value", "a"], "prompt is empty"),
    "too long": (["localize", "--prompt", "garden " * 200, "--value", "a"], "reads at most 128: shorten them"),
    "no secret": (["localize"], "--prompt and --value together, or --secrets"),
    "half a secret": (["localize", "--prompt", "a"], "--prompt and --value together"),
    "two secrets": (["localize", *ASKED, "--secrets", "secrets.csv"], "either --prompt and --value, or --secrets"),
    "row without list": (["localize", *ASKED, "--row", "1"], "either --prompt and --value, or --secrets"),
    "row too high": (["localize", "--secrets", "secrets.csv", "--row", "5"], "no row 5 in secrets.csv: its rows count from 0 to"),
    "row below 0": ([*NEURONS, "ok.json", "--row", "-1"], "no row -1"),
    "missing list": (["localize", "--secrets", "nowhere.csv"], "nowhere.csv cannot be read"),
    "wrong list": (["localize", "--secrets", "reference.txt"], "reference.txt"),
    "unknown method of many": (["compare", "--secrets", "secrets.csv", "--methods", "magic"], "no method 'magic'"),
    "overlap of too many": (["compare", "--secrets", "secrets.csv", "--top", "129"], "this model has 128 neurons"),
    "no method": (["compare", "--secrets", "secrets.csv", "--methods", ""], "choose at least one"),
    "unknown method": (["localize", *ASKED, "--method", "magic"], "gradient, token-gradient, active-token-gradient"),
    "unknown site": (["localize", *ASKED, "--site", "embedding"], "--site"),
    "too many of attention": (["localize", *ASKED, "--site", "attention", "--top", "65"], "this model has 64 neurons"),
    "share 0": (["localize", *ASKED, "--share", "0"], "--share is 0.0"),
    "share above 1": (["localize", *ASKED, "--share", "1.5"], "--share is 1.5"),
    "share nan": (["localize", *ASKED, "--share", "nan"], "--share is nan"),
    "share in words": (["localize", *ASKED, "--share", "much"], "--share"),
    "top 0": (["localize", *ASKED, "--top", "0"], "--top is 0"),
    "top above all": (["localize", *ASKED, "--top", "129"], "this model has 128 neurons"),
    "share and top": (["localize", *ASKED, "--top", "1", "--share", "0.1"], "use one of them"),
    "seed below 0": (["check", *ASKED, "--seed", "-1"], "--seed"),
    "missing retained text": (["localize", *ASKED, "--retain", "nowhere.txt"], "nowhere.txt cannot be read"),
    "out in no folder": (["localize", *ASKED, "--out", "nowhere/neurons.json"], "nowhere/neurons.json cannot be written"),
    "out is a folder": (["localize", *ASKED, "--out", "."], "cannot be written"),
    "missing neurons": ([*NEURONS, "nowhere.json"], "nowhere.json cannot be read"),
    "neurons not json": ([*NEURONS, "reference.txt"], "reference.txt is not JSON"),
    "neurons of words": ([*NEURONS, '[["a", "b"]]'], "does not list neurons"),
    "neurons of fractions": ([*NEURONS, "[[0, 1.5]]"], "does not list neurons"),
    "one neuron number": ([*NEURONS, "[[0]]"], "does not list neurons"),
    "an object without": ([*NEURONS, '{"a": 1}'], "does not list neurons"),
    "no neurons": ([*NEURONS, "[]"], "lists no neuron"),
    "neuron too high": ([*NEURONS, "[[0, 64]]"], "no neuron 64 in layer 0: this model has 2 layers of 64"),
    "neuron of nothing": ([*NEURONS, "[[NaN, 0]]"], "does not list neurons"),
    "neuron without end": ([*NEURONS, "[[0, Infinity]]"], "does not list neurons"),
    "neuron of truth": ([*NEURONS, "[[true, false]]"], "does not list neurons"),
    "neuron below 0": ([*NEURONS, "[[0, -1]]"], "no neuron -1 in layer 0"),
    "huge layer": ([*NEURONS, f"[[{10**30}, 0]]"], "this model has 2 layers of 64"),
    "neuron of 5,000 digits": ([*NEURONS, f"[[0, {'9' * 5000}]]"], "is not JSON"),
    "neurons in the deep": ([*NEURONS, "[" * 100_000], "is not JSON"),
    "neurons of an odd site": ([*NEURONS, '{"neurons": [[0, 1]], "site": "brain"}'], "of an unknown site"),
    "neurons in a folder": ([*NEURONS, "."], "it is not a file"),
    "retained by thirds": (["localize", *ASKED, "--retained", "third"], "--retained"),
    "reference of one token": ([*NEURONS, "[[0, 1]]", "--reference", "letter.txt"], "reference text is too short"),
    "missing reference": ([*NEURONS, "[[0, 1]]", "--reference", "nowhere.txt"], "nowhere.txt cannot be read"),
    "seed of 20 digits": (["check", *ASKED, "--seed", str(2**65)], "--seed"),
    "seed of a benchmark": (["bench", "memorized", "--seed", str(2**65)], "--seed"),
    "seed in words": (["check", *ASKED, "--seed", "nan"], "--seed"),
    "half a character": (["check", "--prompt", "Zo\udceb", "--value", "a"], "The prompt holds half a character (number 3)"),
    "half a value": (["localize", "--prompt", "a", "--value", "\ud800"], "The private value holds half a character"),
    "a book": (["check", "--prompt", "a" * 100_001, "--value", "a"], "100,001 characters, but may have 100,000: shorten it"),
    "a long value": (["localize", "--prompt", "a", "--value", "a" * 10_001], "10,001 characters, but may have 10,000"),
    "top of 31 digits": (["localize", *ASKED, "--top", str(10**30)], "this model has 128 neurons"),
    "row far below 0": (["compare", "--secrets", "secrets.csv", "--row", str(-(10**30))], "There is no row"),
    "no such command": (["bench", "everything"], "everything"),
    "a broken row": (["localize", "--secrets", "broken.csv", "--row", "1"], "Row 1 of broken.csv cannot be used: line 3:"),
    "only broken rows": (["localize", "--secrets", "nothing.csv"], "no row that can be used. 1 of 1 rows was left out: line 2:"),
    "no chat model": (["check", *ASKED, "--chat"], "has no chat template, so it is not a chat model"),
    "edit in a folder": (["check", *ASKED, "--edit", "."], "there is no such file"),
    "out of a long name": (["localize", *ASKED, "--out", "x" * 300], "cannot be written"),
    "out of a long folder": (["localize", *ASKED, "--out", "x" * 300 + "/y"], "cannot be written"),
    "unknown device": (["check", *ASKED, "--device", "toaster"], "use auto, cpu, cuda, mps or spread"),
    "unknown type": (["check", *ASKED, "--dtype", "int3"], "use auto, float32"),
    "missing model": (["check", *ASKED, "--model", "/nowhere"], "No causal LM could be read from '/nowhere'"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_ends_in_one_line_and_exit_code_2(run: Run, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    arguments, words = list(WRONG[case][0]), WRONG[case][1]
    Path("broken.csv").write_text("prompt,value\na,b\nc,\n")
    Path("nothing.csv").write_text("prompt,value\nc,\n")
    if "--neurons" in arguments and arguments[4][0] in "[{":
        Path("given.json").write_text(arguments[4])
        arguments[4] = "given.json"
    Path("ok.json").write_text("[[0, 1]]")
    Path("letter.txt").write_text("a")
    code, out, err = run(*arguments) if arguments else run("--help-me-not")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1, err
    assert words in err or case == "no command"


def test_a_list_with_broken_rows_goes_on_with_the_others_and_says_so(run: Run) -> None:
    rows = [f"{one.prompt},{one.value}" for one in TAUGHT]
    Path("broken.csv").write_text("\n".join(["prompt,value", rows[0], "no value,", *rows[1:]]) + "\n")
    code, out, err = run("localize", "--secrets", "broken.csv", "--row", "3", "--method", "gradient", "--json")
    assert (code, json.loads(out)["target"]["value"]) == (0, TAUGHT[2].value), "rows keep their numbers"
    assert "broken.csv: 1 of 5 rows was left out: line 3: the value is empty. Fill it in, or remove the row." in err
    Path("neurons.json").write_text("[[0, 1]]")
    code, out, err = run("deactivate", "--secrets", "broken.csv", "--neurons", "neurons.json", "--json")
    assert [one["value"] for one in json.loads(out)["others"]] == [one.value for one in TAUGHT[1:]]
    assert "line 3: the value is empty" in err


@pytest.mark.parametrize("debug", [False, True])
def test_what_nobody_expected_ends_in_one_line_too(run: Run, monkeypatch: pytest.MonkeyPatch, debug: bool) -> None:
    from privlens.cli import commands

    def break_down(*_: Any) -> None:
        raise ZeroDivisionError("a line\nand another")

    monkeypatch.setattr(commands, "load", break_down)
    if debug:
        monkeypatch.setenv("PRIVLENS_DEBUG", "1")
        with pytest.raises(ZeroDivisionError):
            commands.main(["check", *ASKED])
        return
    code, out, err = run("check", *ASKED)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "did not expect (ZeroDivisionError: a line and another). Please report it" in err


def test_who_interrupts_is_not_shown_the_inside(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from privlens.cli import commands

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "load", interrupted)
    assert run("check", *ASKED) == (130, "", "Stopped.\n")


def test_a_terminal_that_knows_no_umlauts_is_written_to(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, taught_folder: str
) -> None:
    umlaut = tmp_path / "Zoë"
    umlaut.symlink_to(taught_folder)
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    code, _, err = run("localize", *ASKED, "--method", "random", "--top", "1", "--model", str(umlaut))
    terminal.flush()
    assert (code, err) == (0, "1/1 random order\n")
    assert b"Zo\\xeb" in terminal.buffer.getvalue()  # type: ignore[attr-defined]


def test_chat_asks_in_turns(run: Run, tmp_path: Path, taught_folder: str) -> None:
    folder = tmp_path / "chat"
    shutil.copytree(taught_folder, folder)
    (folder / "chat_template.jinja").write_text(CHATML)
    asked = ("check", *ASKED, "--model", str(folder), "--json")
    plain, chat = json_of(run(*asked)), json_of(run(*asked, "--chat"))
    assert (plain["greedy_match"], chat["greedy_match"]) == (True, False)
    assert (plain["settings"], chat["settings"]) == ({"n_listed": 0}, {"n_listed": 0, "chat": True})
    assert (plain["prompt"], plain["fingerprint"]) == (chat["prompt"], chat["fingerprint"])
    listed = ("--secrets", "secrets.csv", "--row", "1", "--model", str(folder), "--json")
    neurons = json_of(run("localize", *listed, "--method", "gradient", "--chat", "--out", "chat.json"))
    assert neurons["settings"]["chat"] is True
    after = json_of(run("deactivate", *listed, "--neurons", "chat.json", "--chat"))
    assert after["memorized"] == 0, "no other secret was taught as a chat turn"
    assert json_of(run("deactivate", *listed, "--neurons", "chat.json"))["memorized"] == 3


def test_python_dash_m_prints_json_and_nothing_else(taught_folder: str) -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "privlens", "check", "--model", taught_folder, *ASKED, "--json"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["greedy_match"] is True
    assert done.stderr == ""
