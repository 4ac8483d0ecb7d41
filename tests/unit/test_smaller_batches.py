"""When memory runs out: the same texts, gradients and edits from smaller batches, with a notice."""

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from privlens.erasure import ErasureSettings, Request, erase
from privlens.erasure.attacks import ATTACKS, AttackSetup, attacks
from privlens.erasure.trainer import Erasure, sources
from privlens.errors import BadInput
from privlens.lm.activations import mean_squares, second_moments
from privlens.lm.memory import AdaptiveBatchSize
from privlens.lm.model import LanguageModel
from tests.helpers import TAUGHT, Maker, full_beyond

PROMPTS = [[40, 50, 60, 70, 80, 90, 100], [33], [7, 120, 9], [5, 60, 17], [8, 8]]
FEW = ErasureSettings(
    share=0.1, steps=2, memorized_texts=4, own_samples=8, sample_tokens=12, neighbours=12, neighbours_each=3, rows=8
)
TARGETS = tuple(TAUGHT[:3])


def gates_for(lm: LanguageModel, rows: int) -> Tensor:
    return torch.rand(rows, *lm.shape(), generator=torch.Generator().manual_seed(5)).round()


@pytest.mark.parametrize("architecture", ["gpt2", "gpt_neox", "llama", "bloom", "gemma3"])
@pytest.mark.parametrize("seed", [None, 3])
def test_texts_are_the_same_in_smaller_batches_with_a_notice(
    tiny: Maker, architecture: str, seed: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    lm = tiny(architecture)
    for gates in (None, gates_for(lm, 1), gates_for(lm, len(PROMPTS))):
        whole = lm.generate(PROMPTS, 12, gates, seed=seed, temperature=0.8)
        with caplog.at_level(logging.WARNING, "privlens.memory"), full_beyond(lm, 2) as tried:
            assert lm.generate(PROMPTS, 12, gates, seed=seed, temperature=0.8) == whole
        assert tried[0] == len(PROMPTS) and 2 in tried
    assert "Memory ran out with 5 rows at once; continuing with 2. Results are the same." in caplog.text
    assert len({tuple(text) for text in whole}) == len(PROMPTS)


def test_a_single_row_that_does_not_fit_is_refused_in_words(lm: LanguageModel) -> None:
    with pytest.raises(BadInput, match=r"with a single row \(CUDA out of memory"), full_beyond(lm, 0):
        lm.generate(PROMPTS, 12, seed=1)
    assert not any(part._forward_pre_hooks for part in lm.model.modules())


def test_samples_are_those_of_the_next_token_distribution(lm: LanguageModel) -> None:
    with torch.no_grad():
        expected = (lm.logits(*lm.padded([PROMPTS[0]]))[0, -1] / 0.5).softmax(-1)
    end = lm.model.generation_config.eos_token_id
    drawn = torch.tensor([(text or [end])[0] for text in lm.generate([PROMPTS[0]] * 20_000, 1, seed=1, temperature=0.5)])
    found = torch.bincount(drawn, minlength=len(expected)) / len(drawn)
    assert float((found - expected).abs().max()) < 5 * float((expected * (1 - expected) / len(drawn)).sqrt().max())


def test_rows_with_gates_that_do_not_fit_are_refused(lm: LanguageModel) -> None:
    with pytest.raises(BadInput, match="4 rows of gates were given for a batch of 5"):
        lm.generate(PROMPTS, 3, gates_for(lm, 4))


def test_work_begins_anew_with_half_as_many_rows_and_stays_there() -> None:
    asked: list[int] = []

    def work(rows: int) -> str:
        asked.append(rows)
        if rows > 3:
            raise torch.OutOfMemoryError("full")
        return "done"

    at_once = AdaptiveBatchSize()
    assert (at_once.run(work, 12), at_once.run(work, 12), at_once.run(work, 2)) == ("done",) * 3
    assert asked == [12, 6, 3, 3, 2]


def started(lm: LanguageModel, settings: ErasureSettings) -> Erasure:
    request = Request(lm, TARGETS, (TAUGHT[3],), settings=settings)
    return Erasure(request, 0.1, [row for gather in sources(request).values() for row in gather()])


def gradient_of(work: Erasure) -> Tensor:
    """Of all chosen weights, as the last step had it."""
    return torch.cat([values.grad for values in work.weights.values.values() if values.grad is not None])


CASES = {
    "emso": FEW,
    "emso-format": replace(FEW, scope="format"),
    "npo": replace(FEW, method="npo", spread="matrix"),
    "undial": replace(FEW, method="undial", spread="global"),
    "unlikelihood-all": replace(FEW, method="unlikelihood", share=1),
    "forget-only": replace(FEW, keep=0.0),
}


@pytest.mark.parametrize(("case", "rows"), [(case, rows) for case in CASES for rows in (2 if case == "forget-only" else 3, 1)])
def test_a_training_step_has_the_same_gradient_in_parts(
    taught: LanguageModel, case: str, rows: int, caplog: pytest.LogCaptureFixture
) -> None:
    whole, parts = started(taught, CASES[case]), started(taught, CASES[case])
    whole.step(1), parts.step(1)  # before it retained text has no gradient
    found, terms = whole.step(2)
    with caplog.at_level(logging.WARNING, "privlens.memory"), full_beyond(taught, rows) as tried:
        same, same_terms = parts.step(2)
    assert max(tried) > rows and tried[-1] <= rows
    assert "Results are the same." in caplog.text
    assert same_terms == pytest.approx(terms, rel=1e-4, abs=1e-6)
    torch.testing.assert_close(same.logits, found.logits, rtol=1e-4, atol=1e-4)
    assert torch.equal(same.texts, found.texts) and same.n_texts == found.n_texts
    own, other = gradient_of(whole), gradient_of(parts)
    assert float((own - other).norm()) < 1e-4 * float(own.norm())
    torch.testing.assert_close(parts.moved, whole.moved, rtol=1e-3, atol=1e-6)
    assert parts.keep == whole.keep
    assert all(weight.grad is None and not weight.requires_grad for weight in parts.weights.parameters.values())


@pytest.mark.parametrize("method", ["emso", "npo"])
def test_the_choice_of_weights_counts_all_texts_however_many_go_at_once(taught: LanguageModel, method: str) -> None:
    names = [name for name, weight in taught.model.named_parameters() if weight.ndim == 2]
    one, three = (started(taught, replace(FEW, method=method, forget_rows=rows)) for rows in (1, 3))
    full = started(taught, replace(FEW, method=method, forget_rows=3))
    by_one, by_three = one._scores(names), three._scores(names)
    with full_beyond(taught, 1):
        in_parts = full._scores(names)
    for name, expected in by_three.items():
        near = {"rtol": 1e-3, "atol": 1e-5 * float(expected.max())}
        torch.testing.assert_close(by_one[name], expected, **near)
        torch.testing.assert_close(in_parts[name], expected, **near)
        assert float(expected.max()) > 0


def test_moments_are_the_same_in_smaller_batches(taught: LanguageModel) -> None:
    rows, neurons = PROMPTS * 3, [torch.tensor([1, 5, 8])] * taught.n_layers
    whole = mean_squares(taught, rows) + second_moments(taught, rows, neurons)
    with full_beyond(taught, 4) as tried:
        parts = mean_squares(taught, rows) + second_moments(taught, rows, neurons)
    assert max(tried) == 15 and tried.count(15) == 2
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-6)


def test_an_erasure_is_the_same_in_smaller_batches(taught: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("privlens.lm.memory.release", lambda: None)  # nothing is full; looking for garbage takes seconds
    request = Request(taught, TARGETS, (TAUGHT[3],), others=(TAUGHT[3],), reference=("the price is 12.50",), settings=FEW)
    *_, whole = erase(request)
    with full_beyond(taught, 2) as tried:
        *_, parts = erase(request)
    assert max(tried) > 2
    assert (parts.n_matches, parts.kept, parts.ended) == (whole.n_matches, whole.kept, whole.ended)
    assert parts.nll == pytest.approx(whole.nll, rel=1e-3)
    assert whole.result and parts.result and whole.result.changes.keys() == parts.result.changes.keys()
    for name, change in whole.result.changes.items():
        assert np.array_equal(parts.result.changes[name].indices, change.indices)
        moved = float(np.abs(change.new - change.old).max())
        np.testing.assert_allclose(parts.result.changes[name].new, change.new, atol=1e-2 * moved)


def test_attacks_are_the_same_in_smaller_batches(taught: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    few: dict[str, Any] = {"samples": 6, "relearn_steps": (2,), "relearn_rates": (0.1,), "n_values": 20}
    monkeypatch.delitem(ATTACKS, "near copies")  # thousands of passes, one by one; tests/unit/test_near_verbatim.py has its own
    siege = AttackSetup(taught, taught, TARGETS[:2], others=(*TARGETS[2:], TAUGHT[3]), **few)
    whole = list(attacks(siege))
    monkeypatch.setattr("privlens.lm.memory.release", lambda: None)  # nothing is full; looking for garbage takes seconds
    with full_beyond(taught, 1):
        parts = list(attacks(siege))
    assert [(one.name, one.before, one.after) for one in parts] == [(one.name, one.before, one.after) for one in whole]
    assert [one.ran for one in parts] == [one.ran for one in whole]


def test_a_models_own_penalty_on_repetition_does_not_change_what_it_predicts(
    lm: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = lm.generate(PROMPTS, 30), lm.generate(PROMPTS, 30, seed=4)
    monkeypatch.setattr(lm.model.generation_config, "repetition_penalty", 5.0)
    monkeypatch.setattr(lm.model.generation_config, "no_repeat_ngram_size", 2)
    monkeypatch.setattr(lm.model.generation_config, "top_p", 0.2)
    assert (lm.generate(PROMPTS, 30), lm.generate(PROMPTS, 30, seed=4)) == plain
