"""The command line: `python -m privlens check | localize | deactivate | compare`, the same functions that the page calls."""

from privlens.cli.commands import main

__all__ = ["main"]
