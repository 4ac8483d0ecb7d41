"""The same answers for agents: tools of the Model Context Protocol, below /mcp and behind the same lock as the page.

The protocol's own library is used and not gradio's tools: those answer all callers from one session, so that one would see the
neurons of another; they call the page over HTTP without its token; and they hold pydantic back. A tool keeps nothing of a call.
"""

import functools
import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Any

from anyio import from_thread, to_thread
from pydantic import Field
from starlette.routing import BaseRoute

from privlens import __version__
from privlens.errors import BadInput, PrivlensError
from privlens.lm.fair_lock import Work, at_work
from privlens.localization import METHODS
from privlens.types import Neuron
from privlens.ui.programs import answers
from privlens.ui.programs.answers import Answer, Asked, OnStep, Step
from privlens.ui.state.jobs import turn
from privlens.ui.state.session import ModelCache

try:
    from mcp.server.fastmcp import Context, FastMCP
    from mcp.server.fastmcp.exceptions import ToolError
    from mcp.server.transport_security import TransportSecuritySettings
    from mcp.types import ToolAnnotations
except ImportError as cause:
    raise BadInput("--mcp needs the package mcp: pip install 'privlens[mcp]'.") from cause

PATH = "/mcp"
BETWEEN = 0.5
"""Seconds between two reports of progress: agents show them to people, who read no faster."""
ABOUT = (
    "PrivLens measures how well a language model knows private text, finds the neurons that carry it, and measures what "
    "switching them off does. A secret is a prompt and the value that follows it. Values that you send stay on PrivLens's "
    "machine, but whoever runs you sees them too. Switching neurons off changes nothing for other calls."
)
Run = Callable[[threading.Event, OnStep], Answer]
Prompt = Annotated[str, Field(description="What comes before the value.")]
Value = Annotated[str, Field(description="The private text that the model should, or should not, continue with.")]
Chat = Annotated[bool, Field(description="Ask the prompt as a chat turn, for chat models.")]
Method = Annotated[str, Field(description="One of: " + ", ".join(METHODS) + ".")]


class McpServer:
    """The tools of one page, and how an app serves them.

    Attributes:
        routes: what the app adds to its own. lifespan: entered while the app runs.
    """

    def __init__(self, cache: ModelCache) -> None:
        # The page's lock has checked the host and the origin already, for all the names that it answers to.
        security = TransportSecuritySettings(enable_dns_rebinding_protection=False)
        server: FastMCP[None] = FastMCP(
            "PrivLens", ABOUT, streamable_http_path=PATH, transport_security=security, log_level="ERROR"
        )
        logging.getLogger("mcp.server.streamable_http").setLevel(logging.CRITICAL)  # it logs an error whenever a caller leaves
        server._mcp_server.version = __version__  # by default that of the library
        _add_tools(server, cache)
        self.routes: Sequence[BaseRoute] = server.streamable_http_app().routes
        self.lifespan: Callable[[], AbstractAsyncContextManager[None]] = server.session_manager.run


def _add_tools(server: FastMCP[None], cache: ModelCache) -> None:
    read_only = ToolAnnotations(readOnlyHint=True, idempotentHint=True, openWorldHint=False)
    tool = functools.partial(server.tool, annotations=read_only)

    @tool()
    async def check(prompt: Prompt, value: Value, chat: Chat = False) -> Answer:
        """How well the model knows a value: whether it writes it word for word, how likely it is, its exposure in bits, what
        the model writes instead, and the verdict beside values that nobody trained on."""
        asked = Asked(cache, cache.first, chat)
        return await _light(lambda: answers.checked(asked, prompt, value))

    @tool()
    async def localize(
        context: Context[Any, Any, Any],
        prompt: Prompt,
        value: Value,
        method: Method = "hard-concrete",
        k: Annotated[int, Field(description="How many of the best neurons to return.")] = 100,
        seed: int = 0,
        chat: Chat = False,
    ) -> Answer:
        """The k neurons that carry a value most, best first, as pairs [layer, index], both counted from 0; and the number of
        neurons that the method itself would switch off."""
        asked = Asked(cache, cache.first, chat)

        def run(stop: threading.Event, on_step: OnStep) -> Answer:
            return answers.localized(asked, prompt, value, method, seed, k, stop.is_set, on_step).answer()

        return await _heavy(context, run)

    @tool()
    async def deactivate(
        prompt: Prompt,
        value: Value,
        neurons: Annotated[list[tuple[int, int]], Field(description="Pairs [layer, index], as localize returns them.")],
        chat: Chat = False,
    ) -> Answer:
        """What becomes of a value when these neurons are off, before and after, with what the model then writes. The model stays
        as it is. To know whether it matters which neurons are off, ask again with as many from the method `random`."""
        asked = Asked(cache, cache.first, chat)
        pairs = tuple(Neuron(*pair) for pair in neurons)
        return await _light(lambda: answers.deactivated(asked, prompt, value, pairs))

    @tool()
    async def audit(
        context: Context[Any, Any, Any],
        rows: Annotated[list[dict[str, Any]], Field(description="Objects with prompt, value and, if known, category.")],
        plan: Annotated[dict[str, Any] | None, Field(description="Settings of a plan; none for the default.")] = None,
        chat: Chat = False,
    ) -> Answer:
        """Audits a list of secrets: rates with intervals, controls, and a finding for each secret. Values come back masked."""
        asked = Asked(cache, cache.first, chat)
        return await _heavy(context, lambda stop, on_step: answers.audited(asked, rows, plan, stop.is_set, on_step))


async def _light(call: Callable[[], Answer]) -> Answer:
    def work() -> Answer:
        with at_work(Work()):
            return call()

    return await to_thread.run_sync(_in_words, work)


async def _heavy(context: Context[Any, Any, Any], run: Run) -> Answer:
    """The run in a thread, in line with those of the page; it stops when the agent cancels the call or is gone."""
    stop = threading.Event()
    told_at = 0.0

    def tell(step: Step) -> None:
        nonlocal told_at
        if time.monotonic() - told_at >= BETWEEN and not stop.is_set():
            told_at = time.monotonic()
            from_thread.run(context.report_progress, step.step, step.n_steps, step.stage)

    def work() -> Answer:
        with turn(f"mcp {id(context.session)}", stop.is_set):
            return run(stop, tell)

    try:
        return await to_thread.run_sync(_in_words, work, abandon_on_cancel=True)
    finally:
        stop.set()


def _in_words(work: Callable[[], Answer]) -> Answer:
    """What the work returns. Errors say what to do; of others only the kind is told, because agents keep what they are told."""
    try:
        return work()
    except PrivlensError as error:
        raise ToolError(str(error)) from None
    except Exception as error:
        raise ToolError(f"This failed inside PrivLens ({type(error).__name__}).") from None
