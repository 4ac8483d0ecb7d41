"""The page for programs: endpoints of gradio's HTTP API, and tools for agents over MCP. Both give the same answers."""

from privlens.ui.programs.endpoints import endpoints

__all__ = ["endpoints"]
