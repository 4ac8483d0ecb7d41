"""How strongly neurons write where a value is predicted: mean |activation| x norm of the output vector (Chang, Thomason &
Jia 2024). Looks at no gradient and at no loss: cheap, and blind to whether what is written serves the value.
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
    """Norm of what every neuron writes, [n_layers, width]; 0 where a layer has no such neuron."""
    with lm.held():
        parts = [[output_vectors(one).detach().float().norm(dim=1).to(lm.device) for one in of] for of in lm.layout.parts(site)]
    return torch.cat([pad_sequence(norms, batch_first=True) for norms in parts], dim=1)


def active(lm: LanguageModel, site: Site) -> RowScores:
    """For rows: mean |activation| over the positions that predict the value."""

    def scores(batch: Sequence[Encoded]) -> Tensor:
        weights = torch.zeros(len(batch), max(len(one.ids) for one in batch), dtype=torch.float32)
        for row, one in enumerate(batch):
            weights[row, one.n_prompt - 1 : len(one.ids) - 1] = 1 / len(one.value_ids)

        def mean(hidden: Tensor) -> Tensor:
            return torch.einsum("rtn,rt->rn", hidden.float().abs(), weights.to(hidden.device))

        return read(lm, [one.ids for one in batch], mean, site)

    return scores


def written(lm: LanguageModel, site: Site) -> RowScores:
    """For rows: mean |activation| over the positions that predict the value, times the norm of the neuron's output vector."""
    norms, activation = output_norms(lm, site), active(lm, site)
    return lambda batch: activation(batch) * norms


def activations(task: Task) -> Iterator[LocalizationStep]:
    """One forward pass."""
    task.go_on()
    [own] = written(task.lm, task.site)([task.lm.encode(task.target)])
    yield task.only_step("activations", own, "activations", {})


def contrastive_activations(task: Task) -> Iterator[LocalizationStep]:
    """The target's minus the retained rows' mean: one forward pass each, many rows at once."""
    rows = task.retained_rows(SAMPLES, SAMPLE_TOKENS)
    scores_of = written(task.lm, task.site)
    [own] = scores_of([task.lm.encode(task.target)])
    settings = {"retained": len(rows), "own_samples": SAMPLES}
    scores = own - retained_attribution(task, rows, scores_of)
    yield task.only_step("contrastive-activations", scores, "activations, minus retained text", settings)
