"""What a localization is asked: one model, one target, the texts that must stay as they are. No method is known here."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from privlens import validation
from privlens.errors import Cancelled
from privlens.lm.memory_plan import fitting
from privlens.lm.model import LanguageModel, Stop, never_stop
from privlens.provenance import provenance
from privlens.retained.distributions import check_left, extent, retained_rows, stored_bytes
from privlens.types import Array, LocalizationStep, NeuronScores, Secret, Site


@dataclass(frozen=True)
class Task:
    """One localization.

    Attributes:
        lm: the model or a view of it; where memory is short for the target, or for the retained text once that is asked for, a
            view with gradient checkpointing takes its place.
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
    stop: Stop = never_stop
    started: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        """Raises BadInput for what is no seed; and, with numbers, where not even the target alone fits with its gradients."""
        validation.seed(self.seed)
        self._fit(len(self.lm.encode(self.target).ids), 0)

    def _fit(self, n_tokens: int, n_retained: int) -> None:
        """Looks whether one row at once can be run; the record is frozen for whoever holds it, not for itself."""
        stored = stored_bytes(n_retained, n_tokens)
        object.__setattr__(self, "lm", fitting(self.lm, n_tokens, self.site, n_retained, stored))

    def go_on(self) -> None:
        """Raises Cancelled when `stop` says so; asked before every step, outside the gates."""
        if self.stop():
            raise Cancelled("Localization stopped; the model and the neurons you had are as they were.")

    def retained_rows(self, n_samples: int, n_tokens: int) -> list[list[int]]:
        """What must stay as it is, token ids; see retained.py.

        Raises:
            BadInput: with numbers, and before any of it is written, where it cannot be run one row at once; or where no text is
                left in which the private value does not stand.
        """
        n_rows, longest = extent(self.lm, [self.target], self.others, self.texts, n_samples, n_tokens)
        self._fit(longest, n_rows)
        rows = retained_rows(self.lm, [self.target], self.others, self.texts, n_samples, n_tokens, self.seed, self.stop)
        check_left(rows, "use a method that looks at no retained text, such as gradient")
        return rows

    def scores(self, method: str, scores: Array, suggested_k: int | None, settings: Mapping[str, Any]) -> NeuronScores:
        """The result of a method with everything it depends on; scores [n_layers, width], only of neurons that exist."""
        real = np.where(self.lm.exists(self.site).numpy(), scores, np.float32("nan"))
        return NeuronScores(method, self.site, real, suggested_k, provenance(self.lm, self.seed, settings, self.started))

    def only_step(self, method: str, scores: Tensor, stage: str, settings: Mapping[str, Any]) -> LocalizationStep:
        """The step of a method that has only one and closes no gates; scores [n_layers, width]."""
        result = self.scores(method, scores.cpu().numpy(), None, settings)
        return LocalizationStep(1, 1, stage, np.ones(scores.shape, np.float32), 0, float("nan"), {}, result)
