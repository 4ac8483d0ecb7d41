"""The page over HTTP: two visitors at once get what each gets alone, and errors come in words."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

VISITORS = [
    ("Vault West Corey may only be opened by", "Gopel Biglij", "contrastive-gradient", 20),
    ("The company card of Dawn Thompson is", "9762 0743 6151 1050", "random", 400),
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
    assert {"greedy_match", "continuation", "nll", "exposure_bits", "tokens"} <= answer.keys()
    assert "".join(token["token"] for token in answer["tokens"]).strip() == value


def test_what_is_asked_too_early_or_wrongly_is_answered_in_words(address: str) -> None:
    client = Client(address, verbose=False)
    with pytest.raises(AppError, match="press Start"):
        client.predict("p", "v", api_name="/deactivate")
    with pytest.raises(AppError, match="The prompt is empty"):
        client.predict("", "v", api_name="/check")
    with pytest.raises(AppError, match="There is no method"):
        client.predict("p", "v", "magic", 0, 1, api_name="/localize")


def test_only_the_three_named_endpoints_are_public(address: str) -> None:
    named = Client(address, verbose=False).view_api(return_format="dict")["named_endpoints"]
    assert set(named) == {"/check", "/localize", "/deactivate"}
