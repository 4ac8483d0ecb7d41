"""An audit in a PostgreSQL database: a server of its own, on a free port of this machine, for these tests."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from privlens.audit.query_log import QueryLog
from privlens.audit.records import Audit, Plan
from privlens.audit.run import Job, audit
from privlens.audit.sample import read_sample
from privlens.audit.store import Store, open_store
from privlens.audit.store.models import Base
from privlens.bench.serving import free_port
from privlens.errors import BadInput
from privlens.lm.model import LanguageModel
from tests.audits import audit_of, finding

USER, PASSWORD = "auditor", "invented-password-4711"
AUDIT = audit_of([finding(row, True, masked=f"masked form {row}••") for row in range(200)])


def binaries() -> Path | None:
    """Where the programs of the newest server are: on the path, or where Debian keeps them."""
    if found := shutil.which("initdb"):
        return Path(found).parent
    return max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: float(folder.parent.name), default=None)


@dataclass
class Server:
    """A server that can be stopped and started; it does not run as root, so root runs it as another user."""

    folder: Path
    programs: Path
    port: int

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://{USER}:{PASSWORD}@127.0.0.1:{self.port}/postgres"

    def run(self, program: str, *options: str) -> None:
        as_user: dict[str, Any] = {}
        if os.getuid() == 0:
            user = unprivileged()
            as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        command = [str(self.programs / program), "-D", str(self.folder / "data"), *options]
        done = subprocess.run(command, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **as_user)
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        """Returns when it answers."""
        options = f"-h 127.0.0.1 -p {self.port} -k '{self.folder}'"
        self.run("pg_ctl", "start", "-w", "-l", str(self.folder / "log"), "-o", options)

    def stop(self) -> None:
        """At once, as if it had been killed."""
        self.run("pg_ctl", "stop", "-w", "-m", "immediate")


def unprivileged() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    programs = binaries()
    if programs is None:
        pytest.skip("There is no PostgreSQL server here: install it by .ci/apt postgresql.")
    with tempfile.TemporaryDirectory(prefix="privlens-postgresql-") as name:  # pytest's folders are closed to other users
        folder = Path(name)
        (folder / "password").write_text(PASSWORD)
        if os.getuid() == 0:
            for path in (folder, folder / "password"):
                os.chown(path, unprivileged().pw_uid, unprivileged().pw_gid)
        server = Server(folder, programs, free_port())
        password = ["--auth", "scram-sha-256", "--pwfile", str(folder / "password")]
        server.run("initdb", "--username", USER, *password, "--encoding", "UTF8", "--locale", "C", "--no-sync")
        server.start()
        yield server
        server.stop()


@pytest.fixture
def store(server: Server) -> Iterator[Store]:
    """An empty one."""
    store = open_store(server.url)
    with store.engine.begin() as connection:
        for table in ("note", "finding", "audit"):
            connection.execute(sa.text(f"DELETE FROM {table}"))
    yield store
    store.close()


def rows(store: Store, query: str) -> list[tuple[Any, ...]]:
    """What stands in the tables, asked past the store."""
    with store.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(sa.text(query))]


def test_what_is_saved_noted_and_forgotten_stands_in_the_tables(store: Store, server: Server) -> None:
    started = store.begin(AUDIT.target, AUDIT.sample, AUDIT.plan)
    store.save(AUDIT.findings[:3], "checked", 2.5)
    store.save(AUDIT.findings[2:3], "done", 0.25)
    keys = [found.key for found in AUDIT.findings]
    store.annotate(keys[1], "asked the bank", "it is a public number")
    again = open_store(server.url)
    assert again.has_begun() and again.begin(AUDIT.target, AUDIT.sample, AUDIT.plan) == started
    assert again.states() == {keys[0]: "checked", keys[1]: "checked", keys[2]: "done"}
    noted = replace(AUDIT.findings[1], note="asked the bank", false_positive="it is a public number")
    assert list(again.findings()) == [AUDIT.findings[0], noted, AUDIT.findings[2]]
    assert again.add_seconds(1) == 3.75 and again.end() == again.end()
    assert rows(store, "SELECT seconds, ended <> '' FROM audit") == [(3.75, True)]
    store.forget(keys[1])
    assert rows(again, "SELECT state, record FROM finding WHERE row = 1") == [("forgotten", "")]
    assert rows(again, f"SELECT count(*) FROM finding WHERE key = '{keys[1]}'") == [(0,)]
    assert rows(again, "SELECT count(*) FROM note") == [(0,)]
    assert [found.row for found in again.findings()] == [0, 2] and again.forgotten() == {1}
    with pytest.raises(BadInput, match="No secret with this key"):
        again.forget(keys[1])
    again.close()


def test_what_is_forgotten_is_in_no_file_of_the_tables(store: Store, server: Server) -> None:
    store.begin(AUDIT.target, AUDIT.sample, AUDIT.plan)
    store.save(AUDIT.findings, "checked")
    for row in (7, 199):  # in the midst, and where free space begins, which nothing moves into
        store.annotate(AUDIT.findings[row].key, f"note on {row}")
        store.forget(AUDIT.findings[row].key)
    with store.engine.begin() as connection:
        connection.execute(sa.text("CHECKPOINT"))
    tables = b"".join(path.read_bytes() for path in (server.folder / "data" / "base").rglob("*") if path.is_file())
    assert AUDIT.findings[8].key.encode() in tables
    assert not [row for row in (7, 199) if AUDIT.findings[row].key.encode() in tables or f"note on {row}".encode() in tables]


def test_another_model_list_or_plan_is_refused(store: Store) -> None:
    store.begin(AUDIT.target, AUDIT.sample, AUDIT.plan)
    with pytest.raises(BadInput, match=r"fingerprint .* weights are not the same"):
        store.begin(replace(AUDIT.target, fingerprint="f" * 16), AUDIT.sample, AUDIT.plan)
    with pytest.raises(BadInput, match=r"its list is list\.csv"):
        store.begin(AUDIT.target, replace(AUDIT.sample, sha256="c" * 64), AUDIT.plan)
    with pytest.raises(BadInput, match="plan is fixed"):
        store.begin(AUDIT.target, AUDIT.sample, Plan(seed=1))


def test_a_chunk_is_stored_as_a_whole_or_not_at_all(store: Store) -> None:
    store.begin(AUDIT.target, AUDIT.sample, AUDIT.plan)
    twice = replace(AUDIT.findings[1], key=AUDIT.findings[0].key)
    with pytest.raises(BadInput, match=r"database cannot be used.*--resume"):
        store.save([AUDIT.findings[0], twice], "checked", 5)
    assert rows(store, "SELECT count(*) FROM finding") == [(0,)] and rows(store, "SELECT seconds FROM audit") == [(0,)]


def test_a_lost_server_is_said_in_words_and_what_was_stored_stays(store: Store, server: Server) -> None:
    store.begin(AUDIT.target, AUDIT.sample, AUDIT.plan)
    store.save(AUDIT.findings[:2], "checked")
    server.stop()
    try:
        for _ in range(2):
            with pytest.raises(BadInput, match=r"cannot be used \(.+\)\. Nothing that was stored .*--resume") as told:
                store.save(AUDIT.findings[2:4], "checked")
            assert PASSWORD not in str(told.value)
        with pytest.raises(BadInput, match="cannot be used") as told:
            open_store(server.url)
        assert PASSWORD not in str(told.value)
    finally:
        server.start()
    assert [found.row for found in store.findings()] == [0, 1]
    server.stop()
    server.start()
    store.save(AUDIT.findings[2:4], "checked")  # a server that was restarted between two chunks ends no audit
    assert [found.row for found in store.findings()] == [0, 1, 2, 3]


def test_a_wrong_password_is_said_in_words(server: Server) -> None:
    with pytest.raises(BadInput, match=r"cannot be used \(.*password authentication failed") as told:
        open_store(server.url.replace(PASSWORD, "wrong-one"))
    assert "wrong-one" not in str(told.value)


def test_the_migrations_make_the_tables_of_the_models(store: Store) -> None:
    with store.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_an_audit_that_was_left_ends_with_the_same_findings_as_in_sqlite(
    taught: LanguageModel, taught_folder: str, store: Store, tmp_path: Path
) -> None:
    read = read_sample(f"{taught_folder}/secrets.csv", b"0123456789abcdef")
    job = Job(taught, read, Plan(methods=("gradient",), at_most=2), QueryLog(tmp_path / "queries.jsonl"))

    def run(store: Store) -> Audit:
        *_, last = audit(job, store)
        assert last.result
        return last.result

    steps = audit(job, store)
    assert [next(steps).stage for _ in range(2)] == ["checking", "localizing and erasing"]
    steps.close()  # type: ignore[attr-defined]
    store.close()
    resumed = run(store)
    assert resumed.findings == run(open_store(tmp_path / "audit.sqlite")).findings
    assert sum(bool(found.interventions) for found in resumed.findings) == 2
