"""The tab Erase behind its controls: what is asked, what is said of a result, and whole runs on a tiny model."""

import functools
import json
import math
import threading
from dataclasses import replace
from typing import Any

import gradio as gr
import numpy as np
import pytest

from privlens import plots
from privlens.erasure import ERASURE_METHODS, ErasureSettings
from privlens.errors import BadInput, Cancelled
from privlens.intervals import rate
from privlens.lm.model import LanguageModel
from privlens.localization import Task, result_of
from privlens.outcomes import Attack, AttributionShift, Count, Effect, EraseOrHide, ErasureStep, MemorizationState
from privlens.secret_lists import ListedSecret
from privlens.types import Change, Edit, Neuron, Provenance, Secret
from privlens.ui.sidebar.panel import Sidebar
from privlens.ui.state.edits import EditEntry
from privlens.ui.state.session import Localization, Selection, best
from privlens.ui.tabs.erase import view as show
from privlens.ui.tabs.erase.attacks import CONTROL, by_method, rewordings
from privlens.ui.tabs.erase.form import ErasureForm, controls
from privlens.ui.tabs.erase.run import Erased, ErasureTask, erasing
from privlens.ui.tabs.erase.tab import generations
from tests.helpers import NEVER_TAUGHT, TAUGHT, exposed

LISTED = (*map(ListedSecret, TAUGHT), ListedSecret(NEVER_TAUGHT, repeats=0, reworded=("call", "ring")))
REFERENCE = ("the lamp stands in the garden by the gate",)


@functools.cache
def as_it_stands() -> dict[str, Any]:
    """The values of the page's controls before anybody touched them, by the names of the form's fields."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gradio.blocks.App.create_app", lambda *_, **__: None)  # it opens event loops and never closes them
        with gr.Blocks():
            prompt, value = gr.Textbox(TAUGHT[0].prompt), gr.Textbox(TAUGHT[0].value)
            states = {name: gr.State(None) for name in ("model", "source", "secret", "loads")}
            listed, reference = gr.State(LISTED), gr.State(REFERENCE)
            side = Sidebar(
                listed=listed,
                list_parts=[],
                reference=reference,
                prompt=prompt,
                value=value,
                loaded=None,
                about=gr.HTML(),
                **states,
            )
            form, _ = controls(side)
    return {name: control.value for name, control in form.controls.items()}


def task(**changed: Any) -> ErasureTask:
    """The controls as they stand on the page, some of them changed."""
    values = as_it_stands()
    assert changed.keys() <= values.keys()
    return ErasureForm(**{**values, **changed}).task()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"rate": 1e30}, r"learning rate is 1e\+30"),
        ({"rate": math.nan}, "learning rate is nan"),
        ({"seed": 2**65}, "seed is 36893488147419103232"),
        ({"seed": math.nan}, "seed is nan"),
        ({"weight": math.nan}, "weight of retained text is nan"),
        ({"weight": math.inf}, "weight of retained text is inf"),
        ({"guard": math.inf}, "guard is inf"),
        ({"share": math.nan}, "share of weights is nan"),
        ({"decay": math.nan}, "decay is nan"),
        ({"steps": math.nan}, "number of steps is nan"),
        ({"steps": 10**9}, "number of steps is 1000000000"),
        ({"every": -3}, "between two measurements is -3"),
    ],
)
def test_numbers_that_cannot_be_are_refused_before_any_work(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        task(**changed)


def test_the_controls_as_they_stand_ask_for_the_defaults() -> None:
    found = task()
    assert found.settings == ErasureSettings()
    assert found.targets == (TAUGHT[0],), "with its category, which the sidebar does not hold"
    assert found.others == tuple(TAUGHT[1:]), "without the target, and without the control"
    assert (
        task(share=None, guard=None, steps=None, weight=None, decay=None, repair=None, every=None, seed=None).settings
        == found.settings
    )


def test_the_controls_change_what_they_say() -> None:
    found = task(
        share=2, guard=5, steps=7, method="npo", rate=0.01, decay=5, repair=0, every=2, own_text="one\n\ntwo\n\n", seed=3
    )
    wanted = ErasureSettings(
        method="npo", share=0.02, steps=7, learning_rate=0.01, guard=1.05, decay=0.05, repair=0, measure_every=2
    )
    assert (found.settings, found.texts, found.seed) == (wanted, ("one", "two"), 3)
    only = task(hold="forget-only")
    assert (only.settings.keep, only.keep) == (0.0, "none")
    assert task(which="ticked", rows=[2, 0]).targets == (TAUGHT[0], TAUGHT[2])


@pytest.mark.parametrize(
    ("changed", "said"),
    [({"prompt": " "}, "no secret in the sidebar"), ({"which": "ticked"}, "No secret is ticked"),
     ({"share": -1.0}, "above 0"), ({"share": 101.0}, "at most 1"), ({"steps": 0}, "from 1 to"), ({"guard": -1.0}, "at least 1"),
     ({"decay": 100.0}, "below 1"), ({"repair": -1}, "from 0 to")],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused_in_words(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        task(**changed)


def effect(before: bool, after: bool, bits: float) -> Effect:
    return Effect(
        TAUGHT[0],
        MemorizationState(before, 0.0, 1.0, "Mira", exposed(8.0)),
        MemorizationState(after, 2.0, 0.25, "Olga", exposed(bits)),
    )


@pytest.mark.parametrize(
    ("effects", "kind", "said"),
    [([effect(True, True, 8.0)], "known", "Still known: the model writes the value"),
     ([effect(True, True, 8.0), effect(True, False, 1.0)], "known", "1 of 2 values"),
     ([effect(False, False, 1.0)], "note", "to begin with"),
     ([effect(True, False, 4.4)], "note", "not forgotten: no longer generated, but the model still ranks the value high"),
     ([effect(True, False, 4.33)], "note", "Hidden, not forgotten"),
     ([effect(True, False, 4.4), effect(True, False, 2.9)], "note", "ranks 1 of 2 values high"),
     ([effect(True, False, 0.0)], "note", "avoided: the value is now conspicuously less likely"),
     ([effect(True, False, 0.0), effect(True, False, 0.0)], "note", "avoided: 2 of 2 values are now"),
     ([effect(True, False, 4.3)], "unknown", "Erased")],
)  # fmt: skip
def test_a_lost_match_alone_is_not_called_erased(effects: list[Effect], kind: str, said: str) -> None:
    found = show.verdict(effects)
    assert found["kind"] == kind
    assert said in found["text"]


def test_of_too_few_values_it_is_not_said_whether_one_is_forgotten() -> None:
    first = MemorizationState(False, 2.0, 0.25, "Olga", exposed(math.log2(6), 6))
    small = replace(effect(True, False, 8.0), after=first)
    alone = replace(small, after=replace(first, exposure=exposed(0.0, 1)))
    for one in (small, alone):
        said = show.verdict([one])
        assert said["kind"] == "note" and "cannot be judged" in said["text"] and "orgotten:" not in said["text"]
    assert "1 of 2 values" in show.verdict([small, effect(True, False, 1.0)])["text"]
    assert "Hidden, not forgotten" in show.verdict([small, effect(True, False, 8.0)])["text"]
    assert list(show.targets_table([small, alone])["exposure after"]) == ["2.58 of 2.58", "-"]
    own, mixed, none = (show.exposure_fact(did) for did in ([small], [small, effect(True, False, 8.0)], [alone]))
    assert (own["value"], own["unit"]) == ("2.58", "bits of 2.58") and "rank among 6 values" in own["note"]
    assert (mixed["value"], mixed["unit"]) == ("5.29", "bits") and "each one's own format" in mixed["note"]
    assert (none["value"], none["beside"]) == ("-", "before: 8.00")


HOW = Provenance("m", "f", 0, {"method": "emso", "steps_taken": 7}, {"torch": "2"}, 3.0)
EDIT = Edit({"h.1.mlp.out.weight": Change(np.arange(4), np.zeros(4), np.ones(4))}, HOW)
STEP = ErasureStep(7, 60, "done", 3.0, 2.0, 0.25, 0, 2, 1.01, 0.5, 4, 0.2, measured=True, ended="at the level of unseen text")


def erased() -> Erased:
    effects = (effect(True, False, 2.0), effect(True, True, 8.0))
    steps = (replace(STEP, step=0, ended=""), replace(STEP, step=1, measured=False, ended=""), STEP)
    return Erased(EditEntry("k", EDIT), ErasureSettings(), steps, effects, (True, True, False), (True, False))


def test_the_result_by_hand() -> None:
    said = {fact["name"]: (fact["value"], fact["beside"]) for fact in show.result_facts(erased(), 1000)}
    assert said["still written"] == ("1 of 2", "before: 2 of 2")
    assert said["exposure"] == ("5.00", "before: 8.00")
    assert said["tries"] == ("1", "before: 1"), "states without tokens have probability 1"
    assert said["MA"] == ("25", "before: 100")
    assert said["others kept, unseen"][0] == "1 of 2"
    assert said["others kept, seen"][0] == "2 of 3"
    assert said["weights changed"][0] == "4"
    row = show.methods_row("emso", erased())
    assert (row["still written"], row["kept, unseen"], row["steps"], row["perplexity"]) == ("50 %", "1 of 2", "7", "x1.010")
    start = show.before_row(erased())
    assert start.keys() == row.keys()
    assert (start["still written"], start["exposure (bits)"], start["MA"], start["seconds"]) == ("100 %", "8.00", "100 %", "-")
    assert (len(start), len(show.attacks_table([Attack("a", 0, 0)]).columns)) == (
        len(show.METHOD_WIDTHS), len(show.ATTACK_WIDTHS)
    )  # fmt: skip
    table = show.targets_table(erased().effects)
    assert len(table.columns) == len(show.TARGET_WIDTHS)
    assert list(table["after"]) == ["no", "yes"]
    assert list(table["the model writes now"]) == ["Olga", "Olga"]


def test_the_curves_have_the_guard_and_every_measurement() -> None:
    figure = plots.erasure_curves(erased().steps, 1.03)
    guard = next(trace for trace in figure.data if trace.name == "guard x1.03")
    assert list(guard.y) == [1.03, 1.03]
    assert list(guard.x) == [0, 7]
    unseen = next(trace for trace in figure.data if trace.name == "unseen text")
    assert (list(unseen.x), list(unseen.y)) == ([0, 7], [20, 20]), "MA of unseen text in percent, from the first step to the last"
    assert [list(trace.x) for trace in figure.data[:2]] == [[1], [0, 7]], "steps of training, and measurements"
    assert list(figure.data[5].y) == [25, 25], "MA in percent"
    without = plots.erasure_curves([replace(STEP, perplexity_ratio=None)], 1.03)
    assert len(without.data) == len(figure.data)


def test_changed_weights_lie_where_their_names_say() -> None:
    assert plots.layer_and_matrix("gpt_neox.layers.3.mlp.dense_4h_to_h.weight") == (3, "mlp.dense_4h_to_h")
    assert plots.layer_and_matrix("transformer.h.11.attn.c_attn.weight") == (11, "attn.c_attn")
    assert plots.layer_and_matrix("embed_out.weight") == (None, "embed_out")
    sizes = {"h.0.a.weight": 10, "h.0.b.weight": 10, "h.1.a.weight": 10, "h.1.b.weight": 10, "head.weight": 40}
    picture = plots.changed_weights({"h.1.b.weight": 5, "head.weight": 10}, sizes).data[0]
    np.testing.assert_array_equal(np.array(picture.z, float), [[0, 0, np.nan], [0, 50, np.nan], [np.nan, np.nan, 25]])
    assert "5 of 10 weights changed (50 %)" in picture.text[1][1]
    hostile = plots.changed_weights({}, {"h.0.<img src=x>.weight": 1}).to_json()
    assert "<img" not in json.dumps(json.loads(hostile))


def test_attacks_count_as_successful_above_chance_only() -> None:
    attacks = [Attack("sampling", 1.0, 0.0, None, 0.0, 119, "x"), Attack("linear probe", 0.9, 0.4, 0.2, 0.4, 99, "x")]
    said = show.verdict_of_attacks(attacks)
    assert said["kind"] == "unknown" and "99 values that nobody trained on" in said["detail"] and "5 %" in said["detail"]
    relearned = Attack("relearning", 1.0, 0.5, 0.2, 0.4, 99, "x")
    assert "relearning" in show.verdict_of_attacks([*attacks, relearned])["text"]
    assert not Attack("relearning", 1.0, 0.4, 0.2, 0.4, 99).found_something and relearned.found_something
    assert list(show.attacks_table(attacks)["chance"]) == ["-", "20 %"]
    assert list(show.attacks_table(attacks)["limit"]) == ["0 %", "40 %"]
    assert list(show.attacks_table(attacks)["values"]) == ["119", "99"]


def test_attacks_that_did_not_run_or_cannot_be_judged_are_said_and_never_counted() -> None:
    broken = Attack("logit lens", None, None, note="did not run: why")
    few = Attack("sampling", 1.0, 1.0, 0.1, None, 9, "x", "cannot be judged: only 9 values")
    nothing = show.verdict_of_attacks([broken, few])
    assert nothing["kind"] == "none" and "Nothing can be said" in nothing["text"]
    assert nothing["detail"] == "Logit lens did not run, sampling cannot be judged: see the notes in the table."
    row = show.attacks_table([broken, few]).to_dict("records")[0]
    assert (row["before"], row["after"], row["limit"], row["values"], row["note"]) == ("-", "-", "-", "-", "did not run: why")
    judged = Attack("linear probe", 0.9, 0.2, 0.2, 0.4, 99, "x")
    assert "Logit lens did not run" in show.verdict_of_attacks([broken, judged])["detail"]


def test_a_secret_has_its_own_other_prompts() -> None:
    assert rewordings(LISTED, replace(NEVER_TAUGHT, category="")) == ("call", "ring")
    assert rewordings(LISTED, Secret("p", "v")) == ()


def test_methods_are_compared_at_equal_settings_and_against_chance() -> None:
    asked_by = {name: by_method(task(share=2, steps=7), name) for name in (*ERASURE_METHODS, CONTROL)}
    assert [one.settings.method for one in asked_by.values()] == [*ERASURE_METHODS, "emso"]
    assert asked_by[CONTROL].settings.choice == "random"
    assert {(one.settings.share, one.settings.steps, one.targets) for one in asked_by.values()} == {(0.02, 7, (TAUGHT[0],))}


def small(**changed: Any) -> ErasureTask:
    """An erasure that a tiny model takes a second for."""
    found = task(share=20, steps=20, keep="half", **changed)
    return replace(found, settings=replace(found.settings, own_samples=8, neighbours=8, neighbours_each=8, sample_tokens=8))


def test_a_whole_run_erases_judges_and_leaves_the_model_alone(taught: LanguageModel) -> None:
    before = taught.fingerprint
    *seen, last = erasing(taught, small(), (), lambda: False)
    assert last.erased is not None
    assert all(one.erased is None for one in seen)
    assert [at.steps[-1].measured for at in seen if len(at.steps) == 1] == [True], "the first picture is the model as it is"
    done = last.erased
    assert done.effects[0].before.greedy_match
    assert not done.effects[0].after.greedy_match
    assert (len(done.seen), len(done.unseen)) == (2, 1), "of the three others that it knows, every second is held on to"
    assert done.kept.targets == (TAUGHT[0],)
    assert TAUGHT[0].value in done.kept.name
    assert taught.fingerprint == before
    again = erasing(taught.under(done.kept.edit), small(prompt=TAUGHT[1].prompt, value=TAUGHT[1].value), done.kept.targets, bool)
    *_, second = again
    assert second.erased is not None
    assert second.erased.kept.under == (done.kept.edit,)
    assert second.erased.kept.edit.provenance.settings["n_retained"] == 2, "one of the known others, and what was erased before"


def test_a_run_stops_when_asked_and_hands_over_nothing(taught: LanguageModel) -> None:
    stop = threading.Event()
    run = erasing(taught, small(), (), stop.is_set)
    assert next(at for at in run if at.steps and at.steps[-1].step == 2).erased is None
    stop.set()
    with pytest.raises(Cancelled):
        next(run)


def test_deactivated_text_comes_only_from_neurons_of_the_same_weights(taught: LanguageModel) -> None:
    edit = Edit({}, Provenance("taught", taught.fingerprint, 0, {}, {}, 0.0))
    done = replace(erased(), kept=EditEntry("k", edit), effects=(effect(True, False, 2.0),))
    scores = result_of("gradient", Task(taught, TAUGHT[0]))
    found, chosen = Localization(TAUGHT[0], frozenset(), scores), Selection(best(scores, 20))
    before, off, after = generations(taught, TAUGHT[0], found, chosen, done)
    assert (before, after) == ("Mira", "Olga")
    assert off is not None
    other = replace(found, scores=replace(scores, provenance=replace(scores.provenance, fingerprint="another")))
    assert generations(taught, TAUGHT[0], other, chosen, done)[1] is None
    assert generations(taught, TAUGHT[0], found, Selection(), done)[1] is None
    first, middle, last = show.texts("call 12", None, "call 34")
    assert "localize them before erasing" in middle["value"][0][0]
    assert [text for text, mark in first["value"] if mark] == ["12"]
    assert [text for text, mark in last["value"] if mark] == ["34"]


def test_counts_and_shifts_are_shown_with_their_intervals_and_controls() -> None:
    count = Count("within 200 tries: targets after", 0, 20, rate(0, 20))
    table = show.counts_table([Attack("quantization", 1.0, 0.0, counts=(count,)), Attack("sampling", 1.0, 0.0)])
    assert len(table.columns) == len(show.COUNT_WIDTHS)
    assert table.to_dict("records") == [
        {"attack": "quantization", "came back": count.what, "values": "0 of 20", "95 % interval": "0.0 to 16.8 %"}
    ]
    assert len(show.counts_table([Attack("sampling", 1.0, 0.0)])) == 0
    shift = AttributionShift(8.0, 1.0, 6.0, 2.0)
    control = AttributionShift(8.0, 1.0, 0.5, 0.25)
    record = EraseOrHide(TAUGHT[0], shift, control, (control,), 5.0, -3.0, (Neuron(1, 2), Neuron(0, 3)), (4.0, -0.5), (1.0, -2.5))
    said = {fact["name"]: fact["value"] for fact in show.shift_facts([record], "")}
    assert said == {"supporters lost": "6.00", "suppressors gained": "2.00", "hidden": "25"}
    assert show.shift_facts([], "") == [] and show.shift_facts([], "why")[0]["note"] == "why"
    figure = plots.erase_or_hide([record, replace(record, random=None)])
    points = [(list(trace.x), list(trace.y)) for trace in figure.data[:2]]
    assert points == [([4.0, 4.0], [1.0, 1.0]), ([-0.5, -0.5], [-2.5, -2.5])], "by the sign before"
    assert [list(trace.y) for trace in figure.data[3:]] == [[6.0, 2.0], [0.5, 0.25], [0.5, 0.25]]
    hostile = replace(record, secret=Secret("p", "<img src=x>"))
    assert "<img" not in plots.erase_or_hide([hostile]).to_json().replace("\\u003c", "<")
    assert show.shift_picture([])["value"] == ""
