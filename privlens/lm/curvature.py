"""The curvature of the loss by K-FAC's second factor: second moments of the gradients at the outputs of some projections."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from privlens.errors import Cancelled
from privlens.lm.activations import ROWS_AT_ONCE
from privlens.lm.memory import in_parts
from privlens.lm.model import LanguageModel, Stop, never_stop


def gradient_second_moments(
    lm: LanguageModel,
    rows: Sequence[Sequence[int]],
    projections: Sequence[nn.Module],
    generator: torch.Generator,
    stop: Stop = never_stop,
) -> list[Tensor]:
    """E[g g^T] over all tokens of the rows (ids), an [out, out] for each projection, float32.

    g is the gradient, with respect to a projection's output at a token, of the NLL of tokens that the model itself draws after
    every token of the row (Martens & Grosse, ICML 2015): with these the moments are those of the Fisher information.

    Args:
        generator: draws the tokens.

    Raises:
        Cancelled: if `stop` returned True.
    """
    totals: list[Tensor] = []
    for start in range(0, len(rows), ROWS_AT_ONCE):
        if stop():
            raise Cancelled("Stopped while reading the curvature; nothing was changed.")
        for sums in in_parts(lambda part: [_sums(lm, part, projections, generator)], rows[start : start + ROWS_AT_ONCE]):
            totals = [total + of_part for total, of_part in zip(totals, sums, strict=True)] if totals else sums
    return [total / sum(map(len, rows)) for total in totals]


def _sums(
    lm: LanguageModel, rows: Sequence[Sequence[int]], projections: Sequence[nn.Module], generator: torch.Generator
) -> list[Tensor]:
    """The sums of g g^T over the tokens of some rows, from one forward and one backward pass."""
    ids, mask = lm.padded(rows)
    is_token = mask.bool()
    outputs: dict[int, Tensor] = {}

    def recorder(index: int) -> Callable[[nn.Module, object, Tensor], None]:
        def record(_: nn.Module, __: object, output: Tensor) -> None:
            outputs[index] = output if output.requires_grad else output.requires_grad_()

        return record

    with lm.held(), ExitStack() as stack:
        for index, projection in enumerate(projections):
            stack.callback(projection.register_forward_hook(recorder(index)).remove)
        logits = lm.logits(ids, mask)[is_token]
        drawn = torch.multinomial(logits.detach().softmax(-1).cpu(), 1, generator=generator)[:, 0].to(logits.device)
        loss = nn.functional.cross_entropy(logits, drawn, reduction="sum")
        gradients = torch.autograd.grad(loss, [outputs[index] for index in range(len(projections))])
    by_token = [gradient.view(*ids.shape, -1)[is_token.to(gradient.device)].float() for gradient in gradients]
    return [(gradient.T @ gradient).to(lm.device) for gradient in by_token]
