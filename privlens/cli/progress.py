"""How far long work is, on stderr, so that stdout holds the result and nothing else."""

import sys
from typing import Protocol


class Step(Protocol):
    """What every record of a step knows."""

    @property
    def step(self) -> int: ...
    @property
    def n_steps(self) -> int: ...
    @property
    def stage(self) -> str: ...


def report_progress(line: str) -> None:
    """One line, at once."""
    print(line, file=sys.stderr, flush=True)


def tell_step(step: Step, numbers: str = "") -> None:
    """One step, with its numbers where there are any."""
    report_progress(f"{step.step}/{step.n_steps} {step.stage}{numbers}")
