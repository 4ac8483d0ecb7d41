"""The arguments of gradio's launch that apply all of this."""

from typing import Any

from starlette.middleware import Middleware

from privlens.ui.traces.quiet import silence
from privlens.ui.traces.routes import OpenRoutes
from privlens.ui.traces.uploads import keep_apart
from privlens.ui.traces.visits import Connections, VisitRegistry, capacity, watching


def leaving_nothing(visits: VisitRegistry) -> tuple[dict[str, Any], list[Middleware]]:
    """Settings of `launch`, and the middleware of its app: errors are logged without values, gradio's other routes are closed,
    and visits end."""
    silence()
    keep_apart()
    settings = {
        "enable_monitoring": False,
        "state_session_capacity": capacity(),
        "app_kwargs": {"lifespan": watching(visits)},
    }
    return settings, [Middleware(OpenRoutes), Middleware(Connections, visits=visits)]
