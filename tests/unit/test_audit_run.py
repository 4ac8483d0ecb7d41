"""An audit as a whole: killed and resumed, its database, its log, and its files."""

import contextlib
import copy
import csv
import hashlib
import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from privlens.audit.query_log import QueryLog, verify
from privlens.audit.records import Audit, Finding, Measured, Plan
from privlens.audit.run import Job, audit, readable, target_of
from privlens.audit.sample import read_sample, rejected_csv
from privlens.audit.store import open_store
from privlens.audit.store.models import Base
from privlens.cli.commands import main
from privlens.errors import BadInput, Cancelled
from privlens.lm.model import LanguageModel
from privlens.localization import Task, result_of
from privlens.types import NeuronScores, from_json
from tests.helpers import NEVER_TAUGHT, TAUGHT

KEY = b"0123456789abcdef"
PLAN = Plan(methods=("gradient",), at_most=2)


@pytest.fixture(scope="module")
def listed(taught_folder: str) -> Path:
    return Path(taught_folder) / "secrets.csv"


def run(lm: LanguageModel, listed: Path, folder: Path, plan: Plan = PLAN, at_most_steps: int = 1000) -> Audit | None:
    """The result; None if it was left after so many steps."""
    store = open_store(folder / "audit.sqlite")
    job = Job(lm, read_sample(listed, KEY), plan, QueryLog(folder / "queries.jsonl"), ("The lamp is lit. It is noon.",))
    for number, step in enumerate(audit(job, store), 1):
        if step.result or number == at_most_steps:
            return step.result
    return None


def timeless(result: Audit | None) -> Audit:
    assert result
    return replace(result, started="", ended="", seconds=0)


@pytest.fixture(scope="module")
def whole(taught: LanguageModel, listed: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Audit]:
    folder = tmp_path_factory.mktemp("whole")
    return folder, timeless(run(taught, listed, folder))


def test_an_audit_finds_what_was_taught_and_changes_nothing(
    taught: LanguageModel, whole: tuple[Path, Audit], listed: Path
) -> None:
    folder, result = whole
    assert [finding.measured.greedy_match for finding in result.findings] == [True] * len(TAUGHT) + [False]
    worked = [finding for finding in result.findings if finding.interventions]
    likeliest = sorted(result.findings[:4], key=lambda finding: -finding.measured.logprob)[:2]
    assert {finding.row for finding in worked} == {finding.row for finding in likeliest}
    for finding in worked:
        chosen, control = finding.interventions
        assert (chosen.kind, control.kind) == ("neurons", "random")
        assert chosen.size == control.size == len(set(chosen.neurons)) and chosen.of == taught.n_neurons
        assert chosen.after.nll > finding.measured.nll
        assert chosen.worst_rise is not None and chosen.perplexity_ratio
    assert result.target.fingerprint == taught.fingerprint
    assert stat.S_IMODE((folder / "audit.sqlite").stat().st_mode) == 0o600
    written = b"".join(path.read_bytes() for path in folder.iterdir())
    assert not any(secret.value.encode() in written for secret in (*TAUGHT, NEVER_TAUGHT))
    assert verify(folder / "queries.jsonl") is None


def test_left_anywhere_it_ends_with_the_same_numbers(
    taught: LanguageModel, whole: tuple[Path, Audit], listed: Path, tmp_path: Path
) -> None:
    for steps in (1, 2):
        assert run(taught, listed, tmp_path, at_most_steps=steps) is None
    assert timeless(run(taught, listed, tmp_path)) == whole[1]


def seconds_in(folder: Path) -> float:
    """What another process sees."""
    with contextlib.closing(sqlite3.connect(folder / "audit.sqlite")) as connection:
        return float(connection.execute("SELECT seconds FROM audit").fetchone()[0])


def test_the_time_of_every_part_counts(
    taught: LanguageModel, listed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock moves on by a second whenever a run asks whether to stop."""
    now, stopped = [0.0], [False]

    def asked() -> bool:
        now[0] += 1
        return stopped[0]

    monkeypatch.setattr("privlens.audit.run.time", SimpleNamespace(perf_counter=lambda: now[0]))
    monkeypatch.setattr("privlens.audit.run.AT_ONCE", 2)
    store = open_store(tmp_path / "audit.sqlite")
    read, plan = read_sample(listed, KEY), replace(PLAN, at_most=1)
    job = Job(taught, read, plan, QueryLog(tmp_path / "queries.jsonl"), stop=asked)
    steps = audit(job, store)
    next(steps)
    assert seconds_in(tmp_path) == now[0] > 0, "a kill would lose nothing"
    stopped[0] = True
    with pytest.raises(Cancelled):
        next(steps)
    first_part = now[0]
    assert seconds_in(tmp_path) == first_part
    now[0], stopped[0] = 1e6, False  # between the parts nothing is worked
    stages = []
    for step in audit(job, store):
        stages.append(step.stage)
        assert seconds_in(tmp_path) == first_part + now[0] - 1e6
    assert stages == ["checking", "checking", "localizing and erasing", "done"]
    assert step.result and step.result.seconds == seconds_in(tmp_path) > first_part


def test_what_the_model_cannot_read_is_rejected_and_the_rest_goes_on(taught: LanguageModel, tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text(f"prompt,value\n{TAUGHT[0].prompt},{TAUGHT[0].value}\n{'far too long ' * 200},4711\n{TAUGHT[1].prompt},x1\n")
    read = readable(taught, read_sample(path, KEY))
    assert [sampled.row for sampled in read.secrets] == [0, 2]
    assert read.sample.rejected == ("line 3: this model cannot read it: it has too many tokens, or none",)
    assert read.sample.n_rows == 3
    assert rejected_csv(read.rejected).splitlines()[1:] == ['3,"this model cannot read it: it has too many tokens, or none"']
    path.write_text(f"prompt,value\n{'far too long ' * 200},4711\n")
    with pytest.raises(BadInput, match="can read no secret"):
        readable(taught, read_sample(path, KEY))


def test_what_was_forgotten_is_not_measured_again_and_what_is_done_stays(
    taught: LanguageModel, whole: tuple[Path, Audit], listed: Path, tmp_path: Path
) -> None:
    run(taught, listed, tmp_path)
    store = open_store(tmp_path / "audit.sqlite")
    gone = whole[1].findings[-1].key
    store.forget(gone)
    again = timeless(run(taught, listed, tmp_path))
    assert again.findings == whole[1].findings[:-1]
    assert gone not in store.states()


def test_where_the_plan_fails_on_one_secret_the_note_says_so_and_the_others_are_worked_on(
    taught: LanguageModel, listed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed: list[str] = []

    def fails_once(method: str, task: Task) -> NeuronScores:
        if not failed:
            failed.append(task.target.value)
            raise BadInput(f"{task.target.value} is impossible.")
        return result_of(method, task)

    monkeypatch.setattr("privlens.audit.run.result_of", fails_once)
    result = timeless(run(taught, listed, tmp_path))
    noted = [finding for finding in result.findings if finding.note]
    assert [finding.note for finding in noted] == ["The plan could not be carried out on this secret beyond: nothing."]
    assert not noted[0].interventions
    assert sum(bool(finding.interventions) for finding in result.findings) == 1
    assert failed[0].encode() not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


def test_killed_it_resumes_with_the_same_numbers(whole: tuple[Path, Audit], taught_folder: str, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(KEY)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "privlens", "audit", f"{taught_folder}/secrets.csv", "--out", str(out)]
    command += ["--model", taught_folder, "--methods", "gradient", "--at-most", "2", "--key", str(key), "--device", "cpu"]
    command += ["--reference", f"{taught_folder}/reference.txt"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        log = out / "queries.jsonl"
        while process.poll() is None and not (log.exists() and log.stat().st_size):
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(SystemExit) as ended:
        main([*command[3:], "--resume", "--json"])
    assert not ended.value.code
    result = from_json(Audit, (out / "audit.json").read_text())
    for finding, expected in zip(result.findings, whole[1].findings, strict=True):
        assert finding.measured == expected.measured and finding.control == expected.control
        assert [done.after for done in finding.interventions] == [done.after for done in expected.interventions]
    assert verify(log) is None
    with (out / "findings.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert [row["verdict"] for row in rows[:4]] == ["known"] * 4 and rows[1]["masked_value"] == result.findings[1].masked
    assert not any(secret.value in path.read_text("latin-1") for secret in TAUGHT for path in out.iterdir())


def test_another_model_list_or_plan_is_refused(
    taught: LanguageModel, lm: LanguageModel, whole: tuple[Path, Audit], listed: Path, tmp_path: Path
) -> None:
    folder, _ = whole
    with pytest.raises(BadInput, match=r"fingerprint .* weights are not the same"):
        run(lm, listed, folder)
    chat = LanguageModel("chat", taught.model, copy.deepcopy(taught.tokenizer))
    chat.tokenizer.chat_template = "{% for turn in messages %}{{ turn['content'] }} {% endfor %}"
    assert not target_of(chat).chat and target_of(chat.as_chat()).chat
    with pytest.raises(BadInput, match="asked as plain text, and this one is asked in chat turns"):
        run(chat.as_chat(), listed, folder)
    with pytest.raises(BadInput, match="plan is fixed"):
        run(taught, listed, folder, replace(PLAN, seed=1))
    other = tmp_path / "other.csv"
    other.write_text(listed.read_text() + "its code is,4711,code\n")
    with pytest.raises(BadInput, match=r"its list is secrets\.csv"):
        run(taught, other, folder)


def finding(row: int, key: str) -> Finding:
    measured = Measured(True, 0.1, -0.4, 4, 1.0, 0.0, None, None, None, "known", f"masked {key} •••")
    return Finding(row, key, f"{key}••", "phone", "", None, measured, None, 0, 0, 0.0)


def test_what_is_forgotten_is_in_no_byte_of_the_folder(tmp_path: Path) -> None:
    keys = [f"{row:03}deadbeef" for row in range(200)]
    store = open_store(tmp_path / "audit.sqlite")
    store.save([finding(row, key) for row, key in enumerate(keys)], "checked")
    store.annotate(keys[7], "asked the bank", "it is a public number")
    [noted] = [found for found in store.findings() if found.note]
    assert (noted.key, noted.counts) == (keys[7], False)
    store.forget(keys[7])
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert keys[7].encode() not in content and b"public number" not in content and keys[8].encode() in content
    assert len(list(store.findings())) == 199
    with pytest.raises(BadInput, match="No secret with this key"):
        store.forget(keys[7])


def test_the_migrations_make_the_tables_of_the_models(tmp_path: Path) -> None:
    with open_store(tmp_path / "audit.sqlite").engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
        assert set(sa.inspect(connection).get_table_names()) == {"alembic_version", "audit", "finding", "note"}


def test_a_full_or_lost_database_is_said_in_words(tmp_path: Path) -> None:
    store = open_store(tmp_path / "audit.sqlite")
    store.save([finding(0, "first")], "checked")
    with store.engine.connect() as connection:
        pages = connection.execute(sa.text("PRAGMA page_count")).scalar_one()

    @sa.event.listens_for(store.engine, "checkout")
    def _full(connection: object, *_: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages}")  # type: ignore[attr-defined]

    with pytest.raises(BadInput, match=r"database or disk is full.*--resume"):
        store.save([finding(row, f"{row}" * 40) for row in range(1, 100)], "checked")
    assert [found.key for found in store.findings()] == ["first"]
    (tmp_path / "text").write_text("this is no database, but a text of some length" * 100)
    with pytest.raises(BadInput, match="not a database"):
        open_store(tmp_path / "text")
    with pytest.raises(BadInput, match="--database is not the URL"):
        open_store("nonsense")


def forged(line: str, **changes: object) -> str:
    """A line with other content and the hash that fits it."""
    entry = {**json.loads(line), **changes}
    del entry["hash"]
    text = json.dumps(entry)
    return f'{text[:-1]}, "hash": "{hashlib.sha256(text.encode()).hexdigest()}"}}'


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda lines: lines, None),
        (lambda lines: [lines[0], lines[1].replace("known", "hidden"), *lines[2:]], 2),
        (lambda lines: [*lines[:3], lines[3].replace("known", "hidden")], 4),
        (lambda lines: [*lines[:3], lines[3].replace(": 4", ": 4.0")], 4),
        (lambda lines: [*lines[:3], lines[3].replace('", "', '","')], 4),
        (lambda lines: [*lines[:3], lines[3][:-3] + '?"}'], 4),
        (lambda lines: [*lines[:3], forged(lines[3], number=5)], 4),
        (lambda lines: [lines[0], forged(lines[1], result="hidden"), *lines[2:]], 3),
        (lambda lines: lines[:2] + lines[3:], 3),
        (lambda lines: [*lines[:3], lines[1], *lines[3:]], 4),
        (lambda lines: ["{}", *lines], 1),
        (lambda lines: [*lines, "[]"], 5),
        (lambda lines: [*lines, ""], 5),
    ],
)
def test_a_changed_log_says_where(change: object, line: int | None, tmp_path: Path) -> None:
    path = tmp_path / "queries.jsonl"
    for number in range(3):
        QueryLog(path).add("check", f"{number}", "known", -0.5)
    path.write_text(path.read_text() + '{"before": "torn')
    QueryLog(path).add("check", "3", "known", None)
    lines = path.read_text().splitlines()
    entries = list(map(json.loads, lines))
    assert [(entry["number"], entry["result"]) for entry in entries] == [(number, "known") for number in (1, 2, 3, 4)]
    assert [entry["before"] for entry in entries] == ["0" * 64, *(entry["hash"] for entry in entries[:3])]
    path.write_text("\n".join(change(lines)) + "\n")  # type: ignore[operator]
    assert verify(path) == line
    log = QueryLog(path)
    log.add("check", "more", "known", None)
    log.add("check", "more", "known", None)
    assert verify(path) == line, "what is added later hides no change"


def test_a_plan_is_read_from_a_file_and_checked_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = tmp_path / "plan.yaml"
    for text, words in (
        ("methods: [nonsense]", "There is no method"),
        ("speed: 3", "nothing else"),
        ("seed: many", "seed"),
        ("a: [", "neither YAML"),
    ):
        plan.write_text(text)
        with pytest.raises(SystemExit) as ended:
            main(["audit", "list.csv", "--out", str(tmp_path / "out"), "--plan", str(plan)])
        assert ended.value.code == 2
        assert words in capsys.readouterr().err


def test_a_store_in_memory_is_one_for_all_threads() -> None:
    store = open_store("sqlite://")
    store.save([finding(0, "first")], "checked")
    with ThreadPoolExecutor(2) as pool:
        assert [found.key for found in pool.submit(lambda: list(store.findings())).result()] == ["first"]
        pool.submit(store.save, [finding(1, "second")], "checked").result()
    assert [found.key for found in store.findings()] == ["first", "second"]
    store.close()
