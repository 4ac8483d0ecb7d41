"""Which tokens of a vocabulary are of one format: what may stand in a value's place without changing how it looks."""

import torch
from torch import Tensor

from privlens.memorization.candidates import format_of
from privlens.models.language_model import LanguageModel
from privlens.models.text import Encoded, token_texts


def token_formats(lm: LanguageModel) -> Tensor:
    """[V] int64: the number of every token's format; two tokens are of one format exactly where their numbers are equal."""
    shapes = [format_of(text) for text in token_texts(lm.tokenizer, range(lm.n_vocabulary))]
    numbers = {shape: at for at, shape in enumerate(dict.fromkeys(shapes))}
    return torch.tensor([numbers[shape] for shape in shapes], device=lm.device)


def siblings(formats: Tensor, tokens: Tensor) -> Tensor:
    """[T, V] bool: the other tokens of each one's format; formats [V] as `token_formats` numbers them, tokens [T]."""
    found = formats == formats[tokens][:, None]
    found[torch.arange(len(tokens), device=tokens.device), tokens] = False
    return found


def private(lm: LanguageModel, encoded: Encoded) -> Tensor:
    """[T] bool: tokens of the value with a letter or digit; the others are the format itself."""
    texts = token_texts(lm.tokenizer, encoded.value_ids)
    return torch.tensor([any(map(str.isalnum, text)) for text in texts], device=lm.device)
