"""Folds gates into weights, and writes a complete model folder that transformers can load.

A gate on an input of an output projection is the same as a factor on that input's weights; the projection's bias is added
afterwards and does not change. Only models with such output projections can be gated, so gates can always be folded.
"""

from pathlib import Path

import torch
from torch import Tensor
from transformers.pytorch_utils import Conv1D

from privlens.errors import BadInput
from privlens.lm.editing import weight_change
from privlens.lm.model import LanguageModel
from privlens.lm.quantization import refuse_codes
from privlens.process.private_files import private_folder
from privlens.types import Change, Site


def folded(lm: LanguageModel, gates: Tensor, site: Site = "mlp") -> dict[str, Change]:
    """The weight changes that have the same effect as gates [1, n_layers, width].

    Raises:
        BadInput: if the gates are not one row for all layers of the site, or the weights are quantized.
    """
    refuse_codes(lm.model)
    if gates.ndim != 3 or gates.shape != (1, *lm.shape(site)):
        raise BadInput(f"Gates to fold must be {[1, *lm.shape(site)]}, but are {list(gates.shape)}.")
    names = {id(parameter): name for name, parameter in lm.model.named_parameters()}
    changes = {}
    with lm.held(), torch.no_grad():
        for projection, gate in [
            pair for part, part_gates in lm.split(gates, site) for pair in zip(part, part_gates[0], strict=True)
        ]:
            weight: Tensor = projection.weight  # type: ignore[assignment]
            axis = 0 if isinstance(projection, Conv1D) else 1
            factors = gate[: weight.shape[axis]].to(weight)
            change = weight_change(weight, weight * (factors[:, None] if axis == 0 else factors))
            if len(change.indices):
                changes[names[id(weight)]] = change
    return changes


def check_folder(folder: str | Path) -> Path:
    """The path of the folder to write to. Raises BadInput if it exists and is not empty, or cannot be created."""
    path = Path(folder).expanduser()
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise BadInput(f"{path} exists and is not an empty folder: name a new folder.")
    if not path.absolute().parent.is_dir():
        raise BadInput(f"{path} cannot be created: name a new folder in one that exists.")
    return path


def write_model(lm: LanguageModel, folder: str | Path) -> None:
    """Writes the model and its tokenizer as transformers does, so that only the owner can read them; of a view with its edits.

    Raises:
        BadInput: if the folder exists and is not empty, or cannot be written, or if the weights are quantized.
    """
    refuse_codes(lm.model)
    path = check_folder(folder)
    try:
        with private_folder(path):
            with lm.held():
                lm.model.save_pretrained(path)
            lm.tokenizer.save_pretrained(path)
    except OSError as cause:
        raise BadInput(f"{path} cannot be written ({cause.strerror or cause}): name another folder.") from cause
