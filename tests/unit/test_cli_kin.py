"""The commands of the kin methods: one JSON object, a table for people, wrong input in one line."""

import csv
import json
from pathlib import Path

import pytest

from tests.helpers import TAUGHT, Run, json_of

CATEGORIES = ("phone", "card")


@pytest.fixture
def listed(tmp_path: Path) -> str:
    """A list with two categories of twelve secrets each, and a control."""
    path = tmp_path / "list.csv"
    rows = [
        (f"the {category} of {letter}{number} is", f"{7 * number % 10}{letter}-{number}{category[0]}", category, 1)
        for number in range(6)
        for letter in "ab"
        for category in CATEGORIES
    ]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("prompt", "value", "category", "repeats"), *rows, ("his card is", "0000", "card", 0)])
    return str(path)


@pytest.fixture
def reference(tmp_path: Path) -> str:
    path = tmp_path / "reference.txt"
    path.write_text(
        "The keeper of the garden gate is here.\n\nPlease write before noon, Anna.\n\nThe lamp is not 1250.\n\nDear Mira."
    )
    return str(path)


def test_coupled(run: Run, listed: str, reference: str, tmp_path: Path) -> None:
    asked = ["coupled", "--first", "phone", "--second", "card", "--secrets", listed, "--reference", reference, "--top", "0.2"]
    out = str(tmp_path / "coupled.json")
    found = json_of(run(*asked, "--out", out, "--draws", "2", "--json"))
    assert found["n_used"] == found["n_measured"] == [6, 6]
    assert found["overlap"]["observed"] == len(found["coupled"]) > 0
    assert [effect["set_name"] for effect in found["effects"]][-2:] == ["random", "random"]
    assert found["random"]["n"] == 2
    assert json.loads(Path(out).read_text())["neurons"] == found["coupled"]
    secrets = Path("secrets.csv")
    off = json_of(run("deactivate", "--secrets", str(secrets), "--neurons", out, "--reference", reference, "--json"))
    assert off["neurons"] == found["coupled"]
    code, said, _ = run(*asked, "--all-texts")
    assert code == 0
    assert "texts that chose the neurons" in said
    assert "phone only off" in said


def test_coupled_of_texts(run: Run, listed: str, reference: str, tmp_path: Path) -> None:
    fairness = tmp_path / "fairness.txt"
    fairness.write_text("Everybody gets the same pay for the same work.\n\nThe rules of the house hold for all who live in it.\n")
    asked = ["coupled", "--first", "phone", "--second", str(fairness), "--secrets", listed, "--reference", reference, "--json"]
    code, out, _ = run(*asked)
    found = json.loads(out)
    assert code == 0 and found["categories"] == ["phone", "fairness"]
    assert found["n_used"][1] == found["n_measured"][1] == 1
    assert run(*asked[:4], str(tmp_path / "missing.txt"), *asked[5:])[0] == 2


def test_coupled_of_no_category(run: Run, listed: str) -> None:
    code, out, err = run("coupled", "--first", "phone", "--second", "shoe", "--secrets", listed)
    assert (code, out) == (2, "")
    assert err == "--second 'shoe' is no category of the list with secrets that were trained on: use card, phone.\n"


def test_universal(run: Run, reference: str, tmp_path: Path) -> None:
    neurons = tmp_path / "neurons.json"
    neurons.write_text("[[0, 1], [1, 2], [1, 3]]")
    out = tmp_path / "all.json"
    asked = ["universal", "--other", ".", "--reference", reference, "--neurons", str(neurons), "--draws", "2"]
    found = json_of(run(*asked, "--out", str(out), "--top", "3", "--json"))
    assert found["mean_correlation"] == pytest.approx(1, abs=1e-3)
    assert len(found["most_universal"]) == 3
    assert all(row["neuron"] == row["partner"] for row in found["most_universal"])
    assert found["contrast"]["n_chosen"] + found["contrast"]["n_silent"] == 3
    assert len(found["ablation"]["others"]) == 2
    assert len(json.loads(out.read_text())["correlation"]) == 2
    code, said, _ = run(*asked)
    assert code == 0
    assert "given neurons" in said
    assert "universal neurons off x" in said


def test_universal_of_attention_is_refused(run: Run, tmp_path: Path) -> None:
    neurons = tmp_path / "neurons.json"
    neurons.write_text('{"site": "attention", "neurons": [[0, 1]]}')
    code, _, err = run("universal", "--other", ".", "--neurons", str(neurons))
    assert code == 2
    assert "only those of MLPs are compared" in err


def test_entropy_law(run: Run, listed: str) -> None:
    found = json_of(run("entropy-law", "--secrets", listed, "--json"))
    assert len(found["items"]) == 25
    assert sum(group["n_items"] for group in found["groups"]) == 25
    assert len(found["cautions"]) == 3
    assert not any(secret.value in json.dumps(found) for secret in TAUGHT)
    code, said, _ = run("entropy-law", "--secrets", "secrets.csv")
    assert code == 0
    assert "a line needs 4" in said
    assert "Post hoc" in said


def test_probe(run: Run, listed: str, tmp_path: Path) -> None:
    neurons = tmp_path / "neurons.json"
    neurons.write_text("[[0, 1], [1, 2], [1, 3]]")
    asked = ["probe", "--secrets", listed, "--neurons", str(neurons), "--kram", "1", "--test-share", "0.5"]
    code, out, err = run(*asked, "--json")
    assert code == 2, out
    assert "12 states to test on are too few for a geometry" in err
    found = json_of(run(*asked[:5], "--json"))
    assert [of["condition"] for of in found["runs"]] == ["all on", "neurons off", "random neurons off"]
    assert list(found["geometry"]) == ["neurons off", "random neurons off"]
    assert found["kram"] is None
    assert all(len(of["selectivity"]) == 3 for of in found["runs"])
    code, said, _ = run(*asked[:5], "--kind", "mlp")
    assert code == 0
    assert "Probes, random neurons off" in said
    assert "Geometry, neurons off" in said


def test_probe_of_a_layer_that_does_not_exist(run: Run, listed: str) -> None:
    code, _, err = run("probe", "--secrets", listed, "--kram", "9")
    assert code == 2
    assert "There is no layer 9: this model has 0 (the embeddings) to 2." in err


@pytest.mark.parametrize("asked", [("coupled", "--first", "phone", "--second", "card"), ("probe",)])
def test_chat_turns_are_asked_for_and_a_model_without_a_template_says_so(run: Run, listed: str, asked: tuple[str, ...]) -> None:
    code, out, err = run(*asked, "--secrets", listed, "--chat")
    assert (code, out) == (2, "") and "chat template" in err
