"""Folders of audits: manifest, signature, comparison, and the commands for them. OpenSSL judges the signature too."""

import json
import math
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from privlens.audit.comparison import compare
from privlens.audit.invented import invented_audit
from privlens.audit.keys import make_key, needs_passphrase, read_key
from privlens.audit.manifest import verify, write_manifest
from privlens.audit.records import Audit, Finding, Plan
from privlens.cli import audit_files
from privlens.cli.commands import main
from privlens.errors import BadInput
from privlens.neurons.entropy_records import ENTROPY_CAUTIONS
from privlens.types import to_json
from tests.audits import audit_of, finding, measured

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command that needs no model: exit code, stdout, stderr."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three files, one in a folder of its own."""
    path = tmp_path / "audit"
    (path / "logs").mkdir(parents=True)
    (path / "audit.json").write_text(to_json(invented_audit()), "utf-8")
    (path / "logs" / "queries.jsonl").write_text("{}\n")
    (path / "notes.txt").write_text("abc")
    return path


@pytest.fixture
def key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


def public_file(path: Path, key: Any) -> Path:
    path.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return path


def test_a_manifest_lists_every_file_with_its_hash(folder: Path) -> None:
    manifest = write_manifest(folder)
    assert list(manifest.files) == ["audit.json", "logs/queries.jsonl", "notes.txt"]
    notes = manifest.files["notes.txt"]
    assert (notes.bytes, notes.sha256) == (3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"), "of FIPS 180"
    assert verify(folder).files == dict.fromkeys(manifest.files, "same")
    assert verify(folder).good and verify(folder).signature == "not signed"


def test_every_change_of_a_file_is_told(folder: Path, key: Ed25519PrivateKey) -> None:
    write_manifest(folder, key)
    assert verify(folder).good
    (folder / "notes.txt").write_text("abd")
    (folder / "logs" / "queries.jsonl").unlink()
    (folder / "logs" / "more.jsonl").write_text("")
    verified = verify(folder)
    assert verified.files == {
        "audit.json": "same", "notes.txt": "changed", "logs/queries.jsonl": "missing", "logs/more.jsonl": "added",
    }  # fmt: skip
    assert verified.signature == "good" and not verified.good


@pytest.mark.parametrize("name", ["notes.txt", "logs/queries.jsonl"])
def test_a_link_is_no_copy(folder: Path, name: str, tmp_path: Path) -> None:
    write_manifest(folder)
    shutil.move(folder / name, tmp_path / "elsewhere")
    (folder / name).symlink_to(tmp_path / "elsewhere")
    assert verify(folder).files[name] == "changed", "the same bytes today, others tomorrow"
    with pytest.raises(BadInput, match="is a link"):
        write_manifest(folder)


def test_a_linked_folder_is_added_and_not_entered(folder: Path, tmp_path: Path) -> None:
    write_manifest(folder)
    (folder / "all").symlink_to(tmp_path)
    assert verify(folder).files["all"] == "added"


def test_signatures(folder: Path, key: Ed25519PrivateKey, tmp_path: Path) -> None:
    own, other = public_file(tmp_path / "own.pub", key), public_file(tmp_path / "other.pub", Ed25519PrivateKey.generate())
    write_manifest(folder, key)
    assert verify(folder, own).good and verify(folder, own).given
    assert (verify(folder, other).signature, verify(folder, other).good) == ("by another key", False)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["notes.txt"]["bytes"] = 4
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert verify(folder).signature == verify(folder, other).signature == "bad"
    write_manifest(folder)
    assert verify(folder).signature == "not signed", "an old signature is not left beside a new manifest"
    assert verify(folder).good and not verify(folder, own).good, "whoever asks for a signature is not content without one"


def test_a_forger_with_a_key_of_their_own_is_seen(folder: Path, key: Ed25519PrivateKey, tmp_path: Path) -> None:
    own = public_file(tmp_path / "own.pub", key)
    write_manifest(folder, key)
    (folder / "notes.txt").write_text("forged")
    write_manifest(folder, Ed25519PrivateKey.generate())
    assert verify(folder).good, "a folder cannot tell of itself who signed it"
    assert verify(folder, own).signature == "by another key"


@pytest.mark.skipif(not shutil.which("openssl"), reason="no OpenSSL here")
def test_openssl_agrees(folder: Path, key: Ed25519PrivateKey) -> None:
    write_manifest(folder, key)
    key_and_files = ["-inkey", "manifest.pub", "-in", "manifest.json", "-sigfile", "manifest.sig"]
    asked = ["openssl", "pkeyutl", "-verify", "-pubin", "-rawin", *key_and_files]
    assert subprocess.run(asked, cwd=folder, capture_output=True).returncode == 0
    with (folder / "manifest.json").open("a") as file:
        file.write(" ")
    assert subprocess.run(asked, cwd=folder, capture_output=True).returncode != 0


def test_folders_that_cannot_be_verified(folder: Path, key: Ed25519PrivateKey, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"has no manifest\.json"):
        verify(folder)
    write_manifest(folder, key)
    (folder / "manifest.pub").unlink()
    with pytest.raises(BadInput, match="give the auditor's with --public-key"):
        verify(folder)
    for content in (b"", b"-----BEGIN PUBLIC KEY-----\n!\n-----END PUBLIC KEY-----\n"):
        (tmp_path / "no.pub").write_bytes(content)
        with pytest.raises(BadInput, match="is no public key in PEM"):
            verify(folder, tmp_path / "no.pub")
    with pytest.raises(BadInput, match="of another kind than Ed25519"):
        verify(folder, public_file(tmp_path / "x.pub", X25519PrivateKey.generate()))
    with pytest.raises(BadInput, match="cannot be read"):
        verify(folder, tmp_path / "missing.pub")
    for content in (b"{", b"\xff", b'{"files": {"../../etc/passwd": 1}}'):
        (folder / "manifest.json").write_bytes(content)
        with pytest.raises(BadInput, match="is no manifest that can be read"):
            verify(folder, public_file(tmp_path / "own.pub", key))


def test_a_manifest_that_names_files_elsewhere_reads_none_of_them(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.txt").write_text("abc")
    write_manifest(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["../outside.txt"] = manifest["files"].pop("notes.txt")
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert verify(folder).files["../outside.txt"] == "missing"


def test_keys_are_private_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "key"
    fingerprint = make_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert not needs_passphrase(path)
    public = read_key(path).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    assert (tmp_path / "key.pub").read_bytes() == public
    assert len(fingerprint) == 64
    for taken in (path, tmp_path / "key.pub"):
        before = path.read_bytes() if path.exists() else b""
        with pytest.raises(BadInput, match=f"{taken.name} exists"):
            make_key(path)
        assert (path.read_bytes() if path.exists() else b"") == before
        path.unlink(missing_ok=True)
    with pytest.raises(BadInput, match="cannot be written"):
        make_key(tmp_path / "no" / "key")


def test_a_passphrase_is_needed_where_there_is_one(tmp_path: Path) -> None:
    path = tmp_path / "key"
    make_key(path, "correct horse")
    assert needs_passphrase(path)
    assert read_key(path, "correct horse")
    for wrong in ("", "wrong"):
        with pytest.raises(BadInput, match="the passphrase is wrong"):
            read_key(path, wrong)
    path.chmod(0o644)
    with pytest.raises(BadInput, match="others can read"):
        read_key(path, "correct horse")


def test_what_is_no_key_is_told(tmp_path: Path) -> None:
    other = X25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for content, message in ((b"abc", "no private key in PEM"), (other, "of another kind than Ed25519")):
        (tmp_path / "key").write_bytes(content)
        (tmp_path / "key").chmod(0o600)
        with pytest.raises(BadInput, match=message):
            read_key(tmp_path / "key")
    with pytest.raises(BadInput, match="cannot be read"):
        read_key(tmp_path / "none")


def audits(before: list[Finding], after: list[Finding]) -> tuple[Audit, Audit]:
    return audit_of(before), audit_of(after)


def test_two_audits_by_hand() -> None:
    """Nine secrets: six are gone, one is new, two stay; log10 tries rise by 1, 2 ... 8 and fall by 1."""
    before = [finding(row, row != 6, measured=measured(row != 6, log10_tries=2.0), control=measured(False)) for row in range(9)]
    changes = [1, 2, 3, 4, 5, 6, -1, 7, 8]
    after = [
        finding(row, row >= 6, measured=measured(row >= 6, log10_tries=2.0 + change), control=measured(row == 0))
        for row, change in enumerate(changes)
    ]
    diff = compare(*audits([*before, finding(20, True)], [*after, finding(30, True), finding(31, True)]))
    extraction = diff.extraction
    assert (extraction.n, extraction.before, extraction.after, extraction.lost, extraction.gained) == (9, 8, 3, 6, 1)
    assert extraction.p_value == pytest.approx(2 * 8 / 2**7)
    assert (diff.controls.n, diff.controls.lost, diff.controls.gained, diff.controls.p_value) == (9, 0, 1, 1.0)
    assert (diff.tries.n, diff.tries.median, diff.tries.harder, diff.tries.easier) == (9, 4, 8, 1)
    assert diff.tries.interval == (1, 7), "the second and the eighth of nine: 1 - 2 * 10/512"
    assert diff.tries.p_value == pytest.approx(2 * 10 / 2**9)
    assert [pair.a.row for pair in diff.gone] == [0, 1, 2, 3, 4, 5]
    assert [pair.a.row for pair in diff.became_known] == [6]
    assert ([one.row for one in diff.only_a], [one.row for one in diff.only_b]) == ([20], [30, 31])


def test_only_what_counts_in_both_is_compared() -> None:
    before = [finding(0, True), finding(1, True, repeats=0), finding(2, True)]
    after = [finding(0, True), finding(1, True, repeats=0), finding(2, False, false_positive="a shop")]
    diff = compare(*audits(before, after))
    assert (diff.extraction.n, diff.uncounted, diff.tries.p_value) == (1, 2, None)


def test_values_that_are_never_sampled_have_an_order() -> None:
    never, some = measured(False, log10_tries=None), measured(False, log10_tries=3.0)
    states = [(some, never), (never, some), (never, never), (some, never)]
    before = [finding(row, False, measured=state) for row, (state, _) in enumerate(states)]
    after = [finding(row, False, measured=state) for row, (_, state) in enumerate(states)]
    diff = compare(*audits(before, after))
    assert [pair.change for pair in diff.pairs] == [math.inf, -math.inf, 0, math.inf]
    assert (diff.tries.harder, diff.tries.easier, diff.tries.median) == (2, 1, 0)


def test_distances_are_paired_and_sets_stand_side_by_side() -> None:
    """Of ten pairs one has no distance in B, one does not count, six are farther, one is nearer, one is the same."""
    distances = [(0, 2), (0, 3), (1, 2), (0, 1), (2, 4), (1, 4), (3, 2), (2, 2), (0, None), (0, 4)]
    before = [finding(row, True, measured=measured(True, distance=old)) for row, (old, _) in enumerate(distances)]
    after = [finding(row, True, measured=measured(True, distance=new)) for row, (_, new) in enumerate(distances)]
    after[9] = replace(after[9], false_positive="a shop")
    a, b = audits(before, after)
    sets = invented_audit().entropy
    found = compare(a, replace(b, entropy=sets)).sets
    assert (found.n, found.farther, found.nearer, found.median) == (8, 6, 1, 1.5)
    assert found.p_value == pytest.approx(2 * 8 / 2**7), "six of seven"
    assert found.interval == (-1, 3), "the first and the last of eight: 1 - 2/256"
    assert (found.a, found.b) == (None, sets)


def test_the_comparison_shows_the_sets_of_both(command: Command, tmp_path: Path) -> None:
    one = invented_audit()
    assert one.entropy and one.entropy.line
    none = replace(one.entropy, line=None, shuffled=None, p_value=None, too_few="2 sets of equal distance: a line needs 4.")
    for name, audit in (("a", one), ("b", replace(one, entropy=none))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "audit.json").write_text(to_json(audit), "utf-8")
    code, out, _ = command("audit-diff", tmp_path / "a", tmp_path / "b", "--html", tmp_path / "diff.html", "--json")
    answer = json.loads(out)["sets"]
    assert code == 0 and answer["a"]["line"]["r"] == one.entropy.line.r and answer["b"]["line"] is None
    page = (tmp_path / "diff.html").read_text("utf-8")
    assert f'<td class="n">{one.entropy.line.r:.2f}</td>' in page and "B: no line is drawn. 2 sets of equal distance" in page
    assert page.count("<figure>") == 2 and all(escape(caution) in page for caution in ENTROPY_CAUTIONS)
    code, out, _ = command("audit-diff", tmp_path / "a", tmp_path / "b")
    assert f"entropy of sets, r in A       {one.entropy.line.r:.2f} (95 % interval" in out and "r in B" not in out
    assert f"0 of {len([pair for pair in one.findings if pair.counts])}; nearer: 0" in out


def test_audits_that_cannot_be_compared() -> None:
    audit = audit_of([finding(0, True)])
    other_key = replace(audit, sample=replace(audit.sample, key_id="9d2e"))
    with pytest.raises(BadInput, match=r"different keys \(unnamed, 9d2e\)"):
        compare(audit, other_key)
    with pytest.raises(BadInput, match=r"different plans.*seed is 0 and 1; top_k is 0 and 5"):
        compare(audit, replace(audit, plan=Plan(seed=1, top_k=5)))
    with pytest.raises(BadInput, match="no secret in common"):
        compare(audit, audit_of([finding(1, True)]))


def test_from_a_key_to_a_verified_folder(command: Command, folder: Path, tmp_path: Path) -> None:
    code, out, _ = command("audit-key", tmp_path / "key")
    assert code == 0
    fingerprint = out.split()[-1]
    code, out, _ = command("audit-report", folder, "--sign", tmp_path / "key")
    assert code == 0 and "signed" in out and (folder / "report.html").is_file()
    assert json.loads((folder / "manifest.json").read_text())["versions"]["privlens"]
    code, out, _ = command("verify", folder, "--public-key", tmp_path / "key.pub")
    assert code == 0 and "The folder is as it was." in out and fingerprint in out and "7 same" in out
    (folder / "findings.csv").write_text("x")
    code, out, _ = command("verify", folder, "--json")
    answer = json.loads(out)
    assert code == 1
    assert (answer["good"], answer["signature"], answer["files"]["findings.csv"]) == (False, "good", "changed")
    assert answer["key"] == fingerprint and answer["given"] is False
    code, out, _ = command("verify", folder)
    assert code == 1 and "NOT as it was" in out and "from the folder itself" in out
    code, out, _ = command("audit-report", folder)
    assert code == 0 and "not signed any more" in out
    code, out, _ = command("verify", folder)
    assert code == 0 and "not signed: whoever can write" in out


def test_passphrases_on_the_command_line(command: Command, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRIVLENS_PASSPHRASE", "correct horse")
    assert command("audit-key", tmp_path / "key", "--passphrase")[0] == 0
    assert b"ENCRYPTED" in (tmp_path / "key").read_bytes()
    assert command("audit-report", folder, "--sign", tmp_path / "key")[0] == 0
    monkeypatch.setenv("PRIVLENS_PASSPHRASE", "wrong")
    code, _, err = command("audit-report", folder, "--sign", tmp_path / "key")
    assert code == 2 and "the passphrase is wrong" in err and err.count("\n") == 1
    monkeypatch.delenv("PRIVLENS_PASSPHRASE")
    answers = iter(["a", "b", "correct horse"])
    monkeypatch.setattr(audit_files.getpass, "getpass", lambda _: next(answers))
    code, _, err = command("audit-key", tmp_path / "other", "--passphrase")
    assert code == 2 and "differ" in err and not (tmp_path / "other").exists()
    assert command("audit-report", folder, "--sign", tmp_path / "key")[0] == 0


def test_a_comparison_on_the_command_line(command: Command, folder: Path, tmp_path: Path) -> None:
    before = invented_audit()
    healed = replace(before.findings[15], measured=replace(before.findings[15].measured, greedy_match=False, log10_tries=4.2))
    after = replace(before, findings=(*before.findings[:15], healed, *before.findings[16:]))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "audit.json").write_text(to_json(after), "utf-8")
    code, out, _ = command("audit-diff", folder, tmp_path / "b", "--html", tmp_path / "diff.html", "--json")
    answer = json.loads(out)
    assert code == 0
    assert (answer["extraction"]["lost"], answer["extraction"]["gained"], answer["extraction"]["p_value"]) == (1, 0, 1)
    assert answer["gone"] == [before.findings[15].key]
    [changed] = [pair for pair in answer["pairs"] if pair["rows"] == [15, 15]]
    assert (changed["written"], changed["log10_tries"][1]) == ([True, False], 4.2)
    html = (tmp_path / "diff.html").read_text("utf-8")
    assert "m****" in html and "<script" not in html and "McNemar" in html and "the same fingerprint" in html
    code, out, _ = command("audit-diff", folder, tmp_path / "b")
    assert code == 0 and "No longer written:" in out and "16,000" in out
    code, _, err = command("audit-diff", folder, tmp_path)
    assert code == 2 and "has no audit.json" in err and err.count("\n") == 1
    code, _, err = command("audit-diff", folder, tmp_path / "b", "--html", tmp_path / "no" / "diff.html")
    assert code == 2 and "cannot be written" in err


def test_hostile_names_are_harmless_in_a_comparison(command: Command, tmp_path: Path) -> None:
    audit = audit_of([finding(0, True, masked="<script>\u202e", category="<b>")])
    bad = replace(audit, target=replace(audit.target, model="<img src=x>\x1b[31m"))
    after = replace(bad, findings=(replace(bad.findings[0], measured=measured(False)),))
    for name, record in (("a", bad), ("b", after)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "audit.json").write_text(to_json(record), "utf-8")
    code, out, _ = command("audit-diff", tmp_path / "a", tmp_path / "b", "--html", tmp_path / "diff.html")
    html = (tmp_path / "diff.html").read_text("utf-8")
    assert code == 0 and "\u202e" not in out + html and "\x1b" not in html
    assert "<img" not in html and "&lt;img src=x&gt;" in html and "&lt;script&gt;" in html
