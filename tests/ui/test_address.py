"""What a link may ask for, and what a set of neurons on file becomes."""

import json
from pathlib import Path

import pytest

from privlens.errors import BadInput
from privlens.lm.model import LanguageModel
from privlens.localization import FROM_FILE
from privlens.neuron_files import NeuronFile, read_neuron_file
from privlens.retained.others import key_of
from privlens.types import Neuron
from privlens.ui.state.session import NeuronChoice
from privlens.ui.tabs.address import Link, read_link
from privlens.ui.tabs.localize.neuron_set import neuron_set, opened
from tests.helpers import TAUGHT


def test_a_link_asks_for_what_can_be_and_the_rest_of_it_is_left_out() -> None:
    whole = read_link("#model=demo&row=3&method=gradient&seed=7&k=12&neuron=0123456789abcdef%2FL5N1234&tab=erase")
    assert whole == Link("demo", 3, "gradient", 7, 12, "0123456789abcdef/L5N1234", "erase")
    assert read_link("#row=-1&method=rm&seed=9999999999999&k=0&neuron=%3Cb%3E&tab=%3Cb%3E") == Link()
    assert read_link("") == Link()
    assert read_link("#row=\u0663") == Link(), "digits of another script are no number here"


def test_neurons_go_to_a_file_and_come_back_the_same(tmp_path: Path, taught: LanguageModel) -> None:
    path = tmp_path / "neurons.json"
    content = {"method": "gradient", "site": "mlp", "seed": 4, "retained": [key_of(TAUGHT[1])]}
    path.write_text(json.dumps({**content, "neurons": [[0, 3, 2.5], [1, 9, 1.5]]}))
    file = read_neuron_file(path)
    assert file == NeuronFile(
        (Neuron(0, 3), Neuron(1, 9)), "mlp", (2.5, 1.5), "gradient", 4, None, frozenset({key_of(TAUGHT[1])})
    )
    localization = opened(file, taught, TAUGHT[0], tuple(TAUGHT), 0)
    assert localization.retained == {TAUGHT[1]}
    assert localization.scores.top(3)[:2] == [Neuron(0, 3), Neuron(1, 9)]
    both = NeuronChoice(file.neurons, frozenset(file.neurons))
    content = neuron_set(localization, both)
    assert content["neurons"] == [[0, 3, 2.5], [1, 9, 1.5]]
    assert content["retained"] == [key_of(TAUGHT[1])]
    assert neuron_set(localization, NeuronChoice(file.neurons, frozenset({Neuron(1, 9)})))["k"] == 1
    with pytest.raises(BadInput, match="No neuron is switched off"):
        neuron_set(localization, NeuronChoice(file.neurons))


def test_a_bare_list_keeps_its_order_and_a_neuron_that_is_not_there_is_refused(taught: LanguageModel) -> None:
    localization = opened(NeuronFile((Neuron(1, 9), Neuron(0, 3)), "mlp"), taught, TAUGHT[0], (), 0)
    assert localization.scores.method == FROM_FILE
    assert localization.scores.top(2) == [Neuron(1, 9), Neuron(0, 3)]
    with pytest.raises(BadInput, match="neuron 3 of layer 7"):
        opened(NeuronFile((Neuron(7, 3),), "mlp"), taught, TAUGHT[0], (), 0)
