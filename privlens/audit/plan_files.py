"""Plans as people write them: YAML or JSON."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from privlens.audit.records import Plan
from privlens.errors import BadInput
from privlens.list_files import read_text


def read_plan(path: Path) -> Plan:
    """A plan from a YAML or JSON file. Raises BadInput for anything else, and for settings that no plan has."""
    try:
        return plan_of(yaml.safe_load(read_text(path)), str(path))
    except yaml.YAMLError as cause:
        raise BadInput(f"{path} is neither YAML nor JSON: write a line such as `methods: [gradient]`.") from cause


def plan_of(content: Any, name: str) -> Plan:
    """A plan from settings by their names; what is not named is as by default.

    Args:
        name: what messages call it.

    Raises:
        BadInput: for settings that no plan has, or values of the wrong kind.
    """
    if not isinstance(content, dict) or not set(content) <= set(Plan.__dataclass_fields__):
        raise BadInput(f"{name} must name settings of a plan and nothing else: {', '.join(Plan.__dataclass_fields__)}.")
    try:
        return TypeAdapter(Plan).validate_python(content)
    except ValidationError as cause:
        first = cause.errors()[0]
        raise BadInput(f"{name}: {'.'.join(map(str, first['loc']))} cannot be used ({first['msg']}).") from cause
