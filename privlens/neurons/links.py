"""Names of neurons that people write and keep: L5N1234, and fingerprint/L5N1234 as a link that says of which model."""

import re
from collections.abc import Sequence

from privlens.errors import BadInput
from privlens.types import Neuron
from privlens.validation import shown

FORM = re.compile(r"(?:L\s*(\d{1,9})\s*N\s*(\d{1,9}))|(?:(\d{1,9})\s*:\s*(\d{1,9}))", re.ASCII | re.IGNORECASE)
FINGERPRINT = re.compile(r"[0-9a-f]{16}")


def neuron_link(fingerprint: str, neuron: Neuron) -> str:
    """`fingerprint/L5N1234`: this neuron of this model."""
    return f"{fingerprint}/L{neuron.layer}N{neuron.index}"


def parse_neuron(text: str, widths: Sequence[int], fingerprint: str | None = None) -> Neuron:
    """The neuron that is named as L5N1234, L5 N1234 or 5:1234, alone or behind a model's fingerprint and a slash.

    Args:
        widths: neurons of each layer (`LanguageModel.widths`). fingerprint: of the model; None leaves a link's unchecked.

    Raises:
        BadInput: for anything else, a neuron that the model does not have, or a link to another model.
    """
    if not isinstance(text, str):
        raise BadInput(f"A neuron is written as L5N1234 (layer 5, neuron 1234), not as {shown(text)}.")
    of_model, slash, name = text.strip().rpartition("/")
    match = FORM.fullmatch(name.strip())
    if not match or (slash and not FINGERPRINT.fullmatch(of_model)):
        raise BadInput(
            f"{shown(text)} names no neuron: write L5N1234 (layer 5, neuron 1234, both from 0), 5:1234, or a link such as "
            "0123456789abcdef/L5N1234."
        )
    if slash and fingerprint is not None and of_model != fingerprint:
        raise BadInput(
            f"This link is to a neuron of the model {of_model}, but this one is {fingerprint}: load that model, with the same "
            "edits, or write the neuron alone."
        )
    layer, index = (int(number) for number in match.groups() if number is not None)
    if layer >= len(widths):
        raise BadInput(f"There is no layer {layer}: this model's layers count from 0 to {len(widths) - 1}.")
    if index >= widths[layer]:
        raise BadInput(f"There is no neuron {index} in layer {layer}: its neurons count from 0 to {widths[layer] - 1}.")
    return Neuron(layer, index)
