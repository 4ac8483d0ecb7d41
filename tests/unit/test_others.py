"""Who counts as another secret, who was seen by a method, and who is left to judge it."""

from dataclasses import replace

import pytest

from privlens.bench import deletion, erasing
from privlens.deactivation import EvalContext, compare
from privlens.erasure import Request, erase
from privlens.errors import BadInput
from privlens.lm.model import LanguageModel
from privlens.localization import Task
from privlens.method_comparison import compare_methods
from privlens.outcomes import Effect, KeptCount, MemorizationState, Outcome
from privlens.retained.others import Keep, kept_counts, key_of, other_secrets, retained_of, same_secret, unseen_of
from privlens.types import Neuron, Secret
from tests.helpers import TAUGHT

TARGET = Secret("Please charge the trip of Nicholas Carter to card", "1607 5994 4976 2074", "card")
OTHER = Secret("You can call Allen Nelson on", "0450-9322", "phone")
COPIES = {
    "itself": TARGET,
    "another category": replace(TARGET, category="number"),
    "space behind the value": replace(TARGET, value=TARGET.value + " "),
    "space before the value": replace(TARGET, value="  " + TARGET.value),
    "two spaces inside": replace(TARGET, value="1607  5994 4976 2074"),
    "a tab inside the prompt": replace(TARGET, prompt=TARGET.prompt.replace(" of ", "\tof ")),
    "a line break behind the prompt": replace(TARGET, prompt=TARGET.prompt + "\n"),
}
SAME_VALUE = {
    "reworded": Secret("For Nicholas Carter the trip goes to card", TARGET.value, "card"),
    "a shorter prompt": Secret("charge the trip of Nicholas Carter to card", TARGET.value, "card"),
    "parted inside the value": Secret(TARGET.prompt + " 1607 5994", "4976 2074"),
}


@pytest.mark.parametrize("case", COPIES)
def test_a_copy_of_the_target_is_no_other_secret(case: str) -> None:
    assert same_secret(TARGET, COPIES[case])
    assert key_of(TARGET) == key_of(COPIES[case])
    assert other_secrets([OTHER, COPIES[case]], [TARGET]) == (OTHER,)


@pytest.mark.parametrize("case", SAME_VALUE)
def test_what_tells_the_targets_value_is_no_other_secret_either(case: str) -> None:
    assert not same_secret(TARGET, SAME_VALUE[case])
    assert key_of(TARGET) != key_of(SAME_VALUE[case])
    assert other_secrets([SAME_VALUE[case], OTHER], [TARGET]) == (OTHER,)


def test_case_and_letters_tell_secrets_apart() -> None:
    different = (replace(OTHER, value="0450-9323"), Secret("b is", "Mira"), Secret("B is", "Mira"), Secret("b is", "mira"))
    assert other_secrets(different, [OTHER]) == different


def test_one_secret_listed_twice_counts_once_where_it_first_stands() -> None:
    again = replace(OTHER, prompt=OTHER.prompt + "  ", category="")
    third = Secret("a", "b")
    assert other_secrets([OTHER, third, again], [TARGET]) == (OTHER, third)


def test_every_second_of_the_others_is_retained_and_the_rest_judge() -> None:
    others = tuple(Secret(f"p{at}", f"v{at}") for at in range(5))
    expected: dict[Keep, tuple[Secret, ...]] = {"half": others[::2], "all": others, "none": ()}
    for keep, retained in expected.items():
        assert retained_of(others, keep) == retained
        assert unseen_of(others, retained) == tuple(one for one in others if one not in retained)


def test_a_judge_is_never_a_value_that_was_shown_behind_another_prompt() -> None:
    first, second, third = Secret("p0", "v0"), Secret("p1", "v1"), Secret("reworded", "v0")
    assert retained_of((first, second, third), "half") == (first, third)
    assert unseen_of((first, second, third), (first,)) == (second,)


def outcome(after: list[tuple[Secret, bool, bool]]) -> Outcome:
    """Others that matched before and after."""
    states = {match: MemorizationState(match, 1.0, 1.0) for match in (False, True)}
    others = tuple(Effect(secret, states[before], states[now]) for secret, before, now in after)
    return Outcome((), Effect(TARGET, states[True], states[False]), others, None, None)


def test_kept_is_counted_apart_for_those_that_were_seen() -> None:
    a, b, c, d = (Secret(f"p{at}", f"v{at}") for at in range(4))
    found = outcome([(a, True, True), (b, True, False), (c, True, True), (d, False, True)])
    assert kept_counts(found, (a, b)) == (KeptCount(1, 1), KeptCount(1, 2)), "d was not known before"
    assert kept_counts(found, ()) == (KeptCount(2, 3), KeptCount(0, 0))
    assert kept_counts(found, (a, b, c, d)) == (KeptCount(0, 0), KeptCount(2, 3))


def with_copies(target: Secret) -> list[Secret]:
    """The list of the taught model in which the target stands three times, and another one twice."""
    other = TAUGHT[0] if target != TAUGHT[0] else TAUGHT[1]
    copies = [replace(target, value=target.value + " "), replace(target, prompt=" " + target.prompt)]
    return [*TAUGHT, *copies, replace(other, prompt=other.prompt + " ")]


def test_switching_off_judges_no_copy(taught: LanguageModel) -> None:
    *_, last = compare(taught, TAUGHT[1], [Neuron(0, 3)], EvalContext(tuple(with_copies(TAUGHT[1]))))
    assert last.result
    assert [effect.secret for effect in last.result.chosen.others] == [TAUGHT[0], *TAUGHT[2:]]


def test_comparing_methods_judges_no_copy(taught: LanguageModel) -> None:
    task = Task(taught, TAUGHT[1], (TAUGHT[0],))
    *_, last = compare_methods(["random"], task, EvalContext(tuple(with_copies(TAUGHT[1]))))
    assert last.result
    assert last.result.before.known == tuple(TAUGHT[2:]), "nor the copy of the one that was retained"


def test_benchmarks_judge_no_copy(taught: LanguageModel) -> None:
    listed = with_copies(TAUGHT[1])
    for trial in deletion.trials(taught, listed, (), 9, seed=0):
        parts = (*trial.seen, *trial.unseen)
        assert len(parts) == 3
        assert not any(same_secret(trial.target, one) for one in parts)
        assert not any(same_secret(one, other) for one in trial.seen for other in trial.unseen)
    for drawn in erasing.trials(taught, listed, 1, 4, seed=0):
        assert len({key_of(one) for one in (*drawn.forget, *drawn.seen, *drawn.unseen)}) == len(TAUGHT) == 4


def test_an_erasure_watches_no_copy_and_refuses_to_retain_one(taught: LanguageModel) -> None:
    copy, *others = replace(TAUGHT[1], value=TAUGHT[1].value + " "), *TAUGHT[2:]
    with pytest.raises(BadInput, match="forgotten and retained at once"):
        next(erase(Request(taught, (TAUGHT[1],), retained=(copy,))))
    first = next(erase(Request(taught, (TAUGHT[1],), retained=(others[0], others[0]), others=(copy, copy))))
    assert first.kept is None, "nobody is left to be watched"
