"""The page of one neuron: its card, where it is active, its nearest neurons, and what happens when it alone is dimmed or off.

Each part is a function of its own, the quick ones first, so that a screen can show them as they come.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from privlens import validation
from privlens.errors import BadInput, Cancelled
from privlens.lm.activations import read
from privlens.lm.memory import in_parts
from privlens.lm.model import LanguageModel, Stop, never_stop
from privlens.lm.neuron_vectors import neuron_vectors
from privlens.lm.tokens import plain_ids, token_texts
from privlens.memorization.states import reference_ids
from privlens.neurons.cards import card
from privlens.neurons.dimmer import alone_off, dimmer
from privlens.neurons.page_records import Context, Neighbor, NeuronPage, PageStep, TokenActivations
from privlens.neurons.profile import profile
from privlens.neurons.profile_records import ModelProfile
from privlens.types import Neuron, NeuronScores, Secret

AROUND = 16
"""Tokens of a context before the one at which the neuron is most active, and half as many after it: what fits on two lines."""
N_NEIGHBORS = 10


def activations_on(lm: LanguageModel, neuron: Neuron, rows: Sequence[Sequence[int]]) -> list[list[float]]:
    """The neuron's activation at every token of each row (ids)."""

    def of_part(part: Sequence[Sequence[int]]) -> list[Tensor]:
        # A narrower layer may have no neuron of this number; only the neuron's own layer is looked at.
        hidden = read(lm, part, lambda layer: layer[..., min(neuron.index, layer.shape[-1] - 1)].float())
        return list(hidden[:, neuron.layer].cpu())

    hidden = in_parts(of_part, rows) if rows else []
    return [values[: len(row)].tolist() for values, row in zip(hidden, rows, strict=True)]


def on_secret(lm: LanguageModel, neuron: Neuron, secret: Secret) -> TokenActivations:
    """The neuron's activation at every token of prompt and value. Raises BadInput as `LanguageModel.encode` does."""
    encoded = lm.encode(secret)
    [values] = activations_on(lm, neuron, [encoded.ids])
    return TokenActivations(tuple(token_texts(lm.tokenizer, encoded.ids)), tuple(values), encoded.n_prompt)


def on_text(lm: LanguageModel, neuron: Neuron, text: str) -> TokenActivations:
    """The neuron's activation at every token of a text, which is cut where the model's context ends.

    Raises:
        BadInput: for an empty text, or one that is too long.
    """
    if not validation.text(text, "text", validation.MAX_TEXT).strip():
        raise BadInput("The text is empty: type or paste what the neuron should be looked at on.")
    ids = plain_ids(lm.tokenizer, text, lm.room)
    [values] = activations_on(lm, neuron, [ids])
    return TokenActivations(tuple(token_texts(lm.tokenizer, ids)), tuple(values))


def contexts(lm: LanguageModel, profile: ModelProfile, neuron: Neuron, texts: Sequence[str]) -> tuple[Context, ...]:
    """Where in the profile's reference text the neuron is most active, the strongest first; none where it is not above 0.

    Args:
        texts: the paragraphs that the profile was made on.
    """
    is_active = profile.activations.context_activations[neuron] > 0  # NaN where there are fewer paragraphs
    rows, positions = profile.activations.context_rows[neuron], profile.activations.context_positions[neuron]
    places = list(zip(rows[is_active].tolist(), positions[is_active].tolist(), strict=True))
    ids = reference_ids(lm, [texts[row] for row, _ in places])
    found = []
    for (row, position), tokens, values in zip(places, ids, activations_on(lm, neuron, ids), strict=True):
        piece = slice(max(0, position - AROUND), position + AROUND // 2 + 1)
        shown = tuple(token_texts(lm.tokenizer, tokens[piece]))
        found.append(Context(row, position, values[position], piece.start, shown, tuple(values[piece])))
    return tuple(found)


@torch.no_grad()
def neighbors(lm: LanguageModel, neuron: Neuron, n: int = N_NEIGHBORS) -> tuple[Neighbor, ...]:
    """The neurons whose output vectors have the largest cosine with this one's, the nearest first.

    Raises:
        BadInput: for a neuron that does not exist, or weights that are quantized or offloaded.
    """
    lm.off([neuron])  # refuses a neuron that does not exist
    nearest: list[Neighbor] = []
    with lm.held():
        vector = _output_vectors(lm, neuron.layer, [neuron.index])
        for layer, width in enumerate(lm.widths()):
            cosines = torch.cosine_similarity(_output_vectors(lm, layer, range(width)), vector, dim=1)
            if layer == neuron.layer:
                cosines[neuron.index] = -torch.inf
            top = cosines.topk(min(n, width - (layer == neuron.layer)))
            found = zip(top.indices.tolist(), top.values.tolist(), strict=True)
            nearest += [Neighbor(Neuron(layer, index), cosine) for index, cosine in found]
    return tuple(sorted(nearest, key=lambda neighbor: -neighbor.cosine)[:n])


def _output_vectors(lm: LanguageModel, layer: int, indices: Sequence[int]) -> Tensor:
    """The output vectors of some neurons of a layer [n, d], float32."""
    vectors = neuron_vectors(lm, layer)[0]
    return vectors.of(torch.tensor(indices, device=vectors.weight.device)).float().to(lm.device)


@dataclass(frozen=True)
class PageRequest:
    """What a page is made of besides the neuron.

    Attributes:
        texts: paragraphs of the reference text. scores: score maps whose scores are shown.
        secret: on which the neuron is looked at and dimmed; None leaves both out. text: any other text to look at, or empty.
        listed: secrets of which is measured which fall when the neuron is off; empty leaves that out.
        seed: of the random neurons.
    """

    texts: tuple[str, ...]
    secret: Secret | None = None
    text: str = ""
    listed: tuple[Secret, ...] = ()
    scores: tuple[NeuronScores, ...] = ()
    seed: int = 0


def page(
    lm: LanguageModel,
    neuron: Neuron,
    request: PageRequest,
    *,
    profiled: ModelProfile | None = None,
    stop: Stop = never_stop,
    use_cache: bool = True,
) -> Iterator[PageStep]:
    """Everything about one neuron, part by part: the profile if there is none yet, then the card, then what runs the model.

    Args:
        profiled: the profile of this model on the request's texts, if it is at hand. use_cache: as for `profile`.

    Raises:
        BadInput: for a neuron, secret or text that cannot be used. UnsupportedModel: as `profile` does.
        Cancelled: if `stop` returned True.
    """
    lm.off([neuron])  # refuses a neuron that does not exist
    if request.secret:
        lm.encode(request.secret)
    if profiled is None:
        for step in profile(lm, request.texts, stop=stop, use_cache=use_cache):
            if not step.result:
                yield PageStep(step.step, step.n_steps, step.stage)
        profiled = step.result
    assert profiled, "a profile ends with its result"
    known = NeuronPage(card(lm, profiled, neuron, request.scores))
    n_parts = 5
    yield PageStep(1, n_parts, "card", known)
    _go_on(stop)
    known = replace(known, contexts=contexts(lm, profiled, neuron, request.texts), neighbors=neighbors(lm, neuron))
    if request.secret:
        known = replace(known, on_secret=on_secret(lm, neuron, request.secret))
    if request.text:
        known = replace(known, on_text=on_text(lm, neuron, request.text))
    yield PageStep(2, n_parts, "where it is active, and its nearest neurons", known)
    _go_on(stop)
    if request.secret:
        known = replace(known, dimmer=dimmer(lm, neuron, request.secret, request.texts, seed=request.seed, stop=stop))
    yield PageStep(3, n_parts, "dimmed and amplified", known)
    if request.listed:
        for alone in alone_off(lm, neuron, request.listed, seed=request.seed, stop=stop):
            yield PageStep(3, n_parts, alone.stage, known)
        known = replace(known, alone=alone.result)
    yield PageStep(4, n_parts, "off alone", known)
    yield PageStep(5, n_parts, "done", known, known)


def _go_on(stop: Stop) -> None:
    if stop():
        raise Cancelled("Stopped while looking at the neuron; nothing was changed.")
