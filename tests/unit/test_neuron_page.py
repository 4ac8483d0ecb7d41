"""One neuron: its name, its card, what it is active on, and what happens when it alone is dimmed or off."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast

import privlens
from privlens import intervals
from privlens.errors import BadInput, Cancelled
from privlens.lm.activations import read
from privlens.lm.editing import weight_change
from privlens.lm.gating import random_like
from privlens.lm.model import LanguageModel
from privlens.lm.scoring import score, text_nll
from privlens.lm.unembedding import unembedding
from privlens.memorization.metrics import nll
from privlens.memorization.states import memorization_states, reference_ids
from privlens.neurons.card_records import Family
from privlens.neurons.cards import card
from privlens.neurons.dimmer import GATES, N_RANDOM, REFERENCE_TOKENS, alone_off, dimmer
from privlens.neurons.families import RULES, badges, members
from privlens.neurons.links import neuron_link, parse_neuron
from privlens.neurons.page import PageRequest, contexts, neighbors, on_secret, on_text, page
from privlens.neurons.page_records import AloneOff
from privlens.neurons.profile import profile
from privlens.neurons.profile_records import ModelProfile
from privlens.provenance import provenance
from privlens.types import Edit, Neuron, NeuronScores, Secret, from_json, to_json
from tests.helpers import LAYERS, NEVER_TAUGHT, TAUGHT, TEXT, WIDTH, Maker, Run, json_of, random_model

TEXTS = (TEXT, *(f"{secret.prompt} {secret.value}, {secret.prompt}" for secret in TAUGHT))
LISTED = (*TAUGHT, NEVER_TAUGHT)
FINGERPRINT = "0123456789abcdef"


def profile_of(lm: LanguageModel) -> ModelProfile:
    *_, last = profile(lm, TEXTS)
    assert last.result
    return last.result


def test_a_neurons_name_is_read_as_it_is_written() -> None:
    widths = (10, 20)
    for text in ("L1N12", "l1n12", "L1 N12", " 1:12 ", "1 : 12", f"{FINGERPRINT}/L1N12", f"{FINGERPRINT}/1:12"):
        assert parse_neuron(text, widths, FINGERPRINT) == Neuron(1, 12)
    assert neuron_link(FINGERPRINT, Neuron(1, 12)) == f"{FINGERPRINT}/L1N12"
    assert parse_neuron(neuron_link(FINGERPRINT, Neuron(1, 12)), widths) == Neuron(1, 12)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "write L5N1234"),
        ("1", "write L5N1234"),
        ("L1N", "write L5N1234"),
        ("L-1N3", "write L5N1234"),
        ("L1N12 L1N13", "write L5N1234"),
        ("demo/L1N12", "write L5N1234"),
        ("L\u0661N1", "write L5N1234"),
        ("L2N3", "count from 0 to 1"),
        ("L0N10", "count from 0 to 9"),
        ("fedcba9876543210/L1N12", "load that model"),
    ],
)
def test_a_name_that_is_none_is_refused_in_words(text: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        parse_neuron(text, (10, 20), FINGERPRINT)


def planted_writer(tokenizer: PreTrainedTokenizerFast, sign: float) -> tuple[LanguageModel, float]:
    """A neuron (2, 3) that writes 9 units along the direction of token 77, or against it; and the norm of that direction."""
    model = random_model("gpt2", len(tokenizer))
    rows = unembedding(LanguageModel("before", model, tokenizer))
    direction = rows[77] - rows.mean(0)
    with torch.no_grad():
        model.transformer.h[2].mlp.c_proj.weight[3] = sign * 9 * direction / direction.norm()
    return LanguageModel("planted", model, tokenizer), float(direction.norm())


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_planted_token_is_promoted_or_suppressed(tokenizer: PreTrainedTokenizerFast, sign: float) -> None:
    lm, norm = planted_writer(tokenizer, sign)
    found = card(lm, profile_of(lm), Neuron(2, 3))
    first = (found.promoted if sign > 0 else found.suppressed)[0]
    assert first.token_id == 77
    assert first.token == lm.tokenizer.decode([77])
    assert first.cosine == pytest.approx(sign, abs=1e-5)
    assert first.logit == pytest.approx(sign * 9 * norm, rel=1e-4)
    assert len(found.promoted) == len(found.suppressed) == 10


def test_percentiles_and_scores_by_hand(tokenizer: PreTrainedTokenizerFast) -> None:
    """The largest output norm is above all others; ties count half. Rank 1 is the highest score."""
    lm, _ = planted_writer(tokenizer, 1)
    values = np.zeros((LAYERS, WIDTH), np.float32)
    values[0, 0], values[2, 3] = 5, 2
    scores = NeuronScores("by-hand", "mlp", values, None, provenance(lm, 0, {}, 0.0))
    found = card(lm, profile_of(lm), Neuron(2, 3), [scores])
    statistics = {statistic.name: statistic for statistic in found.statistics}
    n = LAYERS * WIDTH
    assert statistics["output norm"].value == pytest.approx(9, rel=1e-5)
    assert statistics["output norm"].percentile == pytest.approx(100 * (n - 0.5) / n)
    assert statistics["input bias (c_fc)"].percentile == pytest.approx(50)  # all are 0
    assert [(one.method, one.score, one.rank, one.n_neurons) for one in found.scores] == [("by-hand", 2, 2, n)]
    assert sum(found.histogram.counts) == profile_of(lm).n_tokens
    with pytest.raises(BadInput, match="not of this model's MLP neurons"):
        card(lm, profile_of(lm), Neuron(2, 3), [replace(scores, site="attention")])


def test_a_profile_of_another_model_is_refused(tiny: Maker) -> None:
    with pytest.raises(BadInput, match="of another model"):
        card(tiny("gpt2"), profile_of(tiny("llama")), Neuron(0, 0))
    with pytest.raises(BadInput, match="There is no neuron"):
        card(tiny("gpt2"), profile_of(tiny("gpt2")), Neuron(0, WIDTH))


def shaped(profile: ModelProfile) -> ModelProfile:
    """A profile of 3 layers in which every rule holds for exactly one neuron, and fails for its neighbours by one number each."""
    vocabulary = profile.weights.vocabulary
    flat = {name: np.full((LAYERS, WIDTH), value, np.float32) for name, value in [("kurtosis", 3), ("skew", 1), ("variance", 1)]}
    flat["kurtosis"][2, :3] = flat["kurtosis"][1, 3] = 10.5
    flat["kurtosis"][2, 0] = 9.5
    flat["skew"][2, 2] = flat["skew"][2, 4] = -1
    flat["variance"][2, 5:7] = flat["variance"][0, 7] = 1e-4
    size = np.ones((LAYERS, WIDTH), np.float32)
    size[2, 6] = size[2, 4] = size[0, 7] = 9
    position, token = np.full((2, LAYERS, WIDTH), 0.1, np.float32)
    position[0, 8], position[0, 9], token[1, 10] = 0.51, 0.49, 0.9
    return replace(
        profile,
        weights=replace(profile.weights, vocabulary=replace(vocabulary, **flat), squared_norm=size),
        activations=replace(profile.activations, position_explained=position, token_explained=token),
    )


def test_families_by_their_rules(tiny: Maker) -> None:
    """Layers 0 and 1 of 3 are early: 1 is before the middle, 1.5."""
    made = shaped(profile_of(tiny("gpt2")))
    expected: dict[Family, list[tuple[int, int]]] = {
        "prediction": [(2, 1)],
        "suppression": [(2, 2)],
        "entropy": [(2, 6)],
        "position": [(0, 8)],
        "unigram": [(1, 10)],
    }
    for family, neurons in expected.items():
        assert list(map(tuple, np.argwhere(members(made, family)).tolist())) == neurons, family
        [badge] = badges(made, Neuron(*neurons[0]))
        assert (badge.family, badge.rule) == (family, RULES[family][0])
    assert badges(made, Neuron(2, 6))[0].numbers == (
        ("sum of squared norms", 9.0),
        ("variance with the vocabulary", pytest.approx(1e-4)),
    )
    assert badges(made, Neuron(0, 0)) == ()


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_activations_on_a_secret_and_on_a_text(tiny: Maker, architecture: str) -> None:
    lm, neuron = tiny(architecture), Neuron(1, 5)
    encoded = lm.encode(TAUGHT[1])
    by_hand = read(lm, [encoded.ids], lambda hidden: hidden)[0, 1, :, 5].tolist()
    found = on_secret(lm, neuron, TAUGHT[1])
    assert found.activations == pytest.approx(by_hand, rel=1e-4, abs=1e-6)
    assert found.n_prompt == encoded.n_prompt
    assert "".join(found.tokens) == "her number is 555-0142"
    assert on_text(lm, neuron, "her number is 555-0142").activations == pytest.approx(by_hand, rel=1e-4, abs=1e-6)
    with pytest.raises(BadInput, match="The text is empty"):
        on_text(lm, neuron, "  ")


def test_contexts_show_the_token_at_which_the_neuron_is_most_active(tiny: Maker) -> None:
    lm, neuron = tiny("gpt2"), Neuron(2, 9)
    made = profile_of(lm)
    found = contexts(lm, made, neuron, TEXTS)
    assert found
    ids = reference_ids(lm, TEXTS)
    for context in found:
        place = context.position - context.start
        assert context.activations[place] == pytest.approx(context.activation)
        assert context.tokens[place] == lm.tokenizer.decode([ids[context.row][context.position]])
        assert max(context.activations[1:]) == pytest.approx(context.activation)
    assert [one.activation for one in found] == sorted((one.activation for one in found), reverse=True)
    silent = made.activations.context_activations.copy()
    silent[2, 9] = 0
    assert contexts(lm, replace(made, activations=replace(made.activations, context_activations=silent)), neuron, TEXTS) == ()


def test_the_nearest_neuron_is_a_planted_copy(tokenizer: PreTrainedTokenizerFast) -> None:
    model = random_model("llama", len(tokenizer))
    with torch.no_grad():
        model.model.layers[0].mlp.down_proj.weight[:, 20] = 3 * model.model.layers[2].mlp.down_proj.weight[:, 4]
    found = neighbors(LanguageModel("copy", model, tokenizer), Neuron(2, 4))
    assert found[0].neuron == (0, 20)
    assert found[0].cosine == pytest.approx(1, abs=1e-5)
    assert len(found) == 10
    assert Neuron(2, 4) not in [one.neuron for one in found]
    vectors = torch.cat([layer.mlp.down_proj.weight.T for layer in model.model.layers]).detach()
    cosines = torch.cosine_similarity(vectors, vectors[2 * WIDTH + 4][None])
    np.testing.assert_allclose([one.cosine for one in found], sorted(cosines.tolist(), reverse=True)[1:11], atol=1e-5)


def test_the_dimmer_at_one_is_the_model_and_at_zero_the_neuron_off(taught: LanguageModel) -> None:
    secret, neuron = TAUGHT[1], Neuron(1, 7)
    encoded = taught.encode(secret)
    found = dimmer(taught, neuron, secret, TEXTS)
    points = {point.gate: point for point in found.points}
    assert tuple(points) == GATES
    ids = [row[:REFERENCE_TOKENS] for row in reference_ids(taught, TEXTS)]
    assert sum(map(len, ids)) < REFERENCE_TOKENS  # so that all of it is run
    for gate, gates in ((1.0, None), (0.0, taught.off([neuron])), (2.0, 2 - taught.off([]).index_put_(
        (torch.tensor([0]), torch.tensor([1]), torch.tensor([7])), torch.tensor([0.0])
    ))):  # fmt: skip
        [by_hand] = score(taught, [encoded], gates)
        assert points[gate].secret_nll == pytest.approx(nll(by_hand.logprobs), rel=1e-3, abs=1e-5)
        assert points[gate].entropy == pytest.approx(np.mean(by_hand.entropies), rel=1e-3, abs=1e-5)
        assert points[gate].reference_nll == pytest.approx(text_nll(taught, ids, gates), rel=1e-4)
    assert points[0.0].secret_nll != pytest.approx(points[1.0].secret_nll, rel=1e-3)
    random_nlls = [nll(score(taught, [encoded], taught.off([other]))[0].logprobs) for other in found.random]
    assert points[0.0].random_nll == pytest.approx(np.mean(random_nlls), rel=1e-3)
    assert points[0.0].random_interval is not None
    assert points[0.0].random_interval[0] < points[0.0].random_nll < points[0.0].random_interval[1]
    assert len(set(found.random)) == N_RANDOM and neuron not in found.random
    assert dimmer(taught, neuron, secret).points[0].reference_nll is None


def test_random_neurons_are_drawn_from_all_and_never_the_chosen_one(tiny: Maker) -> None:
    lm = tiny("gpt2")
    n = LAYERS * WIDTH
    chosen = frozenset([Neuron(1, 1)])
    every = random_like(lm.widths(), n - 1, 0, chosen)
    assert len(set(every)) == n - 1 and Neuron(1, 1) not in every
    assert random_like(lm.widths(), 5, 0) == random_like(lm.widths(), 5, 0) != random_like(lm.widths(), 5, 1)
    with pytest.raises(BadInput, match="71 others"):
        random_like(lm.widths(), n, 0, chosen)


def alone(lm: LanguageModel, neuron: Neuron) -> AloneOff:
    *_, last = alone_off(lm, neuron, LISTED)
    assert last.result
    return last.result


def propped_up(taught: LanguageModel) -> LanguageModel:
    """The same predictions, but neuron (1, 7) is always equally active and cancels a large constant in the layer's bias."""
    model = copy.deepcopy(taught.model)
    mlp = model.gpt_neox.layers[1].mlp
    with torch.no_grad():
        mlp.dense_h_to_4h.weight[7] = 0
        mlp.dense_h_to_4h.bias[7] = 5
        prop = 10 * torch.randn(32, generator=torch.Generator().manual_seed(0))
        mlp.dense_4h_to_h.weight[:, 7] = prop
        mlp.dense_4h_to_h.bias -= mlp.act(torch.tensor(5.0)) * prop
    return LanguageModel("propped up", model, taught.tokenizer)


def test_secrets_that_hang_on_one_neuron_fall_with_it_alone(taught: LanguageModel) -> None:
    lm, neuron = propped_up(taught), Neuron(1, 7)
    found = alone(lm, neuron)
    before, after = (memorization_states(lm, LISTED, gates) for gates in (None, lm.off([neuron])))
    assert found.n_known == len(TAUGHT)
    assert (found.chosen.n_lost, found.chosen.interval) == (4, intervals.rate(4, 4))
    assert [(one.n_lost, one.interval) for one in found.random] == [(0, intervals.rate(0, 4))] * N_RANDOM
    assert found.random_interval is not None and found.random_interval[0] == 0
    assert len({one.neuron for one in (found.chosen, *found.random)}) == N_RANDOM + 1
    assert {change.secret for change in found.changes} == set(LISTED)
    for change in found.changes:
        old, new = before[LISTED.index(change.secret)], after[LISTED.index(change.secret)]
        assert (change.nll_before, change.nll_after) == pytest.approx((old.nll, new.nll), rel=1e-3)
        assert (change.known_before, change.known_after) == (old.greedy_match, new.greedy_match)
    rises = [change.nll_after - change.nll_before for change in found.changes]
    assert rises == sorted(rises, reverse=True)
    assert found.chosen.mean_change == pytest.approx(np.mean(rises))


def test_nothing_known_is_nothing_lost_and_no_list_is_refused(tiny: Maker) -> None:
    found = alone(tiny("gpt2"), Neuron(0, 0))
    assert (found.n_known, found.chosen.n_lost, found.chosen.interval, found.random_interval) == (0, 0, None, None)
    with pytest.raises(BadInput, match="No secret is listed"):
        next(alone_off(tiny("gpt2"), Neuron(0, 0), ()))
    with pytest.raises(Cancelled):
        next(alone_off(tiny("gpt2"), Neuron(0, 0), LISTED, stop=lambda: True))


def test_a_page_comes_part_by_part_and_goes_through_json(taught: LanguageModel) -> None:
    request = PageRequest(TEXTS, TAUGHT[1], "the lamp and the gate", LISTED)
    steps = list(page(taught, Neuron(1, 7), request))
    shown = [step.page for step in steps if step.page]
    assert shown[0].dimmer is None and shown[0].contexts == ()
    result = steps[-1].result
    assert result and result.dimmer and result.alone and result.on_secret and result.on_text and result.neighbors
    assert [step.result for step in steps[:-1]] == [None] * (len(steps) - 1)
    back = from_json(type(result), to_json(result))
    assert back.card.link == f"{taught.fingerprint}/L1N7"
    assert back.alone == result.alone
    with pytest.raises(BadInput, match="There is no neuron"):
        next(page(taught, Neuron(5, 7), request))


def test_a_view_has_a_page_of_its_own(taught: LanguageModel) -> None:
    """Under an edit that doubles what the neuron writes its norm is twice as large, and it is found as at gate 2."""
    weight = taught.layout.mlp[1].weight
    name = next(name for name, parameter in taught.model.named_parameters() if parameter is weight)
    doubled = weight.detach().clone()
    doubled[:, 7] *= 2
    view = taught.under(Edit({name: weight_change(weight, doubled)}, provenance(taught, 0, {}, 0.0)))
    plain, edited = (card(lm, profile_of(lm), Neuron(1, 7)) for lm in (taught, view))
    norms = [next(one.value for one in found.statistics if one.name == "output norm") for found in (plain, edited)]
    assert norms[1] == pytest.approx(2 * norms[0], rel=1e-5)
    assert edited.link.startswith(view.fingerprint)
    at_two, at_one = (
        next(point for point in dimmer(lm, Neuron(1, 7), TAUGHT[1]).points if point.gate == gate).secret_nll
        for lm, gate in ((taught, 2.0), (view, 1.0))
    )
    assert at_one == pytest.approx(at_two, rel=1e-3)


def test_the_command_and_the_api_say_the_same(run: Run, taught: LanguageModel) -> None:
    command = ["neuron", "L1N7", "--secrets", "secrets.csv", "--row", "1", "--reference", "reference.txt", "--text", "the lamp"]
    found = json_of(run(*command, "--json"))
    assert found["card"]["link"].endswith("/L1N7")
    assert found["alone"]["n_known"] == len(TAUGHT)
    by_api = privlens.neuron_page(taught, "1:7", Secret(TAUGHT[1].prompt, TAUGHT[1].value), reference=TEXTS)
    assert by_api.dimmer and by_api.alone is None
    nlls = [point["secret_nll"] for point in found["dimmer"]["points"]]
    assert nlls == pytest.approx([point.secret_nll for point in by_api.dimmer.points], rel=1e-3, abs=1e-5)
    code, out, _ = run(*command)
    assert code == 0
    for part in ("promotes", "percentile", "Most active in:", "nearest neuron", "token of the secret", "gate", "off alone"):
        assert part in out
    code, out, _ = run("neuron", "L1N7", "--reference", "reference.txt")
    assert code == 0 and "off alone" not in out


def test_the_command_refuses_what_is_no_neuron_in_one_line(run: Run) -> None:
    for wrong in (["L9N0"], ["seven"], ["L1N7", "--prompt", "x"], ["L1N7", "--row", "0"]):
        code, out, err = run("neuron", *wrong, "--reference", "reference.txt")
        assert (code, out) == (2, "")
        assert len(err.strip().splitlines()) == 1
