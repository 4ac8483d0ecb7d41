"""How strongly neurons write where a value is predicted: mean |activation| x norm of the output vector (Chang, Thomason &
Jia 2024). Uses neither gradients nor a loss: cheap, but it cannot tell whether what a neuron writes helps the value.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from privlens.lm.activations import read
from privlens.lm.layout import output_vectors
from privlens.lm.model import LanguageModel
from privlens.lm.tokens import Encoded
from privlens.localization.gradients import SAMPLE_TOKENS, SAMPLES, RowScores, retained_attribution
from privlens.localization.task import Task
from privlens.types import LocalizationStep, Site


def output_norms(lm: LanguageModel, site: Site) -> Tensor:
    """Norm of every neuron's output vector, [n_layers, width]; 0 where a layer has no such neuron."""
    with lm.held():
        norms_by_part = [
            [output_vectors(projection).detach().float().norm(dim=1).to(lm.device) for projection in projections]
            for projections in lm.layout.parts(site)
        ]
    return torch.cat([pad_sequence(norms, batch_first=True) for norms in norms_by_part], dim=1)


def mean_activation(lm: LanguageModel, site: Site) -> RowScores:
    """Scores rows by the mean |activation| over the positions that predict the value."""

    def scores(batch: Sequence[Encoded]) -> Tensor:
        weights = torch.zeros(len(batch), max(len(encoded.ids) for encoded in batch), dtype=torch.float32)
        for row, encoded in enumerate(batch):
            weights[row, encoded.n_prompt - 1 : len(encoded.ids) - 1] = 1 / len(encoded.value_ids)

        def mean(hidden: Tensor) -> Tensor:
            return torch.einsum("rtn,rt->rn", hidden.float().abs(), weights.to(hidden.device))

        return read(lm, [encoded.ids for encoded in batch], mean, site)

    return scores


def output_strength(lm: LanguageModel, site: Site) -> RowScores:
    """Scores rows by the mean |activation| over the positions that predict the value, times the output vector's norm."""
    norms = output_norms(lm, site)
    activation = mean_activation(lm, site)
    return lambda batch: activation(batch) * norms


def activations(task: Task) -> Iterator[LocalizationStep]:
    """One forward pass."""
    task.go_on()
    [scores] = output_strength(task.lm, task.site)([task.lm.encode(task.target)])
    yield task.only_step("activations", scores, "activations", {})


def contrastive_activations(task: Task) -> Iterator[LocalizationStep]:
    """The target's score minus the mean of the retained rows: one forward pass per row, many rows at once."""
    rows = task.retained_rows(SAMPLES, SAMPLE_TOKENS)
    score_rows = output_strength(task.lm, task.site)
    [target_scores] = score_rows([task.lm.encode(task.target)])
    settings = {"retained": len(rows), "own_samples": SAMPLES}
    scores = target_scores - retained_attribution(task, rows, score_rows)
    yield task.only_step("contrastive-activations", scores, "activations, minus retained text", settings)
