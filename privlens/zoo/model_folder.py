"""What kind of model a local path holds, judged by file names and JSON files alone, before any library tries to load it.

What is not a causal LM is refused with a message that says what it is and what to do. A folder of the hub's cache means its
snapshot. Only regular files are opened.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
    MODEL_MAPPING_NAMES,
)

from privlens.lm.weight_files import NotAModel, check_regular_file, read_json, weight_files

CLASSIFIERS = re.compile(r"Classification|ForQuestionAnswering|ForMultipleChoice|ForNextSentencePrediction|RewardModel")
VOCABULARIES = ("tokenizer.json", "vocab.*", "*.model", "tekken.json", "*.tiktoken")
"""A tokenizer has one of these; without any, transformers silently builds one with an empty vocabulary."""
READ = (".json", ".jinja", ".txt", ".model", ".safetensors", ".bin", ".tiktoken")
"""Kinds of files that may be read in a model's folder."""
OTHER_FORMATS = {
    "*.bin": "pickled",
    "*.pth": "pickled",
    "*.pt": "pickled",
    "*.ckpt": "pickled",
    "*.h5": "TensorFlow",
    "*.onnx": "ONNX",
    "*.msgpack": "Flax",
}
"""Weight files that are not read, and the name of their format."""
DECODER = "Choose a decoder, such as a GPT, a Llama or a Qwen."
MERGE = (
    'python -c "from peft import AutoPeftModelForCausalLM as Adapted; '
    'Adapted.from_pretrained({adapter}).merge_and_unload().save_pretrained({merged})"'
)


@dataclass(frozen=True)
class ModelFiles:
    """A local causal LM: its folder, its weight files, its config.json (empty for a .gguf), and the name of the .gguf."""

    folder: Path
    weights: tuple[Path, ...]
    config: Mapping[str, Any]
    gguf: str = ""

    @property
    def body(self) -> str:
        """The class that the weights were saved from, if that class has no LM head; else empty."""
        return next((name for name in _architectures(self.config) if name in MODEL_MAPPING_NAMES.values()), "")


def model_at(path: Path, name: str, pickled: bool = False) -> ModelFiles:
    """The files to load from an existing path.

    Args:
        name: as the user wrote it. pickled: whether .bin files may be read.

    Raises:
        NotAModel: if it holds no causal LM that can be read.
    """
    if not path.is_dir():
        check_regular_file(path)
        if path.suffix != ".gguf":
            raise NotAModel("it is a single file. Name the folder of the model, with config.json and tokenizer, or a .gguf file.")
        return ModelFiles(path.parent, (path,), {}, path.name)
    folder = _snapshot(path)
    for entry in folder.iterdir():
        if entry.suffix in READ or not (entry.is_dir() or entry.is_file() or entry.is_symlink()):
            check_regular_file(entry)
    for entry in folder.glob("additional_chat_templates/*"):
        check_regular_file(entry)
    if (folder / "adapter_config.json").exists():
        raise NotAModel(_about_adapter(folder))
    if not (folder / "config.json").exists():
        raise NotAModel(_about_missing_config(folder))
    config = read_json(folder / "config.json")
    _refuse_other_tasks(config)
    weights = weight_files(folder, config, pickled)
    if not weights:
        raise NotAModel(_about_missing_weights(folder, name, pickled))
    if not any(file for pattern in VOCABULARIES for file in folder.glob(pattern)):
        raise NotAModel(
            "it has no tokenizer. Copy tokenizer.json and tokenizer_config.json into it from the model that it was made from."
        )
    return ModelFiles(folder, weights, config)


def _snapshot(path: Path) -> Path:
    """The main snapshot (refs/main), or the only one, if this is a model's folder in the hub's cache; else the folder itself."""
    if not (path / "snapshots").is_dir() or (path / "config.json").exists():
        return path
    main = path / "refs" / "main"
    snapshots = sorted(folder for folder in (path / "snapshots").iterdir() if folder.is_dir())
    if main.is_file():
        snapshots = [folder for folder in snapshots if folder.name == main.read_text(encoding="utf-8").strip()] or snapshots
    if len(snapshots) == 1:
        return snapshots[0]
    raise NotAModel(
        f"it is a folder of the hub's cache with {len(snapshots)} snapshots, none of which is the main one. "
        + (f"Name one of them, such as {snapshots[0]}." if snapshots else "Download the model again.")
    )


def _about_adapter(folder: Path) -> str:
    adapter = read_json(folder / "adapter_config.json")
    kind = str(adapter.get("peft_type", "LORA"))
    base = str(adapter.get("base_model_name_or_path") or "a model it does not name")
    if (folder / "config.json").exists() and any(folder.glob("model*.safetensors")):
        return (
            f"it holds a whole model and beside it an adapter of {base}. Move the files whose names begin with adapter_ "
            "elsewhere to load the model without it, or merge them first."
        )
    command = MERGE.format(adapter=_python_literal(str(folder)), merged=_python_literal(f"{folder}-merged"))
    installed = "" if find_spec("peft") else "`pip install peft`, then "
    return (
        f"it is a {'LoRA' if kind == 'LORA' else kind} adapter of {base}, not a whole model. Merge it into that model first "
        f"({installed}`{command}`), put the tokenizer of {base} beside it, and load {folder}-merged."
    )


def _python_literal(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _about_missing_config(folder: Path) -> str:
    subfolders = sorted((entry for entry in folder.iterdir() if entry.is_dir() and _is_model(entry)), key=_trailing_number)
    if subfolders:
        names = ", ".join(subfolder.name for subfolder in subfolders)
        return f"it holds no model itself, but its folders do: {names}. Name one of them, such as {subfolders[-1]}."
    files = sorted(folder.glob("*.gguf"))
    if files:
        return f"it holds GGUF files ({', '.join(file.name for file in files)}). Name one of them, such as {files[0]}."
    if not any(folder.iterdir()):
        return "the folder is empty. Download or copy the model into it."
    if (folder / "model_index.json").exists():
        return f"it is a pipeline that makes pictures or sound, not a language model. {DECODER}"
    return "it has no config.json, so transformers did not save it as a model. Name the folder that holds config.json."


def _is_model(folder: Path) -> bool:
    return any((folder / name).exists() for name in ("config.json", "adapter_config.json", "snapshots"))


def _trailing_number(folder: Path) -> tuple[int, str]:
    """Sort key that puts checkpoint-900 before checkpoint-1000."""
    digits = re.search(r"(\d+)$", folder.name)
    return int(digits[1]) if digits else -1, folder.name


def _about_missing_weights(folder: Path, name: str, pickled: bool) -> str:
    if not pickled and any(folder.glob("*.bin")):
        return (
            "its weights are pickled (.bin), which can run code on this machine: convert them to safetensors, or, if you trust "
            f"who made them, load pickle:{name}."
        )
    other_format = next((name for pattern, name in OTHER_FORMATS.items() if any(folder.glob(pattern))), "")
    if other_format:
        return f"its weights are {other_format} files. Convert them to safetensors (model.safetensors)."
    entries = sorted(folder.iterdir(), key=_trailing_number)
    subfolders = [f"{entry.name}/" for entry in entries if entry.is_dir() and _is_model(entry)]
    hint = f" There are models in {', '.join(subfolders)}." if subfolders else ""
    return (
        f"it has a config.json, but no weights (model.safetensors).{hint} Download it again, name another folder, or, if there "
        f"are only .bin files and you trust who made them, load pickle:{name}."
    )


def _architectures(config: Mapping[str, Any]) -> Iterator[str]:
    """Names of the classes that the weights were saved from."""
    classes = config.get("architectures")
    yield from (name for name in classes if isinstance(name, str)) if isinstance(classes, list) else ()


def _refuse_other_tasks(config: Mapping[str, Any]) -> None:
    """Raises NotAModel, with a message that says what it is, if the config is not that of a causal LM."""
    architecture = next(_architectures(config), "")
    model_type = config.get("model_type")
    causal = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    shown = architecture or model_type
    if not isinstance(model_type, str) or model_type not in CONFIG_MAPPING:
        brings_code = bool(config.get("auto_map"))
        advice = (
            "It brings code of its own, which is never run here: choose a model of a known type."
            if brings_code
            else "Update transformers, or choose a model of a known type."
        )
        raise NotAModel(
            f"its config.json names the model_type {json.dumps(model_type)}, which is unknown to this version of transformers. "
            f"{advice}"
            if model_type is not None
            else "its config.json names no model_type. Download it again, or choose another model."
        )
    if CLASSIFIERS.search(architecture):
        raise NotAModel(f"it is a classifier ({architecture}): its outputs are a few classes, not a vocabulary. {DECODER}")
    sequence_to_sequence = model_type in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES and model_type not in causal
    if config.get("is_encoder_decoder") is True or sequence_to_sequence:
        raise NotAModel(f"it is an encoder-decoder ({shown}), which writes from an encoded text and has no prompt. {DECODER}")
    masked = model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES and architecture not in causal.values()
    if architecture and masked and not config.get("is_decoder"):
        raise NotAModel(f"it is an encoder ({shown}), which reads a text from both sides and is not causal. {DECODER}")
    if model_type not in causal:
        raise NotAModel(f"a model of type {model_type} ({shown}) is not a causal LM of transformers. {DECODER}")
