"""The public names: a script's way through PrivLens, on a model of its own."""

from pathlib import Path

import numpy as np
import pytest

import privlens
from privlens import api
from privlens.errors import BadInput
from privlens.lm.model import LanguageModel
from privlens.localization.choice import reordered
from privlens.provenance import provenance
from privlens.types import Neuron, NeuronScores

SCORES = [[5.0, 1.0, 4.0], [9.0, 8.0, 7.0], [2.0, 3.0, float("nan")]]


def scores_of(lm: LanguageModel, suggested_k: int | None = None) -> NeuronScores:
    return NeuronScores("by-hand", "mlp", np.array(SCORES, np.float32), suggested_k, provenance(lm, 0, {}, 0.0))


def test_the_package_offers_what_the_api_does_and_nothing_else() -> None:
    assert sorted(privlens.__all__) == sorted(api.__all__)
    assert all(getattr(privlens, name) is getattr(api, name) for name in privlens.__all__)
    with pytest.raises(AttributeError, match="no attribute 'secrets'"):
        _ = privlens.secrets  # type: ignore[attr-defined]


def test_a_model_object_is_used_as_it_is(taught: LanguageModel) -> None:
    lm = privlens.load(taught.model, taught.tokenizer)
    assert lm.model is taught.model
    with pytest.raises(BadInput, match=r"load\(model, tokenizer\)"):
        privlens.load(taught.model)


def test_the_best_by_hand(taught: LanguageModel) -> None:
    scores = scores_of(taught)
    assert privlens.best(scores, 3) == [(1, 0), (1, 1), (1, 2)]
    assert privlens.best(scores, 3, per_layer=True) == [(1, 0), (0, 0), (2, 1)]
    assert privlens.best(scores, 5, per_layer=True) == [(1, 0), (0, 0), (2, 1), (1, 1), (0, 2)]
    assert privlens.best(scores, 3, skip_layers=2) == [(2, 1), (2, 0), (1, 0)]
    assert privlens.best(scores, 2, per_layer=True, skip_layers=1) == [(1, 0), (2, 1)]
    assert privlens.best(scores, share=0.25) == [(1, 0), (1, 1)]
    assert np.isnan(reordered(scores, per_layer=True).scores[2, 2])


def test_who_does_not_say_how_many_is_told_what_to_do(taught: LanguageModel) -> None:
    assert len(privlens.best(scores_of(taught, suggested_k=2))) == 2
    with pytest.raises(BadInput, match=r"by-hand suggests no number of neurons: give k, or share=0\.01"):
        privlens.best(scores_of(taught))
    with pytest.raises(BadInput, match="Both k and share"):
        privlens.best(scores_of(taught), 3, share=0.1)
    with pytest.raises(BadInput, match="9"):
        privlens.best(scores_of(taught), 9)
    with pytest.raises(BadInput, match="leave out 0 to 2"):
        privlens.best(scores_of(taught), 1, skip_layers=3)


def test_localize_deactivate_and_the_settings_of_a_method(taught: LanguageModel) -> None:
    secret = privlens.Secret("my number is", "555-0142")
    seen: list[int] = []
    scores = privlens.localize(
        taught, secret, "slimming", settings=privlens.SlimmingSettings(steps=3), on_step=lambda step: seen.append(step.step)
    )
    assert scores.provenance.settings["steps"] == 3
    assert seen
    with pytest.raises(BadInput, match="gradient has no settings"):
        privlens.localize(taught, secret, "gradient", settings=privlens.SlimmingSettings())
    with pytest.raises(BadInput, match="hard-concrete takes MaskSettings, not SlimmingSettings"):
        privlens.localize(taught, secret, "hard-concrete", settings=privlens.SlimmingSettings())
    with pytest.raises(BadInput, match="There is no method 'magic'"):
        privlens.localize(taught, secret, "magic")
    neurons = privlens.best(scores, 4)
    comparison = privlens.deactivate(taught, secret, neurons)
    assert set(comparison.chosen.neurons) == set(neurons)
    assert len(comparison.random.neurons) == 4


def test_many_rows_hold_on_to_each_other(taught: LanguageModel) -> None:
    secrets = [privlens.Secret("my number is", "555-0142"), privlens.Secret("the dog of Ada is", "Rex")]
    both = privlens.localize_many(taught, secrets, "contrastive-gradient")
    alone = privlens.localize(taught, secrets[0], "contrastive-gradient", others=secrets)
    np.testing.assert_array_equal(both[0].scores, alone.scores)
    assert not np.array_equal(both[0].scores, both[1].scores)


def test_score_maps_and_sets_of_neurons_come_back_as_they_were(taught: LanguageModel, tmp_path: Path) -> None:
    scores, path = scores_of(taught, suggested_k=2), tmp_path / "scores.json"
    privlens.save_scores(scores, path)
    back = privlens.load_scores(path)
    np.testing.assert_array_equal(back.scores, scores.scores)
    assert (back.method, back.suggested_k, back.provenance) == (scores.method, 2, scores.provenance)
    neurons = (Neuron(2, 1), Neuron(0, 0))
    privlens.save_neurons(neurons, tmp_path / "neurons.json", "attention")
    assert privlens.read_neurons(tmp_path / "neurons.json") == (neurons, "attention")
    (tmp_path / "other.json").write_text("[1, 2]")
    with pytest.raises(BadInput, match="does not hold a score map"):
        privlens.load_scores(tmp_path / "other.json")
    assert path.stat().st_mode & 0o077 == 0


def test_an_erasure_gives_an_edit_and_leaves_the_model_alone(taught: LanguageModel) -> None:
    before = taught.fingerprint
    settings = privlens.method_settings(
        "npo", privlens.ErasureSettings(steps=2, own_samples=4, neighbours=4, neighbours_each=2, memorized_texts=4)
    )
    edit = privlens.erase(taught, privlens.Secret("my number is", "555-0142"), settings=settings)
    assert edit.n_weights > 0
    assert edit.provenance.settings["method"] == "npo"
    assert taught.fingerprint == before
