"""What a path on this disk is, from names and JSON files alone, before any library is asked to load it.

What is no causal LM is refused in words that say what it is and what to do. A folder of the hub's cache stands for its snapshot.
Nothing is opened that is no regular file. Knows nothing of hubs, devices and memory.
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

from privlens.lm.weight_files import NotAModel, must_be_a_file, read_json, weight_files

HEADS = re.compile(r"Classification|ForQuestionAnswering|ForMultipleChoice|ForNextSentencePrediction|RewardModel")
VOCABULARIES = ("tokenizer.json", "vocab.*", "*.model", "tekken.json", "*.tiktoken")
"""A tokenizer has one of these; without any, transformers makes one up that knows no word."""
READ = (".json", ".jinja", ".txt", ".model", ".safetensors", ".bin", ".tiktoken")
"""Kinds of files that may be read in a model's folder."""
OTHERS = {
    "*.bin": "pickled",
    "*.pth": "pickled",
    "*.pt": "pickled",
    "*.ckpt": "pickled",
    "*.h5": "TensorFlow",
    "*.onnx": "ONNX",
    "*.msgpack": "Flax",
}
"""Weights of other kinds."""
DECODER = "Choose a decoder, such as a GPT, a Llama or a Qwen."
MERGE = (
    'python -c "from peft import AutoPeftModelForCausalLM as Adapted; '
    'Adapted.from_pretrained({adapter}).merge_and_unload().save_pretrained({merged})"'
)


@dataclass(frozen=True)
class ModelFiles:
    """A causal LM on this disk: its folder, its files of weights, its config.json (empty of a .gguf), and the .gguf's name."""

    folder: Path
    weights: tuple[Path, ...]
    config: Mapping[str, Any]
    gguf: str = ""

    @property
    def body(self) -> str:
        """The class that the weights were saved from, where that is one without a map to the vocabulary; else empty."""
        return next((name for name in _saved_from(self.config) if name in MODEL_MAPPING_NAMES.values()), "")


def model_at(path: Path, name: str, pickled: bool = False) -> ModelFiles:
    """What to load from a path that exists.

    Args:
        name: what a person calls it. pickled: whether .bin files may be read.

    Raises:
        NotAModel: where there is no causal LM that can be read.
    """
    if not path.is_dir():
        must_be_a_file(path)
        if path.suffix != ".gguf":
            raise NotAModel("it is a single file. Name the folder of the model, with config.json and tokenizer, or a .gguf file.")
        return ModelFiles(path.parent, (path,), {}, path.name)
    folder = _snapshot(path)
    for part in folder.iterdir():
        if part.suffix in READ or not (part.is_dir() or part.is_file() or part.is_symlink()):
            must_be_a_file(part)
    for part in folder.glob("additional_chat_templates/*"):
        must_be_a_file(part)
    if (folder / "adapter_config.json").exists():
        raise NotAModel(_adapter(folder))
    if not (folder / "config.json").exists():
        raise NotAModel(_without_config(folder))
    config = read_json(folder / "config.json")
    _refuse_kind(config)
    weights = weight_files(folder, config, pickled)
    if not weights:
        raise NotAModel(_without_weights(folder, name, pickled))
    if not any(file for pattern in VOCABULARIES for file in folder.glob(pattern)):
        raise NotAModel(
            "it has no tokenizer. Copy tokenizer.json and tokenizer_config.json into it from the model that it was made from."
        )
    return ModelFiles(folder, weights, config)


def _snapshot(path: Path) -> Path:
    """The newest snapshot of a folder of the hub's cache; of any other folder itself."""
    if not (path / "snapshots").is_dir() or (path / "config.json").exists():
        return path
    main, snapshots = path / "refs" / "main", sorted(one for one in (path / "snapshots").iterdir() if one.is_dir())
    if main.is_file():
        snapshots = [one for one in snapshots if one.name == main.read_text(encoding="utf-8").strip()] or snapshots
    if len(snapshots) == 1:
        return snapshots[0]
    raise NotAModel(
        f"it is a folder of the hub's cache with {len(snapshots)} snapshots, none of which is the main one. "
        + (f"Name one of them, such as {snapshots[0]}." if snapshots else "Download the model again.")
    )


def _adapter(folder: Path) -> str:
    adapter = read_json(folder / "adapter_config.json")
    kind, base = str(adapter.get("peft_type", "LORA")), str(adapter.get("base_model_name_or_path") or "a model it does not name")
    if (folder / "config.json").exists() and any(folder.glob("model*.safetensors")):
        return (
            f"it holds a whole model and beside it an adapter of {base}. Move the files whose names begin with adapter_ "
            "elsewhere to load the model without it, or merge them first."
        )
    command = MERGE.format(adapter=_quoted(str(folder)), merged=_quoted(f"{folder}-merged"))
    installed = "" if find_spec("peft") else "`pip install peft`, then "
    return (
        f"it is a {'LoRA' if kind == 'LORA' else kind} adapter of {base}, not a whole model. Merge it into that model first "
        f"({installed}`{command}`), put the tokenizer of {base} beside it, and load {folder}-merged."
    )


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _without_config(folder: Path) -> str:
    inside = sorted((part for part in folder.iterdir() if part.is_dir() and _is_model(part)), key=_by_number)
    if inside:
        names = ", ".join(part.name for part in inside)
        return f"it holds no model itself, but its folders do: {names}. Name one of them, such as {inside[-1]}."
    files = sorted(folder.glob("*.gguf"))
    if files:
        return f"it holds GGUF files ({', '.join(file.name for file in files)}). Name one of them, such as {files[0]}."
    if not any(folder.iterdir()):
        return "the folder is empty. Download or copy the model into it."
    if (folder / "model_index.json").exists():
        return f"it is a pipeline that makes pictures or sound, not a language model. {DECODER}"
    return "it has no config.json, so it is no model that transformers saved. Name the folder that config.json lies in."


def _is_model(part: Path) -> bool:
    return any((part / name).exists() for name in ("config.json", "adapter_config.json", "snapshots"))


def _by_number(part: Path) -> tuple[int, str]:
    digits = re.search(r"(\d+)$", part.name)
    return int(digits[1]) if digits else -1, part.name


def _without_weights(folder: Path, name: str, pickled: bool) -> str:
    if not pickled and any(folder.glob("*.bin")):
        return (
            "its weights are pickled (.bin), which can run code on this machine: convert them to safetensors, or, where you "
            f"trust who made them, load pickle:{name}."
        )
    others = next((kind for pattern, kind in OTHERS.items() if any(folder.glob(pattern))), "")
    if others:
        return f"its weights are {others} files. Convert them to safetensors (model.safetensors)."
    inside = [f"{part.name}/" for part in sorted(folder.iterdir(), key=_by_number) if part.is_dir() and _is_model(part)]
    there = f" There are models in {', '.join(inside)}." if inside else ""
    return (
        f"it has a config.json, but no weights (model.safetensors).{there} Download it again, name another folder, or, where "
        f"there are only .bin files and you trust who made them, load pickle:{name}."
    )


def _saved_from(config: Mapping[str, Any]) -> Iterator[str]:
    classes = config.get("architectures")
    yield from (name for name in classes if isinstance(name, str)) if isinstance(classes, list) else ()


def _refuse_kind(config: Mapping[str, Any]) -> None:
    """Raises NotAModel for what is no causal LM by its config, in words that say what it is."""
    saved, kind = next(_saved_from(config), ""), config.get("model_type")
    causal = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    called = saved or kind
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        own = "It brings code of its own, which is never run here." if config.get("auto_map") else "Update transformers, or"
        raise NotAModel(
            f"its config.json names the model_type {json.dumps(kind)}, which is unknown to this version of transformers. {own} "
            "choose a model of a known kind."
            if kind is not None
            else "its config.json names no model_type. Download it again, or choose another model."
        )
    if HEADS.search(saved):
        raise NotAModel(f"it is a classifier ({saved}): its weights end in a few classes, not in a vocabulary. {DECODER}")
    if config.get("is_encoder_decoder") is True or (kind in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES and kind not in causal):
        raise NotAModel(f"it is an encoder-decoder ({called}), which writes from an encoded text and has no prompt. {DECODER}")
    both = kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES and saved not in causal.values() and not config.get("is_decoder")
    if saved and both:
        raise NotAModel(f"it is an encoder ({called}), which reads a text from both sides and is not causal. {DECODER}")
    if kind not in causal:
        raise NotAModel(f"a model of type {kind} ({called}) is not a causal LM of transformers. {DECODER}")
