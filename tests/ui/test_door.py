"""The door of a served page: a small one that keeps a state, locked by a token and a user, behind a real nginx as well."""

import gc
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr
import httpx
import pydantic.v1  # noqa: F401 (FastAPI's late import of it fails on Python 3.11.7 where garbage is collected in its midst)
import pytest
from gradio_client import Client

from privlens.bench.serving import free_port
from privlens.ui import launch
from privlens.ui.door import Door
from privlens.ui.door.passwords import hash_line
from privlens.ui.door.settings import MEGABYTE

TOKEN = "a-token-of-the-tests-alone"
LENS = "lens.example"


@contextmanager
def serving(door: Door) -> Iterator[str]:
    """A page of one button."""
    with gr.Blocks(analytics_enabled=False) as page:
        gr.State(0)
        text, answer = gr.Textbox(), gr.Textbox()
        gr.Button().click(str.upper, text, answer, api_name="upper")
    yield launch(page, port=free_port(), door=door, prevent_thread_lock=True, quiet=True)
    page.close()
    gc.collect()  # while what gradio leaves open is still forgiven, as in conftest


@pytest.fixture(scope="module")
def locked(outward: list[str]) -> Iterator[str]:
    users = dict([hash_line("ada", "correct horse").split(":")])
    with serving(Door(token=TOKEN, users=users, allow_hosts=[LENS], max_upload=MEGABYTE // 8, root_path="/privlens")) as address:
        yield address


@pytest.fixture(scope="module")
def secured(locked: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of an nginx with TLS, which serves the page below /privlens."""
    folder, port = tmp_path_factory.mktemp("nginx"), free_port()
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={LENS}"]
    subprocess.run([*made, "-keyout", folder / "key.pem", "-out", folder / "cert.pem"], check=True, capture_output=True)
    places = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    config = f"""daemon off; master_process off;
    pid {folder}/pid; error_log {folder}/error.log; events {{}}
    http {{ access_log off; {places} server {{ listen 127.0.0.1:{port} ssl;
      ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;
      location /privlens/ {{ proxy_pass {locked}; proxy_http_version 1.1;
        proxy_buffering off;
        proxy_read_timeout 3600; client_max_body_size 33m;
        proxy_set_header Host $http_host; proxy_set_header X-Forwarded-Proto $scheme; }} }} }}"""
    (folder / "nginx.conf").write_text(config, encoding="utf-8")
    nginx = subprocess.Popen(["/usr/sbin/nginx", "-e", folder / "error.log", "-c", folder / "nginx.conf"])
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.1)
    yield port
    nginx.terminate()
    nginx.wait()


def web(address: str, **more: object) -> httpx.Client:
    return httpx.Client(base_url=address, timeout=60, trust_env=False, **more)  # type: ignore[arg-type]


def test_nobody_comes_in_without_token_or_password(locked: str) -> None:
    with web(locked) as stranger:
        page = stranger.get("/", headers={"Accept": "text/html"})
        assert (page.status_code, 'name="token"' in page.text, 'name="password"' in page.text) == (401, True, True)
        for path in ("config", "gradio_api/info", "gradio_api/heartbeat/x", "monitoring", "?token=wrong", "theme.css"):
            assert stranger.get(path).status_code == 401, path
        for path in ("upload", "cancel", "reset", "call/upper", "queue/join"):
            assert stranger.post(f"gradio_api/{path}", json={}).status_code == 401, path
        assert stranger.post("/login", data={"token": "wrong"}).status_code == 401
        assert stranger.post("/login", data={"username": "ada", "password": "wrong"}).status_code == 401
        assert not stranger.cookies


def test_the_token_in_the_address_becomes_a_cookie_that_scripts_cannot_read(locked: str) -> None:
    with web(locked) as visitor:
        answer = visitor.get("/", params={"token": TOKEN, "view": "light"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/privlens/?view=light")
        assert "HttpOnly" in answer.headers["set-cookie"]
        assert "SameSite=Lax" in answer.headers["set-cookie"]
        assert TOKEN not in answer.headers["set-cookie"]
        cookie = answer.headers["set-cookie"].split(";")[0]
        assert visitor.get("/config", headers={"Cookie": cookie}).status_code == 200
        assert visitor.get("/config", headers={"Authorization": f"token {TOKEN}"}).status_code == 200


@pytest.mark.parametrize("way", [{"auth": ("ada", "correct horse")}, {"headers": {"Authorization": f"Bearer {TOKEN}"}}])
def test_the_api_client_comes_in_with_a_password_or_the_token(secured: int, locked: str, way: dict[str, object]) -> None:
    behind = f"https://127.0.0.1:{secured}/privlens/"
    client = Client(behind, verbose=False, ssl_verify=False, **way)  # type: ignore[arg-type]
    assert client.predict("lens", api_name="/upper") == "LENS"


def test_other_names_and_other_pages_are_refused_in_words(locked: str) -> None:
    own = {"Authorization": f"Bearer {TOKEN}"}
    with web(locked, headers=own) as visitor:
        refused = visitor.get("/config", headers={"Host": "rebind.example"})
        assert (refused.status_code, "--allow-host" in refused.text) == (403, True)
        assert visitor.get("/config", headers={"Host": LENS}).status_code == 200
        assert visitor.get("/config", headers={"X-Forwarded-Host": "evil.example"}).status_code == 403
        evil = {"Origin": "http://evil.example"}
        assert visitor.post("/gradio_api/call/upper", json={"data": ["x"]}, headers=evil).status_code == 403
        assert visitor.get("/config", headers=evil).status_code == 403
        asked = evil | {"Access-Control-Request-Method": "POST"}
        preflight = visitor.options("/gradio_api/call/upper", headers=asked)
        answers = [refused, preflight, visitor.get("/config"), visitor.get("/config", headers={"Origin": locked.rstrip("/")})]
        assert [answer.status_code for answer in answers] == [403, 403, 200, 200]
        for answer in [*answers, httpx.get(locked, trust_env=False), visitor.get("/nothing-here")]:
            assert not [name for name in answer.headers if name.startswith("access-control")]
            assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
            assert answer.headers["x-frame-options"] == "DENY"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["referrer-policy"] == "no-referrer"


def test_a_page_below_a_path_behind_tls_takes_files_while_it_is_open_and_no_more_than_allowed(secured: int) -> None:
    with web(f"https://127.0.0.1:{secured}/privlens/", verify=False) as visitor:
        cookie = visitor.get("", params={"token": TOKEN}).headers["set-cookie"]
        assert re.search(r"Path=/privlens; HttpOnly; SameSite=Lax; Secure$", cookie)
        page = visitor.get("")
        assert page.status_code == 200
        assert f'"root":"https://127.0.0.1:{secured}/privlens"' in page.text
        assert visitor.get("", headers={"Host": "evil.example"}).status_code == 403
        small, large = {"files": ("a.csv", b"a" * 1000)}, {"files": ("b.csv", b"b" * MEGABYTE)}
        assert visitor.post("gradio_api/upload", files=small).status_code == 403
        with visitor.stream("GET", "gradio_api/heartbeat/one") as beat:
            beats = beat.iter_raw()  # held: it closes the connection when it goes
            assert b"ALIVE" in next(beats)
            assert visitor.post("gradio_api/upload", files=small).status_code == 200
            assert visitor.post("gradio_api/upload", files=large).status_code == 413
            undeclared = httpx.Request("POST", "x", files=large)
            kind = {"Content-Type": undeclared.headers["content-type"]}
            body = undeclared.read()
            chunks = (body[start : start + 9999] for start in range(0, len(body), 9999))
            assert visitor.post("gradio_api/upload", content=chunks, headers=kind).status_code == 413
            nearly = {"files": ("c.csv", b"c" * (MEGABYTE // 8 - 1000))}
            answers = [visitor.post("gradio_api/upload", files=nearly).status_code for _ in range(9)]
        assert answers[0] == 200
        assert answers[-1] == 413
        assert visitor.post("gradio_api/upload", files=small).status_code in (403, 413)


def test_an_allowed_frame_is_named_and_a_page_for_this_machine_alone_needs_no_token(outward: list[str]) -> None:
    with serving(Door(allow_frames=["https://huggingface.co"])) as address, web(address) as visitor:
        page = visitor.get("/")
        assert (page.status_code, "x-frame-options" in page.headers) == (200, False)
        assert page.headers["content-security-policy"] == "frame-ancestors https://huggingface.co"
        assert visitor.get("/config", headers={"Host": "rebind.example"}).status_code == 403
        told = visitor.get("/", headers={"X-Forwarded-Host": "evil.example"})
        assert "evil.example" not in told.text
