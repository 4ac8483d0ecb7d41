"""The arguments of gradio's launch that apply all of this."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

from gradio.routes import App
from starlette.middleware import Middleware

from privlens.ui.traces.quiet import silence
from privlens.ui.traces.routes import OpenRoutes
from privlens.ui.traces.uploads import keep_apart
from privlens.ui.traces.visits import Connections, VisitRegistry, capacity, watching

Lifespan = Callable[[], AbstractAsyncContextManager[None]]


def leaving_nothing(visits: VisitRegistry, beside: Sequence[Lifespan] = ()) -> tuple[dict[str, Any], list[Middleware]]:
    """Settings of `launch`, and the middleware of its app: errors are logged without values, gradio's other routes are closed,
    and visits end. `beside` are entered too while the app runs."""
    silence()
    keep_apart()
    settings = {
        "enable_monitoring": False,
        "state_session_capacity": capacity(),
        "app_kwargs": {"lifespan": _together(watching(visits), beside)},
    }
    return settings, [Middleware(OpenRoutes), Middleware(Connections, visits=visits)]


def _together(watching: Callable[[App], AbstractAsyncContextManager[None]], beside: Sequence[Lifespan]) -> Callable[[App], Any]:
    @asynccontextmanager
    async def lifespan(app: App) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for one in (lambda: watching(app), *beside):
                await stack.enter_async_context(one())
            yield

    return lifespan
