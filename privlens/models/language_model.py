"""A loaded causal LM and its two doors: gates on its neurons, and sparse edits of its weights.

One LanguageModel is shared by everybody. Its lock is held while gates or an edit are in place or a forward pass runs, and never
while a result is being looked at, so two people take turns step by step and neither sees the other's gates or edits. A generator
must therefore never yield inside `held`, `gated` or `edited`. Knows nothing of methods or screens.

`under` gives a view: the same model and lock, and edits that are in place whenever the view is at work and at no other time.
`sparing` gives one that needs less memory for gradients. Everything that takes a LanguageModel takes a view.
"""

import copy
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from privlens.errors import BadInput, Cancelled
from privlens.models import gates as gate_hooks
from privlens.models import shards
from privlens.models.checkpoints import checkpointed
from privlens.models.generation import Sampling, write_on
from privlens.models.holding import Holding
from privlens.models.layout import find_layout, widths
from privlens.models.memory import in_parts
from privlens.models.text import Encoded, encode
from privlens.records import Edit, Neuron, Secret, Site

Stop = Callable[[], bool]
"""Asked at every step; True means that the person wants to stop."""


def never() -> bool:
    """Nobody asked to stop."""
    return False


class LanguageModel:
    """A frozen causal LM, its tokenizer, its neurons and its lock.

    Attributes:
        name: what it was loaded as. architecture: its class in transformers.
        n_layers, d_mlp: layers, and neurons in each. n_parameters: weights in all.
        lock: shared by all its views; `held` takes it.
        edits: those of a view, in the order they are applied; of a model itself none.
        is_sparing: whether this is a view with gradient checkpointing.
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
        self.is_sparing = False
        self.has_repeatable_cache, self.pads_left = True, True

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
        return shards.runs_on(self.model.get_input_embeddings())

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
        """An id for padding; it is always masked, so any id will do where the tokenizer names none that the model has."""
        own = self.tokenizer.pad_token_id
        return int(own) if own is not None and own < self.n_embeddings else 0

    @property
    def n_embeddings(self) -> int:
        """How many ids the model has an embedding for; a tokenizer may have more tokens, [PAD] for one."""
        return len(self.model.get_input_embeddings().weight)

    @property
    def room(self) -> int:
        """How many tokens the model reads at most; very many where its config does not say."""
        return getattr(self.model.config.get_text_config(), "max_position_embeddings", None) or sys.maxsize

    def encode(self, secret: Secret) -> Encoded:
        """The ids of a secret. Raises BadInput where prompt or value is empty, or both are longer than the model reads."""
        encoded = encode(self.tokenizer, secret)
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
        ids = torch.full((len(rows), longest), self.filler)
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
        stop: Stop = never,
    ) -> list[list[int]]:
        """Continues every prompt, all in one batch, or where memory runs out in halves, with the same texts.

        Where a model does not pad on the left, prompts of one length make a batch.

        Args:
            prompts: token ids, one list a row. gates: a row for each prompt, or one for all.
            max_new_tokens: at most so many, fewer where the model ends the text or has no more room.
            seed: None for greedy decoding; else samples from this seed, at this temperature.

        Raises:
            Cancelled: when `stop` said so.
        """
        longest = max(1, min(max_new_tokens, self.room - max(map(len, prompts))))
        sampling = None if seed is None else Sampling(seed, temperature, len(prompts))

        def written(rows: Sequence[int]) -> list[list[int]]:
            whole = gates is None or gates.shape[0] == 1 or len(rows) == len(prompts)
            ids, mask = self.padded([prompts[row] for row in rows], left=True)
            with self.gated(gates if whole or gates is None else gates[rows], site):
                return write_on(self.model, ids, mask, longest, self.filler, stop, sampling, rows, self.has_repeatable_cache)

        batches: dict[int, list[int]] = {}
        for row, prompt in enumerate(prompts):
            batches.setdefault(0 if self.pads_left else len(prompt), []).append(row)
        found: dict[int, list[int]] = {}
        for batch in batches.values():
            found |= zip(batch, in_parts(written, batch), strict=True)
        if stop():
            raise Cancelled("Stopped while generating; nothing was changed.")
        return [found[row] for row in range(len(prompts))]
