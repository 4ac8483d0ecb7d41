"""Findings of an audit measured again: the same where nothing changed, and told where anything did."""

import copy
import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from privlens.audit.query_log import QueryLog
from privlens.audit.records import Audit, Finding, Plan
from privlens.audit.rerun import ROUGH_TOLERANCE, TOLERANCE, Rerun, check_model, check_sources, rerun
from privlens.audit.run import Job, audit, target_of
from privlens.audit.sample import ReadSample, key_beside, read_key, read_sample
from privlens.audit.store import open_store
from privlens.cli.commands import main
from privlens.errors import BadInput
from privlens.lm.model import LanguageModel
from privlens.types import from_json, to_json
from tests.helpers import NEVER_TAUGHT, TAUGHT, edit_of

KEY = b"0123456789abcdef"
PLAN = Plan(temperature=0.7, seed=3)
Command = Callable[..., tuple[int, str, str]]
Change = Callable[[Finding], Finding]


def write_list(path: Path, n_more: int) -> Path:
    """What the model knows, and so many more numbers that it does not."""
    numbers = random.Random(0)
    more = [f"the number of person {row} is,555-{numbers.randrange(10_000):04},phone" for row in range(n_more)]
    rows = [f"{secret.prompt},{secret.value},{secret.category}" for secret in (*TAUGHT, NEVER_TAUGHT)]
    path.write_text("\n".join(["prompt,value,category", *rows, *more]) + "\n")
    return path


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> ReadSample:
    """Five secrets."""
    return read_sample(write_list(tmp_path_factory.mktemp("list") / "list.csv", 0), KEY)


def audited(lm: LanguageModel, read: ReadSample, folder: Path) -> Audit:
    *_, last = audit(Job(lm, read, PLAN, QueryLog(folder / "queries.jsonl")), open_store(folder / "audit.sqlite"))
    assert last.result
    return last.result


@pytest.fixture(scope="module")
def done(taught: LanguageModel, read: ReadSample, tmp_path_factory: pytest.TempPathFactory) -> Audit:
    return audited(taught, read, tmp_path_factory.mktemp("audit"))


def again(lm: LanguageModel, read: ReadSample, done: Audit, n: int = 1000, seed: int = 0) -> Rerun:
    *_, last = rerun(lm, read, done, n, seed)
    assert last.result
    return last.result


def test_measured_again_every_digit_is_the_same(taught: LanguageModel, tmp_path: Path) -> None:
    read = read_sample(write_list(tmp_path / "list.csv", 18), KEY)  # a whole chunk, and a short one
    done = audited(taught, read, tmp_path)
    everything = again(taught, read, done)
    assert [finding.row for finding in everything.findings] == list(range(23)) and everything.same
    drawn = [again(taught, read, done, 3, seed) for seed in (0, 0, 1)]
    assert [(sample.drift, len(sample.findings), sample.n_findings) for sample in drawn] == [(0.0, 3, 23)] * 3
    assert drawn[0] == drawn[1] and drawn[0].findings != drawn[2].findings
    assert drawn[0].target == target_of(taught) and drawn[2].seed == 1


def altered(done: Audit, row: int, change: Change) -> Audit:
    return replace(done, findings=(*done.findings[:row], change(done.findings[row]), *done.findings[row + 1 :]))


def measured(**changes: object) -> Change:
    return lambda old: replace(old, measured=replace(old.measured, **changes))  # type: ignore[arg-type]


def control(**changes: object) -> Change:
    return lambda old: replace(old, control=replace(old.control, **changes))  # type: ignore[type-var,arg-type]


def said(**changes: object) -> Change:
    return lambda old: replace(old, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (measured(verdict="forgotten"), ("secret", "verdict")),
        (measured(greedy_match=False), ("secret", "greedy_match")),
        (measured(n_tokens=99), ("secret", "n_tokens")),
        (measured(text="somebody else"), ("secret", "text")),
        (measured(logprob=float("nan")), ("secret", "logprob")),
        (control(greedy_match=True), ("control", "greedy_match")),
        (control(logprob=-1e-3), ("control", "logprob")),
        (control(text="555-0142"), ("control", "text")),
        (said(control=None), ("control", "measured")),
        (said(masked="9••-•••9"), ("secret", "masked")),
        (said(category="name"), ("secret", "category")),
        (said(person="0" * 32), ("secret", "person")),
        (said(repeats=0), ("secret", "repeats")),
        (said(n_reworded=2), ("secret", "n_reworded")),
        (said(reworded=2), ("secret", "reworded")),
        (said(overlap=1.0), ("secret", "overlap")),
        (said(row=99), ("secret", "row")),
        (said(key="0" * 32), ("secret", "key")),
    ],
)
def test_each_change_of_a_finding_is_told(
    change: Change, told: tuple[str, str], taught: LanguageModel, read: ReadSample, done: Audit
) -> None:
    assert read.secrets[1].secret.value == TAUGHT[1].value and done.findings[1].measured.verdict == "known"
    result = again(taught, read, altered(done, 1, change))
    [different] = [finding for finding in result.findings if not finding.same]
    assert [(found.whose, found.field) for found in different.differences] == [told]
    assert not result.same and len(result.findings) == 5


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", TOLERANCE), ("bfloat16", ROUGH_TOLERANCE)])
def test_a_log_probability_may_differ_by_the_tolerance_for_each_token(
    dtype: str, tolerance: float, taught: LanguageModel, read: ReadSample, done: Audit
) -> None:
    done = replace(done, target=replace(done.target, dtype=dtype))
    before = done.findings[1].measured
    assert before.n_tokens > 1
    for share, same in ((0.9, True), (-0.9, True), (1.1, False), (-1.1, False)):
        shifted = measured(logprob=before.logprob + share * tolerance * before.n_tokens)
        result = again(taught, read, altered(done, 1, shifted))
        assert result.same == same and result.drift == pytest.approx(abs(share) * tolerance)


def test_batches_of_another_size_stay_far_within_the_tolerance(taught: LanguageModel, read: ReadSample, done: Audit) -> None:
    for row in (1, 4):
        alone = replace(read, secrets=read.secrets[row : row + 1])
        drift = again(taught, alone, replace(done, findings=(done.findings[row],))).drift
        assert drift is not None and drift < TOLERANCE / 10


def test_another_list_key_or_model_is_refused(
    taught: LanguageModel, lm: LanguageModel, read: ReadSample, done: Audit, tmp_path: Path
) -> None:
    other = read_sample(write_list(tmp_path / "other.csv", 1), KEY)
    with pytest.raises(BadInput, match=r"other\.csv is not the list of this audit"):
        again(taught, other, done)
    same_list = write_list(tmp_path / "same.csv", 0)
    assert again(taught, read_sample(same_list, KEY), done, 1).same, "a name is no matter"
    with pytest.raises(BadInput, match="key is another one"):
        again(taught, read_sample(same_list, KEY + b"!"), done)
    with pytest.raises(BadInput, match="no findings"):
        check_sources(read.sample, replace(done, findings=()))
    with pytest.raises(BadInput, match=r"weights are not the same\. Give the model that was audited\.$"):
        again(lm, read, done)
    edited = taught.under(edit_of(taught, 1))
    with pytest.raises(BadInput, match="without edits: none was in force"):
        check_model(edited, done)
    of_edited = replace(done, target=replace(target_of(edited), dtype="bfloat16"))
    check_model(edited, of_edited)
    with pytest.raises(BadInput, match=r"in bfloat16 \(--dtype\), under the edits that were in force \(.+; --edit\)"):
        check_model(taught, of_edited)
    chat = LanguageModel("chat", taught.model, copy.deepcopy(taught.tokenizer))
    chat.tokenizer.chat_template = "{% for turn in messages %}{{ turn['content'] }} {% endfor %}"
    with pytest.raises(BadInput, match="in another manner"):
        check_model(chat.as_chat(), done)


def test_a_key_lies_beside_the_folder_and_is_not_made_to_verify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert key_beside(Path(".")) == tmp_path.parent / f"{tmp_path.name}.key"
    assert key_beside(Path("out/")) == tmp_path / "out.key"
    with pytest.raises(BadInput, match=r"out\.key cannot be read.*--key"):
        read_key(key_beside(Path("out")), may_make=False)
    assert not (tmp_path / "out.key").exists()


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command: exit code, stdout, stderr."""

    def run(*arguments: str | Path | int) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


def made(command: Command, listed: Path, out: Path, *options: str) -> Audit:
    assert command("audit", listed, "--out", out, *options)[0] == 0
    return from_json(Audit, (out / "audit.json").read_text())


@pytest.mark.parametrize("keep", [(), ("--keep-values",)])
def test_a_forged_finding_is_told_on_the_command_line(
    keep: tuple[str, ...], command: Command, taught_folder: str, tmp_path: Path
) -> None:
    listed, out, model = write_list(tmp_path / "list.csv", 0), tmp_path / "out", ("--model", taught_folder, "--device", "cpu")
    done = made(command, listed, out, *model, *keep)
    files = {path.name: path.read_bytes() for path in out.iterdir()}
    code, said, _ = command("verify", out, "--rerun", 3, "--list", listed, *model, "--seed", 5)
    assert code == 0 and "3 of 5 findings, drawn by seed 5" in said and said.endswith("Measured again, all is the same.\n")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == files, "nothing is written"
    (out / "audit.json").write_text(to_json(altered(done, 0, measured(greedy_match=False, text="M\u202e•"))))
    assert command("audit-report", out)[0] == 0
    code, said, _ = command("verify", out)
    assert code == 0 and "measured again" not in said, "whoever can write to the folder can write its manifest"
    code, said, _ = command("verify", out, "--list", listed, *model)
    assert code == 1 and "DIFFERENT: secret, greedy_match  False" in said and said.endswith("DIFFERENT: 1 of 5 findings.\n")
    assert "<U+202E>" in said and (keep or not any(secret.value in said for secret in TAUGHT))
    code, said, _ = command("verify", out, "--list", listed, *model, "--json")
    answer = json.loads(said)
    assert code == 1 and answer["good"] is True and answer["rerun"]["same"] is False
    assert [len(finding["differences"]) for finding in answer["rerun"]["findings"]] == [2, 0, 0, 0, 0]
    assert answer["rerun"]["drift"] == 0 and answer["rerun"]["tolerance"] == TOLERANCE


def test_what_is_missing_is_told_on_the_command_line(command: Command, taught_folder: str, tmp_path: Path) -> None:
    listed, out, model = write_list(tmp_path / "list.csv", 0), tmp_path / "out", ("--model", taught_folder, "--device", "cpu")
    made(command, listed, out, *model)
    for arguments, told in (
        (["--rerun", 3], "--rerun measures from the list"),
        (["--list", listed, "--key", tmp_path / "none"], "none cannot be read"),
        (["--list", listed, "--rerun", 0], "--rerun"),
        (["--list", listed, "--model", "demo"], "weights are not the same"),
    ):
        code, _, err = command("verify", out, *model, *arguments)
        assert code == 2 and told in err and "Traceback" not in err
    (out / "audit.json").unlink()
    code, _, err = command("verify", out, "--list", listed, *model)
    assert code == 2 and "has no audit.json" in err
