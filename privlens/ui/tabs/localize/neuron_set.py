"""The chosen neurons as a file, in the command line's format: `deactivate --neurons` and `apply --neurons` read it, and so does
this page."""

from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from privlens import results_json
from privlens.errors import BadInput
from privlens.lm.model import LanguageModel
from privlens.localization import FROM_FILE, METHOD_INFO
from privlens.neuron_files import NeuronFile, read_neuron_file
from privlens.retained.others import key_of
from privlens.types import Neuron, NeuronScores, Provenance, Secret
from privlens.ui.components.exports import export_part, file_value
from privlens.ui.sidebar.panel import Sidebar, others_of, secret_of
from privlens.ui.state.jobs import QUICK, SLOW, show_errors
from privlens.ui.state.session import Localization, ModelCache, ModelName, NeuronChoice, Selection
from privlens.ui.tabs.localize.selection import Chosen
from privlens.ui.text import en
from privlens.ui.traces.uploads import once


def neuron_set_part(shelf: ModelCache, side: Sidebar, chosen: Chosen) -> None:
    """Builds the two buttons: one saves the neurons that are off, one opens a set and switches it off."""
    with gr.Row(elem_classes="exports"):
        save = gr.Button(en.NEURONS_SAVE, elem_id="neurons-save", size="sm", min_width=180, scale=0)
        open_file = gr.UploadButton(
            en.NEURONS_OPEN, file_types=[".json"], elem_id="neurons-open", size="sm", min_width=180, scale=0
        )
    saved = export_part("neurons-said")

    def write(localization: Localization | None, selection: Selection) -> Any:
        return gr.update(value=file_value("neurons.json", neuron_set(localization, selection.now)))

    def read(model: ModelName, listed: Any, prompt: str, value: str, selection: Selection, path: str) -> tuple[Any, ...]:
        if not (prompt.strip() and value.strip()):
            raise BadInput(en.NEURONS_NEED_SECRET)
        lm, target = shelf.get(model), secret_of(listed, prompt, value)
        try:
            file = read_neuron_file(path)
            localization = opened(file, lm, target, others_of(listed), len(model.edits))
        except BadInput as error:  # the folder of gradio's copy means nothing to the visitor
            raise BadInput(str(error).replace(path, Path(path).name)) from None
        if file.fingerprint not in (None, lm.fingerprint):
            gr.Info(en.NEURONS_OF_OTHER_MODEL, duration=10)
        return localization, selection.to(NeuronChoice(file.neurons, frozenset(file.neurons)))

    save.click(show_errors(write), [chosen.located, chosen.selection], saved, **QUICK)
    inputs = [side.model, side.listed, side.prompt, side.value, chosen.selection, open_file]
    taken = open_file.upload(show_errors(once(read)), inputs, [chosen.located, chosen.selection], **SLOW)
    chosen.redraw.after(taken.success)


def neuron_set(localization: Localization | None, choice: NeuronChoice) -> dict[str, Any]:
    """What `localize --out` writes, of the neurons that are off. Raises BadInput where there are none."""
    off = choice.switched_off
    if localization is None or not off:
        raise BadInput(en.NEURONS_NONE)
    scores, retained = localization.scores, sorted(localization.retained, key=str)
    rows = [[*neuron, round(float(scores.scores[neuron]), 6)] for neuron in off]
    return {**results_json.localization(scores, localization.target, 0, retained), "k": len(rows), "neurons": rows}


def opened(file: NeuronFile, lm: LanguageModel, target: Secret, others: tuple[Secret, ...], n_edits: int) -> Localization:
    """A set of neurons as a localization for this secret: neurons that the file does not list have the score 0.

    Raises:
        BadInput: for a neuron that the model does not have.
    """
    widths = lm.widths(file.site)
    scores = np.full((len(widths), max(widths)), np.nan, dtype=np.float32)
    for layer, width in enumerate(widths):
        scores[layer, :width] = 0
    places = tuple(1 - place / len(file.neurons) for place in range(len(file.neurons)))
    known_method = file.scores is not None and file.method in METHOD_INFO
    for neuron, score in zip(file.neurons, file.scores or places, strict=True):
        check(neuron, widths, file.site)
        scores[neuron] = score
    method = str(file.method) if known_method else FROM_FILE
    record = Provenance(lm.name, lm.fingerprint, file.seed or 0, {"file": True}, {}, 0.0)
    retained = frozenset(secret for secret in others if key_of(secret) in file.retained)
    found = NeuronScores(method, file.site, scores, len(file.neurons), record)
    return Localization(target, retained, found, asked=(("from", "a file"),), n_edits=n_edits)


def check(neuron: Neuron, widths: tuple[int, ...], site: str) -> None:
    """Raises BadInput for a neuron that the model does not have."""
    if not (0 <= neuron.layer < len(widths) and 0 <= neuron.index < widths[neuron.layer]):
        raise BadInput(
            f"The file lists neuron {neuron.index} of layer {neuron.layer}, not one of this model ({site}: {len(widths)} layers "
            f"of {max(widths)} neurons, from 0): load the model that the file was made with."
        )
