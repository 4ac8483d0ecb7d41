"""Folds edits and gates into weights, and writes a complete model folder that plain transformers loads.

A gate on an input of an output projection is a factor on that input's weights; the projection's bias is added after it, gated or
not, and stays. Only models with these output projections can be gated, so all of them can be folded.
"""

from pathlib import Path

import torch
from torch import Tensor
from transformers.pytorch_utils import Conv1D

from privlens.errors import BadInput
from privlens.lm.editing import change_of
from privlens.lm.model import LanguageModel
from privlens.lm.quantization import refuse_codes
from privlens.process.private_files import private_folder
from privlens.types import Change, Site


def folded(lm: LanguageModel, gates: Tensor, site: Site = "mlp") -> dict[str, Change]:
    """The changes of weights that do what gates [1, n_layers, width] do.

    Raises:
        BadInput: for gates that are not one row for all layers of the site, or where weights are quantized.
    """
    refuse_codes(lm.model)
    if gates.ndim != 3 or gates.shape != (1, *lm.shape(site)):
        raise BadInput(f"Gates to fold must be {[1, *lm.shape(site)]}, but are {list(gates.shape)}.")
    names = {id(parameter): name for name, parameter in lm.model.named_parameters()}
    found = {}
    with lm.held(), torch.no_grad():
        for projection, gate in [pair for part, own in lm.split(gates, site) for pair in zip(part, own[0], strict=True)]:
            weight: Tensor = projection.weight  # type: ignore[assignment]
            axis = 0 if isinstance(projection, Conv1D) else 1
            own = gate[: weight.shape[axis]].to(weight)
            change = change_of(weight, weight * (own[:, None] if axis == 0 else own))
            if len(change.indices):
                found[names[id(weight)]] = change
    return found


def check_folder(folder: str | Path) -> Path:
    """The folder to write to. Raises BadInput where something stands there already, or where it cannot be made."""
    path = Path(folder).expanduser()
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise BadInput(f"{path} exists and is not an empty folder: name a new folder.")
    if not path.absolute().parent.is_dir():
        raise BadInput(f"{path} cannot be made: name a new folder in one that exists.")
    return path


def write_model(lm: LanguageModel, folder: str | Path) -> None:
    """Writes the model, of a view with all its edits in the weights, and its tokenizer, as transformers does.

    Nobody else may read it.

    Raises:
        BadInput: where the folder exists and holds something, or cannot be written; where weights are quantized.
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
