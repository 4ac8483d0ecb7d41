"""The vocabulary space: what a direction of the residual stream does to the logit of every token."""

import torch
from torch import Tensor, nn

from privlens.errors import BadInput, UnsupportedModel
from privlens.lm.layout import is_plain
from privlens.lm.model import LanguageModel


def unembedding(lm: LanguageModel) -> Tensor:
    """[V, d] float32: a row for each token, whose product with a vector of the residual stream is the token's logit.

    The gain of the final norm is multiplied in, and its centering, if it centers. Left out are what it divides by, which is the
    same for all tokens and does not change their order, and biases, which are the same for all vectors.

    Raises:
        UnsupportedModel: if the model has no output embeddings. BadInput: if they are quantized or offloaded.
    """
    head = lm.model.get_output_embeddings()
    weight = getattr(head, "weight", None)
    if weight is None:
        raise UnsupportedModel(f"{lm.architecture} has no output embeddings, so no vector can be read in its vocabulary.")
    if not is_plain(weight):
        raise BadInput("The output embeddings are quantized or not in memory: load the model as float32 or bfloat16.")
    with lm.held(), torch.no_grad():
        rows: Tensor = weight.float().clone()
        norm = _final_norm(lm, rows.shape[1])
        if norm is not None:
            rows *= _gain(norm, rows.shape[1])
            if isinstance(norm, nn.LayerNorm):
                rows -= rows.mean(1, keepdim=True)
    return rows


def _final_norm(lm: LanguageModel, hidden: int) -> nn.Module | None:
    """The last module outside the layers whose only matrix or vector of weights is one gain for each direction."""
    within = {module for layer in lm.layout.layers for module in layer.modules()}
    norms = [
        module
        for module in lm.model.modules()
        if module not in within and getattr(getattr(module, "weight", None), "shape", None) == (hidden,)
    ]
    return norms[-1] if norms else None


def _gain(norm: nn.Module, hidden: int) -> Tensor:
    """What a norm multiplies each direction by, [hidden] float32.

    Read off what it does to a vector of 1 and -1 in turn and to its negative, because some architectures add 1 to their weights.
    """
    weight: Tensor = norm.weight  # type: ignore[assignment]
    signs = torch.ones(hidden, device=weight.device, dtype=torch.float32)
    signs[1::2] = -1.0
    probe = torch.stack([signs, -signs]).to(weight.dtype)
    up, down = norm(probe[:, None])[:, 0].float()
    gain: Tensor = (up - down) / 2 * signs
    return gain
