"""A loaded causal LM and the two ways to change it: gates on its neurons, and sparse edits of its weights.

One LanguageModel is shared by all users. Its lock is held while gates or an edit are in place or a forward pass runs, and
released while a result is being displayed, so two users take turns step by step and neither sees the other's gates or edits. A
generator must therefore never yield inside `held`, `gated` or `edited`.

`under` returns a view: the same model and lock, with edits that are in place only while the view is in use. `with_checkpointing`
returns a view that needs less memory for gradients, `as_chat` one that asks in chat turns. Everything that takes a LanguageModel
takes a view.
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
from privlens.lm import gating, offload
from privlens.lm.boundary import is_attached
from privlens.lm.chat import encode_turn, has_template
from privlens.lm.generation import Sampling, generate_batch
from privlens.lm.gradient_checkpointing import checkpointed
from privlens.lm.layout import find_layout, widths
from privlens.lm.memory import in_parts
from privlens.lm.sessions import ModelSession
from privlens.lm.tokens import Encoded, encode, encode_all, is_open
from privlens.types import Edit, Neuron, Secret, Site

CONTEXT_LENGTH_KEYS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "max_seq_length", "max_sequence_length")
"""The config keys that give a model's maximum input length in tokens, the most common first."""

Stop = Callable[[], bool]
"""Called at every step; True means that the user asked to stop."""


def never_stop() -> bool:
    """The default: the user never asks to stop."""
    return False


class LanguageModel:
    """A frozen causal LM, its tokenizer, its neurons and its lock.

    Attributes:
        name: the name it was loaded by. architecture: its class in transformers.
        n_layers, d_mlp: the number of layers, and of neurons in each. n_parameters: the total number of weights.
        lock: shared by all its views; `held` takes it.
        edits: the edits of a view, in the order they are applied; empty for the model itself.
        is_sparing: whether this view uses gradient checkpointing. is_chat: whether it asks in chat turns.
        has_repeatable_cache: whether the keys and values of a shared prefix can be repeated for many rows and continued from; if
            not, every row is run in full. pads_left: whether left-padded rows are continued exactly as they are alone.

    Raises:
        UnsupportedModel: if no MLP output projections were found.
    """

    def __init__(self, name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.name = name
        self.model = model.eval()
        self.tokenizer = tokenizer
        model.requires_grad_(False)
        self.layout = find_layout(model)
        self._widths: dict[Site, tuple[int, ...]] = {}  # they never change, and every step of a run asks for them
        self.architecture = type(model).__name__
        self.n_parameters = model.num_parameters()  # counts both 4-bit codes in a byte
        self.n_layers, self.d_mlp = self.shape()
        self._session = ModelSession(name, model)
        self.lock = self._session.lock
        self.is_checkpointed = False
        self.is_chat = False
        self.can_reuse_prefix = True
        self.pads_left = self._accepts_left_padding()
        self._unedited_session = self._session
        self._attached: dict[int, bool] = {}  # keyed by hash, so that no private value outlives its visitor here

    @property
    def edits(self) -> tuple[Edit, ...]:
        """The edits of a view, in the order they are applied; none for the model itself."""
        return tuple(fitted.edit for fitted in self._session.fitted)

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with the weights, including this view's edits and nobody else's."""
        return self._session.fingerprint

    @property
    def is_damaged(self) -> bool:
        """Whether some weights could not be restored after an error, so that the model must be reloaded."""
        return self._session.is_damaged

    @property
    def device(self) -> torch.device:
        """The device that token ids must be on."""
        return offload.compute_device(self.model.get_input_embeddings())

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights."""
        return self.model.dtype  # type: ignore[no-any-return]

    @property
    def n_neurons(self) -> int:
        """The number of MLP neurons in all layers."""
        return sum(self.widths())

    @property
    def n_vocabulary(self) -> int:
        """The size of the model's vocabulary."""
        return int(self.model.config.get_text_config().vocab_size)

    @property
    def pad_id(self) -> int:
        """An id to pad with. Padding is always masked, so any id that has an embedding will do.

        The tokenizer's own padding token may have none, if it was added to the tokenizer but not to the model.
        """
        pad_token_id = self.tokenizer.pad_token_id
        return int(pad_token_id) if pad_token_id is not None and 0 <= pad_token_id < self.n_embeddings else 0

    @property
    def n_embeddings(self) -> int:
        """The number of ids with an embedding; the tokenizer may have more tokens, such as an added [PAD]."""
        return len(self.model.get_input_embeddings().weight)

    @property
    def room(self) -> int:
        """The maximum input length in tokens; `sys.maxsize` if the config gives none above 0."""
        config = self.model.config.get_text_config()
        limits = (getattr(config, key, None) for key in CONTEXT_LENGTH_KEYS)
        return next((limit for limit in limits if type(limit) is int and limit > 0), sys.maxsize)

    def settled(self, secret: Secret) -> Secret:
        """The secret with `attached` set, so that other values can be asked for in the same way as its own (`Secret.with_value`).

        Where the user typed no space, the model itself decides (`boundary.is_attached`): once for each prompt and value, and
        without gates and edits, so that before and after, check and deactivate, and all views ask the same question.

        Raises:
            BadInput: if the prompt or the value is empty.
        """
        validation.secret(secret.prompt, secret.value)
        if self.is_chat or not is_open(secret):  # in a chat the template decides what comes between them
            return secret
        key = hash((secret.prompt, secret.value))
        with self._unedited_session.held():
            if key not in self._attached:
                attached = is_attached(self.tokenizer, secret, self._raw_logits, self.room)
                if not self._is_unmodified():  # the answer depends on the gates or edits in place, so it is not cached
                    return replace(secret, attached=attached)
                self._attached[key] = attached
            return replace(secret, attached=self._attached[key])

    def _is_unmodified(self) -> bool:
        """Whether neither gates nor edits are in place. The caller holds the lock."""
        gated = any(projection._forward_pre_hooks for projection in (*self.layout.mlp, *self.layout.attention))
        return self._session.is_as_loaded and not gated

    def _raw_logits(self, ids: Sequence[int]) -> Tensor:
        """Logits [tokens, vocabulary] of one text by the weights as they are now; `logits` would put a view's edits in place."""

        def run(texts: Sequence[Sequence[int]]) -> list[Tensor]:
            padded_ids, mask = self.padded(texts)
            return list(self.model(input_ids=padded_ids, attention_mask=mask, use_cache=False).logits.float())

        return in_parts(run, [ids])[0]

    def encode(self, secret: Secret) -> Encoded:
        """The ids of a secret. Raises BadInput if the prompt or the value is empty, or if they are too long for the model."""
        encoded = encode_turn(self.tokenizer, secret) if self.is_chat else encode(self.tokenizer, self.settled(secret))
        self._check_embedded(encoded.ids)
        if len(encoded.ids) > self.room:
            raise BadInput(
                f"Prompt and value have {len(encoded.ids)} tokens, but this model reads at most {self.room}: shorten them."
            )
        return encoded

    def encode_all(self, secrets: Sequence[Secret]) -> list[Encoded | None]:
        """The ids of many secrets, in one call of the tokenizer; None for one that `encode` refuses."""
        if self.is_chat:  # the template is filled in for each
            return [self._encoded_or_none(secret) for secret in secrets]
        encoded = encode_all(self.tokenizer, [self.settled(secret) if is_open(secret) else secret for secret in secrets])
        room, n_embeddings = self.room, self.n_embeddings
        return [text if text and len(text.ids) <= room and max(text.ids) < n_embeddings else None for text in encoded]

    def _encoded_or_none(self, secret: Secret) -> Encoded | None:
        try:
            return self.encode(secret)
        except BadInput:
            return None

    def shape(self, site: Site = "mlp") -> tuple[int, int]:
        """(layers, gates in each) of a site. Where layers differ in width it is the widest; `exists` marks the actual neurons."""
        layer_widths = self.widths(site)
        return len(layer_widths), max(layer_widths)

    def widths(self, site: Site = "mlp") -> tuple[int, ...]:
        """The number of gates of every layer of a site."""
        if site not in self._widths:
            widths_by_part = [[widths(projection)[0] for projection in part] for part in self.layout.parts(site)]
            self._widths[site] = tuple(map(sum, zip(*widths_by_part, strict=True)))
        return self._widths[site]

    def split(self, gates: Tensor, site: Site) -> Iterator[tuple[tuple[nn.Module, ...], Tensor]]:
        """The projections of a site with their gates [..., width]: one pair, or for `both` one for MLPs and one for attention."""
        parts = self.layout.parts(site)
        part_widths = [max(widths(projection)[0] for projection in part) for part in parts]
        yield from zip(parts, gates.split(part_widths, dim=-1), strict=True)

    def exists(self, site: Site = "mlp") -> Tensor:
        """[n_layers, width] bool, on the CPU: False where a layer is narrower than the widest and has no such neuron."""
        layer_widths = torch.tensor(self.widths(site))
        return torch.arange(int(layer_widths.max())) < layer_widths[:, None]

    def under(self, *edits: Edit) -> "LanguageModel":
        """A view of the model in which these edits are in place, applied in order: a later edit overrides an earlier one.

        The view shares model, tokenizer and lock. Its edits are written while it is in use (`held`) and undone bit for bit
        afterwards, so nobody else sees them. Its fingerprint is that of the edited model. A view of a view has the edits of both.

        Raises:
            BadInput: for an edit that was made neither on this model nor on it with the preceding edits, or that does not fit.
        """
        view = copy.copy(self)
        view._session = self._session.under(edits)
        return view

    def with_checkpointing(self) -> "LanguageModel":
        """A view with gradient checkpointing: less memory for gradients, about a third more time."""
        view = copy.copy(self)
        view.is_checkpointed = True
        return view

    def as_chat(self) -> "LanguageModel":
        """A view in which every secret is asked for as a chat turn, by the tokenizer's template; see lm/chat.py.

        Raises:
            BadInput: if the tokenizer has no chat template.
        """
        if not has_template(self.tokenizer):
            raise BadInput(f"{self.name} has no chat template, so it is not a chat model: ask with plain text.")
        view = copy.copy(self)
        view.is_chat = True
        return view

    @contextmanager
    def held(self) -> Iterator[None]:
        """Holds the model's lock, with a view's edits in place; a nested `held` of the same view has no further effect.

        Every forward pass runs inside. A graph that was built inside must be used inside: undoing edits changes weights, after
        which torch refuses the graph. So a training step that should work on views wraps both forward and backward in one `held`.
        """
        with self._session.held():
            yield

    @contextmanager
    def gated(self, gates: Tensor | None, site: Site = "mlp", layer: int | None = None) -> Iterator[None]:
        """Multiplies the neurons by gates [rows, n_layers, width] while inside; None leaves them unchanged.

        Differentiable with respect to the gates. One row applies to any batch; otherwise there is one row per row of the batch.
        Holds the model's lock, and restores the model bit for bit on leaving, even after an exception. Gates
        [rows, n_layers, tokens, width] differ from token to token. With `layer` the gates are for that layer alone, so
        n_layers is 1. `width` is that of the widest layer; gates of neurons that a narrower layer lacks are ignored.

        Raises:
            BadInput: if the gates do not fit the model or, inside, the batch.
        """
        with self.held(), ExitStack() as stack:
            if gates is not None:
                if gates.shape[-1] != self.shape(site)[1]:
                    raise BadInput(f"Gates for {gates.shape[-1]} neurons were given for layers of {self.shape(site)[1]}.")
                for projections, part_gates in self.split(gates, site):
                    chosen = projections if layer is None else projections[layer : layer + 1]
                    stack.enter_context(gating.gated(chosen, part_gates))
            yield

    @contextmanager
    def edited(self, edit: Edit) -> Iterator[None]:
        """Applies an edit of the weights while inside; the fingerprint is that of the edited model.

        Holds the model's lock, and restores the model bit for bit on leaving, even after an exception. Edits may be nested: the
        inner one overrides the outer. Gates work on edited weights as on any others.

        Raises:
            BadInput: for an edit that was made on another model, or that does not fit its parameters.
        """
        with self._session.edited(edit):
            yield

    @contextmanager
    def overwriting(self, put_back: Mapping[str, Callable[[], None]]) -> Iterator[None]:
        """Inside, these named parameters may be overwritten; on leaving each is restored by its function.

        Within `held` only. A function may be called twice: if it raises it is tried again, and the others are called in any case.
        A model that cannot be restored raises ModelDamaged from then on.
        """
        with self._session.overwriting(put_back):
            yield

    def off(self, neurons: Sequence[Neuron], site: Site = "mlp") -> Tensor:
        """Gates [1, n_layers, width] that switch these neurons off. Raises BadInput for a neuron that does not exist."""
        return gating.off(self.widths(site), neurons, self.device)

    def padded(self, rows: Sequence[Sequence[int]], left: bool = False) -> tuple[Tensor, Tensor]:
        """Ids and mask, both [rows, longest], padded on the right or the left."""
        self._check_embedded(token for row in rows for token in row)
        longest = max(map(len, rows))
        ids = torch.full((len(rows), longest), self.pad_id, dtype=torch.long)
        mask = torch.zeros(len(rows), longest, dtype=torch.long)
        for index, row in enumerate(rows):
            columns = slice(longest - len(row), None) if left else slice(0, len(row))
            ids[index, columns] = torch.tensor(row)
            mask[index, columns] = 1
        return ids.to(self.device), mask.to(self.device)

    def _check_embedded(self, ids: Iterable[int]) -> None:
        """Raises BadInput for a token without an embedding, which on a GPU would make every later run fail too."""
        n_embeddings = self.n_embeddings
        unknown = next((token for token in ids if token >= n_embeddings), None)
        if unknown is not None:
            token = self.tokenizer.convert_ids_to_tokens(unknown)
            raise BadInput(f"This model has no embedding for {token!r}, which was added to its tokenizer later: leave it out.")

    def logits(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Next-token logits [rows, tokens, vocabulary], float32, for right-padded ids [rows, tokens]."""
        checkpointing = self.is_checkpointed and torch.is_grad_enabled()
        with self.held(), checkpointed(self.layout.layers) if checkpointing else nullcontext():
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
        top_k: int = 0,
        stop: Stop = never_stop,
    ) -> list[list[int]]:
        """Continues every prompt. They run as one batch, halved where memory runs out; the texts do not depend on the batching.

        A model that cannot be padded on the left gets a batch for each prompt length.

        Args:
            prompts: token ids, one list per row. gates: one row for each prompt, or one for all.
            max_new_tokens: the maximum; fewer where the model ends the text or this row reaches the context length.
            seed: None for greedy decoding; otherwise texts are sampled from this seed at this temperature, from the top_k
                likeliest tokens (0: from all).

        Raises:
            BadInput: if the gates have another number of rows. Cancelled: if `stop` returned True.
        """
        gating.check_rows(gates, len(prompts))
        sampling = None if seed is None else Sampling(seed, temperature, len(prompts), top_k)
        new_ids: dict[int, list[int]] = {}
        for n_tokens, batch in self._batches(prompts, max_new_tokens):

            def generate_rows(rows: Sequence[int], n_tokens: int = n_tokens) -> list[list[int]]:
                ids, mask = self.padded([prompts[row] for row in rows], left=True)
                row_gates = gates if gates is None or gates.shape[0] == 1 else gates[rows]
                with self.gated(row_gates, site):
                    return generate_batch(
                        self.model,
                        ids,
                        mask,
                        n_tokens=n_tokens,
                        pad_id=self.pad_id,
                        stop=stop,
                        sampling=sampling,
                        rows=rows,
                        use_cache=self.can_reuse_prefix,
                    )

            new_ids |= zip(batch, in_parts(generate_rows, batch), strict=True)
            if stop():
                raise Cancelled("Stopped while generating; nothing was changed.")
        return [new_ids[row] for row in range(len(prompts))]

    def _batches(self, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> Iterator[tuple[int, list[int]]]:
        """(new tokens, rows) of batches in which padding neither shortens a row's text nor shifts its positions.

        Rows with room for all new tokens share a batch. The others have a batch for each length, so that padding takes up none of
        their context; so has every row of a model whose positions would be shifted by padding on the left.
        """
        batches: dict[tuple[int, int], list[int]] = {}
        for row, prompt in enumerate(prompts):
            n_tokens = max(1, min(max_new_tokens, self.room - len(prompt)))
            padded = n_tokens == max_new_tokens and self.pads_left
            batches.setdefault((n_tokens, 0 if padded else len(prompt)), []).append(row)
        yield from ((n_tokens, rows) for (n_tokens, _), rows in batches.items())

    def _accepts_left_padding(self) -> bool:
        """Whether, judging by its modules, left padding keeps a row's positions; the probe at load time checks that it does."""
        takes_positions = "position_ids" in inspect.signature(self.model.forward).parameters
        return takes_positions or not any("Position" in type(module).__name__ for module in self.model.modules())
