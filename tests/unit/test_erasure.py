"""Erasing from a small model that has memorized four secrets: what is gone, what stays, what ends it, what is left in memory."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch

from privlens.deactivation import EvalContext, memorization_states
from privlens.erasure import (
    FORGOTTEN,
    GUARDED,
    GUARDED_KEPT,
    LOSSES,
    REACHED,
    USED_UP,
    ErasureSettings,
    Granularity,
    Request,
    WeightMetric,
    erase,
)
from privlens.erasure.attacks import AttackSetup, attacks
from privlens.erasure.effects import effects
from privlens.erasure.evaluate import unseen_level
from privlens.erasure.loop import REPAIRING
from privlens.erasure.losses import Predicted, predictions
from privlens.erasure.selection import random_indices_like
from privlens.erasure.sparse_parameters import SparseParameters, gradients
from privlens.erasure.trainer import Erasure
from privlens.errors import BadInput, Cancelled
from privlens.lm.model import LanguageModel
from privlens.lm.scoring import score, text_nll
from privlens.lm.tokens import Encoded, plain_ids
from privlens.memorization.check import check, exposure_of
from privlens.memorization.levels import Level
from privlens.outcomes import ErasureStep
from privlens.retained.distributions import without_values
from privlens.retained.samples import beams, memorized_texts, most_confident, neighbours
from privlens.types import TAIL, Edit, Secret, to_json
from tests.helpers import NEVER_TAUGHT, TAUGHT

QUICK = ErasureSettings(
    depth="unseen",  # random values have more tokens than these have in this tokenizer, so they are no fair rivals
    share=0.1,
    steps=40,
    own_samples=8,
    sample_tokens=12,
    memorized_texts=8,
    neighbours=16,
    neighbours_each=8,
    rows=8,
    keep=30.0,
    learning_rate=0.06,
    scope="vocabulary",  # its tokens have hardly any other of their format
)
DEEP = replace(QUICK, depth="forgotten", scope="format")
ORDINARY = ("Dear Anna, the keeper of the garden gate is Mira Holt.", "The price of the lamp is 12.50, not 1250.")
TARGET, REST = TAUGHT[1], (TAUGHT[0], *TAUGHT[2:])
UNKNOWN = (Secret("our number is", "555-2324"), Secret("the number of Bo is", "555-1213"))


def matches(lm: LanguageModel, secrets: tuple[Secret, ...]) -> list[bool]:
    return [state.greedy_match for state in memorization_states(lm, secrets, (), EvalContext())]


def plain(lm: LanguageModel) -> list[list[int]]:
    return [plain_ids(lm.tokenizer, text, 256) for text in ORDINARY]


def weights_of(lm: LanguageModel) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in lm.model.state_dict().items()}


def same(lm: LanguageModel, before: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(before[name], now) for name, now in lm.model.state_dict().items())


def last_of(steps: Iterator[ErasureStep]) -> tuple[ErasureStep, Edit]:
    *_, last = steps
    assert last.result
    return last, last.result


@pytest.fixture(scope="module")
def erased(taught: LanguageModel) -> tuple[list[ErasureStep], Edit]:
    """One secret erased with the others retained."""
    steps = list(erase(Request(taught, (TARGET,), REST, others=REST, settings=QUICK)))
    assert steps[-1].result
    return steps, steps[-1].result


def test_the_target_is_gone_and_the_others_stay(taught: LanguageModel, erased: tuple[list[ErasureStep], Edit]) -> None:
    steps, edit = erased
    view = taught.under(edit)
    assert matches(taught, (TARGET, *REST)) == [True] * 4
    assert matches(view, (TARGET, *REST)) == [False, True, True, True]
    assert check(view, TARGET).memorization_accuracy <= 0.2, "one token of five"
    assert steps[-1].ended == steps[-1].stage == REACHED
    assert edit.n_weights <= 0.1 * taught.n_parameters
    assert set(edit.changes) <= {name for name, weight in taught.model.named_parameters() if weight.ndim == 2}


def test_steps_say_what_was_measured(taught: LanguageModel, erased: tuple[list[ErasureStep], Edit]) -> None:
    steps, edit = erased
    first, last = steps[0], steps[-1]
    assert (first.measured, first.n_matches, first.kept, first.perplexity_ratio) == (True, 1, 1.0, None)
    before = [step for step in steps if step.step == 0]
    assert [step.stage.split()[:3] for step in before] == [
        ["measuring", "the", "model"], *[["the", "model", "writes"]] * 3, ["choosing", "the", "weights"]
    ], "none of it takes long in silence"  # fmt: skip
    assert {step.unseen_accuracy for step in steps} == {unseen_level(taught, [TARGET], 0).memorization_accuracy}
    trained = [step for step in steps if step.terms]
    assert [step.step for step in trained] == list(range(1, len(trained) + 1))
    assert all(step.terms["kept"] >= 0 and step.n_weights == last.n_weights for step in trained)
    assert [step.result is not None for step in steps] == [False] * (len(steps) - 1) + [True]
    view = taught.under(edit)
    [scored] = score(view, [view.encode(TARGET)])
    assert last.nll == pytest.approx(-sum(scored.logprobs) / len(scored.logprobs))
    assert last.entropy == pytest.approx(sum(scored.entropies) / len(scored.entropies))
    assert (last.n_matches, last.kept) == (0, 1.0)
    settings = edit.provenance.settings
    assert (settings["method"], settings["share"], settings["n_forget"], settings["ended"]) == ("emso", 0.1, 1, REACHED)
    assert edit.provenance.fingerprint == taught.fingerprint


def test_the_run_goes_on_until_the_value_is_as_likely_as_its_rivals(taught_letters: LanguageModel) -> None:
    """At the depth `unseen` it ends as soon as the tokens do not lead any more, and the value still stands out."""
    ranks = {}
    for depth, ended in (("unseen", REACHED), ("forgotten", FORGOTTEN)):
        settings = replace(DEEP, depth=depth, learning_rate=0.04, steps=120, least_kept=0.0)  # type: ignore[arg-type]
        last, edit = last_of(erase(Request(taught_letters, (TARGET,), REST, settings=settings)))
        assert last.ended == ended
        assert matches(taught_letters.under(edit), (TARGET, *REST)) == [False, True, True, True]
        ranks[depth] = exposure_of(taught_letters.under(edit), TARGET).rank
    assert ranks["unseen"] <= 256 * TAIL < ranks["forgotten"] <= 256 * (1 - TAIL), "neither better nor conspicuously worse known"


def test_a_token_at_its_level_is_left_alone_and_comes_back_when_it_rises(taught: LanguageModel) -> None:
    """All tokens of a format alike: nothing to do. One of them raised by a nat: that one alone has a gradient."""
    work = Erasure(Request(taught, (TARGET,), settings=replace(DEEP, keep=0.0)), 0.0, [])
    [private], flat = work.private, alike(taught, work)
    values = flat.values
    work.rival_levels = [around(float(flat.logprobs.sum()))]
    assert not work.work(flat, [0]).any.any()
    risen_token = int(private.nonzero()[-1])
    logits = flat.logits.clone()
    logits[risen_token, values[risen_token]] += 1.0
    logits.requires_grad_()
    risen = replace(flat, logits=logits)
    lowered = work.work(risen, [0]).lowered
    assert lowered.nonzero().flatten().tolist() == [risen_token]
    LOSSES["emso"](replace(risen, format=work._format(risen), counted=lowered)).sum().backward()
    assert logits.grad is not None
    assert logits.grad.abs().sum(-1).nonzero().flatten().tolist() == [risen_token]
    work.rival_levels = [around(float(flat.logprobs.sum()) + 2.0)]
    assert not work.work(risen, [0]).any.any(), "as a whole it is not likelier than its rivals"


def alike(lm: LanguageModel, work: Erasure) -> Predicted:
    """A target's value where all tokens are equally likely."""
    values = torch.tensor(work.texts[0].value_ids)
    return Predicted(torch.zeros(len(values), lm.n_vocabulary), values, torch.zeros_like(values), 1)


def around(nats: float) -> Level:
    """A level with room for four nats on both sides."""
    return Level(nats - 4.0, nats, nats + 4.0)


@pytest.mark.parametrize(
    ("too_unlikely", "raised", "pace"),
    [(3.9, False, 0.2), (4.1, True, 0.2 + 0.1 / 5), (6.0, True, 0.2 + 2 / 5), (50.0, True, 1.0)],
)
def test_a_text_below_its_lowest_rival_is_raised_by_steps_that_grow_shorter(
    taught: LanguageModel, too_unlikely: float, raised: bool, pace: float
) -> None:
    work = Erasure(Request(taught, (TARGET,), settings=replace(DEEP, keep=0.0)), 0.0, [])
    [private], flat = work.private, alike(taught, work)
    work.rival_levels = [around(float(flat.logprobs.sum()) + too_unlikely)]
    found = work.work(flat, [0])
    assert torch.equal(found.raised, private.float() * raised) and not found.lowered.any()
    assert found.pace == pytest.approx(pace, abs=1e-4)


@pytest.mark.parametrize("by", [-6.0, 6.0])
def test_steps_bring_a_text_to_its_level_from_both_sides(taught: LanguageModel, by: float) -> None:
    """From 6 nats too unlikely it is raised into the room between; from 6 too likely it is lowered."""
    settings = replace(DEEP, method="gradient-ascent", keep=0.0, learning_rate=0.02, decay=0.0)
    work = Erasure(Request(taught, UNKNOWN[:1], settings=settings), 0.0, [])
    total = float(predictions(taught, work.texts).logprobs.sum())
    work.rival_levels = [Level(total - by - 1.0, total - by, total - by + 1.0)]
    for step in range(1, 41):
        work.step(step)
    with taught.held(), work.weights.applied():
        reached = float(predictions(taught, work.texts).logprobs.sum())
    assert -2.0 < reached - (total - by) < 1.0


def test_a_verdict_that_the_level_did_not_foresee_moves_it(taught: LanguageModel) -> None:
    """A value that passes for a rival and yet is known has not come to its level; nothing is wrong with that."""
    work = Erasure(Request(taught, (TARGET,), settings=replace(QUICK, keep=0.0)), 0.0, [])
    for verdict, below in (("hidden", 1.0), ("forgotten", 1.0), ("avoided", 0.0), ("known", 1.0), (None, 1.0)):
        work.correct(0, verdict)  # type: ignore[arg-type]
        assert work.below == [below]
    work.total_above[0] = 1.5
    for verdict, below in (("hidden", 1.0), ("known", 1.0), ("avoided", 0.0)):
        work.correct(0, verdict)  # type: ignore[arg-type]
        assert work.below == [below]


def test_a_text_is_judged_once_it_passes_for_a_rival(taught: LanguageModel) -> None:
    """Or is within a nat of its level."""
    work = Erasure(Request(taught, (TARGET,), settings=replace(DEEP, keep=0.0)), 0.0, [])
    total = float(predictions(taught, work.texts).logprobs.sum())
    for high, nats, judged in ((0.1, -9.0, [0]), (-0.1, -9.0, []), (-0.1, -0.9, [0]), (-0.1, -1.1, [])):
        work.first_levels = [Level(-1e9, total + nats, total + high)]
        assert work.at_level() == judged, (high, nats)


def test_the_repair_brings_back_what_else_was_lost(taught_letters: LanguageModel) -> None:
    """The run goes on for its steps; what is retained predicts as before more closely, and the target is still forgotten."""
    divergences, ends = [], []
    for repair in (0, 15):
        settings = replace(DEEP, keep=0.5, learning_rate=0.04, steps=120, least_kept=0.0, repair=repair)
        *steps, last = erase(Request(taught_letters, (TARGET,), REST, settings=settings))
        assert last.ended == FORGOTTEN and last.result
        view = taught_letters.under(last.result)
        assert TAIL * 256 < exposure_of(view, TARGET).rank <= 256 * (1 - TAIL)
        before, after = (score(lm, [lm.encode(secret) for secret in REST]) for lm in (taught_letters, view))
        divergences.append(sum(sum(x.logprobs) - sum(y.logprobs) for x, y in zip(before, after, strict=True)))
        ends.append(last.step)
        stages = [step.stage for step in steps if step.terms]
        assert stages.count(REPAIRING) == repair and stages[-1] == (REPAIRING if repair else "training")
        assert {step.n_steps for step in steps if step.stage == REPAIRING} <= {last.step}, "how long it takes is known"
        assert last.n_steps == 120
    assert ends[1] == ends[0] + 15
    assert divergences[1] < 0.8 * divergences[0], divergences


def test_a_repair_that_brings_the_target_back_is_undone(taught_letters: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last state at the depth is kept, and the last record describes it. Retained text is let go step by step."""
    lost = Erasure.repair

    def repair(work: Erasure) -> None:
        lost(work)
        work.settings = replace(work.settings, decay=0.9)  # takes the whole change back

    monkeypatch.setattr(Erasure, "repair", repair)
    let_go: list[float] = []
    monkeypatch.setattr(Erasure, "let_go", lambda work: let_go.append(work.keep))
    settings = replace(DEEP, learning_rate=0.04, steps=120, least_kept=0.0, repair=10)
    last, edit = last_of(erase(Request(taught_letters, (TARGET,), REST, settings=settings)))
    assert (last.ended, last.n_forgotten, last.n_matches, len(let_go)) == (FORGOTTEN, 1, 0, 2)
    view = taught_letters.under(edit)
    assert exposure_of(view, TARGET).rank > TAIL * 256
    [scored] = score(view, [view.encode(TARGET)])
    assert last.nll == pytest.approx(-sum(scored.logprobs) / len(scored.logprobs))


def test_a_target_that_comes_back_halves_the_weight_of_retained_text(taught: LanguageModel) -> None:
    work = Erasure(Request(taught, (TARGET,), settings=replace(QUICK, keep=3.0)), 0.0, [[4, 9, 12]])
    work.repair()
    weights = [work.keep]
    work.let_go()
    assert [*weights, work.keep] == [15.0, 7.5]
    work.step(1)
    assert work.keep == 7.5, "it is not loosened as before"


def test_between_steps_the_model_is_its_own_bit_for_bit(taught: LanguageModel) -> None:
    before = weights_of(taught)
    for step in erase(Request(taught, (TARGET,), settings=replace(QUICK, steps=6))):
        assert same(taught, before), step.step
        assert not any(weight.requires_grad for weight in taught.model.parameters())
    stops: list[bool] = []

    def stop() -> bool:
        return len(stops) > 7

    steps = (stops.append(True) for _ in erase(Request(taught, (TARGET,), settings=QUICK, stop=stop)))
    with pytest.raises(Cancelled, match="are as they were"):
        list(steps)
    assert same(taught, before)


def test_the_same_seed_gives_the_same_edit(taught: LanguageModel) -> None:
    def run(seed: int) -> Edit:
        return last_of(erase(Request(taught, (TARGET,), settings=replace(QUICK, steps=3), seed=seed)))[1]

    one, two, other = run(1), run(1), run(2)
    assert to_json(replace(one, provenance=two.provenance)) == to_json(two)
    assert to_json(replace(one, provenance=other.provenance)) != to_json(other)


@pytest.mark.parametrize("method", LOSSES)
def test_every_method_erases_and_leaves_most_of_the_rest(taught: LanguageModel, method: str) -> None:
    _, edit = last_of(erase(Request(taught, (TARGET,), REST, settings=replace(QUICK, method=method))))
    assert matches(taught.under(edit), (TARGET,)) == [False]
    assert sum(matches(taught.under(edit), REST)) >= 2


@pytest.mark.parametrize(
    ("changed", "n_matrices"),
    [({"spread": "global"}, None), ({"spread": "matrix"}, 10), ({"choice": "magnitude"}, None), ({"choice": "sign"}, None),
     ({"choice": "random"}, 2), ({"keep": 0.0}, None), ({"share": 1.0, "learning_rate": 0.01}, None)],
)  # fmt: skip
def test_every_choice_of_weights_trains_and_changes_what_it_says(
    taught: LanguageModel, changed: dict[str, object], n_matrices: int | None
) -> None:
    settings = replace(QUICK, steps=4, **changed)  # type: ignore[arg-type]
    last, edit = last_of(erase(Request(taught, (TARGET,), settings=settings)))
    assert last.nll > 0.003, "it was 0.0019"
    assert edit.n_weights <= last.n_weights <= max(1, round(settings.share * taught.n_parameters))
    assert n_matrices is None or len(edit.changes) == n_matrices


@pytest.mark.parametrize("spread", ["neuron", "global", "matrix"])
def test_the_control_by_chance_trains_as_many_weights_in_the_same_places(taught: LanguageModel, spread: Granularity) -> None:
    def chosen(choice: WeightMetric, seed: int = 0) -> dict[str, set[int]]:
        request = Request(taught, (TARGET,), REST, settings=replace(QUICK, share=0.01, spread=spread, choice=choice), seed=seed)
        places = Erasure(request, 0.2, [list(taught.encode(one).ids) for one in REST]).weights.places
        return {name: set(own.tolist()) for name, own in places.items() if own is not None}

    metric, chance, again = chosen("contrastive"), chosen("random"), chosen("random", seed=1)
    numbers = [{name: len(own) for name, own in found.items()} for found in (metric, chance, again)]
    assert numbers[0] == numbers[1] == numbers[2]
    assert chance != metric
    assert chance != again


def test_chance_draws_evenly_from_the_whole_of_every_part() -> None:
    generator = torch.Generator().manual_seed(0)
    chosen = [torch.tensor([0, 1, 2]), torch.tensor([], dtype=torch.long), torch.tensor([4])]
    counts = [torch.zeros(12), torch.zeros(3), torch.zeros(5)]
    for _ in range(2000):
        for count, drawn in zip(counts, random_indices_like(chosen, [12, 3, 5], generator), strict=True):
            assert drawn.tolist() == sorted(set(drawn.tolist()))
            count[drawn] += 1
    # Each of 12 places is in 1/4 of the draws, each of 5 in 1/5; 5 standard errors of 2000 draws are 0.05.
    assert counts[0].div(2000).sub(1 / 4).abs().max() < 0.05
    assert counts[1].tolist() == [0, 0, 0]
    assert counts[2].div(2000).sub(1 / 5).abs().max() < 0.05


def test_several_at_once(taught: LanguageModel) -> None:
    settings = replace(QUICK, share=0.3, forget_rows=2, steps=80)
    last, edit = last_of(erase(Request(taught, TAUGHT[1:3], (TAUGHT[0], TAUGHT[3]), settings=settings)))
    assert (last.n_targets, last.n_matches) == (2, 0)
    assert matches(taught.under(edit), tuple(TAUGHT)) == [True, False, False, True]


def test_what_was_erased_first_stays_erased_when_more_is_erased(taught: LanguageModel) -> None:
    settings = replace(QUICK, share=0.3)
    _, first = last_of(erase(Request(taught, (TAUGHT[1],), (TAUGHT[0], *TAUGHT[2:]), settings=settings)))
    view = taught.under(first)
    _, second = last_of(erase(Request(view, (TAUGHT[3],), (*TAUGHT[:3],), settings=settings, seed=1)))
    assert matches(view, tuple(TAUGHT)) == [True, False, True, True]
    both = taught.under(first, second)
    assert matches(both, tuple(TAUGHT)) == [True, False, True, False]
    assert check(both, TAUGHT[1]).memorization_accuracy < 0.6
    assert second.provenance.fingerprint == view.fingerprint
    with pytest.raises(BadInput, match="switch on the edits"):
        taught.under(second)


def test_the_guard_ends_the_run_at_its_last_good_state(taught: LanguageModel) -> None:
    settings = replace(QUICK, guard=1.001, keep=0.0, learning_rate=0.3, measure_every=2)
    last, edit = last_of(erase(Request(taught, (TARGET,), reference=ORDINARY, settings=settings)))
    assert last.ended == last.stage == edit.provenance.settings["ended"] == GUARDED
    assert last.step < settings.steps
    assert last.perplexity_ratio is not None and last.perplexity_ratio <= 1.001
    before, after = (math.exp(text_nll(lm, plain(lm))) for lm in (taught, taught.under(edit)))
    assert after / before == pytest.approx(last.perplexity_ratio)


def test_losing_what_is_retained_ends_the_run_at_its_last_good_state(taught: LanguageModel) -> None:
    """Without a weight to speak of for retained text the others go; all of them were known at the last good state."""
    settings = replace(DEEP, keep=1e-9, share=1.0, learning_rate=0.1, least_kept=1.0, measure_every=1)
    last, edit = last_of(erase(Request(taught, (TARGET,), REST, settings=settings)))
    assert last.ended == last.stage == edit.provenance.settings["ended"] == GUARDED_KEPT
    assert matches(taught.under(edit), REST) == [True] * 3


def test_the_steps_are_a_budget(taught: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    step = Erasure.step
    monkeypatch.setattr(Erasure, "step", lambda work, at: (taken.append(at), step(work, at))[1])
    last, edit = last_of(erase(Request(taught, (TARGET,), settings=replace(QUICK, steps=2, learning_rate=1e-4))))
    assert (last.ended, last.stage, last.step, edit.provenance.settings["steps_taken"]) == (USED_UP, USED_UP, 2, 2)
    assert edit.provenance.settings["ended"] == USED_UP
    assert taken == [1, 2]


WRONG: dict[str, tuple[Callable[[Request], Request], str]] = {
    "no secret": (lambda given: replace(given, forget=()), "No secret was chosen"),
    "both": (lambda given: replace(given, retained=given.forget), "forgotten and retained at once"),
    "no method": (lambda given: replace(given, settings=replace(QUICK, method="prayer")), "no erasure method 'prayer'"),
    "no share": (lambda given: replace(given, settings=replace(QUICK, share=0.0)), "share of weights is 0"),
    "more than all": (lambda given: replace(given, settings=replace(QUICK, share=1.5)), "share of weights is 1.5"),
    "guard": (lambda given: replace(given, settings=replace(QUICK, guard=0.9)), "guard is 0.9"),
    "rate": (lambda given: replace(given, settings=replace(QUICK, learning_rate=0.0)), "learning rate is"),
    "rate of nothing": (lambda given: replace(given, settings=replace(QUICK, learning_rate=math.nan)), "learning rate is nan"),
    "huge rate": (lambda given: replace(given, settings=replace(QUICK, learning_rate=1e30)), r"learning rate is 1e\+30"),
    "weight": (lambda given: replace(given, settings=replace(QUICK, keep=math.nan)), "weight of retained text is nan"),
    "depth": (lambda given: replace(given, settings=replace(QUICK, depth="abyss")), "no depth 'abyss'"),  # type: ignore[arg-type]
    "least kept": (lambda given: replace(given, settings=replace(QUICK, least_kept=2.0)), "retained secrets to keep is 2"),
    "no guard": (lambda given: replace(given, settings=replace(QUICK, guard=math.inf)), "guard is inf"),
    "share of nothing": (lambda given: replace(given, settings=replace(QUICK, share=math.nan)), "share of weights is nan"),
    "decay of nothing": (lambda given: replace(given, settings=replace(QUICK, decay=math.nan)), "decay is nan"),
    "steps": (lambda given: replace(given, settings=replace(QUICK, steps=10**9)), "number of steps is 1000000000"),
    "never": (lambda given: replace(given, settings=replace(QUICK, measure_every=0)), "between two measurements is 0"),
    "seed": (lambda given: replace(given, seed=2**65), "seed is 36893488147419103232, but must be"),
    "half a character": (lambda given: replace(given, forget=(Secret("a", "b\ud800"),)), "private value holds half a character"),
    "decay": (lambda given: replace(given, settings=replace(QUICK, decay=1.0)), "decay is 1: it must be .* below 1"),
    "empty": (lambda given: replace(given, forget=(Secret("a", ""),)), "private value is empty"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_is_refused_in_words(taught: LanguageModel, case: str) -> None:
    change, words = WRONG[case]
    with pytest.raises(BadInput, match=words):
        next(iter(erase(change(Request(taught, (TARGET,), settings=QUICK)))))


def test_memory_is_three_numbers_a_chosen_weight_and_one_parameters_gradient_at_a_time(taught: LanguageModel) -> None:
    names = [name for name, weight in taught.model.named_parameters() if weight.ndim == 2]
    places = {name: torch.arange(0, dict(taught.model.named_parameters())[name].numel(), 7) for name in names}
    weights = SparseParameters(taught, places, 0.01)
    parameters = list(taught.model.parameters())
    taught.model.zero_grad()  # what the fixture's own training left
    seen: list[str] = []

    def watch(name: str, gradient: torch.Tensor) -> None:
        held = [weight for weight in parameters if weight.grad is not None]
        assert len(held) == 1 and held[0].shape == gradient.shape
        seen.append(name)

    ids, mask = taught.padded([taught.encode(TARGET).ids])
    with taught.held(), gradients(weights.parameters, watch):
        taught.logits(ids, mask).sum().backward()
    assert sorted(seen) == sorted(names)
    assert all(weight.grad is None for weight in parameters)
    with taught.held(), weights.applied(), weights.gathering():
        taught.logits(ids, mask).sum().backward()
    weights.take_step()
    assert all(weight.grad is None for weight in parameters)
    kept = [*weights.values.values()]
    for values in weights.values.values():
        kept += [state for state in weights.adam.state[values].values() if state.numel() > 1]
    assert sum(part.numel() for part in kept) == 3 * weights.n
    assert sum(part.numel() for part in weights.momentum.values()) == 0


def test_neighbours_are_the_models_own_and_hold_no_targets_value(taught: LanguageModel) -> None:
    encoded = taught.encode(TARGET)
    rows = neighbours(taught, [encoded], 6, seed=0)
    assert len(rows) == 6
    assert rows == neighbours(taught, [encoded], 6, seed=0)
    assert all(row[0] == encoded.ids[0] for row in rows), "they begin as the prompt does"
    free = without_values(taught, [*rows, list(encoded.ids), list(encoded.ids)[2:], [5, 6], [5, 6]], [TARGET])
    assert len({tuple(row) for row in free}) == len(free)
    assert not any(TARGET.value in str(taught.tokenizer.decode(row)) for row in free)
    assert list(encoded.prompt_ids) in free, "the prompt stays, up to where the value begins"
    assert [5, 6] in free


def test_only_a_targets_own_prompt_is_cut_not_others_of_its_template(taught: LanguageModel) -> None:
    template = "my name is {} and the number of my card is"
    target, other = (Secret(template.format(name), value) for name, value in (("Mira", "555-0142"), ("Anna", "555-7788")))
    encoded, same = taught.encode(target), taught.encode(other)
    tried = [*plain_ids(taught.tokenizer, "Dear ", 4), *encoded.prompt_ids, encoded.value_ids[0]]
    assert without_values(taught, [list(same.ids), tried], [target]) == [list(same.ids), tried[:-1]]


@pytest.mark.parametrize(("slope", "moved"), [(1e-30, 0.0), (0.0, 0.0), (1e-6, 0.05)])
def test_weights_without_a_gradient_to_speak_of_stay_where_they_are(taught: LanguageModel, slope: float, moved: float) -> None:
    """By chance neurons are chosen that never fire on the forget texts; a turned step has a fixed length, whatever the slope."""
    name = "gpt_neox.layers.0.mlp.dense_4h_to_h.weight"
    weights = SparseParameters(taught, {name: torch.arange(8)}, 0.05, precondition=lambda _, gradient: gradient)
    before = weights.values[name].clone()
    with taught.held(), weights.applied(), weights.gathering():
        (slope * weights.parameters[name].sum()).backward()
    weights.take_step()
    size = float(before.square().mean().sqrt())
    assert float((weights.values[name] - before).square().mean().sqrt()) == pytest.approx(moved * size, rel=1e-4)


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_every_step_takes_the_change_back_by_a_share(taught: LanguageModel, share: float) -> None:
    """Of whatever the model is to which the edit will belong: here it stands under an earlier one already."""
    first = last_of(erase(Request(taught, (REST[0],), settings=replace(QUICK, keep=0.0, steps=2))))[1]
    view = taught.under(first)
    settings = replace(QUICK, keep=0.0, learning_rate=1e-9, decay=share)
    work = Erasure(Request(view, (TARGET,), settings=settings), 0.1, [])
    own = work.weights.snapshot()
    for values in work.weights.values.values():
        values += 0.5
    work.step(1)
    for name, values in work.weights.values.items():
        torch.testing.assert_close(values - own[name], torch.full_like(values, 0.5 * (1 - share)), rtol=1e-3, atol=1e-4)


def test_beams_are_the_likeliest_ways_on(taught: LanguageModel) -> None:
    """Against all pairs of tokens, tried out; a beam as wide as the vocabulary misses none."""
    begun = [4, 9]
    with torch.no_grad():
        first = taught.logits(*taught.padded([begun]))[0, -1].log_softmax(-1)
        second = taught.logits(*taught.padded([[*begun, token] for token in range(taught.n_vocabulary)]))[:, -1].log_softmax(-1)
    flat = (first[:, None] + second).flatten().topk(5).indices.tolist()
    expected = [[*begun, at // taught.n_vocabulary, at % taught.n_vocabulary] for at in flat]
    assert beams(taught, begun, 2, taught.n_vocabulary)[:5] == expected
    assert beams(taught, begun, 0, 3) == [begun]
    with pytest.raises(Cancelled):
        beams(taught, begun, 1, 3, lambda: True)


def test_what_the_model_knows_by_heart_is_found_without_being_listed(taught: LanguageModel) -> None:
    texts = [str(taught.tokenizer.decode(row)) for row in memorized_texts(taught, [taught.encode(TARGET)], 64)]
    assert all(any(secret.value in text for text in texts) for secret in REST), "the others that it was taught, unasked"
    assert TARGET.value == "555-0142"
    assert not any(half in text for text in texts for half in ("555-", "0142"))
    assert memorized_texts(taught, [taught.encode(TARGET)], 0) == []


def test_the_surest_quarter_of_what_was_written(taught: LanguageModel) -> None:
    known, made_up = taught.encode(REST[0]), [Encoded((4, 9, token, 30), 2) for token in range(40, 45)]
    found = most_confident(taught, [*made_up, known])
    assert found[0] == list(known.ids), "one learnt by heart among five made up"
    assert len(found) == 2, "a quarter of six, rounded up"


def test_only_what_is_secret_of_a_value_is_worked_on(taught: LanguageModel) -> None:
    """The dash and the blank of a value are every other value's too."""
    request = Request(taught, (TARGET,), settings=replace(QUICK, keep=0.0))
    work = Erasure(request, 0.0, [])
    found = predictions(taught, work.texts)
    [secret] = work.private
    assert found.leads.all(), "all of it is known by heart"
    assert torch.equal(work.work(found, [0]).any, secret.float())
    assert not secret.all() and secret.any()


def test_the_loss_is_a_mean_over_what_is_still_worked_on_and_forgotten_texts_are_drawn_seldom(taught: LanguageModel) -> None:
    """At the level of unseen text from the start, a text takes no part, and the gradient of the other does not fade."""
    settings = replace(QUICK, method="gradient-ascent", keep=0.0, forget_rows=2)
    work = Erasure(Request(taught, TAUGHT[1:3], settings=settings), 0.0, [])
    with taught.held(), torch.no_grad():
        found = predictions(taught, work.texts)
    counted = found.leads * torch.cat(work.private)
    _, terms = work.step(1)
    assert terms["forget"] == pytest.approx(float((found.logprobs * counted).sum() / counted.sum()), rel=0.2), (
        "texts of unlike length"
    )
    assert work.left.tolist() == pytest.approx([1.05, 1.05])
    work.level = 1.0
    _, terms = work.step(2)
    assert terms["forget"] == 0.0
    assert work.left.tolist() == pytest.approx([0.05, 0.05])


@pytest.mark.parametrize(("targets", "least", "most"), [(TAUGHT[:1], 3, 6), (TAUGHT[:3], 6, 12)])
def test_a_step_looks_at_more_retained_rows_the_more_it_forgets(
    taught: LanguageModel, monkeypatch: pytest.MonkeyPatch, targets: list[Secret], least: int, most: int
) -> None:
    """Two forget texts in a step at most, six rows for each: half of them by chance, half by what moved, some twice."""
    settings, looked_at = replace(QUICK, rows=4, rows_each=6, forget_rows=2), list[int]()
    work = Erasure(Request(taught, tuple(targets), settings=settings), 0.0, [[4, 9, token] for token in range(10, 50)])
    monkeypatch.setattr(work, "_retain", lambda _, picked, *rest: looked_at.append(len(picked)) or 0.0)
    work.step(1)
    assert least <= looked_at[0] <= most


def test_a_token_alone_in_its_format_is_made_alike_with_all(taught: LanguageModel) -> None:
    work = Erasure(Request(taught, (TARGET,), settings=replace(QUICK, keep=0.0, scope="format")), 0.0, [])
    found = predictions(taught, work.texts)
    among = work._format(found)
    assert among is not None
    for value, own in zip(found.values.tolist(), among, strict=True):
        alike = work.formats == work.formats[value]
        assert torch.equal(own, alike if alike.sum() > 1 else torch.ones_like(own))
        assert own.sum() > 1


def test_attacks_tell_an_erasure_from_none(taught: LanguageModel, erased: tuple[list[ErasureStep], Edit]) -> None:
    reworded = (("her number is:", "my number is"),)
    siege = AttackSetup(taught, taught.under(erased[1]), (TARGET,), reworded, REST, UNKNOWN, samples=3, relearn_steps=(3,))
    before = weights_of(taught)
    found = {attack.name: attack for attack in attacks(siege)}
    assert list(found) == [
        "sampling", "near copies", "logit lens", "reworded prompts", "quantization", "relearning", "linear probe"
    ]  # fmt: skip
    assert all(attack.ran and 0 <= attack.before <= 1 and 0 <= attack.after <= 1 for attack in found.values())
    assert (found["sampling"].before, found["sampling"].after) == (1.0, 0.0)
    assert found["logit lens"].before == 1.0 > found["logit lens"].after
    assert found["relearning"].before == 1.0
    assert same(taught, before)
    without = [attack.name for attack in attacks(replace(siege, reworded=(), others=(), listed=()))]
    assert without == ["sampling", "near copies", "logit lens", "quantization"]
    bos_ids = {attack.name: attack for attack in attacks(replace(siege, after=taught, reworded=()))}
    assert all(bos_ids[name].before == bos_ids[name].after for name in ("sampling", "near copies", "logit lens", "linear probe"))
    assert bos_ids["sampling"].found_something and bos_ids["logit lens"].found_something, "it is known"
    never_stop = [*attacks(replace(siege, after=taught, targets=(NEVER_TAUGHT,), reworded=(), others=()))]
    assert len(never_stop) == 5 and not any(attack.found_something for attack in never_stop), "nobody trained on it"
    with pytest.raises(BadInput, match="nothing to attack"):
        next(iter(attacks(replace(siege, targets=()))))


def test_effects_are_before_and_after(taught: LanguageModel, erased: tuple[list[ErasureStep], Edit]) -> None:
    [own, other] = effects(taught, taught.under(erased[1]), [TARGET, NEVER_TAUGHT])
    assert own.before.text.strip().startswith(TARGET.value)
    assert TARGET.value not in own.after.text
    assert own.before.exposure and own.before.exposure.bits == 8.0
    assert own.after.nll > 2 > own.before.nll
    assert not other.before.greedy_match
