"""Finds and loads a causal LM: `demo`, `smollm2`, a local folder, a .gguf file, or a hub id.

Code from a hub repository is never run, and weights are read from safetensors and GGUF only, unless the name begins with
`pickle:`. Weights missing from a checkpoint are never initialized at random. What is not a causal LM is refused before its
weights are read (zoo/model_folder.py, lm/weight_files.py), and a loaded model is checked before it is returned (lm/probe.py).
The hub's library reads its token from the environment; the token is never shown.
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
from privlens.zoo.downloads import SMALL_FILES, fetch_from_hub, redact_tokens
from privlens.zoo.model_folder import ModelFiles, model_at

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
SPREAD = "spread"
"""The device for a model larger than any single one: all GPUs in turn, then the CPU, then the disk (accelerate)."""
PICKLE = "pickle:"
"""Prefix of a name whose pickled weights may be read too; unpickling can run code."""
DEVICES = ("cpu", "cuda", "mps", "xpu")
"""Supported device types; torch knows others, such as meta, that hold no data or are not supported here."""


def pick_device(device: str = "auto") -> torch.device:
    """`auto` means cuda, else mps, else cpu. Raises BadInput for a device that torch does not know or this machine lacks."""
    if device in ("auto", SPREAD):
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        parsed = torch.device(device)
        if parsed.type not in DEVICES or (parsed.type == "cpu" and parsed.index):
            raise RuntimeError(f"{parsed} is not supported here")
        return torch.empty(0, device=device, dtype=torch.float32).device
    except (RuntimeError, AssertionError, NotImplementedError) as cause:
        raise BadInput(f"Device {device!r} is not available on this machine: use auto, cpu, cuda, mps or {SPREAD}.") from cause


def pick_dtype(dtype: str, device: torch.device) -> torch.dtype | str:
    """`auto` means the checkpoint's own type, but float32 on a CPU, where half precision is slow.

    Raises BadInput for an unknown type.
    """
    if dtype == "auto":
        return torch.float32 if device.type == "cpu" else "auto"
    if dtype in QUANTIZED:
        return quantization.beside(device)
    if dtype not in DTYPES:
        raise BadInput(f"Type {dtype!r} is unknown: use auto, {', '.join((*DTYPES, *QUANTIZED))}.")
    return DTYPES[dtype]


def quiet() -> None:
    """Silences the libraries' warnings and progress bars, for programs that print their own."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    for library in ("huggingface_hub", "bitsandbytes"):
        logging.getLogger(library).setLevel(logging.ERROR)


@dataclass(frozen=True)
class Hub:
    """Whether the hub answers, and its information on a repository: None if it refuses or was not reached."""

    reached: bool
    info: ModelInfo | None = None


def ask_hub(repository: str) -> Hub:
    """Asks the hub once, with a short timeout: a download retries for minutes, and without the hub the cache can be read."""
    try:
        return Hub(True, model_info(repository, timeout=5))
    except (HfHubHTTPError, HFValidationError):  # the hub answered, with a refusal: the download explains it better
        return Hub(reached=True)
    except Exception:  # what is raised without a network, or in offline mode, depends on the HTTP client
        return Hub(reached=False)


def fetch(name: str, stop: Stop = never_stop, from_hub: bool = False) -> Iterator[FetchStep]:
    """Downloads what `load` needs of a hub id, with progress; does nothing for local files. Raises as `load`."""
    if from_hub:
        yield from fetch_from_hub(name, stop=stop)
        return
    plain = name.strip().removeprefix(PICKLE).strip()
    source = catalogue.source_of(plain) if plain else ""
    if source and source == plain and not source.endswith(".gguf") and not _path_of(source).exists():
        yield from fetch_from_hub(source, "*.bin" if name.strip().startswith(PICKLE) else "*.safetensors", stop)


@memory.settled()
def load(
    name: str, device: str = "auto", dtype: str = "auto", device_map: dict[str, Any] | None = None, from_hub: bool = False
) -> LanguageModel:
    """Loads a causal LM with its tokenizer.

    Args:
        name: `demo`, `smollm2`, `smollm2+planted`, a folder, a .gguf file, or a hub id such as `EleutherAI/pythia-70m`; with the
            prefix `pickle:` a checkpoint may also be a .bin file, which can run code.
        device: auto, cpu, cuda, cuda:1, mps ... or `spread`. dtype: auto, float32, bfloat16, float16, int8, int4.
        device_map: accelerate's (names of modules -> devices), to place the parts of a model differently than `spread` would.
        from_hub: the name is a hub id, even if a folder or a bundled model has the same name.

    Raises:
        ModelNotFound: nothing readable under that name, or no causal LM. BadInput: device or type unknown, or not enough memory.
        UnsupportedModel: its parts are not laid out as a causal LM with MLPs, or its predictions are unusable.
    """
    if not name.strip():
        raise BadInput("No model was named: use demo, smollm2, a folder, a .gguf file or a hub id.")
    pickled, plain = name.strip().startswith(PICKLE), name.strip().removeprefix(PICKLE).strip()
    target = pick_device(device)
    torch_dtype = pick_dtype(dtype, target)
    source = catalogue.source_of(plain)
    path = Path(source) if from_hub else _path_of(source)
    is_local = not from_hub and (path.exists() or path.suffix == ".gguf")
    if is_local and path.suffix == ".gguf" and dtype in QUANTIZED:
        raise BadInput(f"A .gguf file is quantized already and cannot be read as {dtype}: use float32 or bfloat16.")
    placement = _placement(device, device_map, target, dtype)
    single = target if device_map is None and device != SPREAD else None  # the device that must have room for all weights
    try:
        if not is_local:
            path = _download(source, pickled, dtype, torch_dtype, single)
        files = model_at(path, plain, pickled)
        config = _checked_config(files, plain, dtype, torch_dtype, single)
        gguf = {"gguf_file": files.gguf} if files.gguf else {}
        tokenizer = AutoTokenizer.from_pretrained(files.folder, local_files_only=True, trust_remote_code=False, **gguf)
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            files.folder,
            config=config,
            dtype=torch_dtype,
            use_safetensors=None if gguf or pickled else True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
            **gguf,
            **placement,
        )
    except BadInput:
        raise
    except weight_files.NotAModel as cause:
        raise ModelNotFound(f"No causal LM could be read from {_quoted(plain)}: {cause}") from cause
    except Exception as cause:  # a broken file can raise anything, struct.error or a bare Exception too
        raise _not_found(plain, redact_tokens(" ".join(str(cause).split())[:300])) from cause
    model, report = loaded
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelNotFound(
            f"{plain} is incomplete: {len(missing)} of its weights are missing, the first is {missing[0]}. Download it again, or "
            "choose another checkpoint."
        )
    if "offload_folder" in placement:
        weakref.finalize(model, shutil.rmtree, placement["offload_folder"], ignore_errors=True)
    quantization.settle(model)
    try:
        lm = LanguageModel(plain, model if placement else model.to(target), tokenizer)
    except UnsupportedModel:
        probe.refuse_both_sides(plain, model, tokenizer)  # if it reads both sides, that explains more than its layout does
        raise
    if plain == catalogue.PLANTED:
        put(ready(lm.model, planted.edit_of(lm, planted.read()), untouched=True))
        lm = LanguageModel(plain, lm.model, tokenizer)
    probe.probe(lm)
    catalogue.remember(str(path.resolve()) if is_local and source == plain else plain, device, dtype)
    return lm


def _path_of(name: str) -> Path:
    """A name as a path. Raises BadInput for a name that no path can have."""
    try:
        name.encode("utf-8")
        path = Path(name).expanduser()
        path.stat()
    except FileNotFoundError:
        return path
    except (OSError, RuntimeError, ValueError) as cause:
        reason = getattr(cause, "strerror", None) or "it holds invalid characters, or names an unknown user"
        raise BadInput(f"No model can be called {_quoted(name)} ({reason}): use a folder, a .gguf file or a hub id.") from cause
    return path


def _quoted(name: str) -> str:
    """A name in quotation marks, shortened to 100 characters, with escapes for what cannot be printed."""
    return ascii(name[:97] + "...") if len(name) > 100 or not name.isprintable() else repr(name)


def _download(repository: str, pickled: bool, dtype: str, torch_dtype: torch.dtype | str, single: torch.device | None) -> Path:
    """The snapshot of a hub id in the hub's cache, downloaded if necessary."""
    hub = ask_hub(repository)
    safetensors = hub.info.safetensors if hub.info else None
    if single is not None and safetensors:
        n_bytes = safetensors.total * memory.BYTES.get(_stored_type(dtype, torch_dtype), 2.0)
        memory.check_weights(repository, round(n_bytes), single)
    patterns = [*SMALL_FILES, "*.safetensors", *(["*.bin"] if pickled else [])]
    return Path(snapshot_download(repository, allow_patterns=patterns, local_files_only=not hub.reached))


def _checked_config(
    files: ModelFiles, name: str, dtype: str, torch_dtype: torch.dtype | str, single: torch.device | None
) -> PreTrainedConfig:
    """The config, once the headers of the weights show that these fit it and the device. Raises NotAModel and BadInput."""
    headers = weight_files.tensors(files.weights)
    weight_files.refuse_types(headers, files.config)
    weight_files.refuse_counts(files.config, headers)
    if single is not None:
        memory.check_weights(name, memory.weight_bytes(headers.values(), _stored_type(dtype, torch_dtype)), single)
    gguf = {"gguf_file": files.gguf} if files.gguf else {}
    config: PreTrainedConfig = AutoConfig.from_pretrained(files.folder, local_files_only=True, trust_remote_code=False, **gguf)
    config._attn_implementation = None  # transformers' own choice, never code from a place that the folder names
    config._experts_implementation = None
    weight_files.refuse_more_weights(config, headers, files.body)
    return config


def _stored_type(dtype: str, torch_dtype: torch.dtype | str) -> str:
    """The name of the type that the weights have in memory."""
    return dtype if dtype in QUANTIZED else str(torch_dtype).removeprefix("torch.")


def _placement(device: str, device_map: dict[str, Any] | None, target: torch.device, dtype: str) -> dict[str, Any]:
    """Arguments that tell from_pretrained where the parts go; empty for a plain model, which is moved as a whole."""
    arguments: dict[str, Any] = {}
    if dtype in QUANTIZED:
        arguments = {"quantization_config": quantization.settings(dtype, target), "device_map": {"": target}}
    if device_map is not None or device == SPREAD:
        folder = packaged.cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        offload_folder = tempfile.mkdtemp(prefix="offload-", dir=folder)
        arguments |= {"device_map": device_map or "auto", "offload_folder": offload_folder}
    return arguments


def _not_found(name: str, reason: str) -> ModelNotFound:
    return ModelNotFound(
        f"No causal LM could be read from {_quoted(name)}. Use demo, smollm2, a folder that transformers can load, a .gguf file, "
        f"or a hub id while the hub can be reached. The reason given: {reason}"
    )
