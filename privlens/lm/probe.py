"""Checks of a newly loaded model before it is used: four forward passes of a few tokens.

Weights and predictions must be finite numbers, every token of ordinary text must have an embedding, and later tokens must not
affect earlier predictions. Whether a shared prefix may be cached and whether rows may be padded on the left is recorded in the
LanguageModel; if not, a slower way gives correct numbers. Changes no weight.
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
TOLERANCES = {"float32": 1e-4, "float64": 1e-4}
TOLERANCE_ROUNDED = 0.05
"""Differences due to rounding, as a share of the logits' standard deviation, by dtype; all other dtypes are rounded more. In one
pass of a causal model rows do not differ at all before the first different token, unless experts are assigned across rows."""
CACHE_FACTOR = 4
"""Passes of different shapes, with and without a cache, may differ by this many times more."""
ARCHITECTURE_ERRORS = (AssertionError, AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError)
"""What architectures raise for inputs that they do not accept."""


def probe(lm: LanguageModel) -> None:
    """Checks a model and sets `can_reuse_prefix` and `pads_left`.

    Raises:
        UnsupportedModel: if the model's numbers could not be trusted.
    """
    _refuse_tokens(lm)
    _refuse_weights(lm)
    ids, changed_ids = _texts(lm.tokenizer, min(lm.n_embeddings, lm.n_vocabulary), min(N_TOKENS, lm.room))
    lm.can_reuse_prefix = True
    with lm.held(), torch.no_grad():
        try:
            logits = lm.logits(*lm.padded([ids, changed_ids]))
        except ARCHITECTURE_ERRORS as cause:
            reason = " ".join(str(cause).split())[:200]
            raise UnsupportedModel(f"{lm.architecture} does not run on plain text: {reason}") from cause
        if bool(logits.log_softmax(-1).isnan().any()):
            raise UnsupportedModel(
                f"The predictions of {lm.name} are not numbers (NaN or infinite), though its weights are: they do not fit "
                f"{weight_type(lm.model)}. Load it as float32 or bfloat16."
            )
        if _is_bidirectional(logits, len(ids) // 2, _tolerance(lm, logits)):
            raise _bidirectional_error(lm.name, lm.architecture)
        lm.can_reuse_prefix = _cache_repeats(lm, logits, [ids, changed_ids])
        lm.pads_left = lm.pads_left and _pads_left(lm, logits[0], ids)  # a few tokens can agree by chance, so both must hold


def refuse_both_sides(name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises UnsupportedModel if a model reads a text from both sides; its layout need not be supported."""
    embeddings = model.get_input_embeddings()
    ids, changed_ids = _texts(tokenizer, len(embeddings.weight), N_TOKENS)  # type: ignore[arg-type]
    try:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids, changed_ids], device=compute_device(embeddings))).logits
    except ARCHITECTURE_ERRORS:
        return  # it has another problem, which is reported elsewhere
    if _is_bidirectional(logits.float(), len(ids) // 2, _tolerance(model, logits.float())):
        raise _bidirectional_error(name, type(model).__name__)


def _bidirectional_error(name: str, architecture: str) -> UnsupportedModel:
    return UnsupportedModel(
        f"{name} ({architecture}) reads a text from both sides: its predictions depend on tokens that come later, so it is "
        "not a causal LM. Choose a decoder, such as a GPT, a Llama or a Qwen."
    )


def _texts(tokenizer: PreTrainedTokenizerBase, n_ids: int, n_tokens: int) -> tuple[list[int], list[int]]:
    """Two lists of ids that differ from the middle on. Raises UnsupportedModel if the tokenizer gives none for ordinary words."""
    ids = [token for token in tokenizer(TEXT)["input_ids"] if token < n_ids][:n_tokens]
    if len(ids) < min(2, n_tokens):
        raise UnsupportedModel("The tokenizer of this model makes no tokens of ordinary words: load it with its own tokenizer.")
    middle = len(ids) // 2
    return ids, [*ids[:middle], *((token + 1) % n_ids for token in ids[middle:])]


def _refuse_tokens(lm: LanguageModel) -> None:
    tokenizer = lm.tokenizer
    if not tokenizer.is_fast:
        raise UnsupportedModel("This model's tokenizer does not report where its tokens are in the text; use its fast version.")
    special = {id_ for id_, token in tokenizer.added_tokens_decoder.items() if token.special} | set(tokenizer.all_special_ids)
    missing = {id_: token for token, id_ in tokenizer.get_vocab().items() if id_ >= lm.n_embeddings and id_ not in special}
    if missing:
        first = min(missing)
        raise UnsupportedModel(
            f"The tokenizer has {len(missing)} tokens without an embedding in {lm.name}: the first is {missing[first]!r} with id "
            f"{first}, but there are {lm.n_embeddings} embeddings. Load the model with the tokenizer that it was trained with, "
            "or resize its embeddings (resize_token_embeddings)."
        )


def _refuse_weights(lm: LanguageModel) -> None:
    for name, parameter in lm.model.named_parameters():
        weight = value_of(lm.model, name, parameter)
        if weight.dtype.is_floating_point and weight.itemsize > 1 and weight.numel() and not _is_finite(weight):
            remedy = "load it as float32 or bfloat16" if weight.dtype == torch.float16 else "choose another checkpoint"
            raise UnsupportedModel(
                f"The weight {name} of {lm.name} contains numbers that are not finite (NaN, infinity): {remedy}."
            )


def _is_finite(weight: Tensor) -> bool:
    """Whether all numbers are finite, in one pass over the weight and without a copy."""
    lowest, highest = weight.aminmax()
    return bool((lowest.isfinite() & highest.isfinite()).item())


def _tolerance(lm: LanguageModel | PreTrainedModel, logits: Tensor) -> float:
    """The largest difference between logits that counts as rounding."""
    model = lm.model if isinstance(lm, LanguageModel) else lm
    return TOLERANCES.get(weight_type(model), TOLERANCE_ROUNDED) * float(logits.std())


def _is_bidirectional(logits: Tensor, middle: int, tolerance: float) -> bool:
    """Whether logits of two texts that differ only from `middle` on already differ before it."""
    return float((logits[0, :middle] - logits[1, :middle]).abs().max()) > tolerance


def _cache_repeats(lm: LanguageModel, logits: Tensor, texts: Sequence[Sequence[int]]) -> bool:
    """Whether texts with the same prefix get the same scores when the prefix is run once as when each is run in full."""
    middle = len(texts[0]) // 2
    try:
        cached = score(lm, [Encoded(tuple(text), middle) for text in texts])
    except (*ARCHITECTURE_ERRORS, UnsupportedModel):
        return False
    values = torch.tensor([text[middle:] for text in texts], device=logits.device)
    plain_logprobs = logits[:, middle - 1 : -1].log_softmax(-1).gather(2, values[..., None])[..., 0].cpu()
    cached_logprobs = torch.tensor([value_score.logprobs for value_score in cached])
    return float((plain_logprobs - cached_logprobs).abs().max()) <= CACHE_FACTOR * _tolerance(lm, logits)


def _pads_left(lm: LanguageModel, logits: Tensor, ids: Sequence[int]) -> bool:
    """Whether the first new token after each prefix of a text, left-padded in one batch, is what the plain pass chose."""
    prefixes = [ids[:n] for n in range(1, len(ids))]
    try:
        generated = lm.generate(prefixes, 1)
    except ARCHITECTURE_ERRORS:
        return False
    tolerance = CACHE_FACTOR * _tolerance(lm, logits)
    pairs = zip(logits, generated, strict=False)
    return all(float(token_logits.max() - token_logits[new_ids[0]]) <= tolerance for token_logits, new_ids in pairs if new_ids)
