"""Lessons as text files: what a step asks, which act it waits for, and which numbers it reads from the page.

A lesson knows parts of the page by their ids alone; it holds no number and no private value. docs/extend/lesson.md says how to
write one.
"""

from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from privlens.errors import BadInput

Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2_000)]
Id = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]*$")]
"""The id of a part of the page or of a tab; it is looked up in the browser, so nothing else may stand in it."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Reading(_Part):
    """A number of the page: the one called `name` in a part, or the sentence of a verdict where there is no name.

    `beside` takes what stands beside the number instead: the control, random neurons, or the number before.
    """

    label: Words
    part: Id
    name: Words | None = None
    beside: bool = False


class Act(_Part):
    """What a step waits for: new results in a part, a switch that is off, or an open tab."""

    results: Id | None = None
    switched_off: Id | None = None
    opened: Id | None = None

    @model_validator(mode="after")
    def _one(self) -> "Act":
        if sum(wanted is not None for wanted in (self.results, self.switched_off, self.opened)) != 1:
            raise ValueError("give exactly one of results, switched_off and opened")
        return self


class Step(_Part):
    """One step.

    Attributes:
        ask: the question; choices: its answers, of which none is marked right. do: what to do once it is answered.
        until: the act that is waited for, if any. then: what to make of it.
        tab: the tab that the step opens. point: the part that it points at. example: put the recorded secret into the sidebar.
    """

    title: Words
    ask: Words
    choices: tuple[Words, ...] = Field(min_length=2, max_length=6)
    do: Words
    then: Words
    until: Act | None = None
    tab: Id | None = None
    point: Id | None = None
    example: bool = False
    reads: tuple[Reading, ...] = ()


class Lesson(_Part):
    """A lesson; `name` is that of its file."""

    name: Id
    title: Words
    minutes: int = Field(gt=0, le=240)
    about: Words
    steps: tuple[Step, ...] = Field(min_length=1, max_length=30)


FOLDER = Path(__file__).parent / "lessons"


def read_lesson(path: Path) -> Lesson:
    """The lesson of a YAML file, in which everything is text: yes and no need no quotation marks.

    Raises:
        BadInput: with the file, the place in it and what is wrong there.
    """
    try:
        written = yaml.load(path.read_text("utf-8"), yaml.BaseLoader)  # safe: it makes text, lists and mappings only
        return Lesson.model_validate({**(written or {}), "name": path.stem})
    except yaml.YAMLError as error:
        raise BadInput(f"{path.name} is not YAML: {error}") from None
    except (TypeError, UnicodeDecodeError):
        raise BadInput(f"{path.name} is not a lesson: it has to have title, minutes, about and steps.") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ", ".join(f"{part + 1}" if isinstance(part, int) else str(part) for part in first["loc"])
        raise BadInput(f"{path.name}, at {place or 'the top'}: {first['msg']}.") from None


def lessons() -> list[Lesson]:
    """All lessons, by the names of their files."""
    return [read_lesson(path) for path in sorted(FOLDER.glob("*.yaml"))]
