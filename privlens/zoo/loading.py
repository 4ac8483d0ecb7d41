"""Finds and loads a causal LM: `demo`, `smollm2`, a local folder, a .gguf file, or a hub id.

Code that a hub repository brings is never run, and of weights only safetensors and GGUF are read, unless the name begins with
`pickle:`. Weights that a checkpoint lacks are never made up. What is no causal LM is refused before its weights are read, and
what was read is asked a few questions before it is handed out (models/folder.py, stored.py, probe.py). A hub token is read from
the environment by the hub's library and never shown.
"""

import logging
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import ModelInfo, model_info, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedConfig
from transformers.utils import logging as transformers_logging

from privlens.errors import BadInput, ModelNotFound, UnsupportedModel
from privlens.lm import memory, probe, quantization, weight_files
from privlens.lm.editing import put, ready
from privlens.lm.model import LanguageModel, Stop, never_stop
from privlens.lm.quantization import QUANTIZED
from privlens.types import FetchStep
from privlens.zoo import catalogue, packaged, planted
from privlens.zoo.downloads import SMALL, fetch_from_hub, hidden
from privlens.zoo.model_folder import ModelFiles, model_at

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
SPREAD = "spread"
"""The device of a model that is larger than one: all GPUs in turn, then the CPU, then the disk (accelerate)."""
PICKLE = "pickle:"
DEVICES = ("cpu", "cuda", "mps", "xpu")
"""Kinds of devices that hold numbers and compute; torch knows others that do not, or not here."""


def pick_device(device: str = "auto") -> torch.device:
    """`auto` is cuda, else mps, else cpu. Raises BadInput for a device that torch does not know or this machine lacks."""
    if device in ("auto", SPREAD):
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        wanted = torch.device(device)
        if wanted.type not in DEVICES or (wanted.type == "cpu" and wanted.index):
            raise RuntimeError(f"{wanted} is not used here")
        return torch.empty(0, device=device, dtype=torch.float32).device
    except (RuntimeError, AssertionError, NotImplementedError) as cause:
        raise BadInput(f"Device {device!r} is not to be had on this machine: use auto, cpu, cuda, mps or {SPREAD}.") from cause


def pick_dtype(dtype: str, device: torch.device) -> torch.dtype | str:
    """`auto` is the checkpoint's own type, but float32 on a CPU, where half precision is slow. Raises BadInput."""
    if dtype == "auto":
        return torch.float32 if device.type == "cpu" else "auto"
    if dtype in QUANTIZED:
        return quantization.beside(device)
    if dtype not in DTYPES:
        raise BadInput(f"Type {dtype!r} is unknown: use auto, {', '.join((*DTYPES, *QUANTIZED))}.")
    return DTYPES[dtype]


def quiet() -> None:
    """Keeps the libraries' advice and progress bars off stderr, for programs that speak for themselves."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    for library in ("huggingface_hub", "bitsandbytes"):
        logging.getLogger(library).setLevel(logging.ERROR)


@dataclass(frozen=True)
class Hub:
    """Whether the hub answers, and what it knows of a repository: None where it refuses, or was not reached or asked."""

    reached: bool
    info: ModelInfo | None = None


def ask_hub(repository: str) -> Hub:
    """One short question, because downloads ask again for minutes; where it is not reached, what is cached can be read."""
    try:
        return Hub(True, model_info(repository, timeout=5))
    except (HfHubHTTPError, HFValidationError):  # an answer, if a refusal: the download will say it better
        return Hub(reached=True)
    except Exception:  # whatever the client of the day raises where there is no network, or where it is switched off
        return Hub(reached=False)


def fetch(name: str, stop: Stop = never_stop, from_hub: bool = False) -> Iterator[FetchStep]:
    """Downloads what `load` will need of a hub id, with progress; nothing for what lies on this machine. Raises as `load`."""
    if from_hub:
        yield from fetch_from_hub(name, stop=stop)
        return
    plain = name.strip().removeprefix(PICKLE).strip()
    where = catalogue.source_of(plain) if plain else ""
    if where and where == plain and not where.endswith(".gguf") and not _path(where).exists():
        yield from fetch_from_hub(where, "*.bin" if name.strip().startswith(PICKLE) else "*.safetensors", stop)


@memory.settled()
def load(
    name: str, device: str = "auto", dtype: str = "auto", device_map: dict[str, Any] | None = None, from_hub: bool = False
) -> LanguageModel:
    """Loads a causal LM with its tokenizer.

    Args:
        name: `demo`, `smollm2`, `smollm2+planted`, a folder, a .gguf file, or a hub id such as `EleutherAI/pythia-70m`; with
            `pickle:` before it a checkpoint may be a .bin file too, which can run code that it brings.
        device: auto, cpu, cuda, cuda:1, mps ... or `spread`. dtype: auto, float32, bfloat16, float16, int8, int4.
        device_map: accelerate's, where `spread` would place the parts of a model otherwise: names of modules -> devices.
        from_hub: the name is a hub id, whatever else on this machine is called the same.

    Raises:
        ModelNotFound: nothing readable under that name, or no causal LM. BadInput: device or type unknown, or not enough memory.
        UnsupportedModel: its parts are not laid out as a causal LM with MLPs, or its predictions are not to be used.
    """
    if not name.strip():
        raise BadInput("No model was named: use demo, smollm2, a folder, a .gguf file or a hub id.")
    pickled, plain = name.strip().startswith(PICKLE), name.strip().removeprefix(PICKLE).strip()
    on = pick_device(device)
    weights = pick_dtype(dtype, on)
    where = catalogue.source_of(plain)
    path = Path(where) if from_hub else _path(where)
    is_here = not from_hub and (path.exists() or path.suffix == ".gguf")
    if is_here and path.suffix == ".gguf" and dtype in QUANTIZED:
        raise BadInput(f"A .gguf file holds rounded numbers of its own and cannot be read as {dtype}: use float32 or bfloat16.")
    placing = _placing(device, device_map, on, dtype)
    whole = on if device_map is None and device != SPREAD else None  # the device that must have room for all of it
    try:
        if not is_here:
            path = _downloaded(where, pickled, dtype, weights, whole)
        files = model_at(path, plain, pickled)
        config = _config_of(files, plain, dtype, weights, whole)
        gguf = {"gguf_file": files.gguf} if files.gguf else {}
        tokenizer = AutoTokenizer.from_pretrained(files.folder, local_files_only=True, trust_remote_code=False, **gguf)
        found: Any = AutoModelForCausalLM.from_pretrained(
            files.folder,
            config=config,
            dtype=weights,
            use_safetensors=None if gguf or pickled else True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
            **gguf,
            **placing,
        )
    except BadInput:
        raise
    except weight_files.NotAModel as cause:
        raise ModelNotFound(f"No causal LM could be read from {_shown(plain)}: {cause}") from cause
    except Exception as cause:  # a broken file raises whatever its reader trips over, struct.error or a bare Exception too
        raise _not_found(plain, hidden(" ".join(str(cause).split())[:300])) from cause
    model, missing = found[0], sorted(found[1]["missing_keys"])
    if missing:
        raise ModelNotFound(
            f"{plain} is not whole: {len(missing)} of its weights are missing, the first is {missing[0]}. Download it again, or "
            "choose another checkpoint."
        )
    if "offload_folder" in placing:
        weakref.finalize(model, shutil.rmtree, placing["offload_folder"], ignore_errors=True)
    quantization.settle(model)
    try:
        lm = LanguageModel(plain, model if placing else model.to(on), tokenizer)
    except UnsupportedModel:
        probe.refuse_both_sides(plain, model, tokenizer)  # where that is so, it says more than how its parts are laid out
        raise
    if plain == catalogue.PLANTED:
        put(ready(lm.model, planted.edit_of(lm, planted.read()), untouched=True))
        lm = LanguageModel(plain, lm.model, tokenizer)
    probe.probe(lm)
    catalogue.remember(str(path.resolve()) if is_here and where == plain else plain, device, dtype)
    return lm


def _path(where: str) -> Path:
    """A name as a path. Raises BadInput for what no path can be called."""
    try:
        where.encode("utf-8")
        path = Path(where).expanduser()
        path.stat()
    except FileNotFoundError:
        return path
    except (OSError, RuntimeError, ValueError) as cause:
        said = getattr(cause, "strerror", None) or "it holds characters that no name has, or a person who is not known here"
        raise BadInput(f"No model can be called {_shown(where)} ({said}): use a folder, a .gguf file or a hub id.") from cause
    return path


def _shown(name: str) -> str:
    """A name in quotation marks, of a length to be read, of characters that can be printed."""
    return ascii(name[:97] + "...") if len(name) > 100 or not name.isprintable() else repr(name)


def _downloaded(repository: str, pickled: bool, dtype: str, weights: torch.dtype | str, whole: torch.device | None) -> Path:
    """The snapshot of a hub id in the hub's cache, brought there where need be."""
    hub = ask_hub(repository)
    known = hub.info.safetensors if hub.info else None
    if whole is not None and known:
        memory.check_weights(repository, round(known.total * memory.BYTES.get(_kind(dtype, weights), 2.0)), whole)
    kinds = ["*.safetensors", *(["*.bin"] if pickled else [])]
    return Path(snapshot_download(repository, allow_patterns=[*SMALL, *kinds], local_files_only=not hub.reached))


def _config_of(
    files: ModelFiles, name: str, dtype: str, weights: torch.dtype | str, whole: torch.device | None
) -> PreTrainedConfig:
    """The config of a model whose weights fit it, and the device, by their headers. Raises NotAModel and BadInput."""
    held = weight_files.tensors(files.weights)
    weight_files.refuse_types(held, files.config)
    weight_files.refuse_counts(files.config, held)
    if whole is not None:
        memory.check_weights(name, memory.weight_bytes(held.values(), _kind(dtype, weights)), whole)
    gguf = {"gguf_file": files.gguf} if files.gguf else {}
    config: PreTrainedConfig = AutoConfig.from_pretrained(files.folder, local_files_only=True, trust_remote_code=False, **gguf)
    config._attn_implementation = None  # transformers' own choice, and not code from a place that the folder names
    config._experts_implementation = None
    weight_files.refuse_more_weights(config, held, files.body)
    return config


def _kind(dtype: str, weights: torch.dtype | str) -> str:
    """The type that weights take room as."""
    return dtype if dtype in QUANTIZED else str(weights).removeprefix("torch.")


def _placing(device: str, device_map: dict[str, Any] | None, on: torch.device, dtype: str) -> dict[str, Any]:
    """Where from_pretrained puts the parts; empty for a plain model, which is moved as a whole."""
    how: dict[str, Any] = {}
    if dtype in QUANTIZED:
        how = {"quantization_config": quantization.settings(dtype, on), "device_map": {"": on}}
    if device_map is not None or device == SPREAD:
        folder = packaged.cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        how |= {"device_map": device_map or "auto", "offload_folder": tempfile.mkdtemp(prefix="offload-", dir=folder)}
    return how


def _not_found(name: str, reason: str) -> ModelNotFound:
    return ModelNotFound(
        f"No causal LM could be read from {_shown(name)}. Use demo, smollm2, a folder that transformers can load, a .gguf file, "
        f"or a hub id while the hub can be reached. The reason given: {reason}"
    )
