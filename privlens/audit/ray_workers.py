"""Checks the chunks of an audit on a Ray cluster: each worker is a process with its own model, and takes one chunk at a time.

A chunk is measured as it would be here, with as many threads: on machines of one kind every digit is the same. A worker that is
killed is started again, here or elsewhere in the cluster, and its chunk with it. The secrets travel to the workers: use a cluster
that is yours, and Ray's TLS between machines. Moritz et al., 2018, https://arxiv.org/abs/1712.05889.
"""

import os
import secrets as random_bytes
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from privlens.audit.checks import check_all
from privlens.audit.pairs import ListedPairs
from privlens.audit.records import Finding, Plan
from privlens.audit.run import Checking, Chunk, Job
from privlens.errors import BadInput, Cancelled
from privlens.lm.model import LanguageModel
from privlens.types import Secret

LOCAL = "local"
"""The address of a cluster on this machine, started for one audit."""
RETRIES = 3
"""How often a worker is started again before the audit ends: one that lacks the memory for its chunk dies of it each time."""
LISTENING = 1.0
"""Seconds between two looks at whether to stop."""
Opened = Callable[[], LanguageModel]


@dataclass(frozen=True)
class Expected:
    """What the model of a worker must share with the one here, lest their numbers differ."""

    fingerprint: str
    device: str
    is_chat: bool
    n_threads: int


@dataclass(frozen=True)
class Measuring:
    """What a worker measures by: the list for the lifts, the audit's plan, and whether values are kept."""

    listed: tuple[Secret, ...]
    plan: Plan
    keep_values: bool


class Worker:
    """One model in a process of its own, loaded with the first chunk."""

    def __init__(self, opened: Opened, expected: Expected, measuring: Measuring) -> None:
        self.opened, self.expected, self.measuring = opened, expected, measuring
        self.lm: LanguageModel | None = None
        self.shared: ListedPairs | None = None

    def check(self, chunk: Chunk) -> list[Finding]:
        """The findings of a chunk. Raises BadInput where the model is another one than expected."""
        if self.lm is None:
            torch.set_num_threads(self.expected.n_threads)
            self.lm = self.opened()
            if expected_of(self.lm) != self.expected:
                raise BadInput(
                    f"A worker of the Ray cluster has other weights, or another kind of device ({self.lm.fingerprint} on "
                    f"{self.lm.device}): give every machine the same files, and a --device that each has."
                )
            self.shared = ListedPairs(self.lm, self.measuring.listed)
        measuring = self.measuring
        return list(
            check_all(self.lm, chunk, measuring.listed, measuring.plan, keep_values=measuring.keep_values, shared=self.shared)
        )


def expected_of(lm: LanguageModel) -> Expected:
    """What workers must share with this model in this process."""
    return Expected(lm.fingerprint, lm.device.type, lm.is_chat, torch.get_num_threads())


def on_ray(address: str, opened: Opened, n_workers: int | None = None) -> Checking:
    """How a job's chunks are checked on a cluster.

    Args:
        address: of the cluster, as Ray has it; LOCAL starts one here. opened: loads the model, in the worker's process.
        n_workers: as many as there is room for by default: each takes a GPU, or as many cores as this process has threads.
    """
    return partial(_checked, address, opened, n_workers)


def _checked(address: str, opened: Opened, n_workers: int | None, job: Job, chunks: Sequence[Chunk]) -> Iterator[list[Finding]]:
    """The findings of every chunk, in order."""
    if not chunks:
        return
    ray = _ray()
    expected = expected_of(job.lm)
    measuring = Measuring(job.read.listed, job.plan, job.keep_values)
    needs = {"num_gpus": 1, "num_cpus": 1} if expected.device == "cuda" else {"num_cpus": expected.n_threads}
    with _connected(ray, address, None if n_workers is None else n_workers * needs["num_cpus"]):
        n = min(len(chunks), _room(ray, needs, n_workers))
        actor = ray.remote(max_restarts=RETRIES, max_task_retries=RETRIES, **needs)(Worker)
        pool = ray.util.ActorPool([actor.remote(opened, expected, measuring) for _ in range(n)])
        for chunk in chunks:
            pool.submit(lambda worker, chunk: worker.check.remote(chunk), chunk)
        while pool.has_next():
            yield _next(ray, pool, job)


def _ray() -> Any:
    """Ray, which reports its use to nobody. Raises BadInput where it is not installed."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        import ray
        import ray.util
    except ImportError as cause:
        raise BadInput('--ray needs Ray, which is not installed: pip install "privlens[ray]".') from cause
    return ray


@contextmanager
def _connected(ray: Any, address: str, n_cpus: int | None) -> Iterator[None]:
    """Inside, this process belongs to a cluster; a local one lives only so long, with its files in a private folder.

    Its processes listen on every address of the machine, so they ask for a token, which is known to them alone: the one that Ray
    makes itself lies in a file that others may read.
    """
    with tempfile.TemporaryDirectory(prefix="privlens-ray-", ignore_cleanup_errors=True) as folder:
        local: dict[str, Any] = {}
        if address == LOCAL:
            os.environ.setdefault("RAY_AUTH_TOKEN", random_bytes.token_hex(32))
            local = {"num_cpus": n_cpus, "include_dashboard": False, "_temp_dir": folder}
        try:
            _knock(address)
            ray.init(address=address, log_to_driver=False, logging_level="error", **local)
        except (OSError, ImportError, RuntimeError, ValueError) as cause:
            reason = str(cause).partition("\n")[0][:200]
            raise BadInput(f"There is no Ray cluster at {address} ({reason}): give the address of one, or `{LOCAL}`.") from cause
        try:
            yield
        finally:
            ray.shutdown()


def _knock(address: str) -> None:
    """Raises OSError where nobody listens at an address with a port: Ray itself would go on trying for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdecimal():
        socket.create_connection((host, int(port)), timeout=10).close()


def _room(ray: Any, needs: dict[str, int], n_workers: int | None) -> int:
    """How many workers are started. Raises BadInput where the cluster has not room for as many as were asked for, or for one."""
    resources = ray.cluster_resources()
    room = min(int(resources.get(name, 0)) // needs[of] for name, of in (("GPU", "num_gpus"), ("CPU", "num_cpus")) if of in needs)
    if room < (n_workers or 1):
        each = "a GPU" if "num_gpus" in needs else f"{needs['num_cpus']} cores (OMP_NUM_THREADS)"
        raise BadInput(f"The Ray cluster has room for {room} workers of {each} each: give fewer --workers, or a larger cluster.")
    return n_workers or room


def _next(ray: Any, pool: Any, job: Job) -> list[Finding]:
    """The next chunk's findings. Raises BadInput where no worker survives it, Cancelled when the job is to stop."""
    while True:
        if job.stop():
            raise Cancelled("Stopped while measuring; what was stored stays.")
        try:
            findings: list[Finding] = pool.get_next(timeout=LISTENING)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except TimeoutError:
            continue
        except ray.exceptions.RayActorError as cause:
            raise BadInput(
                f"A worker of the Ray cluster died, and the {RETRIES} started in its place, perhaps for lack of memory. What was "
                "stored is kept: give fewer --workers, and run the same command with --resume."
            ) from cause
        return findings
