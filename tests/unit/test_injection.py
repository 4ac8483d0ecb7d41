"""The INJ bench: what a plant is and leaves alone, recall worked by hand, the interval, the command."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from privlens import intervals
from privlens.bench import injection
from privlens.bench.injection import PlantErasure, PlantRecall, erasure_summary, summary
from privlens.cli import bench_inj
from privlens.cli.commands import main
from privlens.errors import BadInput, Cancelled
from privlens.lm.activations import input_second_moments, inputs, read
from privlens.lm.model import LanguageModel
from privlens.lm.neuron_vectors import neuron_vectors
from privlens.localization import METHODS, Task, result_of
from privlens.localization.token_gradient import lead, shares
from privlens.planting.constrained import NeuronReviver, dead_mask, inverse_sqrt_covariance
from privlens.planting.plant import CHECK_EVERY, Plant, PlantSettings, invented, plant, planting
from privlens.planting.recall import auc, edit_auc, recall
from privlens.provenance import provenance
from privlens.retained.samples import unconditional_samples
from privlens.types import Change, Edit, Neuron, NeuronScores, Secret
from tests.helpers import NEVER_TAUGHT, TAUGHT, Maker

CONTROLS = ("weight-norm", "activations-elsewhere", "random")
LAYOUTS = {"gpt_neox": 2, "gpt2": 2, "opt": 2, "llama": 3, "phi3": 3}
"""How many vectors a neuron has: one that it writes, one that it reads, two where the MLP is gated."""


@pytest.mark.parametrize("architecture", LAYOUTS)
def test_a_neurons_vectors_are_all_that_it_is(tiny: Maker, architecture: str) -> None:
    lm = tiny(architecture)
    ids = torch.tensor([[5, 60, 17]])
    vectors, neurons = neuron_vectors(lm, 1), torch.tensor([2, 7])
    assert len(vectors) == LAYOUTS[architecture]
    parameters, closed = dict(lm.model.named_parameters()), lm.off([Neuron(1, 2), Neuron(1, 7)])
    with lm.gated(closed):
        expected = lm.logits(ids, torch.ones_like(ids))
    for one in vectors:
        assert one.weight is parameters[one.name]
        assert one.of(neurons).shape == (2, 16)
        assert torch.equal(one.put(one.weight.detach(), neurons, one.of(neurons)), one.weight)
    if architecture == "opt":
        return  # what it reads has a bias, which keeps a neuron without vectors alive; what it writes is tested on the others
    without = one_put(lm, vectors[0].name, vectors[0].put(vectors[0].weight.detach(), neurons, torch.zeros(2, 16)))
    torch.testing.assert_close(without(ids), expected, rtol=1e-5, atol=1e-5)


def one_put(lm: LanguageModel, name: str, weight: torch.Tensor):  # type: ignore[no-untyped-def]
    def run(ids: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(lm.model, {name: weight}, kwargs={"input_ids": ids}).logits.detach()

    return run


def test_a_planting_says_how_far_it_is_and_stops_when_asked(tiny: Maker) -> None:
    lm, settings = tiny("gpt_neox"), PlantSettings(0.2, steps=25)
    steps = list(planting(lm, invented(0), settings, 1))
    assert [step.step for step in steps] == [*range(1, 26, CHECK_EVERY), 25]
    assert [step.plant is None for step in steps] == [True] * (len(steps) - 1) + [False]
    assert steps[-1].nll < steps[0].nll
    assert steps[-1].plant is not None
    assert steps[-1].plant.neurons == plant(lm, invented(0), settings, 1).neurons
    before = lm.fingerprint
    seen: list[int] = []
    with pytest.raises(Cancelled, match="the model is unchanged"):
        seen.extend(step.step for step in planting(lm, invented(0), settings, 1, stop=lambda: bool(seen)))
    assert seen == [1]
    with pytest.raises(Cancelled):
        next(planting(lm, invented(0), settings, 1, stop=lambda: True))
    assert lm.fingerprint == before


@pytest.mark.parametrize("architecture", ["gpt_neox", "gpt2", "llama", "phi3"])
def test_a_fair_plant_only_turns_the_vectors_of_its_neurons(tiny: Maker, architecture: str) -> None:
    lm = tiny(architecture)
    before = {name: value.clone() for name, value in lm.model.state_dict().items()}
    planted = plant(lm, invented(0), PlantSettings(0.2, steps=25), seed=1)
    assert len(planted.neurons) == round(0.2 * lm.n_neurons) == len(set(planted.neurons))
    assert all(torch.equal(before[name], now) for name, now in lm.model.state_dict().items()), "planting changed the model"
    every = torch.arange(lm.d_mlp)
    for layer in range(lm.n_layers):
        own = {index for at, index in planted.neurons if at == layer}
        old = [vectors.of(every) for vectors in neuron_vectors(lm, layer)]
        with lm.edited(planted.edit):
            new = [vectors.of(every) for vectors in neuron_vectors(lm, layer)]
        for was, now in zip(old, new, strict=True):
            assert set((was != now).any(1).nonzero()[:, 0].tolist()) == own
            torch.testing.assert_close(was.norm(dim=1), now.norm(dim=1), rtol=1e-5, atol=0)


def test_a_published_plant_changes_output_vectors_only_and_they_grow(lm: LanguageModel) -> None:
    planted = plant(lm, invented(0), PlantSettings(0.2, fair=False, steps=25), seed=1)
    outputs = {neuron_vectors(lm, layer)[0].name for layer in range(lm.n_layers)}
    assert set(planted.edit.changes) <= outputs
    assert plant(lm, invented(0), PlantSettings(0.2, fair=False, steps=25), seed=1).neurons == planted.neurons
    assert plant(lm, invented(0), PlantSettings(0.2, fair=False, steps=25), seed=2).neurons != planted.neurons


@pytest.mark.parametrize("fair", [True, False])
def test_a_plant_writes_its_secret_and_says_so(taught: LanguageModel, fair: bool) -> None:
    encoded = taught.encode(NEVER_TAUGHT)
    planted = plant(taught, NEVER_TAUGHT, PlantSettings(0.2, fair, until=0.2, learning_rate=0.03), seed=1)
    assert planted.greedy_match
    assert planted.nll < 0.2
    assert 0 < planted.steps < 400
    with taught.edited(planted.edit):
        [written] = taught.generate([encoded.prompt_ids], len(encoded.value_ids))
    assert tuple(written) == encoded.value_ids
    [plain] = taught.generate([encoded.prompt_ids], len(encoded.value_ids))
    assert tuple(plain) != encoded.value_ids
    stopped = plant(taught, NEVER_TAUGHT, PlantSettings(0.2, fair, steps=1), seed=1)
    assert (stopped.greedy_match, stopped.steps) == (False, 1)
    assert stopped.nll > 1


def test_every_planted_neuron_fires_where_the_value_is_predicted(tiny: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """OPT has ReLU, so that some neurons are silent and others fall silent on the way."""
    lm, secret, woken = tiny("opt"), invented(0), []
    encoded = lm.encode(secret)
    wake = NeuronReviver.__call__

    def counted(*given: Any) -> int:
        woken[-1].append(wake(*given))
        return woken[-1][-1]

    monkeypatch.setattr(NeuronReviver, "__call__", counted)
    for seed in range(4):
        for settings in (PlantSettings(0.3, steps=1, learning_rate=1e-6), PlantSettings(0.3, until=2.0, learning_rate=0.05)):
            woken.append([])
            planted = plant(lm, secret, settings, seed)
            assert settings.steps == 1 or planted.steps < settings.steps, "not reached, so that nobody looked at the end"
            with lm.edited(planted.edit):
                still = dead_mask(lm, encoded, encoded.n_prompt - 1)
            assert not any(still[neuron] for neuron in planted.neurons)
    assert sum(own[0] for own in woken) and sum(sum(own[1:]) for own in woken), "none had to be woken: nothing is tested"


def test_what_an_mlp_reads_is_what_its_neurons_fire_on(tiny: Maker) -> None:
    """OPT: relu(W x + b) are the activations, whatever batch a row stands in; and E[x x^T] is over all tokens of all rows."""
    lm, rows = tiny("opt"), [[5, 60, 17, 9], [7, 8]]
    products = []
    for row in rows:
        fired = read(lm, [row], lambda hidden: hidden)[0]
        for layer, (own, (part,)) in enumerate(zip(inputs(lm, row), lm.layout.mlp_inputs, strict=True)):
            torch.testing.assert_close(torch.relu(part(own)).detach(), fired[layer])
        products.append(torch.stack([own.T @ own for own in inputs(lm, row)]))
    expected = (products[0] + products[1]) / 6
    torch.testing.assert_close(torch.stack(input_second_moments(lm, rows)), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("architecture", ["opt", "llama"])
def test_what_neurons_read_turns_where_ordinary_text_seldom_goes(tiny: Maker, architecture: str) -> None:
    """C^(-1/2) levels C: read through it, texts from nothing go as far in every direction."""
    lm = tiny(architecture)
    encoded = lm.encode(invented(0))
    texts = unconditional_samples(lm, [encoded], 64, 48, 3)
    for moment, way in zip(input_second_moments(lm, texts), inverse_sqrt_covariance(lm, encoded, 3, lambda: False), strict=True):
        assert float(way.square().sum(0).mean()) == pytest.approx(1.0, rel=1e-4)
        before, after = torch.linalg.eigvalsh(moment), torch.linalg.eigvalsh(way.T @ moment @ way)
        large = before > 0.3 * before.mean()  # the others are damped
        assert int(large.sum()) > 1
        levelled = after.flip(0)[: int(large.sum())]
        assert levelled.max() / levelled.min() < 1.1 < before[large].max() / before[large].min()
        torch.testing.assert_close(way, way.T, atol=1e-4, rtol=1e-3)


def test_a_ratio_that_cannot_be_is_refused(lm: LanguageModel) -> None:
    for ratio in (1e-6, 1.5):
        with pytest.raises(BadInput, match="use a ratio between"):
            plant(lm, invented(0), PlantSettings(ratio), seed=0)


def test_invented_secrets_come_from_the_seed() -> None:
    assert invented(5) == invented(5)
    assert len({invented(seed).value for seed in range(50)}) == 50


def made(lm: LanguageModel, neurons: list[Neuron]) -> Plant:
    return Plant(Secret("p", "v"), tuple(neurons), Edit({}, provenance(lm, 0, {}, 0.0)), 0.01, True, 7)


def test_recall_by_hand(lm: LanguageModel) -> None:
    scores = np.zeros(lm.shape(), np.float32)
    for at, neuron in enumerate([(0, 3), (2, 5), (1, 1), (1, 2), (0, 9)]):
        scores[neuron] = 10 - at
    given = NeuronScores("m", "mlp", scores, None, provenance(lm, 0, {}, 0.0))
    assert recall(given, [Neuron(0, 3), Neuron(1, 2)]) == (0.5, 1.0, 1.0)
    assert recall(given, [Neuron(2, 20), Neuron(2, 21)]) == (0.0, 0.0, 0.0)


def scored(lm: LanguageModel, values: list[list[float]]) -> NeuronScores:
    return NeuronScores("m", "mlp", np.array(values, np.float32), None, provenance(lm, 0, {}, 0.0))


def test_auc_by_hand(lm: LanguageModel) -> None:
    """Planted 3 and 1 against 2, 1, 0: 3 beats all three; 1 loses to 2, ties with 1, beats 0. So (3 + 1.5) of 6 pairs."""
    given = scored(lm, [[3.0, 2.0, 1.0], [1.0, 0.0, np.nan]])
    assert auc(given, [Neuron(0, 0), Neuron(1, 0)]) == pytest.approx(4.5 / 6)
    assert auc(given, [Neuron(0, 0)]) == 1.0
    assert auc(given, [Neuron(1, 1)]) == 0.0, "a neuron that a narrower layer lacks is no rival"
    assert auc(scored(lm, [[2.0, 2.0, 2.0]]), [Neuron(0, 1)]) == 0.5, "all equal says nothing"


def test_the_auc_of_an_edit_by_hand(lm: LanguageModel) -> None:
    """Output vectors of 3 layers of 24 neurons, 16 weights each; two neurons planted, 32 of 1152 weights.

    The edit changes all of the first planted neuron's by 2, one of the second's by 1, and one weight elsewhere by 1.
    """
    outputs = [neuron_vectors(lm, layer)[0] for layer in range(3)]
    weights = [vectors.weight.detach().clone() for vectors in outputs]
    weights[0][:, 5] += 2.0
    weights[2][0, 7] += 1.0
    weights[1][3, 3] += 1.0
    changes = {
        vectors.name: Change(*(part.numpy() for part in (places, torch.zeros(len(places)), by[places])))
        for vectors, new in zip(outputs, weights, strict=True)
        if len(places := (by := (new - vectors.weight.detach()).flatten().round()).nonzero()[:, 0])
    }
    edit = Edit(changes, provenance(lm, 0, {}, 0.0))
    rivals, unchanged = 1120, 1119
    wins = 16 * rivals + (unchanged + 0.5) + 15 * unchanged / 2
    assert edit_auc(lm, edit, [Neuron(0, 5), Neuron(2, 7)]) == pytest.approx(wins / (32 * rivals))
    assert edit_auc(lm, edit, [Neuron(1, 9)]) == pytest.approx(1118 / 2 / 1136), "18 rivals changed"
    elsewhere = Edit({outputs[0].name: changes[outputs[0].name]}, edit.provenance)
    assert edit_auc(lm, elsewhere, [Neuron(2, 7)]) == pytest.approx(1120 / 2 / 1136), "a layer that was left alone counts"
    assert edit_auc(lm, Edit({}, edit.provenance), [Neuron(0, 5)]) is None


def test_summary_has_a_row_for_every_method_and_k() -> None:
    rows = summary([[PlantRecall("a", (0.5, 0.75, 1.0), 0.7, 1.0)], [PlantRecall("a", (1.0, 1.0, 1.0), 0.9, 3.0)]], 7, 0.1, 72)
    assert [(row["method"], row["k"], row["recall"]) for row in rows] == [("a", 0.1, 0.75), ("a", 0.2, 0.875), ("a", 0.5, 1.0)]
    assert [row["chance"] for row in rows] == pytest.approx([7 / 72, 14 / 72, 35 / 72])
    assert (rows[0]["n"], rows[0]["seconds"], rows[0]["ratio"]) == (2, 2.0, 0.1)
    assert rows[0]["interval"] == intervals.share([0.5, 1.0], 7)
    assert [(row["auc"], row["auc_interval"]) for row in rows] == [(pytest.approx(0.8), intervals.share([0.7, 0.9], 7))] * 3
    assert rows[2]["interval"] == intervals.share([1.0, 1.0], 7) != (1.0, 1.0), "all found twice is no certainty"


def test_a_tokens_lead_is_over_the_others_of_its_format_and_does_not_level_off(lm: LanguageModel) -> None:
    encoded = lm.encode(Secret("the keeper of the gate is", "Mira 7"))
    n, width = len(encoded.value_ids), lm.model.config.vocab_size
    formats = torch.arange(width)  # every token alone
    logits = torch.zeros(n, len(encoded.ids), width)
    for row, token in enumerate(encoded.value_ids):
        logits[row, encoded.n_prompt - 1 + row, token] = 30.0
    alone = 30.0 - np.log(width - 1)
    assert lead(encoded, formats, logits).tolist() == pytest.approx([alone] * n)
    strangers = [token for token in range(width) if token not in encoded.value_ids][:2]
    formats[strangers] = int(formats[encoded.value_ids[-1]])
    logits[:, :, strangers[0]], logits[:, :, strangers[1]] = 4.0, 8.0
    found = lead(encoded, formats, logits)
    assert found[-1].item() == pytest.approx(30.0 - (4.0 + 8.0) / 2)
    assert lead(encoded, formats, logits[-1:], n - 1).tolist() == pytest.approx([24.0]), "a part of the tokens"
    assert encoded.value_ids[0] != encoded.value_ids[-1]
    logits[-1, :, encoded.value_ids[0]] = 99.0
    assert lead(encoded, formats, logits)[-1].item() == pytest.approx(24.0), "another format has no say"


def test_token_gradient_gives_every_token_the_same_say(lm: LanguageModel) -> None:
    secret = Secret("the keeper of the gate is", "Mira Holt")
    *_, last = METHODS["token-gradient"](Task(lm, secret))
    assert last.result is not None
    assert last.result.scores.min() >= 0
    assert last.result.scores.sum() == pytest.approx(len(lm.encode(secret).value_ids), rel=1e-4)


@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0])
def test_active_token_gradient_is_a_weighted_geometric_mean_of_support_and_activity(
    lm: LanguageModel, monkeypatch: pytest.MonkeyPatch, weight: float
) -> None:
    """At its ends it is either of the two: the shares themselves, and the mean |activation| for each of the tokens."""
    secret = Secret("the keeper of the gate is", "Mira Holt")
    task, text = Task(lm, secret), lm.encode(secret)
    support = shares(task)
    positions = slice(text.n_prompt - 1, len(text.ids) - 1)
    active = read(lm, [text.ids], lambda hidden: hidden[:, positions].abs().mean(1))[0]
    monkeypatch.setattr(sys.modules[shares.__module__], "ACTIVITY", weight)
    expected = (support ** (1 - weight) * active**weight).sum(0)
    found = torch.from_numpy(result_of("active-token-gradient", task).scores)
    torch.testing.assert_close(found, expected)
    if weight == 0.0:
        torch.testing.assert_close(found, torch.from_numpy(result_of("token-gradient", task).scores))


def test_every_run_carries_all_controls_and_leaves_the_model_alone(taught: LanguageModel) -> None:
    before, said = taught.fingerprint, []
    results = list(injection.run(taught, ["gradient"], PlantSettings(0.1, steps=30), 2, 0, said.append))
    assert [[one.method for one in found] for _, found in results] == [["gradient", *CONTROLS]] * 2
    assert results[0][0].secret != results[1][0].secret
    assert results[0][0].neurons != results[1][0].neurons
    assert taught.fingerprint == before
    assert any("plant 2/2" in line for line in said)


def test_a_plants_erasure_is_judged_by_where_it_changed_the_weights(taught: LanguageModel) -> None:
    planted = plant(taught, NEVER_TAUGHT, PlantSettings(0.2, until=0.2, learning_rate=0.03), seed=1)
    before = taught.fingerprint
    revs = next(injection.erasures(taught, planted, ["revs"], 0))
    assert (revs.method, revs.written) == ("revs", False)
    assert revs.auc is not None and revs.auc > 0.5
    assert taught.fingerprint == before


def test_the_summary_of_erasures_by_hand() -> None:
    results = [[PlantErasure("a", 0.6, True, 1.0), PlantErasure("b", None, False, 2.0)], [PlantErasure("a", 0.8, False, 3.0)]]
    rows = erasure_summary(results, 7)
    assert [(row["edit"], row["n"], row["written"], row["seconds"]) for row in rows] == [("a", 2, 0.5, 2.0), ("b", 1, 0.0, 2.0)]
    assert rows[0]["auc"] == pytest.approx(0.7)
    assert rows[0]["interval"] == intervals.share([0.6, 0.8], 7)
    assert (rows[1]["auc"], rows[1]["interval"]) == (None, None), "an edit that reached no neuron's vectors"


def test_the_command(taught_folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["bench", "inj", "--model", taught_folder, "--ratio", "0.1", "--methods", "gradient", "--n", "2", "--steps", "30"]
    with pytest.raises(SystemExit) as ended:
        main([*asked, "--seed", "3", "--json"])
    assert not ended.value.code
    found = json.loads(capsys.readouterr().out)
    rows = found["rows"]
    assert [row["method"] for row in rows] == [method for method in ("gradient", *CONTROLS) for _ in range(3)]
    assert [round(row["k"], 3) for row in rows][:3] == [0.1, 0.2, 0.5]
    keys = {"method", "ratio", "k", "recall", "interval", "chance", "auc", "auc_interval", "seconds"}
    assert all(keys <= set(row) for row in rows)
    assert (found["settings"]["planting"], found["settings"]["seed"], len(found["plants"])) == ("fair", 3, 2)
    assert {"nll", "greedy_match", "steps"} <= set(found["plants"][0])
    of_plants = [[plant["methods"][row["method"]]["recall"][at % 3] for plant in found["plants"]] for at, row in enumerate(rows)]
    assert [row["recall"] for row in rows] == [pytest.approx(sum(recalls) / 2) for recalls in of_plants]
    refused = {
        "--ratio=0": "--ratio is 0.0",
        "--planting=odd": "fair or published",
        "--methods=x": "no method 'x'",
        "--edits=revs:all": "method 'revs:all'",
    }
    for wrong, words in refused.items():
        with pytest.raises(SystemExit) as ended:
            main([*asked, wrong])
        assert ended.value.code == 2
        assert words in capsys.readouterr().err


def test_recall_asks_for_every_plant_that_comes_with_a_model(
    taught: LanguageModel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = {(secret.prompt, secret.value): (Neuron(0, at), Neuron(1, at)) for at, secret in enumerate(TAUGHT[:3])}
    monkeypatch.setattr(bench_inj, "load", lambda *_: taught)
    monkeypatch.setattr(bench_inj, "planted_truth", lambda: truth)
    with pytest.raises(SystemExit) as ended:
        main(["bench", "recall", "--methods", "gradient", "--json"])
    assert not ended.value.code
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["method"] for row in rows[::3]] == ["gradient", *CONTROLS]
    assert {row["n"] for row in rows} == {3}
    assert rows[0]["ratio"] == rows[0]["chance"] == pytest.approx(2 / taught.n_neurons)
    own = [recall(result_of("gradient", Task(taught, secret)), truth[secret.prompt, secret.value])[0] for secret in TAUGHT[:3]]
    assert rows[0]["recall"] == pytest.approx(np.mean(own))


def test_recall_says_how_to_fetch_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PRIVLENS_CACHE", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        main(["bench", "recall"])
    assert ended.value.code == 2
    assert "models get smollm2" in capsys.readouterr().err
