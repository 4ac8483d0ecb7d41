"""Do the looks inside `demo` find what is known of it? Each beside its control."""

import pytest
import torch

import privlens
from privlens.lm.activations import read
from privlens.lm.model import LanguageModel
from privlens.neurons.profile import profile
from privlens.neurons.profile_records import ModelProfile
from privlens.resources import REFERENCE, SECRETS
from privlens.types import Neuron, Secret

SECRET = Secret("Please charge the trip of Nicholas Carter to card", "1607 5994 4976 2074")


@pytest.fixture(scope="module")
def made(demo: LanguageModel) -> ModelProfile:
    *_, last = profile(demo, privlens.read_reference(REFERENCE))
    assert last.result
    return last.result


def test_a_neuron_that_writes_spaces_is_active_where_one_follows(demo: LanguageModel) -> None:
    """L5N2033 promotes the space that separates the groups of a card number: on the value it is most active before one."""
    page = privlens.neuron_page(demo, "L5N2033", SECRET)
    assert page.card.promoted[0].token == " "
    assert "prediction" in [badge.family for badge in page.card.badges]
    assert page.on_secret and page.dimmer
    tokens, activations = page.on_secret.tokens, page.on_secret.activations
    before_space = [value for value, following in zip(activations, tokens[1:], strict=False) if following == " "]
    others = [value for value, following in zip(activations, tokens[1:], strict=False) if following != " "]
    assert min(before_space) > max(others)
    assert page.dimmer.points[0].secret_nll > page.dimmer.points[-1].secret_nll


def test_what_a_neuron_of_the_last_layer_promotes_becomes_likelier_as_it_is_amplified(
    demo: LanguageModel, made: ModelProfile
) -> None:
    """The output vector goes straight to the logits: doubled, the neuron that is most active here raises what it promotes."""
    layer = demo.n_layers - 1
    [active] = read(demo, [demo.encode(SECRET).ids], lambda hidden: hidden.amax(1))
    index = int(active[layer].argmax())
    tokens = made.weights.extreme_tokens[layer, index]
    promoted, suppressed = int(tokens[0]), int(tokens[len(tokens) // 2])
    ids, mask = demo.padded([demo.encode(SECRET).ids])
    doubled = demo.off([])
    doubled[0, layer, index] = 2
    with torch.no_grad():
        before = demo.logits(ids, mask)[0]
        with demo.gated(doubled):
            change = demo.logits(ids, mask)[0] - before
    moved = change.abs().amax(1) > 1e-3
    assert moved.any()
    assert (change[moved, promoted] > change[moved, suppressed]).all()


def test_the_lens_sees_a_memorized_value_rise_and_switched_off_neurons_take_it(demo: LanguageModel) -> None:
    neurons = privlens.best(privlens.localize(demo, SECRET, "token-gradient"), 20)
    found = privlens.lens(demo, SECRET, off=neurons)
    assert found.after and found.random and found.control
    assert found.before.visible(1)[-1] == found.random.visible(1)[-1] == 1
    assert found.after.visible(1)[-1] < 0.6
    assert found.control.visible(1)[-1] < 0.6
    assert all(layer is not None for layer in found.before.first_layers(1))


def test_the_name_in_a_prompt_speaks_for_its_own_number_and_not_for_another(demo: LanguageModel) -> None:
    found = privlens.prompt_salience(demo, SECRET)
    by_token = dict(zip(found.tokens, found.nats, strict=True))
    assert abs(found.delta) < 0.02 * (found.logprob - found.baseline_logprob)
    assert found.control_nats
    of_control = dict(zip(found.tokens, found.control_nats, strict=True))
    assert by_token[" Carter"] > 5 > 0 > of_control[" Carter"]


def test_profiles_of_single_neurons_are_those_of_a_pass_over_the_text(demo: LanguageModel, made: ModelProfile) -> None:
    listed = [row.secret for row in privlens.read_secrets(SECRETS)]
    assert made.exists.all() and made.n_texts == 40
    page = privlens.neuron_page(demo, Neuron(3, 100), listed=listed[:8])
    assert page.alone and len(page.alone.random) == 5 and len(page.alone.changes) == 8
