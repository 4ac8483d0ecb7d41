"""The functions that scripts and notebooks call, by the names under which `privlens` offers them.

Each runs one piece of work to its end and returns its record. The rooms below offer the same work as generators of steps, for
whoever wants to see it happen: `METHODS[name](Task(...))`, `deactivation.compare`, `erasure.erase`.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from privlens import deactivation, erasure, neuron_places, validation
from privlens.audit import leaks as audit_leaks
from privlens.audit.leaks import Leak, Leaks, LeakSettings, LeakStep
from privlens.audit.own_text import SampleSettings
from privlens.erasure import ErasureSettings, Request, method_settings
from privlens.errors import BadInput
from privlens.list_files import read_text
from privlens.lm.edit_files import load_edit, save_edit
from privlens.lm.export import write_model
from privlens.lm.model import LanguageModel
from privlens.localization import METHOD_INFO, METHODS, Task
from privlens.localization.choice import reordered
from privlens.localization.hard_concrete import MaskSettings
from privlens.localization.integrated import IntegralSettings
from privlens.localization.prompt_salience import SalienceSettings, prompt_salience
from privlens.localization.sufficient import SlimmingSettings, SufficientSettings
from privlens.memorization.check import check
from privlens.neuron_files import read_neurons, save_neurons
from privlens.neuron_places import DEFAULT_METHODS, N_SECRETS
from privlens.neurons import coupled as coupled_neurons
from privlens.neurons import entropy_memorization, kram
from privlens.neurons import lens as neuron_lens
from privlens.neurons import page as neuron_pages
from privlens.neurons import probes as probing
from privlens.neurons import universal as universal_neurons
from privlens.neurons.coupled import CoupledRequest, CoupledSettings
from privlens.neurons.coupled_records import CoupledStep, Coupling
from privlens.neurons.entropy_records import EntropyLaw, EntropyStep
from privlens.neurons.kram import KramSettings
from privlens.neurons.lens_records import LensResult, LensStep
from privlens.neurons.links import parse_neuron
from privlens.neurons.page_records import NeuronPage, PageStep
from privlens.neurons.place_records import ListPlaces, NeuronPlaces, PlacesStep
from privlens.neurons.probe_records import Erased, Geometry, Probes, ProbeStep
from privlens.neurons.probe_training import TrainingSettings
from privlens.neurons.probes import ProbeRequest, ProbeSettings
from privlens.neurons.store import clear_profiles
from privlens.neurons.texts import Text
from privlens.neurons.universal import UniversalRequest, UniversalSettings
from privlens.neurons.universal_records import Universality, UniversalStep
from privlens.outcomes import Comparison, PromptSalience
from privlens.process.private_files import write_private
from privlens.resources import REFERENCE
from privlens.secret_lists import ListedSecret, read_reference, read_secrets
from privlens.types import Edit, LocalizationStep, Memorization, Neuron, NeuronScores, Secret, Site, from_json, to_json
from privlens.zoo import loading

MethodSettings = MaskSettings | SufficientSettings | SlimmingSettings | IntegralSettings
"""What those methods take that have settings: hard-concrete, hard-concrete-sufficient, slimming, integrated-gradients."""


ResultT = TypeVar("ResultT", covariant=True)


class _Step(Protocol[ResultT]):
    @property
    def result(self) -> ResultT | None: ...


def _result(steps: Iterable[_Step[ResultT]], on_step: Callable[[Any], object] | None) -> ResultT:
    """Takes a piece of work to its end, and tells of every step."""
    for step in steps:
        if on_step:
            on_step(step)
    assert step.result is not None, "the last step has the result"
    return step.result


def load(
    model: str | Path | PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None = None,
    *,
    device: str = "auto",
    dtype: str = "auto",
) -> LanguageModel:
    """A model by name, folder, .gguf file or hub id; or one that transformers has loaded already, with its tokenizer.

    Args:
        model: `demo`, `smollm2`, a folder, ...; or the model object itself, which is used where it is and as it is, frozen.
        device, dtype: of a model by name; a model object keeps its own.

    Raises:
        ModelNotFound, UnsupportedModel, BadInput: each says what to do.
    """
    if isinstance(model, str | Path):
        return loading.load(str(model), device, dtype)
    if tokenizer is None:
        raise BadInput("A model object comes without its tokenizer: load(model, tokenizer).")
    return LanguageModel(str(model.name_or_path or type(model).__name__), model, tokenizer)


def localize(
    lm: LanguageModel,
    secret: Secret,
    method: str = "hard-concrete",
    *,
    others: Iterable[Secret] = (),
    texts: Iterable[str] = (),
    site: Site = "mlp",
    seed: int = 0,
    settings: MethodSettings | None = None,
    on_step: Callable[[LocalizationStep], object] | None = None,
) -> NeuronScores:
    """Which neurons carry a secret: a score for every neuron; `.top(k)` are the best, `.suggested_k` is the method's own k.

    Args:
        method: one of METHODS.
        others, texts: listed secrets and paragraphs that should stay as they are; methods without retained text ignore them.
        settings: of the methods that have any. on_step: called with every step.

    Raises:
        BadInput: for a method that does not exist, or settings that are not this method's.
    """
    if method not in METHODS:
        raise BadInput(f"There is no method {method!r}: use one of {', '.join(METHODS)}.")
    run: Callable[..., Iterator[LocalizationStep]] = METHODS[method]
    task = Task(lm, secret, tuple(others), tuple(texts), seed=seed, site=site)
    return _result(run(task) if settings is None else run(task, _fitting(method, settings)), on_step)


def _fitting(method: str, settings: MethodSettings) -> MethodSettings:
    """The settings. Raises BadInput where the method has none, or others."""
    parameter = inspect.signature(METHODS[method]).parameters.get("settings")
    if parameter is None:
        raise BadInput(f"{method} has no settings: leave them out.")
    kind: type[object] = type(parameter.default)
    if not isinstance(settings, kind):
        raise BadInput(f"{method} takes {kind.__name__}, not {type(settings).__name__}.")
    return settings


def localize_many(
    lm: LanguageModel, secrets: Sequence[Secret], method: str = "hard-concrete", **options: Any
) -> list[NeuronScores]:
    """`localize` for several rows of a list, one after the other; the others of the list are retained unless `others` says."""
    retained = {"others": secrets, **options}
    return [localize(lm, secret, method, **retained) for secret in secrets]


def best(
    scores: NeuronScores, k: int | None = None, *, share: float | None = None, per_layer: bool = False, skip_layers: int = 0
) -> list[Neuron]:
    """The best k neurons, in the order in which they are chosen.

    Args:
        k, share: how many, or which share of all; without either the method's own number.
        per_layer: the best of every layer alike, as Chang et al. take them. skip_layers: leave out so many lowest layers.

    Raises:
        BadInput: where both or neither say how many and the method has no number of its own, or for k beyond what is there.
    """
    if k is not None and share is not None:
        raise BadInput("Both k and share were given: give one of them.")
    if share is not None:
        k = round(validation.between(share, "share", 0, 1, "0.01 is one neuron in a hundred", above=True) * scores.n_neurons)
    if k is None:
        k = scores.suggested_k
    if k is None:
        raise BadInput(f"{scores.method} suggests no number of neurons: give k, or share=0.01 for one in a hundred.")
    validation.whole(k, "number of neurons", 0, scores.n_neurons)
    return reordered(scores, per_layer=per_layer, skip_layers=skip_layers).top(k)


def deactivate(
    lm: LanguageModel,
    secret: Secret,
    neurons: Iterable[Neuron],
    *,
    others: Iterable[Secret] = (),
    reference: Iterable[str] = (),
    site: Site = "mlp",
    seed: int = 0,
) -> Comparison:
    """What switching neurons off does: `.chosen` beside `.random`, as many random neurons; the model stays as it is.

    To use the model without the neurons in code of your own: `with lm.gated(lm.off(neurons)): lm.model.generate(...)`.

    Args:
        others: secrets that should be kept. reference: paragraphs of ordinary text, for the perplexity.
    """
    context = deactivation.EvalContext(tuple(others), tuple(reference), site, seed)
    return _result(deactivation.compare(lm, secret, tuple(neurons), context), None)


def erase(
    lm: LanguageModel,
    secrets: Secret | Sequence[Secret],
    *,
    retained: Iterable[Secret] = (),
    others: Iterable[Secret] = (),
    texts: Iterable[str] = (),
    reference: Iterable[str] = (),
    settings: ErasureSettings | None = None,
    seed: int = 0,
) -> Edit:
    """Takes secrets out of the weights; the model stays as it is, the edit is used by `lm.under(edit)` or `with lm.edited(edit)`.

    Args:
        retained: listed secrets that should stay. others: secrets that are only watched. The values are compared with both.
        texts: paragraphs that should stay. reference: paragraphs that the perplexity guard is measured on.
        settings: of `ErasureSettings`; `method_settings(method, settings)` gives another method with its own learning rate.
    """
    retained, others = tuple(retained), tuple(others)
    forget = (secrets,) if isinstance(secrets, Secret) else tuple(secrets)
    request = Request(
        lm,
        forget,
        retained=retained,
        texts=tuple(texts),
        others=others,
        reference=tuple(reference),
        settings=settings or ErasureSettings(),
        seed=seed,
        listed=(*retained, *others),
    )
    return _result(erasure.erase(request), None)


def leaks(
    lm: LanguageModel,
    settings: LeakSettings | None = None,
    *,
    reference: LanguageModel | None = None,
    on_step: Callable[[LeakStep], object] | None = None,
) -> Leaks:
    """What the model leaks by itself, the surest first; every leak is private, `leak.masked()` hides its values.

    Args:
        reference: a second model that never saw the private data; without one values are measured against zlib.
        on_step: called with every step.
    """
    return _result(audit_leaks.leaks(lm, settings, reference), on_step)


def neuron_page(
    lm: LanguageModel,
    neuron: str | Neuron,
    secret: Secret | None = None,
    *,
    text: str = "",
    listed: Iterable[Secret] = (),
    reference: Iterable[str] | None = None,
    scores: Iterable[NeuronScores] = (),
    seed: int = 0,
    on_step: Callable[[PageStep], object] | None = None,
) -> NeuronPage:
    """What one neuron does: `.card`, where it is active, its neighbours, and what happens when it alone is dimmed or off.

    The first call for a model and a reference text makes a profile of all its neurons, which is kept on the disk as numbers;
    `clear_profiles()` removes it.

    Args:
        neuron: `Neuron(5, 1234)`, or as text: "L5N1234", "5:1234", or a link with the model's fingerprint.
        secret: on which the neuron is looked at and dimmed. text: any other text to look at.
        listed: secrets, to see which fall when the neuron is off. scores: score maps whose scores are shown.
        reference: paragraphs of ordinary text that the profile is made on; None for the bundled ones.
        on_step: called with every step.
    """
    texts = read_reference(REFERENCE) if reference is None else tuple(reference)
    request = neuron_pages.PageRequest(texts, secret, text, tuple(listed), tuple(scores), seed)
    return _result(neuron_pages.page(lm, _named(lm, neuron), request), on_step)


def _named(lm: LanguageModel, neuron: str | Neuron) -> Neuron:
    """A neuron, or the one that a text names."""
    return parse_neuron(neuron, lm.widths(), lm.fingerprint) if isinstance(neuron, str) else Neuron(*neuron)


def list_places(
    lm: LanguageModel,
    listed: Iterable[ListedSecret],
    methods: Iterable[str] = DEFAULT_METHODS,
    *,
    n_secrets: int = N_SECRETS,
    seed: int = 0,
    on_step: Callable[[PlacesStep], object] | None = None,
) -> ListPlaces:
    """The best 1 % of all neurons for each of some secrets of a list, by each of some quick methods; `places_of` looks one up.

    Args:
        listed: rows as `read_secrets` gives them. n_secrets: so many of those that were trained on, of each category alike.
        on_step: called with every step.

    Raises:
        BadInput: for a method that is not quick, or a list of which nothing was trained on.
    """
    request = neuron_places.PlacesRequest(lm, tuple(listed), tuple(methods), n_secrets, seed)
    return _result(neuron_places.list_places(request), on_step)


def places_of(
    lm: LanguageModel, found: ListPlaces, listed: Iterable[ListedSecret], neuron: str | Neuron, *, seed: int = 0
) -> NeuronPlaces:
    """For which secrets one neuron is among the best, beside a random neuron of the same layer, which the seed draws.

    Args:
        found: what `list_places` gave for this model and list.

    Raises:
        BadInput: for places of another model, or a neuron that does not exist.
    """
    if found.provenance.fingerprint != lm.fingerprint:
        raise BadInput("These places are of another model, or of this one under other edits: make those of this model.")
    named = _named(lm, neuron)
    lm.off([named])  # refuses a neuron that does not exist
    return neuron_places.places_of(found, tuple(listed), named, seed)


def lens(
    lm: LanguageModel,
    secret: Secret,
    *,
    off: Iterable[Neuron] = (),
    edit: Edit | None = None,
    seed: int = 0,
    on_step: Callable[[LensStep], object] | None = None,
) -> LensResult:
    """What every layer would predict at every token of a secret: `.before`, and `.after` with neurons off or under an edit."""
    edited = None if edit is None else lm.under(edit)
    return _result(neuron_lens.lens(lm, secret, off=tuple(off), edited=edited, seed=seed), on_step)


def coupled(
    lm: LanguageModel,
    first: Iterable[Text],
    second: Iterable[Text],
    general: Iterable[str],
    *,
    names: tuple[str, str] = ("first", "second"),
    settings: CoupledSettings | None = None,
    seed: int = 0,
    on_step: Callable[[CoupledStep], object] | None = None,
) -> Coupling:
    """The neurons that two concepts share and general text does not need, and what switching them off does. Of the kind of DEAN.

    Args:
        first, second: secrets or paragraphs of either concept. general: paragraphs of ordinary text.
    """
    request = CoupledRequest(lm, tuple(first), tuple(second), tuple(general), names, settings or CoupledSettings(), seed)
    return _result(coupled_neurons.coupled(request), on_step)


def universal(
    lm: LanguageModel,
    other: LanguageModel,
    texts: Iterable[str],
    *,
    chosen: Iterable[Neuron] = (),
    settings: UniversalSettings | None = None,
    seed: int = 0,
    on_step: Callable[[UniversalStep], object] | None = None,
) -> Universality:
    """Which neurons of a model another one has too, by their activations on the same paragraphs; both share a tokenizer.

    Args:
        chosen: neurons that are compared with all others, such as those of a secret.
    """
    request = UniversalRequest(lm, other, tuple(texts), tuple(chosen), settings or UniversalSettings(), seed)
    return _result(universal_neurons.universal(request), on_step)


def entropy_law(
    lm: LanguageModel, secrets: Iterable[Secret], *, seed: int = 0, on_step: Callable[[EntropyStep], object] | None = None
) -> EntropyLaw:
    """How far greedy continuations are from values, against the entropy of the values' tokens, with the objections to it."""
    return _result(entropy_memorization.entropy_law(lm, tuple(secrets), seed=seed), on_step)


def probe(request: ProbeRequest, *, on_step: Callable[[ProbeStep], object] | None = None) -> Probes:
    """What probes read off the hidden states of every layer, beside control tasks; before and after an intervention."""
    return _result(probing.probe(request), on_step)


def geometry(request: ProbeRequest) -> Geometry:
    """How much of the geometry of the hidden states stays after the intervention of a request, layer by layer."""
    return kram.geometry(request)


def erase_from_states(request: ProbeRequest, layer: int, settings: KramSettings | None = None) -> Erased:
    """Erases what a request probes for from the states of one layer by a KRaM map, and probes them anew; 0 is the embeddings."""
    return kram.kram(request, layer, settings or KramSettings())


def save_scores(scores: NeuronScores, path: str | Path) -> None:
    """Writes a whole score map with its provenance as JSON; nobody else may read the file."""
    write_private(path, to_json(scores))


def load_scores(path: str | Path) -> NeuronScores:
    """What `save_scores` wrote. Raises BadInput for anything else."""
    try:
        return from_json(NeuronScores, read_text(path))
    except ValueError as cause:
        raise BadInput(f"{path} does not hold a score map: write one with save_scores.") from cause


__all__ = [
    "METHODS",
    "METHOD_INFO",
    "Comparison",
    "CoupledSettings",
    "Coupling",
    "Edit",
    "EntropyLaw",
    "Erased",
    "ErasureSettings",
    "Geometry",
    "IntegralSettings",
    "KramSettings",
    "LanguageModel",
    "Leak",
    "LeakSettings",
    "Leaks",
    "LensResult",
    "ListPlaces",
    "MaskSettings",
    "Memorization",
    "Neuron",
    "NeuronPage",
    "NeuronPlaces",
    "NeuronScores",
    "ProbeRequest",
    "ProbeSettings",
    "Probes",
    "PromptSalience",
    "SalienceSettings",
    "SampleSettings",
    "Secret",
    "SlimmingSettings",
    "SufficientSettings",
    "TrainingSettings",
    "UniversalSettings",
    "Universality",
    "best",
    "check",
    "clear_profiles",
    "coupled",
    "deactivate",
    "entropy_law",
    "erase",
    "erase_from_states",
    "geometry",
    "leaks",
    "lens",
    "list_places",
    "load",
    "load_edit",
    "load_scores",
    "localize",
    "localize_many",
    "method_settings",
    "neuron_page",
    "places_of",
    "probe",
    "prompt_salience",
    "read_neurons",
    "read_reference",
    "read_secrets",
    "save_edit",
    "save_neurons",
    "save_scores",
    "universal",
    "write_model",
]
