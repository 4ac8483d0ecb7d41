"""Entropy against memorization in an audit: the numbers of the engine, the same after a stop, and no value in any of them."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from privlens.audit.entropy import FEWEST_IN_SET, entropy_of
from privlens.audit.population import population
from privlens.audit.query_log import QueryLog
from privlens.audit.records import Audit, Finding, Plan
from privlens.audit.report import write_report
from privlens.audit.run import Job, audit
from privlens.audit.sample import ReadSample, SampledSecret, read_sample
from privlens.audit.store import Store, open_store
from privlens.lm.model import LanguageModel
from privlens.neurons.entropy_memorization import entropy_law, grouped, plug_in_entropy
from privlens.secret_lists import ListedSecret
from privlens.types import Secret, to_json
from tests.audits import finding, measured
from tests.helpers import TAUGHT

KEY = b"0123456789abcdef"
SECRETS = [
    Secret(secret.prompt, secret.value[:end] + other.value[:more])
    for secret in TAUGHT
    for other in TAUGHT
    for end, more in ((3, 0), (5, 2), (8, 5), (12, 9))
]


@pytest.fixture(scope="module", autouse=True)
def _no_ranks() -> Iterator[None]:
    """Ranks among other values take nearly all of an audit's time, and are no part of what is tested here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("privlens.audit.checks.exposures", lambda _, secrets, *rest: [None] * len(secrets))
        patch.setattr("privlens.audit.checks.format_exposures_of", lambda _, secrets, **more: [None] * len(secrets))
        patch.setattr("privlens.audit.checks.lift_of", lambda *_, **more: None)
        yield


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> ReadSample:
    path = tmp_path_factory.mktemp("list") / "list.csv"
    rows = [f'"{secret.prompt}","{secret.value}"' for secret in SECRETS]
    path.write_text("\n".join(["prompt,value", *rows]) + "\n", "utf-8")
    return read_sample(path, KEY)


def run(lm: LanguageModel, read: ReadSample, folder: Path, at_most_steps: int = 1000) -> Audit | None:
    """The result; None if it was left after so many steps."""
    store = open_store(folder / "audit.sqlite")
    for number, step in enumerate(audit(Job(lm, read, Plan(seed=2), QueryLog(folder / "queries.jsonl")), store), 1):
        if step.result or number == at_most_steps:
            return step.result
    return None


@pytest.fixture(scope="module")
def whole(taught: LanguageModel, read: ReadSample, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Audit]:
    folder = tmp_path_factory.mktemp("whole")
    result = run(taught, read, folder)
    assert result
    (folder / "audit.json").write_text(to_json(result), "utf-8")
    write_report(result, folder)
    return folder, result


def test_sets_are_those_of_the_engine(taught: LanguageModel, read: ReadSample, whole: tuple[Path, Audit]) -> None:
    *_, last = entropy_law(taught, read.listed, seed=2)
    sets = whole[1].entropy
    assert last.result and sets and sets.line and sets.shuffled is not None
    distances = [found.measured.distance for found in whole[1].findings]
    assert distances == [item.distance for item in last.result.items]
    assert sets.groups == tuple(group for group in last.result.groups if group.n_items >= FEWEST_IN_SET)
    assert (sets.n_secrets, sets.n_left_out) == (sum(group.n_items for group in sets.groups), len(distances) - sets.n_secrets)
    assert sets.line.n == len(sets.groups) < len(last.result.groups)
    assert population(whole[1]).entropy == sets


def test_left_and_resumed_it_has_the_same_sets(
    taught: LanguageModel, read: ReadSample, whole: tuple[Path, Audit], tmp_path: Path
) -> None:
    assert run(taught, read, tmp_path, at_most_steps=2) is None
    resumed = run(taught, read, tmp_path)
    again = run(taught, read, tmp_path)
    assert resumed and again
    assert resumed.entropy == again.entropy == whole[1].entropy
    assert resumed.findings == whole[1].findings


def test_no_file_holds_a_value_or_the_entropy_of_one(taught: LanguageModel, read: ReadSample, whole: tuple[Path, Audit]) -> None:
    folder, result = whole
    assert {path.name for path in folder.iterdir()} >= {"audit.sqlite", "audit.json", "report.html", "findings.csv"}
    written = b"".join(path.read_bytes() for path in folder.iterdir())
    values = {taught.encode(taught.settled(secret)).value_ids for secret in read.listed}
    assert not any(secret.value.encode() in written for secret in read.listed if len(secret.value) > 4)
    assert not any(str(list(ids)).encode() in written for ids in values if len(ids) > 3)
    assert result.entropy
    entropies = {plug_in_entropy(ids) for ids in values} - {group.entropy for group in result.entropy.groups}
    precise = [str(entropy).encode() for entropy in entropies if len(str(entropy)) > 12]
    assert precise and not any(entropy in written for entropy in precise)


def test_only_what_counts_is_in_a_set(taught: LanguageModel) -> None:
    """Ten secrets of one distance; one is struck out, two were never trained on: seven are left."""
    secrets = [SampledSecret(row, f"{row:032x}", "", ListedSecret(Secret("its code is", f"{row}71{row}"))) for row in range(10)]
    state = replace(measured(False), distance=3)
    findings = [finding(row, False, measured=state) for row in range(10)]
    findings[2] = replace(findings[2], false_positive="a hotline")
    findings[4:6] = [replace(found, repeats=0) for found in findings[4:6]]
    sets = entropy_of(taught, secrets, findings, 0)
    counted = [taught.encode(taught.settled(secrets[row].secret)).value_ids for row in (0, 1, 3, 6, 7, 8, 9)]
    assert sets and sets.groups == grouped([3] * 7, counted)
    assert sets.too_few.startswith("1 set of equal distance and of 5 secrets or more: a line needs 4")
    few = entropy_of(taught, secrets, [*findings[:4], *[replace(found, repeats=0) for found in findings[4:]]], 0)
    assert few and (few.groups, few.n_left_out) == ((), 3)
    nothing = entropy_of(taught, secrets, [], 0)
    assert nothing and nothing.groups == ()


def without_distances(store: Store) -> None:
    """What a version stored that counted none."""
    with store.engine.begin() as connection:
        for row, record in connection.execute(sa.text("SELECT row, record FROM finding")).all():
            old = json.loads(record)
            for state in (old["measured"], old["control"]):
                state.pop("distance")
            changed = sa.text("UPDATE finding SET record = :record WHERE row = :row")
            connection.execute(changed, {"record": json.dumps(old), "row": row})


def plain(found: Finding) -> Finding:
    """Without its distances."""
    assert found.control
    return replace(found, measured=replace(found.measured, distance=None), control=replace(found.control, distance=None))


def test_an_audit_of_an_earlier_version_goes_on_and_has_no_sets(
    taught: LanguageModel, read: ReadSample, whole: tuple[Path, Audit], tmp_path: Path
) -> None:
    run(taught, read, tmp_path, at_most_steps=2)
    store = open_store(tmp_path / "audit.sqlite")
    without_distances(store)
    store.close()
    result = run(taught, read, tmp_path)
    assert result and result.entropy is None, "sets without those secrets would be others"
    assert [plain(found) for found in result.findings] == [plain(found) for found in whole[1].findings]
    assert Counter(found.measured.distance is None for found in result.findings) == {True: 32, False: len(read.secrets) - 32}
