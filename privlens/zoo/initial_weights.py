"""Random weights from a generator of one's own, so that a seed decides them whatever else the process draws meanwhile."""

import torch
from torch import nn


@torch.no_grad()
def draw_weights(model: nn.Module, std: float, seed: int) -> None:
    """Replaces every matrix of a new model by draws from N(0, std^2), in their order; vectors (biases, norms) stay.

    The draws are made on each parameter's own device, by one generator for each device, seeded with `seed`.
    """
    generators: dict[torch.device, torch.Generator] = {}
    for parameter in model.parameters():
        if parameter.ndim > 1:
            device = parameter.device
            generator = generators.setdefault(device, torch.Generator(device).manual_seed(seed))
            parameter.normal_(std=std, generator=generator)
