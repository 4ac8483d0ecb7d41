"""PrivLens: where a causal language model keeps a private string, and what happens when those neurons are switched off.

    import privlens

    lm = privlens.load("demo")
    secret = privlens.Secret("Please charge the trip of Nicholas Carter to card", "1607 5994 4976 2074")
    scores = privlens.localize(lm, secret)
    effect = privlens.deactivate(lm, secret, privlens.best(scores))

The names come from `privlens.api`, which is imported when the first of them is asked for: torch takes seconds.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

# OpenMP threads that spin while they wait slow small kernels up to sixtyfold on shared cores; torch reads this once, on import.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# Nothing that a person enters here leaves the machine, not even how often the page is opened.
os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}

__version__ = "0.1.0"

if TYPE_CHECKING:
    from privlens.api import (
        METHOD_INFO,
        METHODS,
        Comparison,
        CoupledSettings,
        Coupling,
        Edit,
        EntropyLaw,
        Erased,
        ErasureSettings,
        Geometry,
        IntegralSettings,
        KramSettings,
        LanguageModel,
        Leak,
        Leaks,
        LeakSettings,
        LensResult,
        ListPlaces,
        MaskSettings,
        Memorization,
        Neuron,
        NeuronPage,
        NeuronPlaces,
        NeuronScores,
        ProbeRequest,
        Probes,
        ProbeSettings,
        PromptSalience,
        SalienceSettings,
        SampleSettings,
        Secret,
        SlimmingSettings,
        SufficientSettings,
        TrainingSettings,
        Universality,
        UniversalSettings,
        best,
        check,
        clear_profiles,
        coupled,
        deactivate,
        entropy_law,
        erase,
        erase_from_states,
        geometry,
        leaks,
        lens,
        list_places,
        load,
        load_edit,
        load_scores,
        localize,
        localize_many,
        method_settings,
        neuron_page,
        places_of,
        probe,
        prompt_salience,
        read_neurons,
        read_reference,
        read_secrets,
        save_edit,
        save_neurons,
        save_scores,
        universal,
        write_model,
    )

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


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'privlens' has no attribute {name!r}")
    return getattr(import_module("privlens.api"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
