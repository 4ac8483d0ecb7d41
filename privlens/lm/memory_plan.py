"""Whether a run with gradients fits in memory as it is, with gradient checkpointing, or not at all. Knows nothing of methods."""

from privlens.lm.memory import needs_checkpoints, row_bytes
from privlens.lm.model import LanguageModel
from privlens.types import Site


def fitting(lm: LanguageModel, n_tokens: int, site: Site = "mlp", n_retained: int = 0, stored: int = 0) -> LanguageModel:
    """The model itself where a row of so many tokens fits in memory with gradients; else a view with gradient checkpointing.

    Args:
        n_retained, stored: how many retained texts a run has, and the bytes that stay in memory for them all along.

    Raises:
        BadInput: with numbers, where it would not fit even so.
    """
    hidden, (n_layers, width) = lm.model.config.get_text_config().hidden_size, lm.shape(site)
    sizes = n_tokens, n_layers, hidden, width, lm.n_vocabulary, lm.dtype.itemsize
    now = stored + row_bytes(*sizes, gradients=True, checkpointed=lm.is_sparing)
    least = stored + row_bytes(*sizes, gradients=True, checkpointed=True)
    return lm.sparing() if needs_checkpoints(now, least, n_tokens, n_retained, lm.device) else lm
