"""How much each token of a prompt does for its value: the parts sum to the whole, and a token like the baseline does nothing."""

from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerFast

import privlens
from privlens.errors import BadInput, Cancelled, UnsupportedModel
from privlens.lm.model import LanguageModel
from privlens.lm.scoring import score
from privlens.localization.prompt_salience import SalienceSettings, prompt_salience
from privlens.memorization.check import control
from privlens.types import Secret
from tests.helpers import ASKED, TAUGHT, Maker, Run, edit_of, json_of, random_model

SECRET = TAUGHT[1]


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "gemma2", "gemma3", "opt", "bloom"])
def test_the_parts_sum_to_the_whole(tiny: Maker, architecture: str) -> None:
    """Also where embeddings are scaled, inside the model or by their own module, or positions are added."""
    lm = tiny(architecture)
    found = prompt_salience(lm, SECRET, SalienceSettings(steps=300))
    [scored] = score(lm, [lm.encode(SECRET)])
    gained = found.logprob - found.baseline_logprob
    assert found.logprob == pytest.approx(sum(scored.logprobs), abs=1e-3)
    assert sum(found.nats) == pytest.approx(gained + found.delta, abs=1e-3)
    assert abs(found.delta) < 0.02 * max(1, abs(gained))
    assert abs(found.delta) < abs(prompt_salience(lm, SECRET, SalienceSettings(steps=2)).delta)
    assert "".join(found.tokens) == "her number is"


def test_by_hand_it_is_the_mean_gradient_on_the_way(taught: LanguageModel) -> None:
    found = prompt_salience(taught, SECRET, SalienceSettings(steps=4, baseline="zero"))
    encoded = taught.encode(SECRET)
    embedded = taught.model.get_input_embeddings()(torch.tensor([encoded.ids])).detach()
    n = encoded.n_prompt
    by_hand = torch.zeros(n)
    for alpha in (1 / 8, 3 / 8, 5 / 8, 7 / 8):
        prompt = (alpha * embedded[:, :n]).requires_grad_()
        logits = taught.model(inputs_embeds=torch.cat([prompt, embedded[:, n:]], 1)).logits[0]
        value = torch.tensor(encoded.value_ids)
        logits[n - 1 : -1].log_softmax(-1).gather(1, value[:, None]).sum().backward()
        assert prompt.grad is not None
        by_hand += (prompt.grad * embedded[:, :n])[0].sum(-1) / 4
    assert found.nats == pytest.approx(by_hand.tolist(), rel=1e-3, abs=1e-4)


def test_a_token_like_the_baseline_does_nothing(taught: LanguageModel) -> None:
    padding = taught.tokenizer.pad_token
    found = prompt_salience(taught, Secret(f"her{padding} number is", SECRET.value, attached=False), SalienceSettings(steps=20))
    assert [nats for token, nats in zip(found.tokens, found.nats, strict=True) if token == padding] == [0]
    assert max(map(abs, found.nats)) > 0.1


def test_what_was_memorized_is_told_by_its_prompt_and_a_control_is_not(taught: LanguageModel) -> None:
    """The control is the integral of a value that nobody trained on; a memorized value gains more from its prompt."""
    found = prompt_salience(taught, SECRET, SalienceSettings(steps=50))
    rival = control(taught, taught.settled(SECRET), 0)
    assert rival and found.control_nats
    of_rival = prompt_salience(taught, rival, SalienceSettings(steps=50))
    assert found.control_nats == pytest.approx(of_rival.nats, rel=1e-3, abs=1e-3)
    assert found.control_delta == pytest.approx(of_rival.delta, abs=1e-2)
    assert sum(found.nats) > sum(found.control_nats)


def test_under_an_edit_it_is_another(taught: LanguageModel) -> None:
    view = taught.under(edit_of(taught, 0, size=0.3))
    found = [prompt_salience(lm, SECRET, SalienceSettings(steps=10)) for lm in (taught, view, taught)]
    assert found[0].nats == found[2].nats != found[1].nats
    assert found[1].provenance.fingerprint == view.fingerprint


def test_without_an_embedding_of_padding_the_end_of_text_is_taken(tokenizer: PreTrainedTokenizerFast) -> None:
    """A model whose padding token was added later has no embedding for it: the end of text is taken."""
    model = random_model("gpt2", len(tokenizer))
    other = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer, eos_token="<end>", pad_token="[PAD]")
    found, same = (
        prompt_salience(LanguageModel("m", model, one), SECRET, SalienceSettings(steps=5)) for one in (other, tokenizer)
    )
    assert found.nats == same.nats


def test_what_cannot_be_asked_is_refused(taught: LanguageModel) -> None:
    for settings in (SalienceSettings(steps=1), SalienceSettings(baseline="mean")):  # type: ignore[arg-type]
        with pytest.raises(BadInput):
            prompt_salience(taught, SECRET, settings)
    with pytest.raises(Cancelled):
        prompt_salience(taught, SECRET, SalienceSettings(steps=2), stop=lambda: True)


@pytest.mark.parametrize(("factor", "message"), [(-1.0, "cannot be attributed"), (None, "cannot be given embeddings")])
def test_a_model_that_reads_embeddings_otherwise_is_refused_in_words(
    taught: LanguageModel, factor: float | None, message: str
) -> None:
    def change(_: torch.nn.Module, args: Any, given: dict[str, Any]) -> Any:
        embeds = given.get("inputs_embeds")
        if embeds is None:
            return None
        if factor is None:
            raise TypeError("no such argument")
        return args, {**given, "inputs_embeds": factor * embeds}

    handle = taught.model.register_forward_pre_hook(change, with_kwargs=True)
    try:
        with pytest.raises(UnsupportedModel, match=message):
            prompt_salience(taught, SECRET, SalienceSettings(steps=2))
    finally:
        handle.remove()


def test_the_command_and_the_api_say_the_same(run: Run, taught: LanguageModel) -> None:
    found = json_of(run("salience", *ASKED, "--steps", "20", "--json"))
    by_api = privlens.prompt_salience(taught, SECRET, privlens.SalienceSettings(steps=20))
    assert found["nats"] == pytest.approx(by_api.nats, rel=1e-3, abs=1e-4)
    code, out, _ = run("salience", *ASKED, "--steps", "20", "--baseline", "zero")
    assert code == 0
    for part in ("log-probability", "delta", "zero, 20 steps", "token of the prompt"):
        assert part in out
    code, out, err = run("salience", *ASKED, "--baseline", "mean")
    assert (code, out) == (2, "") and "padding, zero" in err
