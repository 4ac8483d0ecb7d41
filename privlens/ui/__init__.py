"""The browser page: `build_ui` makes it of the models of `build_cache`, `launch` serves it."""

from privlens.ui.page import build_cache, build_ui, launch

__all__ = ["build_cache", "build_ui", "launch"]
