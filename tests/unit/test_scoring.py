"""Teacher forcing: the shared beginning, padding and gates change no number, and the numbers are the logits' own."""

import pytest
import torch
from torch import Tensor, nn

from privlens.errors import Cancelled
from privlens.lm.model import LanguageModel
from privlens.lm.scoring import ValueScore, score, text_nll
from privlens.lm.tokens import encode, plain_ids
from privlens.types import Secret
from tests.helpers import ARCHITECTURES, Maker

PROMPT = "Dear Anna, the keeper of the garden gate is"
SECRETS = [Secret(PROMPT, value) for value in ("Mira Holt", "555-0142", "a very long value, which is 12.50 in all")]
OTHERS = [*SECRETS, Secret("noon", "mira@garden.example"), Secret("Please write to Anna before the", "lamp")]


def gates(lm: LanguageModel, rows: int) -> Tensor:
    return torch.rand(rows, *lm.shape(), generator=torch.Generator().manual_seed(3))


def assert_close(found: ValueScore, expected: ValueScore) -> None:
    """Numbers to 1e-5, choices exactly."""
    assert found.logprobs == pytest.approx(expected.logprobs, abs=1e-5, rel=1e-5)
    assert found.entropies == pytest.approx(expected.entropies, abs=1e-5, rel=1e-5)
    assert (found.ranks, found.argmax) == (expected.ranks, expected.argmax)


def test_the_numbers_are_those_of_the_logits(lm: LanguageModel) -> None:
    encoded = encode(lm.tokenizer, SECRETS[0])
    [found] = score(lm, [encoded])
    with torch.no_grad():
        logits = lm.model(input_ids=torch.tensor([encoded.ids])).logits[0]
    assert len(found.logprobs) == len(encoded.value_ids)
    for at, token in enumerate(encoded.value_ids):
        logprobs = logits[encoded.n_prompt + at - 1].log_softmax(-1)
        assert found.logprobs[at] == pytest.approx(float(logprobs[token]), abs=1e-5)
        assert found.ranks[at] == logprobs.argsort(descending=True).tolist().index(token) + 1
        assert found.argmax[at] == int(logprobs.argmax())
        assert found.entropies[at] == pytest.approx(float(-(logprobs.exp() * logprobs).sum()), abs=1e-4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_shared_beginning_is_run_once_and_changes_nothing(tiny: Maker, architecture: str) -> None:
    lm = tiny(architecture)
    encoded, read = [encode(lm.tokenizer, secret) for secret in SECRETS], []
    one = gates(lm, 1)

    def count(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        read.append(inputs[0].numel())

    handle = lm.model.get_input_embeddings().register_forward_pre_hook(count)
    try:
        together = score(lm, encoded, one)
    finally:
        handle.remove()
    shared, longest = encoded[0].n_prompt - 1, max(len(one.ids) for one in encoded)
    assert sum(read) == shared + len(encoded) * (longest - shared), "tokens read, the shared ones once"
    for found, alone in zip(together, encoded, strict=True):
        assert_close(found, score(lm, [alone], one)[0])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_neighbours_in_the_batch_and_padding_make_no_difference(tiny: Maker, architecture: str) -> None:
    lm = tiny(architecture)
    encoded = [encode(lm.tokenizer, secret) for secret in OTHERS]
    for found, alone in zip(score(lm, encoded), encoded, strict=True):
        assert_close(found, score(lm, [alone])[0])


def test_every_row_has_its_own_gates(lm: LanguageModel) -> None:
    encoded, own = [encode(lm.tokenizer, secret) for secret in OTHERS], gates(lm, len(OTHERS))
    found = score(lm, encoded, own)
    for row, alone in enumerate(encoded):
        assert_close(found[row], score(lm, [alone], own[row : row + 1])[0])
        assert found[row].logprobs != score(lm, [alone])[0].logprobs


def test_many_rows_are_split_into_batches_in_their_order(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = [encode(lm.tokenizer, secret) for secret in OTHERS]
    whole = score(lm, encoded)
    monkeypatch.setattr("privlens.lm.scoring.TOKENS_AT_ONCE", 1)
    for found, expected in zip(score(lm, encoded), whole, strict=True):
        assert_close(found, expected)


def test_ordinary_text_is_averaged_over_all_its_tokens(lm: LanguageModel) -> None:
    texts = [plain_ids(lm.tokenizer, text, 30) for text in ("the price of the lamp", "noon", "Please write to mira")]
    total, n_tokens = 0.0, 0
    for ids in texts:
        with torch.no_grad():
            logprobs = lm.model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        total -= sum(float(logprobs[at, token]) for at, token in enumerate(ids[1:]))
        n_tokens += len(ids) - 1
    assert text_nll(lm, [*texts, [7]]) == pytest.approx(total / n_tokens, abs=1e-5)


def test_stop_ends_it(lm: LanguageModel) -> None:
    with pytest.raises(Cancelled):
        score(lm, [encode(lm.tokenizer, SECRETS[0])], stop=lambda: True)
