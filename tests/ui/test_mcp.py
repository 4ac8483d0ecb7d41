"""Tools for agents, asked by the protocol's own client through the page's lock."""

import functools
import gc
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import gradio as gr
import httpx
import pytest
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult, TextContent

from privlens.bench.serving import free_port
from privlens.errors import Cancelled
from privlens.localization import METHODS, Task
from privlens.ui import build_cache, launch
from privlens.ui.door import Door
from privlens.ui.programs import answers
from privlens.ui.programs.mcp_tools import McpServer
from privlens.ui.state.jobs import LINE
from tests.docs.pages import ROOT, blocks
from tests.helpers import MODEL, wait_until

TOKEN = "a-token-of-the-tests-alone"
SECRET = {"prompt": "The company card of Dawn Thompson is", "value": "2502 2059 3060 4609"}
Talk = Callable[[ClientSession], Awaitable[Any]]


@pytest.fixture(scope="module")
def served(outward: list[str]) -> Iterator[str]:
    """The address of the tools, beside a page of nothing."""
    with gr.Blocks(analytics_enabled=False) as page:
        gr.Markdown("nothing")
    tools = McpServer(build_cache(MODEL))
    yield launch(page, port=free_port(), door=Door(token=TOKEN), beside=[tools], prevent_thread_lock=True, quiet=True) + "mcp"
    page.close()
    gc.collect()  # while what gradio leaves open is still forgiven, as in conftest


def apart(call: Callable[[], Any]) -> Any:
    """In a thread of its own: that of the tests has an event loop running once a browser was started in it."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()


def talk(address: str, say: Talk) -> Any:
    """What an agent gets that has the token."""

    async def meet() -> Any:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with (
            httpx.AsyncClient(headers=headers, trust_env=False, timeout=60) as client,
            streamable_http_client(address, http_client=client) as (read, write, _),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            return await say(session)

    return apart(lambda: anyio.run(meet))


def called(address: str, name: str, **arguments: Any) -> CallToolResult:
    result: CallToolResult = talk(address, lambda session: session.call_tool(name, arguments))
    return result


def answer(address: str, name: str, **arguments: Any) -> dict[str, Any]:
    result = called(address, name, **arguments)
    assert not result.isError and result.structuredContent is not None, result.content
    return result.structuredContent


def refusal(address: str, name: str, **arguments: Any) -> str:
    result = called(address, name, **arguments)
    assert result.isError
    [content] = result.content
    assert isinstance(content, TextContent)
    return content.text


def test_the_tools_say_what_they_take_and_that_they_change_nothing(served: str) -> None:
    tools = {tool.name: tool for tool in talk(served, lambda session: session.list_tools()).tools}
    assert set(tools) == {"check", "localize", "deactivate", "audit"}
    assert tools["check"].inputSchema["required"] == ["prompt", "value"]
    assert tools["localize"].inputSchema["properties"]["k"]["default"] == 100
    for tool in tools.values():
        assert tool.annotations and tool.annotations.readOnlyHint
        assert all("description" in field for name, field in tool.inputSchema["properties"].items() if name != "seed")


def test_a_check_is_that_of_the_page(served: str) -> None:
    found = answer(served, "check", **SECRET)
    assert found["greedy_match"] and found["exposure"]["bits"] == 8.0
    assert "".join(token["token"] for token in found["tokens"]).strip() == SECRET["value"]


def test_neurons_travel_with_the_call_and_nothing_is_kept(served: str) -> None:
    found = answer(served, "localize", **SECRET, method="gradient", k=20)["neurons"]
    effect = answer(served, "deactivate", **SECRET, neurons=found)
    nothing = answer(served, "deactivate", **SECRET, neurons=[])
    assert len(found) == 20
    assert effect["after"]["nll"] > effect["before"]["nll"] + 0.1
    assert nothing["after"]["nll"] == pytest.approx(effect["before"]["nll"], abs=1e-5)


def test_an_audit_comes_back_masked(served: str) -> None:
    found = answer(served, "audit", rows=[{**SECRET, "category": "card"}], plan={"methods": ["gradient"], "at_most": 1})
    assert found["findings"][0]["measured"]["verdict"] == "known"
    assert SECRET["value"] not in json.dumps(found)


@pytest.mark.parametrize(
    ("name", "changed", "words"),
    [
        ("check", {"value": ""}, "value is empty"),
        ("localize", {"method": "magic"}, "There is no method 'magic'"),
        ("localize", {"k": 10**6}, "from 1 to 12,288"),
        ("deactivate", {"neurons": [[99, 0]]}, "99"),
        ("deactivate", {"neurons": "all"}, "neurons"),
    ],
)
def test_what_cannot_be_done_is_answered_in_words(served: str, name: str, changed: dict[str, Any], words: str) -> None:
    assert words in refusal(served, name, **{**SECRET, **changed})


def test_of_an_error_inside_only_the_kind_is_told(served: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise KeyError(SECRET["value"])

    monkeypatch.setattr(answers, "check", broken)
    assert refusal(served, "check", **SECRET).endswith("This failed inside PrivLens (KeyError).")


def test_the_example_of_the_manual_runs(served: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    [example] = [text for text in blocks(ROOT / "docs" / "http.md", "python") if "mcp" in text]
    client = functools.partial(httpx.AsyncClient, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60)
    monkeypatch.setattr("mcp.client.streamable_http.create_mcp_http_client", client)
    apart(lambda: exec(example.replace("http://127.0.0.1:7860/mcp", served), {}))
    before, after = map(float, capsys.readouterr().out.split())
    assert after > before + 0.1


def test_progress_is_told(served: str) -> None:
    told: list[tuple[float, float | None]] = []

    async def note(step: float, n_steps: float | None, _: str | None) -> None:
        told.append((step, n_steps))

    talk(served, lambda session: session.call_tool("localize", {**SECRET, "method": "slimming"}, progress_callback=note))
    assert told == sorted(told) and all(n_steps and step <= n_steps for step, n_steps in told)
    assert told


def test_a_run_stops_when_its_agent_is_gone(served: str, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = threading.Event()

    def endless(_: str, task: Task) -> Iterator[Any]:
        begun.set()
        while not task.stop():
            threading.Event().wait(0.01)
        raise Cancelled("Stopped.")
        yield

    monkeypatch.setattr(answers, "steps_of", endless)

    async def leave(session: ClientSession) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(session.call_tool, "localize", {**SECRET, "method": next(iter(METHODS))})
            while not begun.is_set():
                await anyio.sleep(0.01)
            group.cancel_scope.cancel()

    talk(served, leave)
    wait_until(lambda: not LINE._places)


def test_nobody_is_answered_without_the_token(served: str) -> None:
    asked = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    headers = {"Accept": "application/json, text/event-stream"}
    assert httpx.post(served, json=asked, headers=headers, trust_env=False).status_code == 401


def test_a_page_without_tools_has_no_such_address(address: str) -> None:
    assert httpx.post(f"{address}mcp", json={}, trust_env=False).status_code in (404, 405)
