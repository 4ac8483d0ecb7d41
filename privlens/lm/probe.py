"""What a model that was just read is asked before anybody works with it: four forward passes of a few tokens.

Weights and predictions must be numbers, every token that ordinary text is made of must have an embedding, and a later token must
change nothing before it. How a beginning that rows share may be reused, and whether rows may be padded on the left, is written
into the LanguageModel: where they may not, the slower way gives the right numbers. Changes no weight.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from privlens.errors import UnsupportedModel
from privlens.lm.model import LanguageModel
from privlens.lm.offload import compute_device, value_of
from privlens.lm.quantization import weight_type
from privlens.lm.scoring import score
from privlens.lm.tokens import Encoded

TEXT = "The price of the lamp is 12.50, not 1250: ask Mira."
N_TOKENS = 8
NEAR = {"float32": 1e-4, "float64": 1e-4}
NEAR_ROUNDED = 0.05
"""Differences that rounding makes, as a share of the spread of the logits, by type; all other types are rounded more. Rows of one
pass of a causal model differ by nothing at all before a token that differs, unless experts are shared out."""
ROUNDED_TWICE = 4
"""Passes of different shapes, with and without a cache, part a little more."""
TROUBLE = (AssertionError, AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError)
"""What an architecture says that does not take what it was given."""


def probe(lm: LanguageModel) -> None:
    """Looks at a model and sets what it can do: `has_repeatable_cache` and `pads_left`.

    Raises:
        UnsupportedModel: in words, where its numbers could not be trusted.
    """
    _refuse_tokens(lm)
    _refuse_weights(lm)
    ids, other = _texts(lm.tokenizer, min(lm.n_embeddings, lm.n_vocabulary), min(N_TOKENS, lm.room))
    lm.has_repeatable_cache = True
    with lm.held(), torch.no_grad():
        try:
            logits = lm.logits(*lm.padded([ids, other]))
        except TROUBLE as cause:
            reason = " ".join(str(cause).split())[:200]
            raise UnsupportedModel(f"{lm.architecture} does not run on plain text: {reason}") from cause
        if bool(logits.log_softmax(-1).isnan().any()):
            raise UnsupportedModel(
                f"The predictions of {lm.name} are not numbers (NaN or infinite), though its weights are: they do not fit "
                f"{weight_type(lm.model)}. Load it as float32 or bfloat16."
            )
        if _reads_both_sides(logits, len(ids) // 2, _near(lm, logits)):
            raise _both_sides(lm.name, lm.architecture)
        lm.has_repeatable_cache = _repeats(lm, logits, [ids, other])
        lm.pads_left = lm.pads_left and _pads(lm, logits[0], ids)  # a few tokens can agree by chance, signatures do not


def refuse_both_sides(name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises UnsupportedModel where a model, whose layout need not be known, reads a text from both sides."""
    embeddings = model.get_input_embeddings()
    ids, other = _texts(tokenizer, len(embeddings.weight), N_TOKENS)  # type: ignore[arg-type]
    try:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids, other], device=compute_device(embeddings))).logits
    except TROUBLE:
        return  # something else is wrong with it
    if _reads_both_sides(logits.float(), len(ids) // 2, _near(model, logits.float())):
        raise _both_sides(name, type(model).__name__)


def _both_sides(name: str, architecture: str) -> UnsupportedModel:
    return UnsupportedModel(
        f"{name} ({architecture}) reads a text from both sides: what it predicts is changed by tokens that come later, so it is "
        "no causal LM. Choose a decoder, such as a GPT, a Llama or a Qwen."
    )


def _texts(tokenizer: PreTrainedTokenizerBase, n_ids: int, n_tokens: int) -> tuple[list[int], list[int]]:
    """Two texts of ids that differ from the middle on. Raises UnsupportedModel where the tokenizer makes nothing of words."""
    ids = [token for token in tokenizer(TEXT)["input_ids"] if token < n_ids][:n_tokens]
    if len(ids) < min(2, n_tokens):
        raise UnsupportedModel("The tokenizer of this model makes no tokens of ordinary words: load it with its own tokenizer.")
    middle = len(ids) // 2
    return ids, [*ids[:middle], *((token + 1) % n_ids for token in ids[middle:])]


def _refuse_tokens(lm: LanguageModel) -> None:
    tokenizer = lm.tokenizer
    if not tokenizer.is_fast:
        raise UnsupportedModel("This model's tokenizer cannot say where its tokens stand in the text; use its fast version.")
    added = {token for token, how in tokenizer.added_tokens_decoder.items() if how.special} | set(tokenizer.all_special_ids)
    beyond = {at: token for token, at in tokenizer.get_vocab().items() if at >= lm.n_embeddings and at not in added}
    if beyond:
        first = min(beyond)
        raise UnsupportedModel(
            f"The tokenizer has {len(beyond)} tokens without an embedding in {lm.name}: the first is {beyond[first]!r} with id "
            f"{first}, but there are {lm.n_embeddings} embeddings. Load the model with the tokenizer that it was trained with, "
            "or resize its embeddings (resize_token_embeddings)."
        )


def _refuse_weights(lm: LanguageModel) -> None:
    for name, parameter in lm.model.named_parameters():
        weight = value_of(lm.model, name, parameter)
        if weight.dtype.is_floating_point and weight.itemsize > 1 and weight.numel() and not _finite(weight):
            remedy = "load it as float32 or bfloat16" if weight.dtype == torch.float16 else "choose another checkpoint"
            raise UnsupportedModel(f"The weight {name} of {lm.name} holds numbers that are not finite (NaN, infinity): {remedy}.")


def _finite(weight: Tensor) -> bool:
    """One pass over the weight, and no copy of it."""
    least, most = weight.aminmax()
    return bool((least.isfinite() & most.isfinite()).item())


def _near(lm: LanguageModel | PreTrainedModel, logits: Tensor) -> float:
    """What counts as no difference between logits."""
    model = lm.model if isinstance(lm, LanguageModel) else lm
    return NEAR.get(weight_type(model), NEAR_ROUNDED) * float(logits.std())


def _reads_both_sides(logits: Tensor, middle: int, near: float) -> bool:
    return float((logits[0, :middle] - logits[1, :middle]).abs().max()) > near


def _repeats(lm: LanguageModel, logits: Tensor, texts: Sequence[Sequence[int]]) -> bool:
    """Whether texts that begin alike score the same when their beginning is run once as when they are run as wholes."""
    middle = len(texts[0]) // 2
    try:
        cached = score(lm, [Encoded(tuple(text), middle) for text in texts])
    except (*TROUBLE, UnsupportedModel):
        return False
    values = torch.tensor([text[middle:] for text in texts], device=logits.device)
    plain = logits[:, middle - 1 : -1].log_softmax(-1).gather(2, values[..., None])[..., 0].cpu()
    return float((plain - torch.tensor([one.logprobs for one in cached])).abs().max()) <= ROUNDED_TWICE * _near(lm, logits)


def _pads(lm: LanguageModel, logits: Tensor, ids: Sequence[int]) -> bool:
    """Whether the first new token of beginnings of a text, padded on the left in one batch, is what the plain pass chose."""
    beginnings = [ids[:n] for n in range(1, len(ids))]
    try:
        written = lm.generate(beginnings, 1)
    except TROUBLE:
        return False
    given_up = ROUNDED_TWICE * _near(lm, logits)
    return all(float(row.max() - row[new[0]]) <= given_up for row, new in zip(logits, written, strict=False) if new)
