"""Families of neurons by rule, of the kind of Gurnee et al. (2024, arXiv 2401.12181): a badge has its rule in words.

A rule sorts by one or two numbers. It does not say what a neuron is for, and most neurons are in no family.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from privlens.neurons.card_records import Badge, Family
from privlens.neurons.profile_records import ModelProfile
from privlens.types import Array, Neuron

LATE = 0.5
"""The share of the layers that is early: the paper finds prediction neurons in the second half of its models."""
PEAKED = 10.0
"""Kurtosis of the cosines with the vocabulary above which a few tokens stand out; the paper's limit (3 is a Gaussian's)."""
LAST_LAYERS = 2
"""Where the paper finds entropy neurons."""
LARGE = 0.9
"""Share of the model's neurons with a smaller sum of squared norms: below it the paper's code draws the neurons that it compares
entropy neurons with."""
LOW = 0.1
"""Share of the model's neurons with a smaller variance of the cosines with the vocabulary: above it that code draws them. The
paper's own limit is 0.001, which is a random direction's variance (1 / hidden size) in its models of 768 and 1,024."""
EXPLAINED = 0.5
"""Share of a neuron's variance that its position or token must explain: half of it. The paper sorts by this number and
names no limit."""

Numbers = tuple[tuple[str, Array], ...]
"""Names and numbers that a rule looks at, each [n_layers, width]."""


def _late(profile: ModelProfile) -> Array:
    n_layers, width = profile.weights.output_norm.shape
    return np.repeat(np.arange(n_layers)[:, None] >= LATE * n_layers, width, axis=1)


def _prediction(profile: ModelProfile) -> tuple[Array, Numbers]:
    kurtosis, skew = profile.weights.vocabulary.kurtosis, profile.weights.vocabulary.skew
    numbers = (("kurtosis with the vocabulary", kurtosis), ("skew with the vocabulary", skew))
    return _late(profile) & (kurtosis > PEAKED) & (skew > 0), numbers


def _suppression(profile: ModelProfile) -> tuple[Array, Numbers]:
    kurtosis, skew = profile.weights.vocabulary.kurtosis, profile.weights.vocabulary.skew
    numbers = (("kurtosis with the vocabulary", kurtosis), ("skew with the vocabulary", skew))
    return _late(profile) & (kurtosis > PEAKED) & (skew < 0), numbers


def _entropy(profile: ModelProfile) -> tuple[Array, Numbers]:
    size, variance = profile.weights.squared_norm, profile.weights.vocabulary.variance
    is_last = np.zeros(size.shape, bool)
    is_last[-LAST_LAYERS:] = True
    is_large = size > np.nanquantile(size, LARGE)
    numbers = (("sum of squared norms", size), ("variance with the vocabulary", variance))
    is_flat = (variance <= np.nanquantile(variance, LOW)) & (variance <= 1 / profile.weights.hidden_size)
    return is_last & is_large & is_flat, numbers


def _position(profile: ModelProfile) -> tuple[Array, Numbers]:
    explained = profile.activations.position_explained
    return explained >= EXPLAINED, (("variance explained by the position", explained),)


def _unigram(profile: ModelProfile) -> tuple[Array, Numbers]:
    explained = profile.activations.token_explained
    return explained >= EXPLAINED, (("variance explained by the token", explained),)


RULES: Mapping[Family, tuple[str, Callable[[ModelProfile], tuple[Any, Numbers]]]] = {
    "prediction": (
        f"in the later half of the layers; the cosines of its output vector with all tokens have a kurtosis above {PEAKED:g} and "
        "a positive skew: it promotes a few tokens",
        _prediction,
    ),
    "suppression": (
        f"in the later half of the layers; the cosines of its output vector with all tokens have a kurtosis above {PEAKED:g} and "
        "a negative skew: it suppresses a few tokens",
        _suppression,
    ),
    "entropy": (
        f"in the last {LAST_LAYERS} layers; its squared norms are among the model's largest {1 - LARGE:.0%}, yet the cosines of "
        f"its output vector with all tokens are among the {LOW:.0%} that vary least, and vary no more than those of a random "
        "direction (variance at most 1 / hidden size): it can change how sure the model is rather than of what",
        _entropy,
    ),
    "position": (f"the position in the text explains at least {EXPLAINED:.0%} of the variance of its activation", _position),
    "unigram": (f"the token that it is at explains at least {EXPLAINED:.0%} of the variance of its activation", _unigram),
}
"""Each family's rule in words, and which neurons it holds for, [n_layers, width] bool, with the numbers that it looks at."""


def members(profile: ModelProfile, family: Family) -> Array:
    """[n_layers, width] bool: which neurons are in a family."""
    is_member, _ = RULES[family][1](profile)
    return np.asarray(is_member)


def badges(profile: ModelProfile, neuron: Neuron) -> tuple[Badge, ...]:
    """The families that one neuron is in."""
    found = []
    for family, (rule, numbers_of) in RULES.items():
        is_member, numbers = numbers_of(profile)
        if is_member[neuron]:
            found.append(Badge(family, rule, tuple((name, float(values[neuron])) for name, values in numbers)))
    return tuple(found)
