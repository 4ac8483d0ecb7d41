"""Near copies of a value: the beam search's mass beside full enumeration, and the bounds that it promises."""

import itertools
import math
from typing import Any

import pytest
import torch
from rapidfuzz.distance import Levenshtein
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from privlens.errors import Cancelled
from privlens.lm.model import LanguageModel
from privlens.lm.scoring import score
from privlens.lm.tokens import Encoded
from privlens.memorization.near_verbatim import Vocabulary, _NearCopies, near_verbatim
from tests.helpers import TAUGHT, full_beyond, random_model

PIECES = ["<end>", "a", "b", "c", "ab", "bc", "ca"]


@pytest.fixture(scope="module")
def few_tokens() -> LanguageModel:
    """A random model of seven tokens."""
    bpe = Tokenizer(models.BPE({piece: index for index, piece in enumerate(PIECES)}, [("a", "b"), ("b", "c"), ("c", "a")]))
    bpe.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<end>", pad_token="<end>")
    return LanguageModel("few", random_model("gpt_neox", len(PIECES)), tokenizer)


def enumerated(lm: LanguageModel, text: Encoded, value: str, edits: int) -> float:
    """The probability of all continuations that begin with a near copy, by all token sequences that are long enough.

    A near copy has at most len(value) + edits characters, so sequences of that many tokens decide. Each is weighed by the first
    pass that runs it whole.
    """
    length = len(value) + edits
    sequences = list(itertools.product(range(len(PIECES)), repeat=length))
    ids = torch.tensor([(*text.prompt_ids, *sequence) for sequence in sequences])
    with torch.no_grad():
        logprobs = lm.logits(ids, torch.ones_like(ids)).log_softmax(-1)[:, text.n_prompt - 1 : -1]
    totals = logprobs.gather(2, ids[:, text.n_prompt :, None])[:, :, 0].sum(1).exp().tolist()

    def is_near(sequence: tuple[int, ...]) -> bool:
        written = "".join(PIECES[token] for token in sequence)
        return any(Levenshtein.distance(written[:end], value) <= edits for end in range(len(written) + 1))

    return sum(total for sequence, total in zip(sequences, totals, strict=True) if is_near(sequence))


@pytest.mark.parametrize(("value", "edits"), [((1, 2, 3), 1), ((4, 3, 1), 1), ((2, 2, 1, 3), 1), ((5, 1), 2), ((1, 3), 0)])
def test_the_mass_is_that_of_full_enumeration(few_tokens: LanguageModel, value: tuple[int, ...], edits: int) -> None:
    text = Encoded((1, 3, 2, *value), 3)
    written = "".join(PIECES[token] for token in value)
    [mass] = near_verbatim(few_tokens, [text], edits, beams=500)
    assert math.exp(mass) == pytest.approx(enumerated(few_tokens, text, written, edits), rel=1e-4)
    [cut] = near_verbatim(few_tokens, [text], edits, beams=2)
    [verbatim] = score(few_tokens, [text])
    assert sum(verbatim.logprobs) - 1e-6 <= cut <= mass + 1e-6, "fewer beams make it smaller, never less than the value itself"


def test_the_automaton_is_the_edit_distance(few_tokens: LanguageModel) -> None:
    near = _NearCopies(Vocabulary(few_tokens), "abca", 2)
    for length in range(6):
        for written in map("".join, itertools.product("abc", repeat=length)):
            distances = near.start
            for character in written:
                distances = near.after(distances, character)
            by_hand = [min(3, Levenshtein.distance(written, "abca"[:end])) for end in range(5)]
            assert list(distances) == by_hand


def test_values_are_searched_together_as_they_are_alone(taught: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also without a shared cache, in smaller batches, and after several prompts; a memorized value has nearly all the mass."""
    texts = [taught.encode(secret) for secret in (TAUGHT[1], TAUGHT[1].with_value("555-7788"), TAUGHT[0], TAUGHT[3])]
    together = near_verbatim(taught, texts)
    alone = [near_verbatim(taught, [text])[0] for text in texts]
    assert together == pytest.approx(alone, abs=1e-4)
    assert together[0] > -0.5 and together[1] < together[0] - 2
    for module in ("lm.memory", "memorization.near_verbatim"):  # nothing is full; looking for garbage takes seconds
        monkeypatch.setattr(f"privlens.{module}.release", lambda: None)
    with full_beyond(taught, 9):
        assert near_verbatim(taught, texts) == pytest.approx(together, abs=1e-4)
    with full_beyond(taught, 1):
        assert near_verbatim(taught, texts[3:]) == pytest.approx(together[3:], abs=1e-4), "beam by beam"
    monkeypatch.setattr(taught, "can_reuse_prefix", False)
    assert near_verbatim(taught, texts) == pytest.approx(together, abs=1e-4)


def test_a_search_can_be_stopped(taught: LanguageModel) -> None:
    calls: Any = iter(range(100))
    with pytest.raises(Cancelled):
        near_verbatim(taught, [taught.encode(TAUGHT[1])], stop=lambda: next(calls) >= 1)
