"""Gate gradient token by token: which neurons support the value's tokens, with equal weight for each token.

The gradient of a value's summed log-probability has three weaknesses. Where the model is certain of a token the gradient almost
vanishes, so the least certain token alone decides; a neuron that supports one token and hinders another cancels itself out; and
neurons that support any token of the format, such as any digit, count although they help all other values as much.
Here every token has its own gradient, that of its lead: its logit minus the mean logit of the other tokens of its format. Only
the positive part counts, as a share of the token's total support. A neuron's score is the sum of its shares. Our own method.

Much of that support comes from the prompt's positions, from neurons that are inactive where the value is predicted. The active
variant requires both, support and activity there, by their weighted geometric mean. Also our own.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from privlens.lm.memory import in_parts
from privlens.lm.tokens import Encoded
from privlens.localization.activations import mean_activation
from privlens.localization.gradients import gate_gradient
from privlens.localization.task import Task
from privlens.memorization.candidates import siblings, token_formats
from privlens.types import LocalizationStep

ACTIVITY = 0.25
"""Weight of activity in the geometric mean; that of support is 1 minus this. Chosen on 14 plants at each sparsity, of other seeds
than those reported, out of some thirty ways of combining the two."""


def lead(encoded: Encoded, formats: Tensor, logits: Tensor, first: int = 0) -> Tensor:
    """How far the value's token first + t is ahead of the other tokens of its format, in row t, nats: [T].

    A token that is alone in its format is compared with all other tokens together: its log-odds log p - log(1 - p).

    Args:
        formats: [V], the format number of every token. logits: [T, tokens, V] of T copies of the text.
        first: index in the value of the first of the T tokens.
    """
    rows = torch.arange(len(logits), device=logits.device)
    predicted = logits[rows, rows + first + encoded.n_prompt - 1]
    tokens = torch.tensor(encoded.value_ids[first : first + len(logits)], device=logits.device)
    same_format = siblings(formats, tokens)
    n_siblings = same_format.sum(1)
    sibling_mean = predicted.masked_fill(~same_format, 0).sum(1) / n_siblings.clamp_min(1)
    all_others = predicted.scatter(1, tokens[:, None], float("-inf")).logsumexp(1)
    return predicted.gather(1, tokens[:, None])[:, 0] - torch.where(n_siblings > 0, sibling_mean, all_others)


def shares(task: Task) -> Tensor:
    """Each neuron's share of the support for each token's lead, [T, n_layers, width]; a token's shares sum to 1, or to 0."""
    task.go_on()
    encoded = task.lm.encode(task.target)
    formats = token_formats(task.lm)

    def lead_gradients(tokens: Sequence[int]) -> list[Tensor]:
        copies = [encoded.ids] * len(tokens)
        return list(gate_gradient(task.lm, copies, task.site, lambda logits: lead(encoded, formats, logits, tokens[0])))

    support = torch.stack(in_parts(lead_gradients, list(range(len(encoded.value_ids))))).clamp_min(0)
    token_shares: Tensor = support / support.sum((1, 2), keepdim=True).clamp_min(torch.finfo(support.dtype).tiny)
    return token_shares


def token_gradient(task: Task) -> Iterator[LocalizationStep]:
    """One backward pass over as many copies of the text as the value has tokens. Scores are shares and sum to T at most."""
    yield task.only_step("token-gradient", shares(task).sum(0), "gradient x gate, token by token", {})


def active_token_gradient(task: Task) -> Iterator[LocalizationStep]:
    """The same plus one forward pass: share^(1 - ACTIVITY) x activity^ACTIVITY, summed over the tokens.

    Activity is the mean |activation| where the value is predicted.
    """
    support = shares(task).pow(1 - ACTIVITY).sum(0)
    [activity] = mean_activation(task.lm, task.site)([task.lm.encode(task.target)])
    scores = support * activity.pow(ACTIVITY)
    yield task.only_step(
        "active-token-gradient", scores, "gradient x gate, token by token, and activations", {"activity": ACTIVITY}
    )
