"""32 layers of 14,336 neurons: the first picture is bins, a click opens the layer, and there a neuron is switched."""

from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tests.browser.steps import Visit, another_model, cell_of, localize, neurons_off, wait_for_off
from tests.helpers import ATTENTION, PLAIN

LAYERS, WIDTH = 32, 14_336


@pytest.fixture(scope="session")
def large_folder(tokenizer: PreTrainedTokenizerFast, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As many neurons as a model of seven billion parameters has, on a residual stream of four numbers."""
    path = tmp_path_factory.mktemp("large")
    sizes = {**PLAIN, **ATTENTION, "hidden_size": 4, "num_hidden_layers": LAYERS, "intermediate_size": WIDTH}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **sizes)).to(torch.bfloat16).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def test_bins_then_the_layer_then_the_neuron(visit: Visit, large_folder: Path) -> None:
    page = visit.page
    another_model(page, str(large_folder))
    page.click("#load-model")
    page.wait_for_function(f"document.querySelector('#model-facts').textContent.includes('{LAYERS} x {WIDTH:,}')")
    page.locator("#prompt textarea").fill("her number is")
    page.locator("#value").locator("input, textarea").fill("7")  # few candidates: only the picture is asked for
    localize(page, "random")
    meta = page.evaluate("document.querySelector('#heatmap .plot').layout.meta")
    assert (meta["layers"], meta["per"], meta["width"]) == (LAYERS, 8, WIDTH)
    assert meta["rows"] * meta["layers"] * meta["columns"] < 70_000
    assert page.evaluate("document.querySelector('#heatmap .plot').calcdata[0][0].z.length") == meta["rows"] * LAYERS

    before = neurons_off(page)
    page.mouse.click(*cell_of(page, "heatmap", meta["columns"] // 2, 20 * meta["rows"]))
    page.wait_for_function("document.querySelector('#square .plot').layout?.meta?.first === 20")
    assert neurons_off(page) == before, "a bin is no neuron"

    page.mouse.click(*cell_of(page, "square", 3, 0))
    wait_for_off(page, before + 1)
    assert "layer 20, neuron 3," in page.locator("#neuron-toggles").inner_text()
    assert not visit.errors
