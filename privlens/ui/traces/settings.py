"""All of it together, as what gradio's launch is given."""

from typing import Any

from starlette.middleware import Middleware

from privlens.ui.traces.quiet import silence
from privlens.ui.traces.routes import OpenRoutes
from privlens.ui.traces.uploads import keep_apart
from privlens.ui.traces.visits import Connections, Visits, capacity, watching


def leaving_nothing(visits: Visits) -> dict[str, Any]:
    """Settings of `launch`: errors are logged without values, gradio's other addresses are closed, and visits end."""
    silence()
    keep_apart()
    return {
        "enable_monitoring": False,
        "state_session_capacity": capacity(),
        "app_kwargs": {
            "middleware": [Middleware(OpenRoutes), Middleware(Connections, visits=visits)],
            "lifespan": watching(visits),
        },
    }
