"""Finds and loads a causal LM: the bundled `demo`, a local folder, a .gguf file, or a hub id.

Code that a hub repository brings is never run, and of weights only safetensors and GGUF are read.
"""

import logging
from pathlib import Path

import torch
from huggingface_hub import model_info
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from privlens.errors import BadInput, ModelNotFound
from privlens.models.language_model import LanguageModel

BUNDLED = {"demo": Path(__file__).parents[2] / "assets" / "demo"}
"""Models that come with PrivLens, by name."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def pick_device(device: str = "auto") -> torch.device:
    """`auto` is cuda, else mps, else cpu. Raises BadInput for a device that torch does not know or this machine lacks."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, NotImplementedError) as cause:
        raise BadInput(f"Device {device!r} is not to be had on this machine: use auto, cpu, cuda or mps.") from cause


def pick_dtype(dtype: str, device: torch.device) -> torch.dtype | str:
    """`auto` is the checkpoint's own type, but float32 on a CPU, where half precision is slow. Raises BadInput."""
    if dtype == "auto":
        return torch.float32 if device.type == "cpu" else "auto"
    if dtype not in DTYPES:
        raise BadInput(f"Type {dtype!r} is unknown: use auto, {', '.join(DTYPES)}.")
    return DTYPES[dtype]


def quiet() -> None:
    """Keeps the libraries' advice and progress bars off stderr, for programs that speak for themselves."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)


def _hub_answers(repository: str) -> bool:
    """One short question, because downloads ask again for minutes; without an answer only what is cached can be read."""
    try:
        model_info(repository, timeout=5)
    except (HfHubHTTPError, HFValidationError):  # an answer, if a refusal: the download will say it better
        return True
    except Exception:  # whatever the client of the day raises where there is no network, or where it is switched off
        return False
    return True


def load(name: str, device: str = "auto", dtype: str = "auto") -> LanguageModel:
    """Loads a causal LM with its tokenizer.

    Args:
        name: `demo`, a folder, a .gguf file, or a hub id such as `EleutherAI/pythia-70m`.
        device: auto, cpu, cuda, cuda:1, mps ...
        dtype: auto, float32, bfloat16, float16.

    Raises:
        ModelNotFound: nothing readable under that name. BadInput: device or type unknown.
        UnsupportedModel: its parts are not laid out as a causal LM with MLPs.
    """
    where = str(BUNDLED.get(name, name)).strip()
    if not where:
        raise BadInput("No model was named: use demo, a folder, a .gguf file or a hub id.")
    on = pick_device(device)
    weights = pick_dtype(dtype, on)
    path = Path(where).expanduser()
    gguf = {"gguf_file": path.name} if path.suffix == ".gguf" else {}
    source = str(path.parent if gguf else path if path.exists() else where)
    here = path.exists() or bool(gguf) or not _hub_answers(where)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=here, **gguf)
        model = AutoModelForCausalLM.from_pretrained(
            source, dtype=weights, use_safetensors=None if gguf else True, trust_remote_code=False, local_files_only=here, **gguf
        )
    except Exception as cause:  # a broken file raises whatever its reader trips over, struct.error or a bare Exception too
        reason = " ".join(str(cause).split())[:300]
        raise ModelNotFound(
            f"No causal LM could be read from {name!r}. Use demo, a folder that transformers can load, a .gguf file, or a hub "
            f"id while the hub can be reached. The reason given: {reason}"
        ) from cause
    return LanguageModel(name, model.to(on), tokenizer)  # type: ignore[arg-type]  # transformers hides the type of `to`
