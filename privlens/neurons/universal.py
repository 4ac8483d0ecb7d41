"""Universal neurons: those of one model that a model trained from another seed has too, judged by activations on the same text.

A neuron's correlation is its highest with any neuron of the other model; its excess is what remains after subtracting the same
with the neurons of each layer of the other model rotated at random, which keeps what a layer can say and forgets which neuron
says it. From an excess of 0.5 on a neuron counts as universal (1.2 to 4.1 % in the source's GPT-2s and Pythia, of five seeds;
here there are two).

Beside it: whether given neurons, such as those of a secret, are less universal than the others; and whether ordinary text needs
the universal ones more than as many others of the same layers (of the kind of arXiv 2508.00903).

What it does not know: whether two neurons do the same. They are active at the same tokens, of this text.

Source: Gurnee et al. 2024, Universal Neurons (arXiv 2401.12181).
"""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from privlens import validation
from privlens.errors import BadInput, Cancelled
from privlens.lm.model import LanguageModel, Stop, never_stop
from privlens.neurons import cross_correlation as cross
from privlens.neurons.share import share_of
from privlens.neurons.texts import encoded, halves
from privlens.neurons.universal_contrast import Ablation, contrast
from privlens.neurons.universal_records import Universality, UniversalStep
from privlens.provenance import provenance
from privlens.types import Array, Neuron


@dataclass(frozen=True)
class UniversalSettings:
    """From which excess a neuron is universal, and how many are switched off."""

    threshold: float = 0.5
    """The source's."""
    ablated: float = 0.005
    """The share of all neurons that each draw switches off; 0 for no ablation."""
    draws: int = 5
    """Draws of as many universal and other neurons."""


@dataclass(frozen=True)
class UniversalRequest:
    """One comparison of two models.

    Attributes:
        texts: ordinary paragraphs: every second one is compared on, the rest is what the ablation is measured on. chosen: neurons
            of `lm` to compare with its others; may be empty.
    """

    lm: LanguageModel
    other: LanguageModel
    texts: tuple[str, ...]
    chosen: tuple[Neuron, ...] = ()
    settings: UniversalSettings = UniversalSettings()
    seed: int = 0
    stop: Stop = never_stop

    def __post_init__(self) -> None:
        """Raises BadInput for settings out of range, or neurons that the model does not have."""
        validation.between(self.settings.threshold, "excess of a universal neuron", 0, 1, "0.5 is the paper's")
        validation.between(self.settings.ablated, "share of neurons to switch off", 0, 0.1, "0.005 is one neuron in two hundred")
        validation.whole(self.settings.draws, "number of draws", 1, 1000)
        validation.seed(self.seed)
        self.lm.off(self.chosen)

    def go_on(self) -> None:
        """Raises Cancelled when `stop` returns True."""
        if self.stop():
            raise Cancelled("Stopped while comparing two models; nothing was changed.")


def check_tokenizers(lm: LanguageModel, other: LanguageModel) -> None:
    """Raises BadInput unless both models read the same text as the same tokens."""
    if lm.tokenizer.get_vocab() != other.tokenizer.get_vocab():
        raise BadInput(
            f"{lm.name} and {other.name} have different tokenizers, so their neurons see different tokens: compare two models "
            "that were trained with one tokenizer, such as two seeds of one recipe."
        )


def universal(request: UniversalRequest) -> Iterator[UniversalStep]:
    """Compares the neurons of a model with those of another one.

    Raises:
        BadInput: for models with different tokenizers, or fewer than two usable texts. Cancelled: if `stop` returned True.
    """
    started = time.perf_counter()
    lm, other = request.lm, request.other
    check_tokenizers(lm, other)
    compared, judged = halves(encoded(lm, request.texts), "of texts")
    if [row.ids for row in encoded(other, request.texts)] != [row.ids for row in encoded(lm, request.texts)]:
        raise BadInput(f"{lm.name} and {other.name} split the same text differently: compare models that share a tokenizer.")
    run = cross.batches_of([row.ids for row in compared], max(sum(lm.widths()), sum(other.widths())), request.go_on)
    rotated = cross.rotations(other, request.seed)
    all_blocks = cross.blocks(lm, other)
    n_draws = request.settings.draws if request.settings.ablated else 0
    n_steps = 1 + len(all_blocks) + n_draws
    of_first, of_other, of_rotated = cross.moments(lm, run), cross.moments(other, run), cross.moments(other, run, rotated)
    yield UniversalStep(1, n_steps, f"means and deviations on {of_first.n_tokens} tokens")
    table = _Table(lm)
    for step, block in enumerate(all_blocks, start=2):
        table.put(cross.highest(lm, other, run, block, of_first, of_other, of_rotated, rotated))
        yield UniversalStep(step, n_steps, f"correlations of layer {block[0]}")
    alive = np.concatenate([(deviations > 0).cpu().numpy() for deviations in of_first.deviations])
    table.forget(alive)
    excess = table.correlation - table.rotated
    k_ablated = round(request.settings.ablated * lm.n_neurons)
    ablation = Ablation(lm, excess, judged, k_ablated, request.seed, request.stop)
    for draw in range(n_draws):
        request.go_on()
        ablation.run(draw)
        yield UniversalStep(1 + len(all_blocks) + draw + 1, n_steps, "universal and other neurons off")
    is_universal = excess >= request.settings.threshold
    exists = ~np.isnan(excess)
    result = Universality(
        model=lm.name,
        other=other.name,
        correlation=table.correlation,
        rotated=table.rotated,
        partner=table.partner,
        n_tokens=of_first.n_tokens,
        n_alive=int(exists.sum()),
        threshold=request.settings.threshold,
        universal=share_of(int(is_universal.sum()), int(exists.sum())),
        by_layer=tuple(share_of(int(of.sum()), int(there.sum())) for of, there in zip(is_universal, exists, strict=True)),
        contrast=contrast(excess, request.chosen, request.seed) if request.chosen else None,
        ablation=ablation.result() if n_draws else None,
        provenance=provenance(lm, request.seed, {**asdict(request.settings), "other": other.fingerprint}, started),
    )
    yield UniversalStep(n_steps, n_steps, "done", result)


class _Table:
    """The correlations of all neurons of a model, block by block."""

    def __init__(self, lm: LanguageModel) -> None:
        self.exists = lm.exists().numpy()
        shape = self.exists.shape
        self.correlation: Array = np.full(shape, np.nan, np.float32)
        self.rotated: Array = np.full(shape, np.nan, np.float32)
        self.partner: npt.NDArray[np.int64] = np.full((*shape, 2), -1, np.int64)

    def put(self, block: cross.Block) -> None:
        """Takes a block over."""
        place = (block.layer, slice(block.first, block.first + len(block.plain)))
        self.correlation[place] = block.plain.cpu().numpy()
        self.rotated[place] = block.rotated.cpu().numpy()
        self.partner[place] = np.stack([block.layers.cpu().numpy(), block.indices.cpu().numpy()], axis=1)

    def forget(self, alive: npt.NDArray[np.bool_]) -> None:
        """NaN for neurons that never change; `alive` has all neurons that exist, layer after layer."""
        is_alive = np.zeros(self.exists.shape, bool)
        is_alive[self.exists] = alive
        for values in (self.correlation, self.rotated):
            values[~is_alive] = np.nan
        self.partner[~is_alive] = -1
