"""The command line: `python -m privlens check | localize | deactivate | erase | apply`, as the page does."""

from privlens.cli.commands import main

__all__ = ["main"]
