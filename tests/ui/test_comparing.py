"""What the tabs Compare methods and Many secrets make of stored scores, with numbers worked by hand."""

from dataclasses import replace

import numpy as np
import pytest

from privlens.deactivation import EvalBaseline
from privlens.errors import BadInput
from privlens.lm.model import LanguageModel
from privlens.localization.aggregate import VoteSettings
from privlens.method_comparison import Measured, MethodComparison
from privlens.outcomes import CurvePoint, MeasuredOn
from privlens.planting.plant import Plant
from privlens.provenance import provenance
from privlens.secret_lists import ListedSecret
from privlens.types import Change, Edit, Neuron, NeuronScores, Provenance, Secret
from privlens.ui.sidebar import ticking
from privlens.ui.state import session
from privlens.ui.state.session import Localization, ModelCache, ModelName
from privlens.ui.tabs.compare import view as compare_view
from privlens.ui.tabs.compare.plant import that_come_with, truth_for, without
from privlens.ui.tabs.compare.view import Compared
from privlens.ui.tabs.many import view as many_view
from privlens.ui.tabs.many.view import Many
from privlens.ui.text import wording
from privlens.zoo.catalogue import PLANTED
from privlens.zoo.planted import planted_truth
from tests.helpers import exposed

HOW = Provenance("m", "f", 0, {}, {}, 1.0)
TARGET = Secret("p", "v", "code")
ON = MeasuredOn(others=8, known=12, paragraphs=4, candidates=64)


def scored(method: str, *values: float, suggested_k: int | None = None) -> NeuronScores:
    return NeuronScores(method, "mlp", np.array([values], np.float32), suggested_k, HOW)


def compared(truth: tuple[Neuron, ...] = ()) -> Compared:
    point = CurvePoint(1, False, 2.5, -20.0, exposed(3.0), 0.75, 1.02)
    methods = (
        Measured(scored("gradient", 5, 4, 3, 2, 1, 0, 0, 0), (point, replace(point, k=4, target_nll=9.0))),
        Measured(scored("random", 0, 0, 3, 4, 5, 0, 0, 0)),
    )
    return Compared(MethodComparison(TARGET, frozenset(), EvalBaseline((), None), ON, (1, 4), methods, HOW), truth)


def test_the_table_moves_with_k_and_says_at_which_k_it_was_measured() -> None:
    truth = (Neuron(0, 0), Neuron(0, 4))
    one, three, four = (compare_view.table(compared(truth), k) for k in (1, 3, 4))
    assert list(one["recall of the plant"]) == ["50.0 %", "50.0 %"]
    # Planted 5 and 1 against 4, 3, 2, 0, 0, 0 win 6 + 3 of 12 pairs; planted 0 and 5 against 3, 4 and four zeros 4 / 2 + 6.
    assert list(one["AUC of the plant"]) == ["0.750", "0.667"]
    # The random ranking is 4, 3, 2, and then the first of those that tie at 0.
    assert list(four["recall of the plant"]) == ["50.0 %", "100.0 %"]
    assert list(one["measured at k"]) == ["1", "-"], "nothing was measured of random yet"
    assert (one["NLL"][0], three["NLL"][0]) == ("2.50", "9.00")
    assert list(one["others kept"]) == ["75 %", "-"]
    assert "recall of the plant" not in compare_view.table(compared(), 1)


def test_k_begins_where_there_is_a_reason_for_it() -> None:
    assert compare_view.default_k(compared((Neuron(0, 0), Neuron(0, 1)))) == 2
    assert compare_view.default_k(compared()) == 1
    big = scored("hard-concrete", *np.zeros(1000), suggested_k=17)
    plain = Compared(MethodComparison(TARGET, frozenset(), EvalBaseline((), None), ON, (1,), (Measured(big),), HOW), ())
    assert compare_view.default_k(plain) == 17


def test_the_planted_and_the_best_neurons_are_marked() -> None:
    found = compared((Neuron(0, 4),))
    first, second, empty = compare_view.heatmaps(found.scores, found.truth, 2, 3)
    assert (first["off"], first["on"]) == ([[0, 0], [0, 1]], [[0, 4]])
    assert second["off"] == [[0, 4], [0, 3]]
    assert empty["value"] == ""
    moved, *_ = compare_view.marks_only(found.scores, found.truth, 1, 3)
    assert moved["off"] == [[0, 0]]
    assert "value" not in moved, "the picture itself does not travel again"


def test_taking_over_needs_a_comparison() -> None:
    assert compare_view.scores_of(compared(), "random").method == "random"
    for found, method in ((None, "random"), (compared(), None), (compared(), "magic")):
        with pytest.raises(BadInput, match="press Start"):
            compare_view.scores_of(found, method)


LISTED = [
    ListedSecret(Secret("p0", "v0", "phone"), repeats=0), ListedSecret(Secret("p1", "v1", "phone"), repeats=16),
    ListedSecret(Secret("p2", "v2", "card"), repeats=None), ListedSecret(Secret("p3", "v3", "phone"), repeats=64),
]  # fmt: skip


def test_secrets_are_offered_by_category_and_controls_are_not_ticked() -> None:
    assert [label for label, _ in ticking.choices(LISTED)] == [
        "v2 (card)", "v3 (phone, 64x)", "v1 (phone, 16x)", "v0 (phone, control, 0x)",
    ]  # fmt: skip
    assert ticking.most_repeated(LISTED) == [2, 3, 1]
    assert ticking.rows_of(LISTED, ["phone"]) == [3, 1]


def many() -> Many:
    phone, card = Secret("a", "1", "phone"), Secret("b", "2", "card")
    scores = (scored("gradient", 4, 4, 0, 0), scored("gradient", 4, 4, 0, 0), scored("gradient", 0, 0, 4, 3))
    attention = tuple(replace(one, site="attention", scores=one.scores[:, :2]) for one in scores)
    return Many((phone, replace(phone, prompt="c"), card), frozenset(), scores, attention)


def test_what_many_secrets_share_by_hand() -> None:
    voted = many_view.voted(many(), VoteSettings())
    assert voted.top(voted.suggested_k or 0) == [Neuron(0, 0), Neuron(0, 1)]
    facts, *_ = many_view.view(many(), VoteSettings(), 2)
    shown = {fact["name"]: fact["value"] for fact in facts["value"]}
    assert shown["voted neurons"] == "2"
    assert (shown["overlap within categories"], shown["overlap between categories"]) == ("1.000", "0.000")
    assert shown["PII specificity"] == "x\u221e"
    assert "looks at no retained text" in str([fact for fact in facts["value"] if fact["name"] == "time"])
    masks = replace(many(), scores=tuple(scored("hard-concrete", 1, 0, 0, 0) for _ in range(3)))
    facts, *_ = many_view.view(masks, VoteSettings(), 2)
    assert "0 other secrets were retained text" in str([fact for fact in facts["value"] if fact["name"] == "time"])
    # Two secrets have half of their score in attention, the third none: (1/2 + 1/2 + 0) / 3.
    assert many_view.site_shares(many())["all secrets"]["attention"] == pytest.approx(1 / 3)
    assert many_view.site_shares(many())["card"] == {"mlp": 1.0, "attention": 0.0}


def test_without_enough_votes_there_is_nothing_to_take_over() -> None:
    with pytest.raises(BadInput, match="lower the first two settings"):
        many_view.voted(many(), VoteSettings(of_secrets=0.9))
    with pytest.raises(BadInput, match="press Start"):
        many_view.voted(None, VoteSettings())


def test_voted_neurons_are_meant_for_every_voter() -> None:
    first, second = many().targets[:2]
    located = Localization(first, frozenset(), many().scores[0], (first, second))
    assert not wording.secret_differs(located, second)
    assert wording.secret_differs(located, Secret("b", "2"))


def edit_of(lm: LanguageModel) -> Edit:
    name, weight = next(iter(lm.model.named_parameters()))
    old = weight.detach().flatten()[:1].numpy().copy()
    return Edit({name: Change(np.array([0]), old, old + 1)}, provenance(lm, 0, {}, 0.0))


def test_a_visitors_plant_is_seen_through_the_visitors_own_name_only(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "load", lambda *_: lm)
    shelf, edit = ModelCache(ModelName("m")), edit_of(lm)
    planted = Plant(TARGET, (Neuron(0, 1),), edit, 0.0, True, 1)
    mine = ModelName("m", edits=(edit,))
    assert shelf.get(mine).fingerprint != shelf.get(ModelName("m")).fingerprint == lm.fingerprint
    assert without(mine, planted) == ModelName("m")
    assert without(mine, None) == mine
    assert truth_for(planted, mine, Secret("p", "v")) == planted.neurons, "whatever the category"
    assert truth_for(planted, mine, Secret("p", "w")) == ()
    assert truth_for(planted, ModelName("m"), TARGET) == truth_for(None, mine, TARGET) == ()


def test_the_truth_of_the_model_that_comes_with_plants_is_known_without_planting() -> None:
    (prompt, value), neurons = next(iter(planted_truth().items()))
    assert len(neurons) == 20
    assert truth_for(None, ModelName(PLANTED), Secret(prompt, value)) == neurons
    assert truth_for(None, ModelName(PLANTED), Secret(prompt, "another")) == ()
    assert truth_for(None, ModelName("smollm2"), Secret(prompt, value)) == ()
    [fact] = that_come_with(ModelName(PLANTED))
    assert "24" in str(fact)
    assert that_come_with(ModelName("smollm2")) == []
