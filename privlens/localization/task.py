"""What a localization is asked: one model, one target, the texts that must stay as they are. No method is known here."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from privlens.models.language_model import LanguageModel, Stop, never
from privlens.provenance import provenance
from privlens.records import Array, NeuronScores, Secret, Site


@dataclass(frozen=True)
class Task:
    """One localization.

    Attributes:
        target: the secret to be localized.
        others: listed secrets that must stay; retained text for the methods that use it.
        texts: the person's own retained text, paragraphs.
        seed: decides noise, samples and random choices. site: where the gates stand.
        stop: asked at every step.
    """

    lm: LanguageModel
    target: Secret
    others: tuple[Secret, ...] = ()
    texts: tuple[str, ...] = ()
    seed: int = 0
    site: Site = "mlp"
    stop: Stop = never
    started: float = field(default_factory=time.perf_counter)

    def scores(self, method: str, scores: Array, natural_k: int | None, settings: Mapping[str, Any]) -> NeuronScores:
        """The result of a method with everything it depends on; scores [n_layers, width]."""
        return NeuronScores(method, self.site, scores, natural_k, provenance(self.lm, self.seed, settings, self.started))
