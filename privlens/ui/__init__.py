"""The browser page: `build_ui` makes it, `launch` serves it."""

from privlens.ui.page import build_ui, launch

__all__ = ["build_ui", "launch"]
