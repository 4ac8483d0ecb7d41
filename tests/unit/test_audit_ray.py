"""An audit whose chunks are checked on a Ray cluster: one of two workers on this machine."""

import os
import random
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch

from privlens.audit.query_log import QueryLog, verify
from privlens.audit.ray_workers import LOCAL, _room, on_ray
from privlens.audit.records import Audit, Plan
from privlens.audit.run import Checking, Job, audit, here
from privlens.audit.sample import ReadSample, read_sample
from privlens.audit.store import open_store
from privlens.cli.commands import main
from privlens.errors import BadInput, Cancelled
from privlens.lm.model import LanguageModel
from privlens.types import from_json
from privlens.zoo.loading import load
from tests.helpers import TAUGHT

KEY = b"0123456789abcdef"
PLAN = Plan(temperature=0.7)


def opened(folder: str, marker: Path | None = None) -> LanguageModel:
    """Loads the model in a worker; the first one that comes here with a marker is killed in the midst of its chunk."""
    if marker and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return load(folder, "cpu")


def sessions() -> set[Path]:
    """Where Ray has its sockets and logs, and where PrivLens puts them."""
    folder = Path(tempfile.gettempdir())
    return {*folder.glob("ray/session_2*"), *folder.glob("privlens-ray-*")}


def dying(folder: str) -> LanguageModel:
    os.kill(os.getpid(), signal.SIGKILL)
    return load(folder, "cpu")


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Each worker takes as many cores as this process has threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def target(taught_folder: str) -> LanguageModel:
    return load(taught_folder, "cpu")


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 secrets: a whole chunk, and a short one."""
    numbers = random.Random(0)
    rows = [f"{secret.prompt},{secret.value},{secret.category}" for secret in TAUGHT]
    rows += [f"the number of person {row} is,555-{numbers.randrange(10_000):04},phone" for row in range(16)]
    path = tmp_path_factory.mktemp("list") / "list.csv"
    path.write_text("\n".join(["prompt,value,category", *rows]) + "\n")
    return path


@pytest.fixture(scope="module")
def read(listed: Path) -> ReadSample:
    return read_sample(listed, KEY)


def run(lm: LanguageModel, read: ReadSample, folder: Path, checking: Checking) -> Audit:
    store = open_store(folder / "audit.sqlite")
    *_, last = audit(Job(lm, read, PLAN, QueryLog(folder / "queries.jsonl"), checking=checking), store)
    store.close()
    assert last.result and verify(folder / "queries.jsonl") is None
    return replace(last.result, started="", ended="", seconds=0)


@pytest.fixture(scope="module")
def alone(target: LanguageModel, read: ReadSample, tmp_path_factory: pytest.TempPathFactory) -> Audit:
    """The same without Ray."""
    return run(target, read, tmp_path_factory.mktemp("alone"), here)


def test_a_killed_workers_chunk_is_done_again_and_every_digit_is_as_without_ray(
    target: LanguageModel,
    read: ReadSample,
    alone: Audit,
    taught_folder: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    marker, before = tmp_path / "killed", sessions()
    result = run(target, read, tmp_path, on_ray(LOCAL, partial(opened, taught_folder, marker), 2))
    assert marker.exists()
    assert result == alone and sum(finding.measured.greedy_match for finding in result.findings) == len(TAUGHT)
    assert not (tmp_path / ".ray").exists(), "its token is in no file"
    assert sessions() == before, "its sockets and logs were in a private folder, which is gone"
    names = [process.name() for process in psutil.Process().children(recursive=True)]
    assert not [name for name in names if "ray" in name], "nothing of the cluster is left"


def test_a_worker_with_another_model_is_refused_and_a_resumed_run_ends_the_same(
    target: LanguageModel, read: ReadSample, alone: Audit, taught_folder: str, folder: str, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=r"^A worker of the Ray cluster has other weights.*the same files"):
        run(target, read, tmp_path, on_ray(LOCAL, partial(opened, folder), 1))
    job = Job(target, read, PLAN, QueryLog(tmp_path / "queries.jsonl"), checking=on_ray(LOCAL, partial(opened, taught_folder), 1))
    store = open_store(tmp_path / "audit.sqlite")
    steps = audit(job, store)
    assert next(steps).step == 16, "in the order of the list"
    steps.close()  # type: ignore[attr-defined]
    store.close()
    assert run(target, read, tmp_path, here) == alone


def test_workers_that_die_each_time_are_said_in_words(
    target: LanguageModel, read: ReadSample, taught_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("privlens.audit.ray_workers.RETRIES", 1)
    with pytest.raises(BadInput, match=r"died, and the 1 started in its place.*fewer --workers.*--resume"):
        run(target, read, tmp_path, on_ray(LOCAL, partial(dying, taught_folder), 1))


def test_a_stop_is_heard_by_workers(target: LanguageModel, read: ReadSample, taught_folder: str, tmp_path: Path) -> None:
    checking = on_ray(LOCAL, partial(opened, taught_folder), 1)
    job = Job(target, read, PLAN, QueryLog(tmp_path / "queries.jsonl"), stop=lambda: True, checking=checking)
    with pytest.raises(Cancelled):
        list(audit(job, open_store(tmp_path / "audit.sqlite")))


def test_without_a_cluster_it_is_said_in_words(target: LanguageModel, read: ReadSample, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"There is no Ray cluster at 127\.0\.0\.1:1 .*or `local`"):
        run(target, read, tmp_path, on_ray("127.0.0.1:1", partial(opened, ""), 1))


def test_as_many_workers_are_started_as_there_is_room_for() -> None:
    gpus, cores = {"num_gpus": 1, "num_cpus": 1}, {"num_cpus": 2}

    def room(resources: dict[str, float], needs: dict[str, int], n_workers: int | None) -> int:
        return _room(SimpleNamespace(cluster_resources=lambda: resources), needs, n_workers)

    assert room({"CPU": 7.0}, cores, None) == 3 and room({"CPU": 7.0}, cores, 2) == 2
    assert room({"CPU": 7.0, "GPU": 2.0}, gpus, None) == 2 and room({"CPU": 1.0, "GPU": 2.0}, gpus, None) == 1
    with pytest.raises(BadInput, match=r"room for 3 workers of 2 cores \(OMP_NUM_THREADS\) each: give fewer --workers"):
        room({"CPU": 7.0}, cores, 4)
    with pytest.raises(BadInput, match="room for 0 workers of a GPU each"):
        room({"CPU": 7.0}, gpus, None)


def test_on_the_command_line(
    alone: Audit,
    listed: Path,
    taught_folder: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "out.key").write_bytes(KEY)
    monkeypatch.chdir(Path(taught_folder).parent)
    asked: list[tuple[object, ...]] = []

    def noted(address: str, opened: partial[LanguageModel], n_workers: int) -> Checking:
        asked.append((address, opened.args[0], n_workers))
        return on_ray(address, opened, n_workers)

    monkeypatch.setattr("privlens.cli.audit.on_ray", noted)
    model = ["--model", Path(taught_folder).name, "--device", "cpu", "--temperature", "0.7"]
    with pytest.raises(SystemExit) as ended:
        main(["audit", str(listed), "--out", str(tmp_path / "out"), *model, "--ray", "local", "--workers", "2"])
    assert not ended.value.code
    assert asked == [("local", taught_folder, 2)], "in whatever folder a worker runs"
    assert from_json(Audit, (tmp_path / "out" / "audit.json").read_text()).findings == alone.findings
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(["audit", str(listed), "--out", str(tmp_path / "other"), *model, "--workers", "2"])
    assert ended.value.code == 2 and "--ray local" in capsys.readouterr().err
