"""The weights of a model on disk, read from file headers only: which files there are, and each tensor's type and shape.

Nothing is allocated and, unless pickled weights were requested, nothing is unpickled. Only files in the folder itself are read,
or among the blobs of the hub cache that it belongs to.
"""

import json
import math
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import gguf
import numpy as np
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, PreTrainedConfig

SAFETENSORS_NAMES = ("model.safetensors", "model.safetensors.index.json")
PICKLED_NAMES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
"""The files that transformers looks for in a folder; it uses the first one that exists."""
FLOATS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
"""The floating-point types of weights, with their sizes in bytes."""
SIZES = {**FLOATS, "F8_E4M3": 1, "F8_E5M2": 1, "I8": 1, "U8": 1, "I16": 2, "I32": 4, "I64": 8, "BOOL": 1}
BUFFER_NAMES = ("position_ids", "token_type_ids")
"""Integer buffers that some checkpoints contain; the others are masks, which have four dimensions."""
LAYER_COUNT_KEYS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers", "num_decoder_layers")
"""The config keys for the number of layers."""
MAX_JSON_BYTES = 64 * 2**20
MAX_PARTS = 10_000
"""The most experts, blocks and the like in one model."""
MAX_ARRAY_ITEMS = 2**22
"""The most items in one array of a GGUF header; vocabularies have a quarter of a million."""
PACKING_FACTOR = 9
"""A quantized checkpoint packs up to eight weights into one number; one more allows for what is not quantized."""
MISSING_WEIGHTS_FACTOR = 1.5
"""How many times more weights a config may ask for than are stored: if only a few are missing, loading names them."""


class NotAModel(ValueError):
    """There is no causal LM that can be read; the message says what is there instead, and what to do."""


@dataclass(frozen=True)
class Stored:
    """A tensor in a file: its type as safetensors names it (F32, I64 ...), or GGUF, and its shape."""

    kind: str
    shape: tuple[int, ...]

    @property
    def n_elements(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)


def check_regular_file(path: Path) -> None:
    """Raises NotAModel for a pipe, a device, a folder or a broken link: reading some of them would never end."""
    try:
        mode = path.stat().st_mode
    except OSError as cause:
        problem = "leads nowhere" if path.is_symlink() else f"cannot be read ({cause.strerror})"
        raise NotAModel(f"its {path.name} {problem}. Download or copy it again.") from cause
    if not stat.S_ISREG(mode):
        raise NotAModel(f"its {path.name} is {'a folder' if stat.S_ISDIR(mode) else 'a pipe or a device'}, not a file.")


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises NotAModel if there is none."""
    check_regular_file(path)
    if path.stat().st_size > MAX_JSON_BYTES:
        raise NotAModel(f"its {path.name} has {path.stat().st_size / 1e6:.0f} MB, which no such file needs.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as cause:
        raise NotAModel(f"its {path.name} is not valid JSON ({cause}). Download or copy it again.") from cause
    if not isinstance(content, dict):
        raise NotAModel(f"its {path.name} does not contain a JSON object. Download or copy it again.")
    return content


def weight_files(folder: Path, config: Mapping[str, Any], pickled: bool = False) -> tuple[Path, ...]:
    """The files from which transformers reads the weights of this folder; empty if it has no weights of these kinds.

    Args:
        config: the folder's config.json, which may name another file. pickled: whether .bin files are read too.

    Raises:
        NotAModel: if an index or a link leads out of the folder or to another kind of file, or a file is missing.
    """
    configured = config.get("transformers_weights")
    names = [str(configured)] if configured else [*SAFETENSORS_NAMES, *(PICKLED_NAMES if pickled else ())]
    suffixes = (".safetensors", ".bin") if pickled else (".safetensors",)
    first = next((name for name in names if (folder / name).is_file()), None)
    if first is None:
        return ()
    _check_file_name(first, "config.json", (*suffixes, ".index.json"))
    shards = _shard_names(folder / first, suffixes) if first.endswith(".index.json") else [first]
    checked = {*shards, *(file.name for file in folder.glob("*.safetensors"))}  # transformers may read others instead
    for name in sorted(checked):
        _check_location(folder, name)
    return tuple(folder / name for name in shards)


def _shard_names(index: Path, suffixes: tuple[str, ...]) -> list[str]:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map or not all(isinstance(name, str) for name in weight_map.values()):
        raise NotAModel(f"its {index.name} does not say which file holds which weight. Download it again.")
    for name in set(weight_map.values()):
        _check_file_name(name, index.name, suffixes)
    return sorted(set(weight_map.values()))


def _check_file_name(name: str, source: str, suffixes: tuple[str, ...]) -> None:
    if PurePosixPath(name).name != name or PureWindowsPath(name).name != name:
        raise NotAModel(
            f"its {source} names {name[:100]!r}, which is not a file in the folder itself. Nothing outside it is read."
        )
    if not name.endswith(suffixes):
        raise NotAModel(
            f"its {source} names {name[:100]!r}, which is not a safetensors file. Other kinds can run code on this machine: save "
            "the model as safetensors."
        )


def _check_location(folder: Path, name: str) -> None:
    """Raises NotAModel if a file is missing, not a regular file, or a link out of the folder; the hub cache's own are allowed."""
    if not (folder / name).exists() and not (folder / name).is_symlink():
        raise NotAModel(f"its weights are incomplete: {name} is missing. Download it again.")
    check_regular_file(folder / name)
    resolved_folder, target = folder.resolve(), (folder / name).resolve()
    blobs = resolved_folder.parents[1] / "blobs" if resolved_folder.parent.name == "snapshots" else resolved_folder
    if target.parent not in (resolved_folder, blobs):
        raise NotAModel(f"its {name} is a link to {target}, outside the folder. Put the file itself there.")


def tensors(files: Sequence[Path]) -> dict[str, Stored]:
    """Every tensor of some weight files, by name."""
    stored: dict[str, Stored] = {}
    for file in files:
        stored |= {".gguf": _gguf_tensors, ".bin": _pickle_tensors}.get(file.suffix, _safetensors_tensors)(file)
    return stored


def _safetensors_tensors(file: Path) -> dict[str, Stored]:
    with safe_open(file, framework="pt") as opened:
        slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118  # not a dict
        return {name: Stored(tensor.get_dtype(), tuple(tensor.get_shape())) for name, tensor in slices.items()}


def _pickle_tensors(file: Path) -> dict[str, Stored]:
    """The tensors of a .bin file, without their values; only called on request, and refuses what torch considers code."""
    type_names = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
    content = torch.load(file, map_location="meta", weights_only=True)
    weights = {name: value for name, value in content.items() if isinstance(value, torch.Tensor)}
    return {name: Stored(type_names.get(value.dtype, str(value.dtype)), tuple(value.shape)) for name, value in weights.items()}


class _BoundedReader(gguf.GGUFReader):
    """gguf's reader, but reading past the end of the file is an error; gguf would read nothing and continue forever."""

    def _get(self, offset: int, dtype: Any, count: int = 1, override_order: Any = None) -> Any:
        if offset + np.dtype(dtype).itemsize * int(count) > len(self.data):
            raise NotAModel("its header asks for more than the file holds. Download it again.")
        return super()._get(offset, dtype, count, override_order)

    def _get_field_parts(self, orig_offs: int, raw_type: int) -> Any:
        if raw_type == gguf.GGUFValueType.ARRAY and self._get(orig_offs + 4, np.uint64)[0] > MAX_ARRAY_ITEMS:
            raise NotAModel(f"its header has an array of more than {MAX_ARRAY_ITEMS} items. Download it again.")
        return super()._get_field_parts(orig_offs, raw_type)


def _gguf_tensors(file: Path) -> dict[str, Stored]:
    reader = _BoundedReader(file)
    stored = {str(tensor.name): Stored("GGUF", tuple(map(int, tensor.shape))) for tensor in reader.tensors}
    layer_counts = [field for name, field in reader.fields.items() if name.endswith(".block_count")]
    for field in layer_counts:
        _check_layer_count(int(field.contents()), stored)
    return stored


def refuse_types(stored: Mapping[str, Stored], config: Mapping[str, Any]) -> None:
    """Raises NotAModel if weights are not ordinary floats, unless the config says that they are quantized."""
    if config.get("quantization_config"):
        return
    for name, tensor in stored.items():
        is_mask = len(tensor.shape) in (0, 4)
        if tensor.kind not in (*FLOATS, "GGUF") and not is_mask and not name.endswith(BUFFER_NAMES):
            raise NotAModel(
                f"its weights are not ordinary floats ({name} is {tensor.kind}), and its config.json does not say how they were "
                "quantized. Save the model as float32, bfloat16 or float16."
            )


def refuse_counts(config: Mapping[str, Any], stored: Mapping[str, Stored]) -> None:
    """Raises NotAModel if a config asks for so many parts that the weights cannot have them and naming them would take long."""
    for key, value in _numbers(config):
        if key in LAYER_COUNT_KEYS:
            _check_layer_count(value, stored)
        if value > MAX_PARTS and re.search(r"(layer|expert|block|stage|group|codebook|type)s$", key):
            raise NotAModel(f"its config.json asks for {key} = {value}, which no model has. Download it again.")


def _check_layer_count(n_layers: int, stored: Mapping[str, Stored]) -> None:
    """Raises NotAModel if there are fewer layers, as numbered in the names of the weights, than the config asks for."""
    layer_numbers = {match[1] for name in stored if (match := re.search(r"(?:^|\.)(\d+)\.", name))}
    if stored and not 0 < n_layers <= len(layer_numbers):
        raise NotAModel(f"its config asks for {n_layers} layers, but its weights have {len(layer_numbers)}. Download it again.")


def _numbers(config: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Every integer in a config with its key, however deeply nested."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _numbers(value)
        elif isinstance(value, list):
            yield from _numbers_in(key, value)
        elif isinstance(value, int) and not isinstance(value, bool):
            yield key, value


def _numbers_in(key: str, values: Sequence[Any]) -> Iterator[tuple[str, int]]:
    for value in values:
        yield from _numbers_in(key, value) if isinstance(value, list) else _numbers({key: value})


def refuse_more_weights(config: PreTrainedConfig, stored: Mapping[str, Stored], body: str) -> None:
    """Raises NotAModel if a model of this config has far more weights than are stored; it is built on the meta device.

    Args:
        body: the class of the model without a head that the weights were saved from; empty if they have one.
    """
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    n_wanted = sum(parameter.numel() for parameter in model.parameters())
    n_stored = sum(tensor.n_elements for tensor in stored.values())
    if body and n_wanted > n_stored:
        raise NotAModel(
            f"it is a bare body ({body}), saved without the map to the vocabulary. Save it from AutoModelForCausalLM, with its "
            "head, or choose the checkpoint that it was made from."
        )
    packing = PACKING_FACTOR if getattr(config, "quantization_config", None) else 1
    if stored and n_wanted > MISSING_WEIGHTS_FACTOR * packing * n_stored:
        raise NotAModel(
            f"its config asks for {n_wanted / 1e6:.1f} million weights, but the files hold {n_stored / 1e6:.1f} million. "
            "Download it again."
        )
