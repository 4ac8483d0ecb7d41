"""What the weights of a model on disk are, by the headers of their files alone: which files, and each tensor's type and shape.

Nothing is allocated and, unless pickled weights were asked for, nothing is unpickled. Only files are read that lie in the folder
itself, or among the blobs of the hub's cache that it belongs to. Knows nothing of what a model is for.
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

SAFE = ("model.safetensors", "model.safetensors.index.json")
PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")
"""What transformers looks for in a folder, the first that is there."""
FLOATS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
"""The types of weights that are read, with their bytes."""
SIZES = {**FLOATS, "F8_E4M3": 1, "F8_E5M2": 1, "I8": 1, "U8": 1, "I16": 2, "I32": 4, "I64": 8, "BOOL": 1}
BUFFERS = ("position_ids", "token_type_ids")
"""Counted numbers that some checkpoints carry along; masks are the others, of four dimensions."""
LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers", "num_decoder_layers")
"""What configs call their number of layers."""
LARGEST_JSON = 64 * 2**20
MOST_PARTS = 10_000
"""Experts, blocks and the like in one model."""
MOST_ITEMS = 2**22
"""Items in one array of a GGUF's header; vocabularies have a quarter of a million."""
PACKED = 9
"""A quantized checkpoint packs up to eight weights into one number; the ninth is for what is not quantized."""
ALLOWANCE = 1.5
"""How many times more weights a config may ask for than there are: a few that are missing are named after loading."""


class NotAModel(ValueError):
    """What lies there is no causal LM that can be read; says what it is instead, and what to do."""


@dataclass(frozen=True)
class Stored:
    """A tensor in a file: its type as safetensors names it (F32, I64 ...), or GGUF, and its shape."""

    kind: str
    shape: tuple[int, ...]

    @property
    def n_elements(self) -> int:
        """Numbers in it."""
        return math.prod(self.shape)


def must_be_a_file(path: Path) -> None:
    """Raises NotAModel for a pipe, a device, a folder or a link that leads nowhere: reading some of them never ends."""
    try:
        mode = path.stat().st_mode
    except OSError as cause:
        said = "leads nowhere" if path.is_symlink() else f"cannot be read ({cause.strerror})"
        raise NotAModel(f"its {path.name} {said}. Download or copy it again.") from cause
    if not stat.S_ISREG(mode):
        raise NotAModel(f"its {path.name} is {'a folder' if stat.S_ISDIR(mode) else 'a pipe or a device'}, not a file.")


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises NotAModel where there is none."""
    must_be_a_file(path)
    if path.stat().st_size > LARGEST_JSON:
        raise NotAModel(f"its {path.name} has {path.stat().st_size / 1e6:.0f} MB, which no such file needs.")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as cause:
        raise NotAModel(f"its {path.name} is not valid JSON ({cause}). Download or copy it again.") from cause
    if not isinstance(found, dict):
        raise NotAModel(f"its {path.name} holds no JSON object. Download or copy it again.")
    return found


def weight_files(folder: Path, config: Mapping[str, Any], pickled: bool = False) -> tuple[Path, ...]:
    """The files that transformers reads the weights of this folder from; none where it has no weights of these kinds.

    Args:
        config: the folder's config.json, which may name another file. pickled: whether .bin files are read too.

    Raises:
        NotAModel: where an index or a link leads out of the folder or to another kind of file, or a file is missing.
    """
    named = config.get("transformers_weights")
    names = [str(named)] if named else [*SAFE, *(PICKLED if pickled else ())]
    ends = (".safetensors", ".bin") if pickled else (".safetensors",)
    first = next((name for name in names if (folder / name).is_file()), None)
    if first is None:
        return ()
    _must_be_plain(first, "config.json", (*ends, ".index.json"))
    shards = _shards(folder / first, ends) if first.endswith(".index.json") else [first]
    every = {*shards, *(file.name for file in folder.glob("*.safetensors"))}  # some others are read in their stead
    for name in sorted(every):
        _must_lie_in(folder, name)
    return tuple(folder / name for name in shards)


def _shards(index: Path, ends: tuple[str, ...]) -> list[str]:
    named = read_json(index).get("weight_map")
    if not isinstance(named, dict) or not named or not all(isinstance(name, str) for name in named.values()):
        raise NotAModel(f"its {index.name} does not say which file holds which weight. Download it again.")
    for name in set(named.values()):
        _must_be_plain(name, index.name, ends)
    return sorted(set(named.values()))


def _must_be_plain(name: str, by: str, ends: tuple[str, ...]) -> None:
    if PurePosixPath(name).name != name or PureWindowsPath(name).name != name:
        raise NotAModel(f"its {by} names {name[:100]!r}, which is no file of the folder itself. Nothing outside it is read.")
    if not name.endswith(ends):
        raise NotAModel(
            f"its {by} names {name[:100]!r}, which is no safetensors file. Other kinds can run code on this machine: save the "
            "model as safetensors."
        )


def _must_lie_in(folder: Path, name: str) -> None:
    """Raises NotAModel for a file that is missing, is none, or that a link leads to elsewhere; the hub's own links are meant."""
    if not (folder / name).exists() and not (folder / name).is_symlink():
        raise NotAModel(f"its weights are not whole: {name} is missing. Download it again.")
    must_be_a_file(folder / name)
    home, target = folder.resolve(), (folder / name).resolve()
    blobs = home.parents[1] / "blobs" if home.parent.name == "snapshots" else home
    if target.parent not in (home, blobs):
        raise NotAModel(f"its {name} is a link to {target}, outside the folder. Put the file itself there.")


def tensors(files: Sequence[Path]) -> dict[str, Stored]:
    """Every tensor of some weight files by its name."""
    found: dict[str, Stored] = {}
    for file in files:
        found |= {".gguf": _in_gguf, ".bin": _in_pickle}.get(file.suffix, _in_safetensors)(file)
    return found


def _in_safetensors(file: Path) -> dict[str, Stored]:
    with safe_open(file, framework="pt") as opened:
        parts = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118  # it is no dict
        return {name: Stored(part.get_dtype(), tuple(part.get_shape())) for name, part in parts.items()}


def _in_pickle(file: Path) -> dict[str, Stored]:
    """Of a .bin file, which was asked for; without its numbers, and without what torch takes for code."""
    kinds = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
    found = torch.load(file, map_location="meta", weights_only=True)
    weights = {name: value for name, value in found.items() if isinstance(value, torch.Tensor)}
    return {name: Stored(kinds.get(value.dtype, str(value.dtype)), tuple(value.shape)) for name, value in weights.items()}


class _WithinItsFile(gguf.GGUFReader):
    """gguf's reader, which takes what lies behind the end of a file for empty, and so counts on for ever."""

    def _get(self, offset: int, dtype: Any, count: int = 1, override_order: Any = None) -> Any:
        if offset + np.dtype(dtype).itemsize * int(count) > len(self.data):
            raise NotAModel("its header asks for more than the file holds. Download it again.")
        return super()._get(offset, dtype, count, override_order)

    def _get_field_parts(self, orig_offs: int, raw_type: int) -> Any:
        if raw_type == gguf.GGUFValueType.ARRAY and self._get(orig_offs + 4, np.uint64)[0] > MOST_ITEMS:
            raise NotAModel(f"its header has an array of more than {MOST_ITEMS} items. Download it again.")
        return super()._get_field_parts(orig_offs, raw_type)


def _in_gguf(file: Path) -> dict[str, Stored]:
    reader = _WithinItsFile(file)
    found = {str(one.name): Stored("GGUF", tuple(map(int, one.shape))) for one in reader.tensors}
    counts = [field for name, field in reader.fields.items() if name.endswith(".block_count")]
    for field in counts:
        _refuse_more_layers(int(field.contents()), found)
    return found


def refuse_types(stored: Mapping[str, Stored], config: Mapping[str, Any]) -> None:
    """Raises NotAModel where weights are no ordinary floats, unless the config says that they are quantized."""
    if config.get("quantization_config"):
        return
    for name, tensor in stored.items():
        mask = len(tensor.shape) in (0, 4)
        if tensor.kind not in (*FLOATS, "GGUF") and not mask and not name.endswith(BUFFERS):
            raise NotAModel(
                f"its weights are no ordinary floats ({name} is {tensor.kind}), and its config.json does not say how they were "
                "quantized. Save the model as float32, bfloat16 or float16."
            )


def refuse_counts(config: Mapping[str, Any], stored: Mapping[str, Stored]) -> None:
    """Raises NotAModel where a config asks for parts that the weights cannot have, of which even the names would take long."""
    for key, value in _numbers(config):
        if key in LAYERS:
            _refuse_more_layers(value, stored)
        if value > MOST_PARTS and re.search(r"(layer|expert|block|stage|group|codebook|type)s$", key):
            raise NotAModel(f"its config.json asks for {key} = {value}, which no model has. Download it again.")


def _refuse_more_layers(n_layers: int, stored: Mapping[str, Stored]) -> None:
    """Layers are numbered in the names of their weights, in whatever list they stand."""
    numbered = {match[1] for name in stored if (match := re.search(r"(?:^|\.)(\d+)\.", name))}
    if stored and not 0 < n_layers <= len(numbered):
        raise NotAModel(f"its config asks for {n_layers} layers, but its weights have {len(numbered)}. Download it again.")


def _numbers(config: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
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
    """Raises NotAModel where a model of this config has far more weights than there are; it is built without any memory.

    Args:
        body: the class of a model without a map to the vocabulary, where the weights were saved from one; else empty.
    """
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    wanted = sum(parameter.numel() for parameter in model.parameters())
    held = sum(tensor.n_elements for tensor in stored.values())
    if body and wanted > held:
        raise NotAModel(
            f"it is a bare body ({body}), saved without the map to the vocabulary. Save it from AutoModelForCausalLM, with its "
            "head, or choose the checkpoint that it was made from."
        )
    packed = PACKED if getattr(config, "quantization_config", None) else 1
    if stored and wanted > ALLOWANCE * packed * held:
        raise NotAModel(
            f"its config asks for {wanted / 1e6:.1f} million weights, but the files hold {held / 1e6:.1f} million. Download it "
            "again."
        )
