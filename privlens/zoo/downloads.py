"""Downloads in a child process, which can be stopped at once; their progress is the growth of a folder.

The weights of a hub id are fetched this way too, before they are loaded, so that the user sees progress and can cancel.
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

POLL_SECONDS = 0.2
"""Between two looks at the folder: short enough that progress moves and cancelling feels immediate, long enough that walking
the folder costs next to nothing."""
SMALL_FILES = ("*.json", "*.jinja", "*.txt", "*.model")
"""What a model needs besides its weights: config and tokenizer."""
FETCH = "import sys; from huggingface_hub import snapshot_download as get; get(sys.argv[1], allow_patterns=sys.argv[2:])"


class ChildFailed(Exception):
    """The downloading process ended with an error; the message is the end of its output."""


def run_watched(command: list[str], folder: Path, stop: Stop, env: Mapping[str, str] | None = None) -> Iterator[int]:
    """Runs a command and yields the size of a folder in bytes until it ends. The process is killed when the caller stops.

    Raises:
        ChildFailed: if it ended with an error, with the end of its output. Cancelled: when `stop` said so.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        child = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=env)
        try:
            while child.poll() is None:
                if stop():
                    raise Cancelled("Download stopped; nothing of it is used.")
                yield folder_size(folder)
                time.sleep(POLL_SECONDS)
        finally:
            child.kill()
            child.wait()
        log.seek(0)
        output = [line.strip() for line in log.read().splitlines() if line.strip()]
    if child.returncode:
        raise ChildFailed(" ".join(output[-2:])[:300])


def folder_size(folder: Path) -> int:
    """Bytes in a folder, whose files may appear and disappear meanwhile."""
    n_bytes = 0
    for file in folder.rglob("*"):
        try:
            n_bytes += 0 if file.is_symlink() or not file.is_file() else file.stat().st_size
        except FileNotFoundError:
            continue
    return n_bytes


def redact_tokens(text: str) -> str:
    """The text with *** for everything that is, or looks like, a hub token."""
    tokens = [get_token(), os.environ.get("HF_TOKEN"), os.environ.get("HUGGING_FACE_HUB_TOKEN")]
    for token in tokens:
        text = text.replace(token, "***") if token else text
    return re.sub(r"hf_[A-Za-z0-9]{8,}|(?<=Bearer )\S+", "***", text)


def fetch_from_hub(repository: str, weights: str = "*.safetensors", stop: Stop = never_stop) -> Iterator[FetchStep]:
    """Downloads a hub id into the hub's own cache; does nothing if the hub does not answer or everything is there.

    Args:
        weights: pattern of the files that hold weights; other weight files are not downloaded.

    Raises:
        ModelNotFound: if the download failed; the message holds no token. Cancelled: when `stop` said so. What arrived stays in
            the hub's cache, and the next attempt resumes from it.
    """
    try:
        files = model_info(repository, timeout=5, files_metadata=True).siblings or []
    except Exception:  # no network, no such id, no access to it: loading says which
        return
    patterns = (*SMALL_FILES, weights)
    n_bytes = sum(file.size or 0 for file in files if any(fnmatch(file.rfilename, pattern) for pattern in patterns))
    folder = Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
    try:
        for n_done in run_watched([sys.executable, "-c", FETCH, repository, *patterns], folder, stop):
            yield FetchStep(min(n_done, n_bytes), max(1, n_bytes), "downloading")
    except ChildFailed as failed:
        reason = redact_tokens(str(failed))
        raise ModelNotFound(f"{repository} could not be downloaded: {reason} Check the network and try again.") from None
