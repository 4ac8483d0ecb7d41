"""The real app as a process of its own: nothing of a visitor stays on the disk or in the log, however it ends."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from privlens.bench.serving import free_port
from tests.helpers import wait_until

ROOT = Path(__file__).parents[2]
MARKER = "Zebulon-Quarx-7781"
BROKEN = """
import privlens.memorization.check as checking

def broken(lm, secret):
    try:
        {}[secret.value]
    except KeyError as error:
        raise ValueError(f"no {secret.prompt} here") from error

checking.check = broken
from privlens.cli.app import main
main()
"""
"""The app, whose check fails with an error that names what it was asked."""


@dataclass
class Served:
    """A running app: its process, its address, where its log goes, and what a browser has open there."""

    process: subprocess.Popen[bytes]
    address: str
    log: Path
    opened: ExitStack = field(default_factory=ExitStack)

    def said(self) -> str:
        return self.log.read_text("utf-8", errors="replace")

    def ended_by(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(120)


def started(how: list[str], model: str, parent: Path) -> Served:
    port = free_port()
    log = parent.parent / f"log-{port}"
    environment = {**os.environ, "GRADIO_TEMP_DIR": str(parent), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, *how, "--model", model, "--device", "cpu", "--port", str(port)]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=environment, cwd=parent.parent)
    return Served(process, f"http://127.0.0.1:{port}", log)


def ready(served: Served) -> None:
    def answers() -> bool:
        if served.process.poll() is not None:
            pytest.fail(served.said())
        try:
            return httpx.get(served.address + "/config", trust_env=False).is_success
        except httpx.TransportError:
            return False

    for _ in range(5):  # importing everything on a busy machine takes a while
        wait_until(answers)
    assert answers(), served.said()


def leave_a_list(served: Served) -> None:
    """Uploads one list whole, and half of another, whose connection stays open; both from an open page, as it must be."""
    rows = f"prompt,value\nthe seal of {MARKER} is,{MARKER}\n".encode()
    browser = served.opened.enter_context(httpx.Client(trust_env=False, timeout=60))
    cookie = browser.get(served.address).headers["set-cookie"].partition(";")[0]
    beats = served.opened.enter_context(browser.stream("GET", served.address + "/gradio_api/heartbeat/reader")).iter_raw()
    next(beats)
    served.opened.callback(lambda: beats)  # held: it closes the connection when it goes
    [path] = browser.post(served.address + "/gradio_api/upload", files={"files": ("mine.csv", rows)}).json()
    assert MARKER in Path(path).read_text()
    host, port = served.address.removeprefix("http://").split(":")
    uploading = served.opened.enter_context(socket.create_connection((host, int(port))))
    part = b'--b\r\nContent-Disposition: form-data; name="files"; filename="half.csv"\r\n\r\n' + rows * 9000
    lines = ["POST /gradio_api/upload HTTP/1.1", f"Host: {host}:{port}", "Content-Type: multipart/form-data; boundary=b"]
    lines.append(f"Cookie: {cookie}")
    uploading.sendall("\r\n".join([*lines, "Content-Length: 9999999", "", ""]).encode() + part)


def with_marker(parent: Path) -> list[Path]:
    return [file for file in parent.rglob("*") if file.is_file() and MARKER.encode() in file.read_bytes()]


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where an administrator has temporary files put; with what no start may touch."""
    folder = tmp_path_factory.mktemp("served") / "temp"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def killed(parent: Path, folder: str) -> Iterator[Served]:
    """An app that is killed in the end, and with it what it still has open."""
    served = started(["-c", BROKEN], folder, parent)
    ready(served)
    yield served
    served.process.kill()
    served.process.wait(60)
    served.opened.close()


def malformed(address: str) -> list[httpx.Response]:
    """Calls that no page makes, each with the marker in it."""
    api, answers = f"{address}/gradio_api", []
    # One connection for all would be reset after an error that gradio does not answer.
    with httpx.Client(trust_env=False, timeout=60, headers={"Connection": "close"}) as client:
        config = client.get(address + "/config").json()
        of = {component["props"].get("elem_id"): component["id"] for component in config["components"]}
        chosen = next(one["id"] for one in config["dependencies"] if [of["examples"], "input"] in one["targets"])
        listed = next(one["id"] for one in config["dependencies"] if [of["own-list"], "change"] in one["targets"])
        file = {"path": f"/tmp/{MARKER}", "meta": {"_type": "gradio.FileData"}}
        for name, data in [
            ("check", [MARKER]), ("check", [MARKER] * 9), ("check", [MARKER, {"a": MARKER}]), ("check", [MARKER, MARKER, False]),
            ("localize", [MARKER, MARKER, MARKER, MARKER, MARKER]), (MARKER, [MARKER]),
        ]:  # fmt: skip
            event = client.post(f"{api}/call/{name}", json={"data": data})
            answers.append(event)
            if event.is_success:
                answers.append(client.get(f"{api}/call/{name}/{event.json()['event_id']}"))
        answers.append(client.post(f"{api}/run/check", json={"data": [MARKER]}))
        answers.append(client.post(f"{api}/run/check", json={"data": [MARKER, MARKER]}))
        for number, data in [(chosen, [None, MARKER]), (listed, [None, file]), (listed, [MARKER]), (9999, [MARKER])]:
            joined = client.post(f"{api}/queue/join", json={"data": data, "fn_index": number, "session_hash": MARKER})
            if joined.is_success:
                answers.append(client.get(f"{api}/queue/data", params={"session_hash": MARKER}))
        answers.append(client.post(f"{api}/queue/join", content=f'{{"data": ["{MARKER}'))
        answers.append(client.post(f"{api}/upload", content=MARKER, headers={"Content-Type": "multipart/form-data"}))
        answers.append(client.get(f"{api}/file=/tmp/{MARKER}"))
        answers.append(client.get(f"{api}/custom_component/{MARKER}/client/{MARKER}/{MARKER}"))
        surrogate = f'{{"data": ["\\ud800{MARKER}", "v"]}}'.encode()
        answers.append(client.post(f"{api}/call/check", content=surrogate, headers={"Content-Type": "application/json"}))
    with socket.create_connection(tuple(address.removeprefix("http://").split(":"))) as raw:
        raw.settimeout(30)
        raw.sendall(f"{MARKER}\r\n\r\n".encode())
        raw.recv(100)
    return answers


def test_what_a_visitor_sent_is_in_no_log_and_the_lines_of_code_are(killed: Served) -> None:
    answers = malformed(killed.address)
    assert len(answers) > 15 and any(answer.status_code >= 400 or "error" in answer.text for answer in answers)
    said = killed.said()
    assert MARKER not in said, said[max(0, said.index(MARKER) - 2000) :][:3000]
    assert "ValueError (message left out" in said and "in broken" in said and "KeyError (message" in said
    assert "in validate_inputs" in said, "a programmer is told where a malformed call fell"


def test_its_folder_is_for_its_user_alone(killed: Served, parent: Path) -> None:
    leave_a_list(killed)
    wait_until(lambda: len(with_marker(parent)) == 2)
    assert len(with_marker(parent)) == 2, "the whole list and the half one"
    [own] = parent.iterdir()
    assert own.stat().st_mode & 0o777 == 0o700
    assert re.fullmatch(rf"privlens-{os.getuid()}-{killed.process.pid}-\d+-\w+", own.name)


def test_the_start_after_a_kill_removes_what_is_left_and_signals_leave_nothing(killed: Served, parent: Path, folder: str) -> None:
    killed.process.kill()
    killed.process.wait(60)
    assert with_marker(parent), "nobody could remove it yet"
    kept = parent / "privlens-notes" / "mine.txt"
    kept.parent.mkdir()
    kept.write_text("somebody's own")
    linked = parent / f"privlens-{os.getuid()}-999999-1-link"
    linked.symlink_to(kept.parent)
    both = [started([str(ROOT / "app.py")], folder, parent) for _ in range(2)]
    for served in both:
        ready(served)
    assert not with_marker(parent)
    assert kept.read_text() == "somebody's own" and linked.is_symlink()
    for served in both:
        leave_a_list(served)
    wait_until(lambda: len(with_marker(parent)) == 4)
    assert len(with_marker(parent)) == 4, "a start takes nothing from a process that lives"
    terminated, interrupted = both
    assert terminated.ended_by(signal.SIGTERM) == 128 + 15, terminated.said()
    assert len(with_marker(parent)) == 2, "the other's"
    assert interrupted.ended_by(signal.SIGINT) == 128 + 2, interrupted.said()
    assert sorted(one.name for one in parent.iterdir()) == sorted([linked.name, "privlens-notes"])
    for served in both:
        assert "Traceback" not in served.said()
        served.opened.close()
