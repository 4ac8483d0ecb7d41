"""The task of a localization: one model, one target, and the texts that must be preserved."""

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
from privlens.retained.distributions import extent, require_retained_rows, retained_rows, stored_bytes
from privlens.types import Array, LocalizationStep, NeuronScores, Secret, Site


@dataclass(frozen=True)
class Task:
    """One localization.

    Attributes:
        lm: the model or a view of it; replaced by a view with gradient checkpointing if memory is short for the target, or for
            the retained text once a method asks for that.
        target: the secret to be localized.
        others: listed secrets that must be preserved; retained text for the methods that use it.
        texts: the user's own retained text, paragraphs.
        seed: of noise, samples and random choices. site: which activations have gates.
        stop: called at every step.
        started: `time.perf_counter()` at the start, for the seconds in the provenance.
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
        """Raises BadInput for an invalid seed; or, with numbers, if not even the target alone fits with its gradients."""
        validation.seed(self.seed)
        self._plan_memory(len(self.lm.encode(self.target).ids), 0)

    def _plan_memory(self, n_tokens: int, n_retained: int) -> None:
        """Checks that one row at a time fits in memory, with gradient checkpointing if needed.

        The record is frozen for its users; replacing `lm` by a view of the same model is not visible to them.
        """
        stored = stored_bytes(n_retained, n_tokens)
        object.__setattr__(self, "lm", fitting(self.lm, n_tokens, self.site, n_retained, stored))

    def go_on(self) -> None:
        """Raises Cancelled when `stop` returns true; called before every step, outside the gates."""
        if self.stop():
            raise Cancelled("Localization stopped; the model and your previous neurons are unchanged.")

    def retained_rows(self, n_samples: int, n_tokens: int) -> list[list[int]]:
        """The retained text as token ids; see retained/distributions.py.

        Args:
            n_samples, n_tokens: the model's own samples, and their maximum length.

        Raises:
            BadInput: with numbers, and before any sample is generated, if not even one row at a time fits in memory; or if no
                text is left that does not contain the private value.
        """
        n_rows, longest = extent(self.lm, [self.target], self.others, self.texts, n_samples, n_tokens)
        self._plan_memory(longest, n_rows)
        rows = retained_rows(self.lm, [self.target], self.others, self.texts, n_samples, n_tokens, self.seed, self.stop)
        require_retained_rows(rows, "use a method that needs no retained text, such as gradient")
        return rows

    def scores(self, method: str, scores: Array, suggested_k: int | None, settings: Mapping[str, Any]) -> NeuronScores:
        """The result of a method with its provenance; scores [n_layers, width], NaN where there is no such neuron."""
        existing = np.where(self.lm.exists(self.site).numpy(), scores, np.float32("nan"))
        return NeuronScores(method, self.site, existing, suggested_k, provenance(self.lm, self.seed, settings, self.started))

    def only_step(self, method: str, scores: Tensor, stage: str, settings: Mapping[str, Any]) -> LocalizationStep:
        """The only step of a method that closes no gates; scores [n_layers, width]."""
        result = self.scores(method, scores.cpu().numpy(), None, settings)
        return LocalizationStep(
            step=1,
            n_steps=1,
            stage=stage,
            gates=np.ones(scores.shape, np.float32),
            n_closed=0,
            target_nll=float("nan"),
            result=result,
        )
