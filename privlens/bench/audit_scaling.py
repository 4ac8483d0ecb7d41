"""How many secrets a second an audit checks, in this process and in Ray workers on this machine, and what a million would take.

Only the checks are timed, those of paired controls included: what a plan does beyond them is done on a fixed number of secrets.
Ray and the models of its workers take a while to start, so the first chunk of every worker is left out of the pace.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import psutil

from privlens.audit.checks import AT_ONCE
from privlens.audit.ray_workers import LOCAL, on_ray
from privlens.audit.records import Plan
from privlens.audit.run import Job, audit, here, readable
from privlens.audit.sample import read_sample
from privlens.audit.store import open_store
from privlens.errors import BadInput
from privlens.zoo.loading import load

MILLION = 1_000_000
DAY = 86_400
KEY = b"a key of no audit"
"""Names secrets in a database in memory, which is gone with the run."""


@dataclass(frozen=True)
class ScalingRow:
    """One audit.

    Attributes:
        workers: of a local Ray cluster; 0 for none, in this process. seconds: of the wall clock, for all `secrets`.
        start_s: until every worker had checked its first chunk. seconds_each: of one secret, after that.
        a_second: secrets. million_days: a million at this pace.
        load: processes that wanted a core in the minute before the end (the load average), of this run and of all else.
    """

    workers: int
    secrets: int
    seconds: float
    start_s: float
    seconds_each: float
    a_second: float
    million_days: float
    load: float


def scaling(
    path: Path, workers: Sequence[int], n: int, model: str, device: str, dtype: str, seed: int = 0
) -> Iterator[ScalingRow]:
    """An audit of the first `n` secrets of a list for every number of workers; a row as soon as it is measured.

    Raises:
        BadInput: for a list or a model that cannot be read, more workers than this machine has room for, or no second chunk.
    """
    lm = load(model, device, dtype)
    read = readable(lm, read_sample(path, KEY))
    read = replace(read, secrets=read.secrets[:n])
    n_secrets = len(read.secrets)
    if n_secrets <= AT_ONCE * max(1, *workers):
        raise BadInput(
            f"{n_secrets} secrets give each worker no second chunk of {AT_ONCE}: give more by --n, or fewer --workers."
        )
    for n_workers in workers:
        checking = on_ray(LOCAL, partial(load, model, device, dtype), n_workers) if n_workers else here
        store = open_store("sqlite://")
        started = time.perf_counter()
        steps = audit(Job(lm, read, Plan(seed=seed), None, checking=checking), store)
        arrived = [time.perf_counter() - started for step in steps if step.result is None]
        store.close()
        first = max(1, n_workers)
        each = pace(arrived, n_secrets, first)
        yield ScalingRow(
            n_workers, n_secrets, arrived[-1], arrived[first - 1], each, 1 / each, each * MILLION / DAY, psutil.getloadavg()[0]
        )


def pace(arrived: Sequence[float], n_secrets: int, first: int) -> float:
    """Seconds a secret after the first chunks: `first` of them; `arrived` are the seconds at which each chunk was there."""
    return (arrived[-1] - arrived[first - 1]) / (n_secrets - first * AT_ONCE)
