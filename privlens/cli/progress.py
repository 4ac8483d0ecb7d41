"""Progress of long work on stderr, so that stdout has the result and nothing else.

Where stderr is a terminal, steps move a bar, which is gone before the result is printed; otherwise each step is a line.
"""

import sys
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text


class Step(Protocol):
    """The fields that every record of a step has."""

    @property
    def step(self) -> int: ...
    @property
    def n_steps(self) -> int: ...
    @property
    def stage(self) -> str: ...


_bars: list[Progress] = []
"""The bar on the terminal, if there is one: a process has one stderr, and runs one command."""


def report_progress(line: str) -> None:
    """Prints one line, unbuffered; above the bar, if there is one."""
    if _bars:
        _bars[0].console.print(Text(line), soft_wrap=True)
    else:
        print(line, file=sys.stderr, flush=True)


def report_step(step: Step, numbers: str = "") -> None:
    """Shows one step, with its numbers where there are any."""
    description = f"{step.stage}{numbers}"
    if not sys.stderr.isatty():
        report_progress(f"{step.step}/{step.n_steps} {description}")
        return
    if not _bars:
        _bars.append(_started_bar(step.n_steps))
    bar = _bars[0]
    bar.update(bar.task_ids[0], completed=step.step, total=step.n_steps, description=description, refresh=True)


def close() -> None:
    """Takes the bar off the terminal, if there is one."""
    while _bars:
        _bars.pop().stop()


def _started_bar(n_steps: int) -> Progress:
    """A bar that is drawn at every step and by no thread of its own."""
    bar = Progress(
        MofNCompleteColumn(),
        BarColumn(),
        TextColumn("{task.description}", markup=False),
        console=Console(file=sys.stderr, force_terminal=True, highlight=False, markup=False, emoji=False),
        auto_refresh=False,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    bar.add_task("", total=n_steps)
    bar.start()
    return bar
