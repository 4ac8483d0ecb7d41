"""A loaded causal LM and its two doors: gates on its neurons, and sparse edits of its weights.

One LanguageModel is shared by everybody. Its lock is held while gates or an edit are in place or a forward pass runs, and never
while a result is being looked at, so two people take turns step by step and neither sees the other's gates or edits. A generator
must therefore never yield inside `held`, `gated` or `edited`. Knows nothing of methods or screens.

`under` gives a view: the same model and lock, and edits that are in place whenever the view is at work and at no other time.
`sparing` gives one that needs less memory for gradients, `chatting` one that asks in chat turns. Everything that takes a
LanguageModel takes a view.
"""

import copy
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from privlens import validation
from privlens.errors import BadInput, Cancelled
from privlens.lm import gating as gate_hooks
from privlens.lm import offload
from privlens.lm.boundary import is_attached
from privlens.lm.chat import encode_turn, has_template
from privlens.lm.generation import Sampling, write_on
from privlens.lm.gradient_checkpointing import checkpointed
from privlens.lm.layout import find_layout, widths
from privlens.lm.memory import in_parts
from privlens.lm.sessions import Holding
from privlens.lm.tokens import Encoded, encode, is_open
from privlens.types import Edit, Neuron, Secret, Site

LIMITS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "max_seq_length", "max_sequence_length")
"""The names by which configs say how many tokens their model reads, the usual ones first."""

Stop = Callable[[], bool]
"""Asked at every step; True means that the person wants to stop."""


def never_stop() -> bool:
    """Nobody asked to stop."""
    return False


class LanguageModel:
    """A frozen causal LM, its tokenizer, its neurons and its lock.

    Attributes:
        name: what it was loaded as. architecture: its class in transformers.
        n_layers, d_mlp: layers, and neurons in each. n_parameters: weights in all.
        lock: shared by all its views; `held` takes it.
        edits: those of a view, in the order they are applied; of a model itself none.
        is_sparing: whether this is a view with gradient checkpointing. is_chat: whether it is one that asks in chat turns.
        has_repeatable_cache: whether the keys and values of a beginning can be repeated for many rows and read on from; where
            not, every row is run as a whole. pads_left: whether rows that are padded on the left are written on as when alone.

    Raises:
        UnsupportedModel: where no MLP output projections were found.
    """

    def __init__(self, name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.name, self.model, self.tokenizer = name, model.eval(), tokenizer
        model.requires_grad_(False)
        self.layout = find_layout(model)
        self.architecture = type(model).__name__
        self.n_parameters = model.num_parameters()  # two 4-bit codes in a byte are two
        self.n_layers, self.d_mlp = self.shape()
        self._holding = Holding(name, model)
        self.lock = self._holding.lock
        self.is_sparing = self.is_chat = False
        self.has_repeatable_cache, self.pads_left = True, self._takes_positions_from_the_mask()
        self._without_edits = self._holding
        self._attached: dict[int, bool] = {}  # by hash, so that no private value outlives its visitor here

    @property
    def edits(self) -> tuple[Edit, ...]:
        """The edits of a view, in the order they are applied; none for the model itself."""
        return tuple(made.edit for made in self._holding.fitted)

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with the weights; others' edits are waited for, so only one's own are seen."""
        return self._holding.fingerprint

    @property
    def is_damaged(self) -> bool:
        """Whether some weights could not be put back after an error: whoever keeps the model loads it anew."""
        return self._holding.is_damaged

    @property
    def device(self) -> torch.device:
        """Where the ids go."""
        return offload.runs_on(self.model.get_input_embeddings())

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights."""
        return self.model.dtype  # type: ignore[no-any-return]

    @property
    def n_neurons(self) -> int:
        """All MLP neurons."""
        return sum(self.widths())

    @property
    def n_vocabulary(self) -> int:
        """How many tokens the model tells apart."""
        return int(self.model.config.get_text_config().vocab_size)

    @property
    def filler(self) -> int:
        """An id for padding that the model has; it is always masked, so any of them will do.

        The tokenizer's own may be none of them: a padding token that was added to it and not to the model.
        """
        padding = self.tokenizer.pad_token_id
        return int(padding) if padding is not None and 0 <= padding < self.n_embeddings else 0

    @property
    def n_embeddings(self) -> int:
        """How many ids the model has an embedding for; a tokenizer may have more tokens, [PAD] for one."""
        return len(self.model.get_input_embeddings().weight)

    @property
    def room(self) -> int:
        """How many tokens the model reads at most; very many where its config names no limit, or none above 0."""
        config = self.model.config.get_text_config()
        named = (getattr(config, name, None) for name in LIMITS)
        return next((limit for limit in named if type(limit) is int and limit > 0), sys.maxsize)

    def settled(self, secret: Secret) -> Secret:
        """The secret with `attached` said, so that other values can be asked for just as its own is (`Secret.with_value`).

        Where a person typed no space, the model itself decides (`boundary.is_attached`): once for a prompt and value, and without
        gates and edits, so that before and after, check and deactivate, and all views ask the same question.

        Raises:
            BadInput: where prompt or value is empty.
        """
        validation.secret(secret.prompt, secret.value)
        if self.is_chat or not is_open(secret):  # in a chat the template says what stands between them
            return secret
        key = hash((secret.prompt, secret.value))
        with self._without_edits.held():
            if key not in self._attached:
                attached = is_attached(self.tokenizer, secret, self._logits_without_edits, self.room)
                if not self._is_plain():  # asked for in the midst of something: it holds for this time
                    return replace(secret, attached=attached)
                self._attached[key] = attached
            return replace(secret, attached=self._attached[key])

    def _is_plain(self) -> bool:
        """Whether the model stands as it was loaded: neither gates nor edits are in place. For whoever holds the lock."""
        gated = any(projection._forward_pre_hooks for projection in (*self.layout.mlp, *self.layout.attention))
        return self._holding.is_as_loaded and not gated

    def _logits_without_edits(self, ids: Sequence[int]) -> Tensor:
        """[tokens, vocabulary] of one text, by the model as it stands: not `logits`, which would put a view's edits in place."""

        def run(texts: Sequence[Sequence[int]]) -> list[Tensor]:
            given, mask = self.padded(texts)
            return list(self.model(input_ids=given, attention_mask=mask, use_cache=False).logits.float())

        return in_parts(run, [ids])[0]

    def encode(self, secret: Secret) -> Encoded:
        """The ids of a secret. Raises BadInput where prompt or value is empty, or both are longer than the model reads."""
        encoded = encode_turn(self.tokenizer, secret) if self.is_chat else encode(self.tokenizer, self.settled(secret))
        self._must_be_known(encoded.ids)
        if len(encoded.ids) > self.room:
            raise BadInput(
                f"Prompt and value have {len(encoded.ids)} tokens, but this model reads at most {self.room}: shorten them."
            )
        return encoded

    def shape(self, site: Site = "mlp") -> tuple[int, int]:
        """(layers, gates in each) of a site. Layers that differ in width count as the widest; `exists` says what is real."""
        found = self.widths(site)
        return len(found), max(found)

    def widths(self, site: Site = "mlp") -> tuple[int, ...]:
        """Gates of every layer of a site."""
        each = [[widths(projection)[0] for projection in part] for part in self.layout.parts(site)]
        return tuple(map(sum, zip(*each, strict=True)))

    def split(self, gates: Tensor, site: Site) -> Iterator[tuple[tuple[nn.Module, ...], Tensor]]:
        """The projections of a site with their gates [..., width]: one pair, or for `both` those of the MLPs and of attention."""
        parts = self.layout.parts(site)
        yield from zip(parts, gates.split([max(widths(one)[0] for one in part) for part in parts], dim=-1), strict=True)

    def exists(self, site: Site = "mlp") -> Tensor:
        """[n_layers, width] bool, on the CPU: False where a layer is narrower than the widest and has no such neuron."""
        found = torch.tensor(self.widths(site))
        return torch.arange(int(found.max())) < found[:, None]

    def under(self, *edits: Edit) -> "LanguageModel":
        """A view of the model in which these edits are in place, one after the other, the later with the last word.

        The view shares model, tokenizer and lock. Its edits are written whenever it is at work (`held`) and taken back bit for
        bit afterwards, so nobody else sees them. Its fingerprint is that of the edited model. Views of views add up.

        Raises:
            BadInput: for an edit that was made on neither this model nor on it under the edits before, or that does not fit.
        """
        view = copy.copy(self)
        view._holding = self._holding.under(edits)
        return view

    def sparing(self) -> "LanguageModel":
        """A view that needs less memory for gradients, and a third more time: gradient checkpointing."""
        view = copy.copy(self)
        view.is_sparing = True
        return view

    def chatting(self) -> "LanguageModel":
        """A view in which every secret is asked for as a chat turn, by the tokenizer's template; see models/chat.py.

        Raises:
            BadInput: where the tokenizer has none.
        """
        if not has_template(self.tokenizer):
            raise BadInput(f"{self.name} has no chat template, so it is no chat model: ask it with the prompt as plain text.")
        view = copy.copy(self)
        view.is_chat = True
        return view

    @contextmanager
    def held(self) -> Iterator[None]:
        """Holds the model's lock, for a view with its edits in place; inside another `held` of its own it does nothing more.

        Every forward pass runs inside. A graph that was built inside must be used inside: taking edits back changes weights, and
        torch refuses the graph then. So a training step that is to work on views wraps forward and backward in it together.
        """
        with self._holding.held():
            yield

    @contextmanager
    def gated(self, gates: Tensor | None, site: Site = "mlp", layer: int | None = None) -> Iterator[None]:
        """Multiplies the neurons by gates [rows, n_layers, width] while inside; None leaves them as they are.

        Differentiable with respect to the gates. One row serves any batch; else one row per row of the batch. Holds the
        model's lock, and restores the model bit for bit on leaving, whatever was raised. [rows, n_layers, tokens, width]
        gates every token by itself. With `layer` the gates are of that layer alone, n_layers = 1, and all others are 1.
        `width` is that of the widest layer; what a narrower one does not have is cut off.

        Raises:
            BadInput: where the gates do not fit the model or, inside, the batch.
        """
        with self.held(), ExitStack() as stack:
            if gates is not None:
                if gates.shape[-1] != self.shape(site)[1]:
                    raise BadInput(f"Gates for {gates.shape[-1]} neurons were given for layers of {self.shape(site)[1]}.")
                for projections, own in self.split(gates, site):
                    chosen = projections if layer is None else projections[layer : layer + 1]
                    stack.enter_context(gate_hooks.gated(chosen, own))
            yield

    @contextmanager
    def edited(self, edit: Edit) -> Iterator[None]:
        """Gives some weights other values while inside; the fingerprint is that of the edited model.

        Holds the model's lock, and restores the model bit for bit on leaving, whatever was raised. Edits may be nested, where the
        inner one has the last word, and gates stand on edited weights as on others.

        Raises:
            BadInput: for an edit that was made on another model, or that does not fit its parameters.
        """
        with self._holding.edited(edit):
            yield

    @contextmanager
    def lent(self, put_back: Mapping[str, Callable[[], None]]) -> Iterator[None]:
        """Inside, these parameters, by their names, may be written over; on leaving each is put back by its function.

        Within `held` only. Each function may be called twice: where it raises it is tried again, and the others' turn comes all
        the same. A model that cannot be put back raises ModelDamaged from then on.
        """
        with self._holding.lent(put_back):
            yield

    def off(self, neurons: Sequence[Neuron], site: Site = "mlp") -> Tensor:
        """Gates [1, n_layers, width] that switch these neurons off. Raises BadInput for a neuron that does not exist."""
        return gate_hooks.off(self.widths(site), neurons, self.device)

    def padded(self, rows: Sequence[Sequence[int]], left: bool = False) -> tuple[Tensor, Tensor]:
        """Ids and mask, both [rows, longest], padded on the right or the left."""
        self._must_be_known(token for row in rows for token in row)
        longest = max(map(len, rows))
        ids = torch.full((len(rows), longest), self.filler, dtype=torch.long)
        mask = torch.zeros(len(rows), longest, dtype=torch.long)
        for at, row in enumerate(rows):
            place = slice(longest - len(row), None) if left else slice(0, len(row))
            ids[at, place] = torch.tensor(row)
            mask[at, place] = 1
        return ids.to(self.device), mask.to(self.device)

    def _must_be_known(self, ids: Iterable[int]) -> None:
        """Raises BadInput for a token without an embedding, which on a GPU would end every later run too."""
        unknown = next((token for token in ids if token >= self.n_embeddings), None)
        if unknown is not None:
            token = self.tokenizer.convert_ids_to_tokens(unknown)
            raise BadInput(f"This model has no embedding for {token!r}, which its tokenizer was given later: leave it out.")

    def logits(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Next-token logits [rows, tokens, vocabulary], float32, for right-padded ids [rows, tokens]."""
        sparing = self.is_sparing and torch.is_grad_enabled()
        with self.held(), checkpointed(self.layout.layers) if sparing else nullcontext():
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
        stop: Stop = never_stop,
    ) -> list[list[int]]:
        """Continues every prompt: in one batch where the model has room for all, and where memory runs out in halves; the texts
        are the same.

        Where a model does not pad on the left, prompts of one length make a batch.

        Args:
            prompts: token ids, one list a row. gates: a row for each prompt, or one for all.
            max_new_tokens: at most so many, fewer where the model ends the text or has no more room for this row.
            seed: None for greedy decoding; else samples from this seed, at this temperature.

        Raises:
            BadInput: where the gates have another number of rows. Cancelled: when `stop` said so.
        """
        gate_hooks.check_rows(gates, len(prompts))
        sampling = None if seed is None else Sampling(seed, temperature, len(prompts))
        found: dict[int, list[int]] = {}
        for n_tokens, group in self._batches(prompts, max_new_tokens):

            def written(rows: Sequence[int], n_tokens: int = n_tokens) -> list[list[int]]:
                ids, mask = self.padded([prompts[row] for row in rows], left=True)
                own_gates = gates if gates is None or gates.shape[0] == 1 else gates[rows]
                cached = self.has_repeatable_cache
                with self.gated(own_gates, site):
                    return write_on(self.model, ids, mask, n_tokens, self.filler, stop, sampling, rows, cached)

            found |= zip(group, in_parts(written, group), strict=True)
            if stop():
                raise Cancelled("Stopped while generating; nothing was changed.")
        return [found[row] for row in range(len(prompts))]

    def _batches(self, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> Iterator[tuple[int, list[int]]]:
        """(new tokens, rows) of batches in which no row is cut or moved by its neighbours.

        Rows with room for all of the new tokens go together. The others have a batch for each length, so that padding takes
        nothing of their room; and so has every row where padding on the left would move its positions.
        """
        batches: dict[tuple[int, int], list[int]] = {}
        for row, prompt in enumerate(prompts):
            n_tokens = max(1, min(max_new_tokens, self.room - len(prompt)))
            padded = n_tokens == max_new_tokens and self.pads_left
            batches.setdefault((n_tokens, 0 if padded else len(prompt)), []).append(row)
        yield from ((n_tokens, rows) for (n_tokens, _), rows in batches.items())

    def _takes_positions_from_the_mask(self) -> bool:
        """Whether, by its parts, padding on the left leaves a row's positions alone; the probe at load looks whether it does."""
        takes_positions = "position_ids" in inspect.signature(self.model.forward).parameters
        return takes_positions or not any("Position" in type(module).__name__ for module in self.model.modules())
