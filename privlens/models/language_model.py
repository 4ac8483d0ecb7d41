"""A loaded causal LM and its two doors: gates on its neurons, and sparse edits of its weights.

One LanguageModel is shared by everybody. Its lock is held while gates or an edit are in place or a forward pass runs, and never
while a result is being looked at, so two people take turns step by step and neither sees the other's gates or edits. A generator
must therefore never yield inside `held`, `gated` or `edited`. Knows nothing of methods or screens.

`under` gives a view: the same model and lock, and edits that are in place whenever the view is at work and at no other time.
Everything that takes a LanguageModel takes a view.
"""

import copy
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase, StoppingCriteria

from privlens.errors import BadInput, Cancelled
from privlens.models import gates as gate_hooks
from privlens.models.edits import Ready, in_place, model_fingerprint, ready
from privlens.models.layout import find_layout, widths
from privlens.models.text import Encoded, encode
from privlens.records import Edit, Neuron, Secret, Site

Stop = Callable[[], bool]
"""Asked at every step; True means that the person wants to stop."""


def never() -> bool:
    """Nobody asked to stop."""
    return False


class _StopAsked(StoppingCriteria):
    """Ends a generation as soon as the person asks."""

    def __init__(self, stop: Stop) -> None:
        self.stop = stop

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: Any) -> Tensor:
        return torch.full((input_ids.shape[0],), self.stop(), device=input_ids.device)


class LanguageModel:
    """A frozen causal LM, its tokenizer, its neurons and its lock.

    Attributes:
        name: what it was loaded as. architecture: its class in transformers.
        n_layers, d_mlp: layers, and neurons in each. n_parameters: weights in all.
        edits: those of a view, in the order they are applied; of a model itself none.

    Raises:
        UnsupportedModel: where no MLP output projections were found.
    """

    def __init__(self, name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.name, self.model, self.tokenizer = name, model.eval(), tokenizer
        model.requires_grad_(False)
        self.layout = find_layout(model)
        self.architecture = type(model).__name__
        self.n_parameters = sum(parameter.numel() for parameter in model.parameters())
        self.n_layers, self.d_mlp = self.shape()
        self._fingerprints = [model_fingerprint(model)]  # shared by all views: the plain model's, then one for each edit in place
        self._ready: tuple[Ready, ...] = ()
        self._depth = 0
        self.lock = threading.RLock()

    @property
    def edits(self) -> tuple[Edit, ...]:
        """The edits of a view, in the order they are applied; none for the model itself."""
        return tuple(made.edit for made in self._ready)

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with the weights; others' edits are waited for, so only one's own are seen."""
        with self.held():
            return self._fingerprints[-1]

    @property
    def device(self) -> torch.device:
        """Where the ids go."""
        return self.model.get_input_embeddings().weight.device  # type: ignore[no-any-return]

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights."""
        return self.model.dtype  # type: ignore[no-any-return]

    @property
    def n_neurons(self) -> int:
        """All MLP neurons."""
        return self.n_layers * self.d_mlp

    @property
    def filler(self) -> int:
        """An id for padding; it is always masked, so any id will do where the tokenizer names none."""
        return int(self.tokenizer.pad_token_id or 0)

    @property
    def room(self) -> int:
        """How many tokens the model reads at most; very many where its config does not say."""
        return getattr(self.model.config.get_text_config(), "max_position_embeddings", None) or sys.maxsize

    def encode(self, secret: Secret) -> Encoded:
        """The ids of a secret. Raises BadInput where prompt or value is empty, or both are longer than the model reads."""
        encoded = encode(self.tokenizer, secret)
        if len(encoded.ids) > self.room:
            raise BadInput(
                f"Prompt and value have {len(encoded.ids)} tokens, but this model reads at most {self.room}: shorten them."
            )
        return encoded

    def shape(self, site: Site = "mlp") -> tuple[int, int]:
        """(layers, gates in each) of a site. Layers that differ in width count as the widest."""
        projections = self.layout.site(site)
        return len(projections), max(widths(projection)[0] for projection in projections)

    def under(self, *edits: Edit) -> "LanguageModel":
        """A view of the model in which these edits are in place, one after the other, the later with the last word.

        The view shares model, tokenizer and lock. Its edits are written whenever it is at work (`held`) and taken back bit for
        bit afterwards, so nobody else sees them. Its fingerprint is that of the edited model. Views of views add up.

        Raises:
            BadInput: for an edit that was made on neither this model nor on it under the edits before, or that does not fit.
        """
        view = copy.copy(self)
        view._depth = 0
        with self.held(), ExitStack() as stack:
            for edit in edits:
                made = self._made_ready(edit)
                stack.enter_context(self._in_place(made))
                view._ready = (*view._ready, made)
        return view

    @contextmanager
    def held(self) -> Iterator[None]:
        """Holds the model's lock, for a view with its edits in place; inside another `held` of its own it does nothing more.

        Every forward pass runs inside. A graph that was built inside must be used inside: taking edits back changes weights, and
        torch refuses the graph then. So a training step that is to work on views wraps forward and backward in it together.
        """
        with self.lock, ExitStack() as stack:
            if not self._depth:
                for made in self._ready:
                    stack.enter_context(self._in_place(made))
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1

    @contextmanager
    def _in_place(self, made: Ready) -> Iterator[None]:
        with in_place(made):
            self._fingerprints.append(made.fingerprint(self._fingerprints[-1]))
            try:
                yield
            finally:
                self._fingerprints.pop()

    def _made_ready(self, edit: Edit) -> Ready:
        """Raises BadInput for an edit that was made on another model, or that does not fit this one's parameters."""
        made_on, known = edit.provenance.fingerprint, self._fingerprints
        if made_on not in known:
            raise BadInput(
                f"This edit was made on {edit.provenance.model} ({made_on}), but this model is {self.name} ({known[-1]}): load "
                "that model, or switch on the edits that were in place when it was made, or make it again on this one."
            )
        return ready(self.model, edit, untouched=made_on == known[-1])

    @contextmanager
    def gated(self, gates: Tensor | None, site: Site = "mlp", layer: int | None = None) -> Iterator[None]:
        """Multiplies the neurons by gates [rows, n_layers, width] while inside; None leaves them as they are.

        Differentiable with respect to the gates. One row serves any batch; else one row per row of the batch. Holds the
        model's lock, and restores the model bit for bit on leaving, whatever was raised. [rows, n_layers, tokens, width]
        gates every token by itself. With `layer` the gates are of that layer alone, n_layers = 1, and all others are 1.
        """
        with self.held():
            if gates is None:
                yield
            else:
                projections = self.layout.site(site)
                with gate_hooks.gated(projections if layer is None else projections[layer : layer + 1], gates):
                    yield

    @contextmanager
    def edited(self, edit: Edit) -> Iterator[None]:
        """Gives some weights other values while inside; the fingerprint is that of the edited model.

        Holds the model's lock, and restores the model bit for bit on leaving, whatever was raised. Edits may be nested, where the
        inner one has the last word, and gates stand on edited weights as on others.

        Raises:
            BadInput: for an edit that was made on another model, or that does not fit its parameters.
        """
        with self.held(), self._in_place(self._made_ready(edit)):
            yield

    def off(self, neurons: Sequence[Neuron], site: Site = "mlp") -> Tensor:
        """Gates [1, n_layers, width] that switch these neurons off. Raises BadInput for a neuron that does not exist."""
        return gate_hooks.off(self.shape(site), neurons, self.device)

    def padded(self, rows: Sequence[Sequence[int]], left: bool = False) -> tuple[Tensor, Tensor]:
        """Ids and mask, both [rows, longest], padded on the right or the left."""
        longest = max(map(len, rows))
        ids = torch.full((len(rows), longest), self.filler)
        mask = torch.zeros(len(rows), longest, dtype=torch.long)
        for at, row in enumerate(rows):
            place = slice(longest - len(row), None) if left else slice(0, len(row))
            ids[at, place] = torch.tensor(row)
            mask[at, place] = 1
        return ids.to(self.device), mask.to(self.device)

    def logits(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Next-token logits [rows, tokens, vocabulary], float32, for right-padded ids [rows, tokens]."""
        with self.held():
            return self.model(input_ids=ids, attention_mask=mask, use_cache=False).logits.float()  # type: ignore[no-any-return]

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        max_new_tokens: int,
        gates: Tensor | None = None,
        *,
        site: Site = "mlp",
        seed: int | None = None,
        temperature: float = 1.0,
        stop: Stop = never,
    ) -> list[list[int]]:
        """Continues every prompt, all in one batch; a row of gates for each prompt, or one for all.

        Args:
            prompts: token ids, one list a row.
            max_new_tokens: at most so many, fewer where the model ends the text or has no more room.
            seed: None for greedy decoding; else samples from this seed, at this temperature.

        Raises:
            Cancelled: when `stop` said so.
        """
        ids, mask = self.padded(prompts, left=True)
        end = self.model.generation_config.eos_token_id
        longest = max(1, min(max_new_tokens, self.room - ids.shape[1]))
        config = GenerationConfig(
            max_new_tokens=longest, do_sample=seed is not None, top_k=0 if seed is not None else None,
            temperature=temperature if seed is not None else None,
            pad_token_id=self.filler, eos_token_id=end, use_cache=True,
        )  # fmt: skip
        with self.gated(gates, site), torch.no_grad(), torch.random.fork_rng():
            torch.manual_seed(seed or 0)
            out = self.model.generate(
                input_ids=ids, attention_mask=mask, generation_config=config, stopping_criteria=[_StopAsked(stop)]
            )
        if stop():
            raise Cancelled("Stopped while generating; nothing was changed.")
        ends = set(end) if isinstance(end, list) else {end}
        return [_until(row, ends) for row in out[:, ids.shape[1] :].tolist()]


def _until(ids: list[int], ends: set[int | None]) -> list[int]:
    stops = [at for at, token in enumerate(ids) if token in ends]
    return ids[: stops[0]] if stops else ids
