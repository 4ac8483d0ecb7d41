"""Downloads run as a child process: it can be ended at once, and the growth of a folder is its progress.

Also the weights of a hub id, fetched before they are loaded, so that a person sees how far it is and can cancel.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path

from huggingface_hub import constants, get_token, model_info

from privlens.errors import Cancelled, ModelNotFound
from privlens.lm.model import Stop, never_stop
from privlens.types import FetchStep

LOOK_EVERY = 0.2
"""Seconds between two looks at how much was downloaded."""
SMALL = ("*.json", "*.jinja", "*.txt", "*.model")
"""What a model needs beside its weights: config and tokenizer."""
FETCH = "import sys; from huggingface_hub import snapshot_download as get; get(sys.argv[1], allow_patterns=sys.argv[2:])"


class ChildFailed(Exception):
    """The process that downloads ended with an error; its last words."""


def watched(command: list[str], place: Path, stop: Stop, setting: Mapping[str, str] | None = None) -> Iterator[int]:
    """Runs a command and yields the bytes below a folder until it has ended; it never outlives this.

    Raises:
        ChildFailed: with its last words. Cancelled: when `stop` said so.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        child = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=setting)
        try:
            while child.poll() is None:
                if stop():
                    raise Cancelled("Fetching stopped; nothing of it is used.")
                yield size_of(place)
                time.sleep(LOOK_EVERY)
        finally:
            child.kill()
            child.wait()
        log.seek(0)
        said = [line.strip() for line in log.read().splitlines() if line.strip()]
    if child.returncode:
        raise ChildFailed(" ".join(said[-2:])[:300])


def size_of(place: Path) -> int:
    """Bytes in a folder whose files come and go."""
    found = 0
    for file in place.rglob("*"):
        try:
            found += 0 if file.is_symlink() or not file.is_file() else file.stat().st_size
        except FileNotFoundError:
            continue
    return found


def hidden(text: str) -> str:
    """The text without anything that is or looks like a hub token."""
    known = [get_token(), os.environ.get("HF_TOKEN"), os.environ.get("HUGGING_FACE_HUB_TOKEN")]
    for token in known:
        text = text.replace(token, "***") if token else text
    return re.sub(r"hf_[A-Za-z0-9]{8,}|(?<=Bearer )\S+", "***", text)


def fetch_from_hub(repository: str, weights: str = "*.safetensors", stop: Stop = never_stop) -> Iterator[FetchStep]:
    """Brings a hub id into the hub's own cache; nothing happens where the hub does not answer, or all is there.

    Args:
        weights: the files that hold weights; others are left where they are.

    Raises:
        ModelNotFound: where the download failed, without any token. Cancelled: when `stop` said so; what came stays in the
            hub's cache, from where the next try goes on.
    """
    try:
        files = model_info(repository, timeout=5, files_metadata=True).siblings or []
    except Exception:  # no network, no such id, no right to it: loading says which
        return
    n_bytes = sum(file.size or 0 for file in files if any(fnmatch(file.rfilename, one) for one in (*SMALL, weights)))
    place = Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
    try:
        for done in watched([sys.executable, "-c", FETCH, repository, *SMALL, weights], place, stop):
            yield FetchStep(min(done, n_bytes), max(1, n_bytes), "downloading")
    except ChildFailed as failed:
        said = hidden(str(failed))
        raise ModelNotFound(f"{repository} could not be downloaded: {said} Check the network and try again.") from None
