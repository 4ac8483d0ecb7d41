"""On `demo`: what a category has for itself, what states hold, and what a secret's neurons are."""

import numpy as np
import pytest

from privlens.lm.model import LanguageModel
from privlens.neurons.coupled import CoupledRequest, CoupledSettings, coupled
from privlens.neurons.entropy_memorization import entropy_law
from privlens.neurons.kram import kram
from privlens.neurons.probes import ProbeRequest, probe
from privlens.resources import REFERENCE, SECRETS
from privlens.secret_lists import read_reference, read_secrets
from privlens.types import Secret


@pytest.fixture(scope="module")
def listed() -> tuple[Secret, ...]:
    return tuple(row.secret for row in read_secrets(SECRETS))


def test_a_category_has_neurons_of_its_own_and_they_carry_secrets_that_did_not_choose_them(demo: LanguageModel) -> None:
    trained = [row.secret for row in read_secrets(SECRETS) if row.repeats]
    cards, ids = (tuple(secret for secret in trained if secret.category == name) for name in ("card", "id number"))
    settings = CoupledSettings(draws=2, regroupings=19)
    *_, last = coupled(CoupledRequest(demo, cards, ids, read_reference(REFERENCE), ("card", "id number"), settings))
    assert last.result
    effects = {effect.set_name: effect for effect in last.result.effects}
    of_cards, of_ids, random = (effects[name] for name in ("card only", "id number only", "random"))
    assert of_cards.first.after - of_cards.first.before > 0.3
    assert of_cards.second.after - of_cards.second.before < 0.1
    assert of_ids.second.after - of_ids.second.before > 0.1 > of_ids.first.after - of_ids.first.before
    assert abs(random.first.after - random.first.before) < 0.05
    assert last.result.overlap.p_value < 1e-6
    assert last.result.overlap.observed < np.mean(last.result.overlap.regrouped)


def test_the_law_does_not_hold_here_and_what_is_known_is_at_distance_nothing(
    demo: LanguageModel, listed: tuple[Secret, ...]
) -> None:
    *_, last = entropy_law(demo, listed)
    assert last.result
    assert last.result.line
    assert last.result.p_value
    assert last.result.p_value > 0.05
    [known] = [group for group in last.result.groups if group.distance == 0]
    assert known.n_items == 43


def test_the_category_can_be_read_and_a_map_erases_it(demo: LanguageModel, listed: tuple[Secret, ...]) -> None:
    request = ProbeRequest(demo, listed)
    *_, last = probe(request)
    assert last.result
    [run] = last.result.runs
    assert max(share.k / share.n for share in run.accuracy) > 0.9
    assert all(share.interval and share.interval[0] < 0.2 for share in run.control)
    assert run.selectivity[4][1][0] > 0.5
    erased = kram(request, 3)
    assert erased.before.k / erased.before.n > 0.9
    assert erased.after.k / erased.after.n < 0.4
    assert erased.geometry.tenth.score > erased.geometry.tenth.chance
