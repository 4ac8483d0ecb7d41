"""The geometry of residual states: how much of it stayed after an intervention, and a map that erases a concept from the states.

The rate of states Z [n, d] is R(Z) = 1/2 logdet(I + d/(n eps) Z^T Z), nats; it is large where they spread in many directions. The
kernelized rate R(Z|K) = 1/2 logdet(I + d/(n eps) (Z Z^T o K)) sees only pairs that share the concept, K_ij = 1 where they do,
else 0. With all ones as K it is R(Z). (The released code has n/(d eps) in the second; its own R(Z) and R(Z|1) differ.)

The map maximizes R(Z|K) - lambda |R(Z) - R(X)|: states of one class are driven apart until its label no longer tells where they
are, while all states together stay as spread as they were.

The alignment score A_k is the mean share of each state's k nearest neighbours that it keeps. It asks how much stayed, of
anything, and
not what: two edits of the same alignment may have moved different things.

Source: KRaM (Basu Roy Chowdhury et al., NeurIPS 2023, arXiv 2312.00194) and its code. It erases concepts from representations,
which is another problem than memorized text.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from privlens import intervals, validation
from privlens.errors import BadInput, Cancelled
from privlens.neurons.probe_records import Alignment, Erased, Geometry, LayerGeometry
from privlens.neurons.probes import ProbeRequest, condition_states, conditions, fitted, probe_items
from privlens.neurons.share import share_of
from privlens.provenance import provenance

EPSILON = 0.5
"""The squared distortion of a rate: the source's."""
FEWEST_STATES = 20
"""With fewer, a tenth of them is one neighbour."""


@dataclass(frozen=True)
class KramSettings:
    """How the map is trained; the source's numbers but for the steps, which it counts in passes over its data."""

    balance: float = 1.0
    """lambda, what a change of the rate of all states costs."""
    steps: int = 300
    batch: int = 200
    learning_rate: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 5e-4


def rate(states: Tensor) -> Tensor:
    """R(Z) of states [n, d], nats; differentiable."""
    n, width = states.shape
    gram = states.T @ states if width <= n else states @ states.T  # both have the same determinant
    identity = torch.eye(len(gram), device=states.device, dtype=states.dtype)
    return torch.logdet(identity + width / (n * EPSILON) * gram) / 2


def kernel_rate(states: Tensor, labels: Tensor) -> Tensor:
    """R(Z|K) of states [n, d] by labels [n], nats; differentiable."""
    n, width = states.shape
    kernel = (labels[:, None] == labels).to(states)
    identity = torch.eye(n, device=states.device, dtype=states.dtype)
    return torch.logdet(identity + width / (n * EPSILON) * (states @ states.T) * kernel) / 2


def standardized(states: Tensor) -> Tensor:
    """Every state [..., d] with mean 0 and variance 1 over its directions: layer norm without gain and bias."""
    return torch.nn.functional.layer_norm(states, states.shape[-1:])


def alignment(before: Tensor, after: Tensor, k: int) -> Alignment:
    """A_k of the same states [n, d] before and after; a state is no neighbour of its own. Ties go to the first.

    Raises:
        BadInput: unless 1 <= k < n.
    """
    n = len(before)
    if not 1 <= k < n:
        raise BadInput(f"{n} states have no {k} neighbours each: give more states.")
    kept = (_neighbours(before, k) & _neighbours(after, k)).sum(1).double() / k
    return Alignment(k, n, float(kept.mean()), intervals.mean(kept.tolist()), k / (n - 1))


def _neighbours(states: Tensor, k: int) -> Tensor:
    """[n, n] bool: which states are among the k nearest of each."""
    distances = torch.cdist(states, states, compute_mode="donot_use_mm_for_euclid_dist")
    distances.fill_diagonal_(torch.inf)
    nearest = distances.sort(dim=1, stable=True).indices[:, :k]
    return torch.zeros_like(distances, dtype=torch.bool).scatter_(1, nearest, True)


def check_enough(n: int) -> None:
    """Raises BadInput for too few states to tell neighbours apart."""
    if n < FEWEST_STATES:
        raise BadInput(f"{n} states to test on are too few for a geometry: give secrets enough for {FEWEST_STATES}.")


def layer_geometry(before: Tensor, after: Tensor) -> LayerGeometry:
    """The rates and alignments of one layer's states [n, d]; rates are of standardized states.

    Raises:
        BadInput: for fewer than FEWEST_STATES states.
    """
    n = len(before)
    check_enough(n)
    rates = [float(rate(standardized(states.double()))) for states in (before, after)]
    return LayerGeometry(rates[0], rates[1], alignment(before, after, n // 2), alignment(before, after, n // 10))


def geometry(request: ProbeRequest) -> Geometry:
    """How much of the geometry of the probed states stayed in each condition but the first, layer by layer.

    Raises:
        BadInput: where the request has neither neurons nor an edit, or too few secrets. Cancelled: if `stop` returned True.
    """
    started = time.perf_counter()
    asked = conditions(request)
    if len(asked) < 2:
        raise BadInput("Nothing was changed, so all of the geometry stays: give neurons to switch off, or an edit.")
    items = probe_items(request)
    before = condition_states(request, items, asked[0])
    layers = []
    for condition in asked[1:]:
        after = condition_states(request, items, condition)
        layers.append(tuple(layer_geometry(*pair) for pair in zip(before, after, strict=True)))
    settings = {"target": request.settings.target, "site": request.site, "n_neurons_off": len(request.neurons)}
    names = tuple(condition.name for condition in asked[1:])
    return Geometry(names, tuple(layers), provenance(request.lm, request.seed, settings, started))


ErasingMap = Callable[[Tensor], Tensor]
"""States [n, d] -> states [n, d]."""


def erasing_map(
    states: Tensor, labels: Tensor, settings: KramSettings, seed: int, go_on: Callable[[], None] = lambda: None
) -> ErasingMap:
    """Trains the map on states [n, d] and labels [n]: three linear layers with ReLU between them, then a layer norm without gain.

    Args:
        go_on: called before every step; may raise Cancelled.
    """
    generator = torch.Generator().manual_seed(seed)
    n, width = states.shape
    weights = [
        (torch.randn(width, width, generator=generator, dtype=torch.float32) / width**0.5).to(states).requires_grad_()
        for _ in range(3)
    ]
    biases = [torch.zeros(width, device=states.device, dtype=states.dtype, requires_grad=True) for _ in range(3)]

    def run(inputs: Tensor) -> Tensor:
        hidden = standardized(inputs)
        for index, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            hidden = torch.addmm(bias, hidden, weight)
            hidden = hidden.relu() if index < 2 else hidden
        return standardized(hidden)

    optimizer = torch.optim.SGD(
        [*weights, *biases], lr=settings.learning_rate, momentum=settings.momentum, weight_decay=settings.weight_decay
    )
    for _ in range(settings.steps):
        go_on()
        part = torch.randperm(n, generator=generator)[: settings.batch].to(states.device)
        mapped = run(states[part])
        kept = (rate(mapped) - rate(standardized(states[part])).detach()).abs()
        optimizer.zero_grad()
        (settings.balance * kept - kernel_rate(mapped, labels[part])).backward()
        optimizer.step()

    @torch.no_grad()
    def trained(inputs: Tensor) -> Tensor:
        return run(inputs)

    return trained


def kram(request: ProbeRequest, layer: int, settings: KramSettings = KramSettings()) -> Erased:
    """Erases what a request probes for from the states of one layer, and probes them anew.

    Args:
        layer: 0 is the embeddings, n_layers the last. The map learns from the training items alone; its neurons and edit are
            ignored.

    Raises:
        BadInput: for a layer that does not exist, or too few secrets. Cancelled: if `stop` returned True.
    """
    started = time.perf_counter()
    validation.whole(layer, "layer", 0, request.lm.n_layers)
    items = probe_items(request)
    check_enough(int(items.is_test.sum()))
    [states] = condition_states(request, items, conditions(request)[0])[layer : layer + 1]
    train_states, train_labels = states[~items.is_test], items.labels[~items.is_test].to(states.device)

    def go_on() -> None:
        if request.stop():
            raise Cancelled("Stopped while a map was trained; nothing was changed.")

    run = erasing_map(train_states, train_labels, settings, request.seed, go_on)
    mapped = run(states)
    (_, (before,)), (_, (after,)) = (fitted(values[None], items.labels, items, request) for values in (states, mapped))
    _, (control,) = fitted(mapped[None], items.control, items, request)
    test = items.labels[items.is_test]
    frequent = int(items.labels[~items.is_test].mode().values)
    kernel_rates = [
        float(kernel_rate(values[~items.is_test].double(), train_labels)) for values in (standardized(states), mapped)
    ]
    return Erased(
        layer=layer,
        target=request.settings.target,
        kind=request.settings.training.kind,
        geometry=layer_geometry(states[items.is_test], mapped[items.is_test]),
        kernel_before=kernel_rates[0],
        kernel_after=kernel_rates[1],
        before=before,
        after=after,
        control=control,
        majority=share_of(int((test == frequent).sum()), len(test)),
        provenance=provenance(
            request.lm, request.seed, {**asdict(request.settings), **asdict(settings), "layer": layer}, started
        ),
    )
