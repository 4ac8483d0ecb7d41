"""The page over HTTP: two visitors at once get what each gets alone, and errors come in words."""

import json
import math
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from tests.docs.pages import ROOT, blocks

VISITORS = [
    ("Vault West Corey may only be opened by", "Gopel Biglij", "contrastive-gradient", 20),
    ("The company card of Dawn Thompson is", "2502 2059 3060 4609", "random", 400),
]


def deactivated(address: str, prompt: str, value: str, method: str, k: int) -> list[Any]:
    """Neurons and effects of one visitor, asked three times in a row."""
    client = Client(address, verbose=False)
    neurons = client.predict(prompt, value, method, 0, k, api_name="/localize")["neurons"]
    effects = [client.predict(prompt, value, api_name="/deactivate") for _ in range(3)]
    return [neurons, effects]


def test_two_visitors_at_once_get_what_each_gets_alone(address: str) -> None:
    alone = [deactivated(address, *visitor) for visitor in VISITORS]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda visitor: deactivated(address, *visitor), VISITORS))
    assert together == alone
    assert alone[0][0] != alone[1][0]
    for _, effects in alone:
        assert effects[0]["before"]["nll"] != effects[0]["after"]["nll"]


def test_check_answers_with_every_metric(address: str) -> None:
    prompt, value, *_ = VISITORS[0]
    answer = Client(address, verbose=False).predict(prompt, value, api_name="/check")
    assert {"greedy_match", "continuation", "nll", "exposure", "tokens"} <= answer.keys()
    assert "".join(token["token"] for token in answer["tokens"]).strip() == value


def test_the_examples_of_the_manual_run(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    [example] = [text for text in blocks(ROOT / "docs" / "http.md", "python") if "gradio_client" in text]
    assert "http://127.0.0.1:7860" in example
    exec(example.replace("http://127.0.0.1:7860", address), {})
    known, nll, verdict = capsys.readouterr().out.splitlines()[-3:]
    before, after = map(float, nll.split())
    assert known == "True 8.0" and verdict == "known"
    assert after > before + 0.1


@pytest.mark.parametrize(
    ("rows", "plan", "words"),
    [
        ({"prompt": "p", "value": "v"}, {}, "must be a list of objects"),
        (["p"], {}, "must be a list of objects"),
        ([{"prompt": "p", "value": ["v"]}], {}, "Row 1 of the list: 'value' must be text"),
        ([{"prompt": "p", "value": ""}], {}, "The list has no row that can be used. 1 of 1 rows was left out: row 1: the value"),
        ([{"prompt": "p", "value": "v"}], {"colour": 1}, "The plan must name settings of a plan and nothing else"),
        ([{"prompt": "p", "value": "v"}], {"methods": ["magic"]}, "There is no method 'magic'"),
        ([{"prompt": "p", "value": "v"}], {"seed": "x"}, "The plan: seed cannot be used"),
        ([{"prompt": "p", "value": "v"}] * 10_001, {}, "10,001 rows, but may have 10,000"),
    ],
)
def test_an_audit_of_anything_else_is_refused_in_words(address: str, rows: Any, plan: Any, words: str) -> None:
    with pytest.raises(AppError, match=re.escape(words)):
        Client(address, verbose=False).predict(rows, plan, api_name="/audit")


def test_what_is_asked_too_early_or_wrongly_is_answered_in_words(address: str) -> None:
    client = Client(address, verbose=False)
    with pytest.raises(AppError, match="press Start"):
        client.predict("p", "v", api_name="/deactivate")
    with pytest.raises(AppError, match="The prompt is empty"):
        client.predict("", "v", api_name="/check")
    with pytest.raises(AppError, match="There is no method"):
        client.predict("p", "v", "magic", 0, 1, api_name="/localize")
    with pytest.raises(AppError, match="demo has no chat template"):
        client.predict("p", "v", True, api_name="/check")


def test_neurons_are_pairs_of_numbers(address: str) -> None:
    prompt, value, *_ = VISITORS[0]
    found = Client(address, verbose=False).predict(prompt, value, "gradient", 7, 3, api_name="/localize")
    assert len(found["neurons"]) == 3
    assert all([type(number) for number in neuron] == [int, int] for neuron in found["neurons"])


ODD: dict[str, tuple[dict[int, Any], str]] = {
    "no prompt": ({0: None}, "The prompt must be text in quotation marks, but is missing"),
    "a number": ({0: 7}, "The prompt must be text in quotation marks, but is 7"),
    "a list": ({1: ["v"]}, "The private value must be text in quotation marks, but is list"),
    "no words": ({0: ""}, "The prompt is empty: .* first word or words into the prompt"),
    "half a character": ({1: "\ud800"}, "The private value holds half a character"),
    "a megabyte": ({0: "a" * 2**20}, "The prompt has 1,048,576 characters, but may have 100,000"),
    "a long value": ({1: "a" * 10_001}, "The private value has 10,001 characters"),
    "no method": ({2: None}, "The method must be text"),
    "a method of markup": ({2: "<b>"}, "There is no method '&lt;b&gt;'"),
    "no seed": ({3: None}, "The seed is missing, but must be a whole number from 0 to 4,294,967,295"),
    "seed in words": ({3: "zero"}, "The seed is 'zero'"),
    "seed below 0": ({3: -1}, "The seed is -1"),
    "seed of nothing": ({3: math.nan}, "The seed is nan"),
    "seed beyond": ({3: 2**32}, "The seed is 4294967296"),
    "true seed": ({3: True}, "The seed is True"),
    "half a seed": ({3: 0.5}, "The seed is 0.5"),
    "no k": ({4: None}, "The number of neurons, k, is missing"),
    "k of nothing": ({4: math.nan}, "The number of neurons, k, is nan"),
    "k without end": ({4: math.inf}, "The number of neurons, k, is inf"),
    "k below 0": ({4: -5}, "The number of neurons, k, is -5"),
    "k of 0": ({4: 0}, "k, is 0, but must be a whole number from 1 to 12,288"),
    "k of a billion": ({4: 1e9}, "k, is 1000000000"),
    "k in words": ({4: "ten"}, "k, is 'ten'"),
    "chat in words": ({5: "yes"}, "The value of chat is 'yes', but must be true or false"),
}  # fmt: skip


@pytest.mark.parametrize("kind", ODD)
def test_odd_values_are_refused_in_one_sentence_before_any_work(address: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("privlens.ui.programs.answers.steps_of", lambda *_: pytest.fail("work was begun"))
    changed, words = ODD[kind]
    data = [changed.get(at, usual) for at, usual in enumerate(["p", "v", "random", 0, 1, False])]
    body = json.dumps({"data": data}).encode()  # NaN, and half a character as its escape
    with httpx.Client(timeout=60, trust_env=False) as client:
        headers = {"Content-Type": "application/json"}
        event = client.post(f"{address}gradio_api/call/localize", content=body, headers=headers).json()["event_id"]
        answer = client.get(f"{address}gradio_api/call/localize/{event}").text
    said = answer.partition("data: ")[2].strip()
    assert answer.startswith("event: error"), answer
    assert re.search(words, said.encode().decode("unicode_escape")), said


def test_only_the_four_named_endpoints_are_public(address: str) -> None:
    named = Client(address, verbose=False).view_api(return_format="dict")["named_endpoints"]
    assert set(named) == {"/check", "/localize", "/deactivate", "/audit"}
