"""What the methods cost compared with peers, as ratios within one run on one random GPT-2.

Peers: captum's IntegratedGradients through the same gates, layer by layer, its steps in one batch; the package
knowledge-neurons (only if it is installed, see requirements-dev.txt); and bare passes of the model. Whether both give the same
numbers is measured, too.
"""

import copy
import operator
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from privlens.bench.timing import Run, in_turns, peak_mb, timed
from privlens.lm.gating import hooked
from privlens.lm.model import LanguageModel
from privlens.lm.restart import plain_pass
from privlens.lm.tokens import Encoded
from privlens.localization import METHODS, Task
from privlens.localization.ablation import logprobs_without, rows_at_once
from privlens.localization.hard_concrete import MaskSettings, start
from privlens.localization.integrated import (
    IntegralSettings,
    captum_integral,
    integral,
    integrated_gradients,
    points,
    single_token_texts,
)
from privlens.types import Secret
from privlens.zoo.random_models import random_gpt2, random_secret

SAME = 1e-4
"""Two results are the same if no number differs by more than this share of the largest. Integrals are compared in double
precision: in single precision the kink of a ReLU falls on either side, and two right answers differ by more."""
Agree = Callable[[Any, Any], bool]
PEER_ROWS = 51
"""Rows of the peer's batches in zero-out."""
SHORT_REPEATS = 5
"""A case that takes a fraction of a second is repeated this many times as often: its fastest run varies more."""


@dataclass(frozen=True)
class SpeedSettings:
    """The sizes of the model and of the task: tokens of prompts and value, `steps` of the integral, `repeats` of every case."""

    n_layers: int = 12
    width: int = 1024
    prompts: tuple[int, ...] = (32, 256)
    value_tokens: int = 8
    steps: int = 20
    repeats: int = 3
    seed: int = 0


@dataclass(frozen=True)
class SpeedRow:
    """One case: the fastest run of each in seconds, ratio = peer / ours, our peak memory above the model in MiB, whether both
    gave the same numbers (None: they answer different questions), and what the peer is or why it cannot run."""

    case: str
    ours_s: float
    peer_s: float | None
    ratio: float | None
    peak_mb: float | None
    same_numbers: bool | None
    peer: str


def bench_model(settings: SpeedSettings) -> LanguageModel:
    """The random model that all cases of a run share."""
    return random_gpt2(settings.n_layers, settings.width, max(settings.prompts) + 2 * settings.value_tokens, settings.seed)


def cases(lm: LanguageModel, settings: SpeedSettings) -> Iterator[SpeedRow]:
    """All cases, a row as soon as it is measured."""
    for n_prompt in settings.prompts:
        secret = random_secret(lm, n_prompt, settings.value_tokens, settings.seed)
        yield from _integrals(lm, secret, n_prompt, settings)
    secret = random_secret(lm, min(settings.prompts), settings.value_tokens, settings.seed)
    yield _mask_step(lm, secret, settings)
    yield _zero_out(lm, secret, settings)
    yield _gated_forward(lm, settings)
    yield _pair_generation(lm, secret, settings)


def memory(lm: LanguageModel, settings: SpeedSettings, steps: int = 3) -> Iterator[dict[str, object]]:
    """Rows of method, peak_mb above the model, model_mb: the first steps of every method on the shortest prompt."""
    model_mb = sum(weight.numel() * weight.element_size() for weight in lm.model.parameters()) / 2**20
    secret = random_secret(lm, min(settings.prompts), settings.value_tokens, settings.seed)
    for name, method in METHODS.items():
        task = Task(lm, secret, seed=settings.seed)
        peak = peak_mb(lambda method=method, task=task: list(islice(method(task), steps)))  # type: ignore[misc]
        yield {"method": name, "peak_mb": peak, "model_mb": model_mb}


def same(ours: Tensor, peer: Tensor) -> bool:
    """No number differs by more than SAME of the largest."""
    return bool((ours - peer).abs().max() <= SAME * peer.abs().max())


def _row(case: str, ours: Run, peer: Run, agree: Agree | None, repeats: int, about_peer: str) -> SpeedRow:
    """Times one case; `agree` decides whether both results are the same."""
    runs = in_turns(ours, peer, repeats)
    same_numbers = agree(runs.ours, runs.peer) if agree else None
    return SpeedRow(
        case=case,
        ours_s=runs.ours_s,
        peer_s=runs.peer_s,
        ratio=runs.peer_s / runs.ours_s,
        peak_mb=peak_mb(ours),
        same_numbers=same_numbers,
        peer=about_peer,
    )


def in_double(lm: LanguageModel) -> LanguageModel:
    """A copy in double precision: at the kink of a ReLU single precision falls on either side, and two right answers differ."""
    return LanguageModel(lm.name, copy.deepcopy(lm.model).double(), lm.tokenizer)


def compared(lm: LanguageModel) -> list[int]:
    """The layers on which two methods are compared in double precision: first, middle and last."""
    return sorted({0, lm.n_layers // 2, lm.n_layers - 1})


def _integrals(lm: LanguageModel, secret: Secret, n_prompt: int, settings: SpeedSettings) -> Iterator[SpeedRow]:
    """Integrated gradients over all layers: against captum token by token, captum on the whole value, knowledge-neurons."""
    encoded, steps = lm.encode(secret), settings.steps

    def ours(lm: LanguageModel = lm) -> Tensor:
        *_, last = integrated_gradients(Task(lm, secret), IntegralSettings(steps))
        assert last.result, "a localization ends with its result"
        return torch.tensor(last.result.scores)

    def by_captum(lm: LanguageModel = lm, layers: Iterable[int] = range(lm.n_layers)) -> Tensor:
        tokens = single_token_texts(encoded)
        return torch.stack(
            [torch.stack([captum_integral(lm, token, layer, steps) for token in tokens]).sum(0) for layer in layers]
        )

    def together() -> Tensor:
        return torch.stack([captum_integral(lm, encoded, layer, steps) for layer in range(lm.n_layers)])

    def agree(*_: Tensor) -> bool:
        double = in_double(lm)
        return same(ours(double)[compared(lm)], by_captum(double, compared(lm)).float())

    yield _row(f"ig-captum-{n_prompt}", ours, by_captum, agree, settings.repeats, "captum, layer by layer, token by token")
    about_peer = "captum, layer by layer, the value's tokens under one gate: a cheaper, other number"
    yield _row(f"ig-captum-together-{n_prompt}", ours, together, None, settings.repeats, about_peer)
    yield _against_knowledge_neurons(f"ig-kn-{n_prompt}", lm, secret, settings, ours)


def _on_package_points(lm: LanguageModel, encoded: Encoded, steps: int) -> Tensor:
    """Our integral on the points of the package knowledge-neurons, on the compared layers.

    The package scales the input of a ReLU by 0, 1/(m-1) ... 1, where 0 contributes nothing, and takes the mean over the tokens.
    """
    past = plain_pass(lm, encoded.ids[:-1])
    integrals = [integral(lm, past, encoded, layer, points(steps - 1, "end")) for layer in compared(lm)]
    computed = torch.stack([scores for scores in integrals if scores is not None])
    return computed * (steps - 1) / (steps * len(encoded.value_ids))


def _against_knowledge_neurons(case: str, lm: LanguageModel, secret: Secret, settings: SpeedSettings, ours: Run) -> SpeedRow:
    """The package takes each token's gradient by itself, as captum does."""
    steps = settings.steps
    try:
        from knowledge_neurons import KnowledgeNeurons

        def package(lm: LanguageModel) -> Any:
            # A copy, because it puts its own modules into the model, and leaves them there when it fails.
            return KnowledgeNeurons(copy.deepcopy(lm.model), lm.tokenizer, model_type="gpt", device=str(lm.device))

        timed_package = package(lm)

        def peer() -> Tensor:
            return timed_package.get_scores(secret.prompt, secret.value, batch_size=steps, steps=steps, pbar=False)  # type: ignore

        def agree(*_: Tensor) -> bool:
            double = in_double(lm)
            layer_scores = package(double).get_scores_for_layer
            theirs = [layer_scores(secret.prompt, secret.value, layer, batch_size=steps, steps=steps) for layer in compared(lm)]
            return same(_on_package_points(double, lm.encode(secret), steps), torch.stack(theirs))

        about_peer = "knowledge-neurons, token by token; same numbers on its points"
        return _row(case, ours, peer, agree, settings.repeats, about_peer)
    except Exception as error:  # a peer may fail in any way; the row says which
        return SpeedRow(
            case=case,
            ours_s=timed(ours)[0],
            peer_s=None,
            ratio=None,
            peak_mb=peak_mb(ours),
            same_numbers=None,
            peer=f"knowledge-neurons cannot run: {type(error).__name__}: {error}",
        )


def _mask_step(lm: LanguageModel, secret: Secret, settings: SpeedSettings) -> SpeedRow:
    """A training step of the mask against a forward and a backward pass to all activations on the same rows."""
    retained = 24
    mask, _ = start(Task(lm, secret, seed=settings.seed), MaskSettings(own_samples=retained - 1, rows=retained))
    rows = [list(mask.goal.encoded.ids)] * mask.settings.target_rows + mask.kept.rows()
    ids, attention = lm.padded(rows)

    def bare() -> None:
        activations: list[Tensor] = []

        def record(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            activations.append(inputs[0] if inputs[0].requires_grad else inputs[0].requires_grad_())

        with hooked(lm.layout.mlp, lambda _: record):
            logits = lm.logits(ids, attention)
        torch.autograd.grad(torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten()), activations)

    with torch.no_grad(), lm.gated(mask.spread(torch.ones(1, len(mask.places), dtype=torch.float32))):
        gated = lm.logits(ids, attention)
    is_same = same(gated, lm.logits(ids, attention))
    repeats = SHORT_REPEATS * settings.repeats
    return _row(
        "mask-step", lambda: mask.step(1.0), bare, lambda *_: is_same, repeats, "forward and backward to the activations, no mask"
    )


def _zero_out(lm: LanguageModel, secret: Secret, settings: SpeedSettings) -> SpeedRow:
    """Neurons off one by one: from their own layer on, against whole passes in the peer's batches. A few of every layer."""
    encoded = lm.encode(secret)
    values = torch.tensor(encoded.value_ids, device=lm.device)
    neurons = range(min(2 * PEER_ROWS, settings.width))

    def ours() -> Tensor:
        past = plain_pass(lm, encoded.ids[:-1])
        size = rows_at_once(lm, len(encoded.ids), settings.width)
        parts = [neurons[start : start + size] for start in range(0, len(neurons), size)]
        by_layer = [
            [logprob for part in parts for logprob in logprobs_without(lm, past, encoded, layer, part, "mlp", layer)]
            for layer in range(lm.n_layers)
        ]
        return torch.tensor(by_layer, dtype=torch.float32)

    @torch.no_grad()
    def by_whole_passes() -> Tensor:
        logprobs = []
        for projection in lm.layout.mlp:
            for off in torch.tensor(neurons).split(PEER_ROWS):

                def silence(_: nn.Module, inputs: tuple[Tensor, ...], off: Tensor = off) -> tuple[Tensor, ...]:
                    activations = inputs[0].clone()
                    activations[torch.arange(len(off)), :, off] = 0
                    return (activations,)

                with hooked([projection], lambda _, silence=silence: silence):  # type: ignore[misc]
                    logits = lm.logits(*lm.padded([encoded.ids] * len(off)))
                predicted = logits[:, encoded.n_prompt - 1 : -1].log_softmax(-1)
                logprobs.append(predicted.gather(2, values.expand(len(off), -1)[..., None]).sum((1, 2)))
        return torch.cat(logprobs).view(lm.n_layers, -1)

    about_peer = f"whole passes of {PEER_ROWS} rows with one neuron silenced in each, as in MemPi's released code"
    return _row("zero-out", ours, by_whole_passes, same, settings.repeats, about_peer)


def _gated_forward(lm: LanguageModel, settings: SpeedSettings) -> SpeedRow:
    """A forward pass with different gates for every row against a plain one."""
    rows, n = 8, max(settings.prompts)
    generator = torch.Generator().manual_seed(settings.seed)
    ids = torch.randint(lm.n_vocabulary, (rows, n), generator=generator)
    attention, gates = torch.ones_like(ids), torch.rand(rows, *lm.shape(), generator=generator, dtype=torch.float32)

    @torch.no_grad()
    def run(gates: Tensor | None) -> Tensor:
        with lm.gated(gates):
            return lm.logits(ids, attention)

    is_same = same(run(torch.ones_like(gates)), run(None))
    repeats = SHORT_REPEATS * settings.repeats
    return _row("gated-forward", lambda: run(gates), lambda: run(None), lambda *_: is_same, repeats, "a plain forward pass")


def _pair_generation(lm: LanguageModel, secret: Secret, settings: SpeedSettings) -> SpeedRow:
    """The texts before and after as two rows of one batch against two generations."""
    prompt = list(lm.encode(secret).prompt_ids)
    half_off = torch.rand(1, *lm.shape(), generator=torch.Generator().manual_seed(settings.seed), dtype=torch.float32).round()
    gates = torch.cat([torch.ones_like(half_off), half_off])

    def together() -> list[list[int]]:
        return lm.generate([prompt, prompt], 32, gates)

    def one_after_the_other() -> list[list[int]]:
        return lm.generate([prompt], 32) + lm.generate([prompt], 32, half_off)

    repeats = SHORT_REPEATS * settings.repeats
    about_peer = "two generations, one after the other"
    return _row("pair-generation", together, one_after_the_other, operator.eq, repeats, about_peer)
