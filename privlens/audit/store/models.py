"""The tables that an audit is kept in. Nothing in them says a private value, unless the auditor asked to keep values."""

from sqlalchemy import Float, Integer, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """What all tables have in common."""


class AuditRow(Base):
    """The audit of this database: there is one.

    `target`, `sample` and `plan` are JSON of the records of these names; `ended` is empty while the audit is under way.
    """

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    format: Mapped[int] = mapped_column(Integer)
    target: Mapped[str] = mapped_column(Text)
    sample: Mapped[str] = mapped_column(Text)
    plan: Mapped[str] = mapped_column(Text)
    started: Mapped[str] = mapped_column(String(40))
    ended: Mapped[str] = mapped_column(String(40))
    seconds: Mapped[float] = mapped_column(Float)


class FindingRow(Base):
    """One secret: `record` is JSON of its Finding; it is `checked`, `done` once worked on, or `forgotten`."""

    __tablename__ = "finding"

    row: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    key: Mapped[str] = mapped_column(String(64), unique=True)
    state: Mapped[str] = mapped_column(String(10))
    record: Mapped[str] = mapped_column(Text)


class NoteRow(Base):
    """What the auditor says of a secret: a note, and why it is a false positive, if it is one."""

    __tablename__ = "note"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    note: Mapped[str] = mapped_column(Text)
    false_positive: Mapped[str] = mapped_column(Text)
