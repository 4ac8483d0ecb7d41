"""Whether a run with gradients fits in memory, fits with gradient checkpointing, or does not fit at all."""

from privlens.lm.memory import needs_checkpoints, row_bytes
from privlens.lm.model import LanguageModel
from privlens.types import Site


def fitting(lm: LanguageModel, n_tokens: int, site: Site = "mlp", n_retained: int = 0, stored: int = 0) -> LanguageModel:
    """The model itself if a row of `n_tokens` tokens fits in memory with gradients; otherwise a view with gradient checkpointing.

    Args:
        n_retained, stored: the number of retained texts in a run, and the bytes they occupy throughout.

    Raises:
        BadInput: with numbers, if it does not fit even with gradient checkpointing.
    """
    hidden = lm.model.config.get_text_config().hidden_size
    n_layers, width = lm.shape(site)
    sizes = n_tokens, n_layers, hidden, width, lm.n_vocabulary, lm.dtype.itemsize
    needed = stored + row_bytes(*sizes, gradients=True, checkpointed=lm.is_checkpointed)
    needed_checkpointed = stored + row_bytes(*sizes, gradients=True, checkpointed=True)
    return lm.with_checkpointing() if needs_checkpoints(needed, needed_checkpointed, n_tokens, n_retained, lm.device) else lm
