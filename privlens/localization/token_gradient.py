"""Gate gradient token by token: which neurons the value's tokens stand on, each token having the same say.

Three things blunt the gradient of a value's summed log-probability. Where the model is certain of a token that gradient is next
to nothing, so the least certain token decides alone; a neuron that writes one token and hinders another cancels itself; and
neurons that write any token of the format, any digit where digits stand, help the value as well as all others like it.
Here every token has a gradient of its own, of its lead: its logit minus the mean logit of the other tokens of its format. Of it
only what supports the token counts, as a share of all support that it has. A neuron's score is the sum of its shares. Ours.

Much of that support comes from the prompt's own positions, from neurons that are silent where the value is written. The active
variant asks for both, support and activity there, by their weighted geometric mean. Ours too.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from privlens.lm.memory import in_parts
from privlens.lm.tokens import Encoded
from privlens.localization.activations import active
from privlens.localization.gradients import gate_gradient
from privlens.localization.task import Task
from privlens.memorization.candidates import siblings, token_formats
from privlens.types import LocalizationStep

ACTIVITY = 0.25
"""The weight of activity in the geometric mean; the rest is that of the share of support."""


def lead(encoded: Encoded, formats: Tensor, logits: Tensor, first: int = 0) -> Tensor:
    """How far the value's token first + t is ahead of the other tokens of its format in row t, nats: [T].

    A token that is alone in its format is held against all other tokens together: its log-odds log p - log(1 - p).

    Args:
        formats: [V], the number of every token's format. logits: [T, tokens, V] of T copies of the text.
    """
    rows = torch.arange(len(logits), device=logits.device)
    predicted = logits[rows, rows + first + encoded.n_prompt - 1]
    own = torch.tensor(encoded.value_ids[first : first + len(logits)], device=logits.device)
    others = siblings(formats, own)
    count = others.sum(1)
    mean = predicted.masked_fill(~others, 0).sum(1) / count.clamp_min(1)
    rest = predicted.scatter(1, own[:, None], float("-inf")).logsumexp(1)
    return predicted.gather(1, own[:, None])[:, 0] - torch.where(count > 0, mean, rest)


def shares(task: Task) -> Tensor:
    """Which share of each token's lead stands on a neuron, [T, n_layers, width]; a token's shares sum to 1, or to 0."""
    task.go_on()
    encoded, formats = task.lm.encode(task.target), token_formats(task.lm)

    def of_tokens(tokens: Sequence[int]) -> list[Tensor]:
        copies = [encoded.ids] * len(tokens)
        return list(gate_gradient(task.lm, copies, task.site, lambda logits: lead(encoded, formats, logits, tokens[0])))

    support = torch.stack(in_parts(of_tokens, list(range(len(encoded.value_ids))))).clamp_min(0)
    found: Tensor = support / support.sum((1, 2), keepdim=True).clamp_min(torch.finfo(support.dtype).tiny)
    return found


def token_gradient(task: Task) -> Iterator[LocalizationStep]:
    """One backward pass over as many copies of the text as the value has tokens. Scores are shares, at most T in all."""
    yield task.only_step("token-gradient", shares(task).sum(0), "gradient x gate, token by token", {})


def active_token_gradient(task: Task) -> Iterator[LocalizationStep]:
    """The same and one forward pass: share^(1 - ACTIVITY) x activity^ACTIVITY, summed over the tokens.

    Activity is the mean |activation| where the value is predicted.
    """
    support = shares(task).pow(1 - ACTIVITY).sum(0)
    [activity] = active(task.lm, task.site)([task.lm.encode(task.target)])
    scores = support * activity.pow(ACTIVITY)
    yield task.only_step(
        "active-token-gradient", scores, "gradient x gate, token by token, and activations", {"activity": ACTIVITY}
    )
