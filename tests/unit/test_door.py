"""The door's decisions: by which names, from which pages, with which passwords."""

from pathlib import Path

import pytest
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from privlens.cli import app
from privlens.errors import BadInput
from privlens.ui.door import Door, make_door
from privlens.ui.door.compressed import CompressedPage
from privlens.ui.door.hosts import allowed_names, hostname, is_allowed
from privlens.ui.door.origins import is_own, same_origin
from privlens.ui.door.passwords import hash_line, read_users, verified
from privlens.ui.door.settings import addresses, is_loopback


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("localhost:7860", "localhost"), ("LOCALHOST.", "localhost"), ("[::1]:7860", "::1"), ("", ""), ("a b", ""),
        ("evil.example/@127.0.0.1", ""), ("evil.example@127.0.0.1", ""), ("127.0.0.1:port", ""), ("127.0.0.1#", ""), ("[::1", ""),
    ],
)  # fmt: skip
def test_a_host_header_names_one_host_or_none(header: str, name: str) -> None:
    assert hostname(header) == name


@pytest.mark.parametrize(
    ("host", "header", "answered"),
    [
        ("127.0.0.1", "127.0.0.1:7860", True), ("127.0.0.1", "[::1]:1", True), ("127.0.0.1", "rebind.example:7860", False),
        ("127.0.0.1", "127.0.0.1.evil.example", False), ("127.0.0.1", "10.0.0.7", False), ("127.0.0.1", "lens.example", True),
        ("0.0.0.0", "10.0.0.7:7860", True), ("0.0.0.0", "[fd00::7]", True), ("0.0.0.0", "rebind.example", False),
        ("inner.example", "inner.example", True), ("0.0.0.0", "0x7f.1", False), ("127.0.0.1", "", False),
    ],
)  # fmt: skip
def test_names_are_listed_and_numbers_only_where_others_reach_the_page(host: str, header: str, answered: bool) -> None:
    names = allowed_names(host, ["lens.example"])
    assert is_allowed(header, names, any_address=Door(host).public) is answered


@pytest.mark.parametrize(
    ("host", "alone"),
    [("127.0.0.1", True), ("127.8.9.1", True), ("::1", True),
     ("[::1]", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
     ("box.example", False)],
)  # fmt: skip
def test_which_addresses_only_this_machine_reaches(host: str, alone: bool) -> None:
    assert is_loopback(host) is alone


@pytest.mark.parametrize(
    ("origin", "host", "same"),
    [
        ("http://a.example", "a.example", True), ("http://a.example", "a.example:80", True),
        ("https://a.example", "a.example", True),
        ("http://a.example:81", "a.example", False), ("http://localhost:3000", "localhost:7860", False), ("null", "null", False),
        ("http://a.example.evil.example", "a.example", False), ("file://", "", False), ("http://[::1", "x", False),
    ],
)  # fmt: skip
def test_an_origin_is_the_same_with_its_port(origin: str, host: str, same: bool) -> None:
    assert same_origin(origin, host) is same


@pytest.mark.parametrize(
    ("method", "headers", "own"),
    [
        ("POST", {}, True),
        ("POST", {"origin": "http://a.example"}, True),
        ("POST", {"origin": "http://evil.example"}, False),
        ("GET", {"origin": "http://evil.example"}, False),
        ("POST", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, False),
        ("POST", {"sec-fetch-site": "same-site"}, False),
        ("POST", {"origin": "null"}, False),
        ("POST", {"origin": "null", "sec-fetch-site": "same-origin"}, True),
        ("GET", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, False),
        ("GET", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, True),
        ("GET", {"sec-fetch-site": "none"}, True),
    ],
)
def test_requests_of_other_pages_are_told_apart_from_links(method: str, headers: dict[str, str], own: bool) -> None:
    assert is_own(method, Headers(headers), "a.example") is own


def test_a_public_address_is_locked_by_a_new_token_unless_said_otherwise() -> None:
    assert not make_door("127.0.0.1").locked
    first, second = make_door("0.0.0.0"), make_door("0.0.0.0")
    assert len(first.token) == 43
    assert first.token != second.token
    assert not make_door("0.0.0.0", insecure=True).locked
    assert make_door("0.0.0.0", users={"ada": "hash"}).token == ""
    assert first.token not in repr(first)
    assert addresses(first, 7)[1] == f"http://127.0.0.1:7/?token={first.token}"
    assert addresses(make_door("::1"), 7) == ["http://[::1]:7/"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"insecure": True, "token": "auto"}, "leave one of the two out"), ({"token": "short"}, "16 characters"),
        ({"allow_frames": ["*"]}, "needs an origin"), ({"allow_frames": ["https://a.example; x"]}, "origin"),
        ({"allow_frames": ["https://a.example/"]}, "needs an origin"), ({"root_path": "lens"}, "begins with /"),
        ({"allow_hosts": ["http://a.example/"]}, "--allow-host needs a name"),
    ],
)  # fmt: skip
def test_what_contradicts_itself_is_refused_in_words(given: dict[str, object], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        make_door("127.0.0.1", **given)  # type: ignore[arg-type]


def test_passwords_are_kept_as_salted_argon2_hashes_and_verified(tmp_path: Path) -> None:
    lines = [hash_line("ada", "correct horse"), hash_line("bob", "correct horse")]
    assert lines[0].startswith("ada:$argon2id$")
    assert lines[0].partition(":")[2] != lines[1].partition(":")[2]
    file = tmp_path / "users"
    file.write_text("# people\n" + "\n".join(lines) + "\n\n", encoding="utf-8")
    file.chmod(0o600)
    users, warning = read_users(str(file))
    assert (set(users), warning) == ({"ada", "bob"}, "")
    assert verified(users, "ada", "correct horse")
    assert not verified(users, "ada", "wrong horse")
    assert not verified(users, "eve", "correct horse")
    file.chmod(0o644)
    assert "chmod 600" in read_users(str(file))[1]


def test_unknown_users_are_held_against_a_hash_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    class Watched:
        def verify(self, hash: str, _: str) -> bool:
            seen.append(hash[:10])
            return True

    monkeypatch.setattr("privlens.ui.door.passwords.HASHER", Watched())
    assert not verified({}, "eve", "a password")
    assert seen == ["$argon2id$"]


@pytest.mark.parametrize(
    ("text", "words"),
    [("ada:secret99", "Line 1"), ("\nada:$argon2id$v=19$broken", "Line 2"), ("# none", "names none"), (None, "cannot be read")],
)
def test_a_file_of_users_is_refused_without_showing_what_stands_in_it(text: str | None, words: str, tmp_path: Path) -> None:
    file = tmp_path / "users"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match=words) as refusal:
        read_users(str(file))
    assert "secret99" not in str(refusal.value)


def test_the_command_line_hashes_and_makes_users(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PRIVLENS_PASSWORD", "correct horse")
    app.serve(hash_for="ada")
    assert verified(dict([capsys.readouterr().out.strip().split(":")]), "ada", "correct horse")
    assert verified(app.users_of(["bob"], ""), "bob", "correct horse")
    monkeypatch.delenv("PRIVLENS_PASSWORD")
    monkeypatch.setattr("getpass.getpass", lambda _: "typed horse")
    assert verified(app.users_of(["bob"], ""), "bob", "typed horse")


@pytest.mark.parametrize(
    ("path", "root", "encoding"),
    [
        ("/", "", "gzip"), ("/lens/", "/lens", "gzip"), ("/", "/lens", "gzip"),
        ("/gradio_api/queue/data", "", None), ("/lens/gradio_api/queue/data", "/lens", None), ("/config", "", None),
    ],
)  # fmt: skip
def test_the_page_is_compressed_and_no_answer_with_private_values_is(path: str, root: str, encoding: str | None) -> None:
    client = TestClient(CompressedPage(PlainTextResponse("page " * 1000), root))
    answer = client.get(path, headers={"accept-encoding": "gzip"})
    assert answer.headers.get("content-encoding") == encoding
    assert answer.text == "page " * 1000
