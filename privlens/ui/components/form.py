"""A form: the controls that one frozen dataclass is read from, so that a listener takes values by name and not by position.

gradio gives a listener one dict, from component to value, where its inputs are a set.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Generic, TypeVar

from gradio.components import Component

Given = Mapping[Component, Any]
"""What gradio gives a listener whose inputs are a set."""
Update = dict[Component, Any]
"""What a listener answers: new values of some of its outputs; the others stay as they are."""
Values = TypeVar("Values")


class Form(Generic[Values]):
    """Controls by the names of a dataclass's fields. A field may be a form itself, and is then a dataclass of its own."""

    def __init__(self, kind: type[Values], **controls: "Component | Form[Any]") -> None:
        """Raises TypeError where the controls are not exactly those that the dataclass has fields for."""
        names = {field.name for field in fields(kind)}  # type: ignore[arg-type]  # a dataclass, which has no type of its own
        if names != controls.keys():
            raise TypeError(f"{kind.__name__} and its controls differ in {sorted(names ^ controls.keys())}.")
        self.kind, self.controls = kind, dict[str, Any](controls)

    def __getitem__(self, name: str) -> Any:
        """The control of a field."""
        return self.controls[name]

    @property
    def inputs(self) -> set[Any]:
        """The components that a listener has to be given so that it can read the form."""
        return set().union(*(control.inputs if isinstance(control, Form) else {control} for control in self.controls.values()))

    def read(self, given: Given) -> Values:
        """The values of the controls; `given` may hold others as well."""
        values = {
            name: control.read(given) if isinstance(control, Form) else given[control] for name, control in self.controls.items()
        }
        return self.kind(**values)

    def reading(self, **controls: "Component | Form[Any]") -> "Form[Values]":
        """The same form with some fields read from other controls."""
        return Form(self.kind, **{**self.controls, **controls})
