"""Random weights from a separate generator, so that a seed decides them whatever else the process draws meanwhile."""

import torch
from torch import nn


@torch.no_grad()
def draw_weights(model: nn.Module, std: float, seed: int) -> None:
    """Replaces every matrix of a new model by draws from N(0, std^2), in order; vectors (biases, norms) are kept.

    Each parameter is drawn on its own device, by one generator per device, seeded with `seed`.
    """
    generators: dict[torch.device, torch.Generator] = {}
    for parameter in model.parameters():
        if parameter.ndim > 1:
            device = parameter.device
            generator = generators.setdefault(device, torch.Generator(device).manual_seed(seed))
            parameter.normal_(std=std, generator=generator)
