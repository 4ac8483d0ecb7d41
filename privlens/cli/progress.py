"""Progress of long work on stderr, so that stdout has the result and nothing else."""

import sys
from typing import Protocol


class Step(Protocol):
    """The fields that every record of a step has."""

    @property
    def step(self) -> int: ...
    @property
    def n_steps(self) -> int: ...
    @property
    def stage(self) -> str: ...


def report_progress(line: str) -> None:
    """Prints one line, unbuffered."""
    print(line, file=sys.stderr, flush=True)


def tell_step(step: Step, numbers: str = "") -> None:
    """Prints one step, with its numbers where there are any."""
    report_progress(f"{step.step}/{step.n_steps} {step.stage}{numbers}")
