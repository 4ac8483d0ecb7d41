"""Keeps an audit in a database: SQLite in a private file, or whatever database an SQLAlchemy URL names.

Every change is one transaction, so a process that is killed leaves what it had finished. SQLite overwrites what is deleted
(secure_delete), and its journal is emptied after every change.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.orm import Session

from privlens.audit.records import FORMAT, Finding, Plan, Sample, Target
from privlens.audit.store.models import AuditRow, FindingRow, NoteRow
from privlens.errors import BadInput
from privlens.process.private_files import OWNER_ONLY
from privlens.types import from_json, to_json

State = Literal["checked", "done"]
FORGOTTEN = "forgotten"
"""The state of a row whose secret was deleted: only its number is left, so that it is not measured again."""

REWRITES = {"sqlite": "VACUUM", "postgresql": "VACUUM FULL finding, note"}
"""Leaves no byte of a deleted row in the files of the tables; after PostgreSQL's plain VACUUM a page may hold some."""

ONE_CONNECTION: dict[str, Any] = {
    "poolclass": sa.QueuePool,
    "pool_size": 1,
    "max_overflow": 0,
    "connect_args": {"check_same_thread": False},
}
"""For SQLite in memory, which is gone with its connection: there is one, which the threads of a page use in turn."""


@contextmanager
def _in_words() -> Iterator[None]:
    """Turns what a database reports into a BadInput that says what to do: what was stored before stays stored."""
    try:
        yield
    except (SQLAlchemyError, CommandError) as cause:
        reason = str(getattr(cause, "orig", None) or cause).splitlines()[0][:200]
        raise BadInput(
            f"The audit's database cannot be used ({reason}). Nothing that was stored before is lost: make room, or make the "
            "database reachable again, and run the same command with --resume."
        ) from cause


def open_store(url: str | Path) -> "Store":
    """The store at an SQLAlchemy URL or in an SQLite file, which is made and brought up to date where needed.

    Raises:
        BadInput: for a URL that is none, or a database that cannot be opened.
    """
    try:
        address = sa.make_url(f"sqlite:///{url.resolve()}" if isinstance(url, Path) else url)
        in_memory = address.get_backend_name() == "sqlite" and address.database in (None, "", ":memory:")
        if address.get_backend_name() == "sqlite" and not in_memory:
            os.close(os.open(str(address.database), os.O_CREAT | os.O_RDWR, OWNER_ONLY))
            os.chmod(str(address.database), OWNER_ONLY)
        # A connection is tried before it is used, so that a server that was restarted between two chunks ends no audit.
        engine = sa.create_engine(address, hide_parameters=True, pool_pre_ping=True, **(ONE_CONNECTION if in_memory else {}))
    except OSError as cause:
        raise BadInput(f"The database {url} does not open ({cause.strerror}): give a folder you may write to.") from cause
    except (ArgumentError, ImportError) as cause:
        raise BadInput(
            "--database is not the URL of a database that can be used here: write for example sqlite:///audit.sqlite, and "
            "install the driver of any other kind; privlens[postgresql] brings that for postgresql+psycopg://."
        ) from cause
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _private)
    with _in_words(), engine.begin() as connection:
        _upgrade(connection)
    return Store(engine)


def _private(connection: Any, _: Any) -> None:
    """Deleted content is overwritten, and the journal holds no copy of it once a change is made."""
    for setting in ("secure_delete = ON", "journal_mode = TRUNCATE", "synchronous = FULL"):
        connection.execute(f"PRAGMA {setting}")


def _upgrade(connection: sa.Connection) -> None:
    """Brings the tables up to date."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


class Store:
    """One audit in a database. Every method raises BadInput where the database cannot be used."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine

    def close(self) -> None:
        """Closes the connections to the database."""
        self.engine.dispose()

    @contextmanager
    def _session(self) -> Iterator[Session]:
        with _in_words(), Session(self.engine) as session, session.begin():
            yield session

    def begin(self, target: Target, sample: Sample, plan: Plan) -> str:
        """Starts the audit, or continues the one that is stored; returns when it started.

        Raises:
            BadInput: if another audit is stored: of other weights, another list, or by another plan.
        """
        with self._session() as session:
            stored = session.get(AuditRow, 1)
            if stored is None:
                stored = AuditRow(id=1, format=FORMAT, started=_now(), ended="", seconds=0.0)
                stored.target, stored.sample, stored.plan = map(to_json, (target, sample, plan))
                session.add(stored)
            elif difference := _difference(stored, target, sample, plan):
                raise BadInput(f"The database holds another audit: {difference}. Give another --out, or what it was begun with.")
            return stored.started

    def has_begun(self) -> bool:
        """Whether an audit is stored."""
        with self._session() as session:
            return session.get(AuditRow, 1) is not None

    def save(self, findings: Sequence[Finding], state: State, seconds: float = 0.0) -> None:
        """Stores findings in one transaction, in place of those of the same rows, and counts the time that was spent on them."""
        with self._session() as session:
            session.execute(sa.update(AuditRow).values(seconds=AuditRow.seconds + seconds))
            for finding in findings:
                session.merge(FindingRow(row=finding.row, key=finding.key, state=state, record=to_json(finding)))

    def states(self) -> dict[str, str]:
        """The state of every secret that is stored, by its key; deleted ones are not among them."""
        with self._session() as session:
            return {row.key: row.state for row in session.execute(_STORED)}

    def forgotten(self) -> set[int]:
        """The rows whose secrets were deleted."""
        with self._session() as session:
            return set(session.scalars(sa.select(FindingRow.row).where(FindingRow.state == FORGOTTEN)))

    def findings(self) -> Iterator[Finding]:
        """The stored findings in the order of the list, with the auditor's notes."""
        with self._session() as session:
            notes = {note.key: note for note in session.scalars(sa.select(NoteRow))}
            for stored in session.scalars(
                sa.select(FindingRow)
                .where(FindingRow.state != FORGOTTEN)
                .order_by(FindingRow.row)
                .execution_options(yield_per=500)
            ):
                finding = from_json(Finding, stored.record)
                note = notes.get(stored.key)
                yield replace(finding, note=note.note, false_positive=note.false_positive) if note else finding

    def annotate(self, key: str, note: str = "", false_positive: str = "") -> None:
        """Keeps a note on a secret, and why the auditor does not count it. Raises BadInput for a key that is not stored."""
        with self._session() as session:
            _require(session, key)
            session.merge(NoteRow(key=key, note=note, false_positive=false_positive))

    def forget(self, key: str) -> None:
        """Deletes everything about one secret but the number of its row, and rewrites the tables without it.

        A server may hold it longer in what it keeps beside its tables, such as PostgreSQL's write-ahead log, and in backups.

        Raises BadInput for a key that is not stored.
        """
        with self._session() as session:
            _require(session, key)
            session.execute(sa.delete(NoteRow).where(NoteRow.key == key))
            finding = session.scalars(sa.select(FindingRow).where(FindingRow.key == key)).one()
            finding.key, finding.state, finding.record = f"{FORGOTTEN} {finding.row}", FORGOTTEN, ""
        if rewrite := REWRITES.get(self.engine.dialect.name):
            with _in_words(), self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.execute(sa.text(rewrite))

    def add_seconds(self, seconds: float) -> float:
        """Counts time that was worked on the audit; returns all of it."""
        with self._session() as session:
            stored = session.get_one(AuditRow, 1)
            stored.seconds += seconds
            return stored.seconds

    def end(self) -> str:
        """Marks the audit as ended, once; returns when it was."""
        with self._session() as session:
            stored = session.get_one(AuditRow, 1)
            stored.ended = stored.ended or _now()
            return stored.ended


_STORED = sa.select(FindingRow.key, FindingRow.state).where(FindingRow.state != FORGOTTEN)


def _require(session: Session, key: str) -> None:
    if session.scalar(sa.select(FindingRow.row).where(FindingRow.key == key)) is None:
        raise BadInput("No secret with this key is stored: copy the key from findings.csv.")


def _difference(stored: AuditRow, target: Target, sample: Sample, plan: Plan) -> str:
    """What differs between the stored audit and this one, in words; nothing if they are the same."""
    if stored.format != FORMAT:
        return f"it is in format {stored.format}, and this version of PrivLens writes {FORMAT}"
    before = from_json(Target, stored.target)
    if before.fingerprint != target.fingerprint:
        return f"its model has the fingerprint {before.fingerprint}, this one {target.fingerprint}: the weights are not the same"
    if before.chat != target.chat:
        return f"its model was asked {_manner(before)}, and this one is asked {_manner(target)}"
    if from_json(Sample, stored.sample).sha256 != sample.sha256:
        return f"its list is {from_json(Sample, stored.sample).name}, which has changed since or is another one"
    if from_json(Plan, stored.plan) != plan:
        return "its plan is another one, and a plan is fixed before the first measurement"
    return ""


def _manner(target: Target) -> str:
    return "in chat turns" if target.chat else "as plain text"


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
