"""Of what a result on the screen was made, and whether something else is chosen by now: said where the result is seen.

A result keeps a `Made`; what is chosen now is another one; a strip above the result compares the two. What only one of them
names is not compared: neurons that another tab handed over were not asked for with this tab's settings.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from privlens.types import Secret
from privlens.ui.components.parts import part
from privlens.ui.state.jobs import QUICK, show_errors
from privlens.ui.state.session import ModelCache, ModelName

Asked = tuple[tuple[str, str], ...]
"""What was asked, each by its name: secret, method, seed ..."""
PROMPT, SETTINGS, TEXT = "prompt", "settings", "text"
LONG = {PROMPT: "another prompt", SETTINGS: "other settings", TEXT: "other text to hold on to"}
"""What is compared, but too long to be written out."""
DOT = " \u00b7 "
AGAIN = "These results are for something else than what is chosen now: run again."
ELSEWHERE = "These neurons were localized for something else than what is chosen now: localize again."


@dataclass(frozen=True)
class Made:
    """The weights that a result was made on, under so many edits, and what was asked."""

    fingerprint: str
    asked: Asked
    n_edits: int = 0


def strip(elem_id: str) -> gr.HTML:
    """The line above results that says of what they were made; where that is outdated, the results around it are dimmed."""
    template = '<div class="strip" role="status" hidden><strong></strong> <span></span></div>'
    return part("strip", template, value={"kind": "none"}, elem_id=elem_id, elem_classes="strip-part")


def of_secret(prompt: str, value: str) -> Asked:
    """The secret; its prompt too, because two people can have the same value."""
    return ("secret", value), (PROMPT, prompt)


def of_secrets(secrets: Sequence[Secret]) -> Asked:
    """The secret, or how many there are and the first of them."""
    if not secrets:
        return of_secret("", "")
    if len(secrets) == 1:
        return of_secret(secrets[0].prompt, secrets[0].value)
    first = ", ".join(one.value for one in secrets[:3]) + (", ..." if len(secrets) > 3 else "")
    return ("secret", f"{len(secrets)}: {first}"), (PROMPT, "\n".join(f"{one.prompt} {one.value}" for one in secrets))


def told(shelf: ModelCache, model: ModelName, made: Made | None, asked: Asked, again: str = AGAIN) -> dict[str, str]:
    """The value of a strip: of what the result was made, and what is chosen now where that differs; `again` says what to do."""
    if made is None:
        return {"kind": "none"}
    now = shelf.get(model).fingerprint
    then, chosen = dict(made.asked), dict(asked)
    differs = {name: chosen[name] for name in then if name in chosen and then[name] != chosen[name]}
    if made.fingerprint == now and not differs:
        return {"kind": "current", "text": "Made with", "detail": f"{described(shelf, model, made)}."}
    if "secret" in differs:
        differs.pop(PROMPT, None)
    changed = [LONG.get(name) or f"{name} {value or 'none'}" for name, value in differs.items()]
    if made.fingerprint != now:
        changed.append(weights(shelf, model, now, len(model.edits)))
    detail = f"Made with {described(shelf, model, made)}. Now: {DOT.join(changed)}."
    return {"kind": "stale", "text": again, "detail": detail}


def described(shelf: ModelCache, model: ModelName, made: Made) -> str:
    """All of what a result was made with but what is too long."""
    asked = [f"{name} {value}" for name, value in made.asked if name not in LONG]
    return DOT.join([*asked, weights(shelf, model, made.fingerprint, made.n_edits)])


def weights(shelf: ModelCache, model: ModelName, fingerprint: str, n_edits: int) -> str:
    """Weights as the visitor knows them: the model without edits, with those that are in place, or with others."""
    now = shelf.get(model)
    if n_edits and fingerprint == now.fingerprint:
        return f"{now.name} with {count(n_edits)} in place ({fingerprint[:8]})"
    if n_edits:
        return f"{now.name} with {count(n_edits)} that {'is' if n_edits == 1 else 'are'} not in place so now ({fingerprint[:8]})"
    plain = shelf.get(model._replace(edits=())).fingerprint
    return f"{now.name} without edits" if fingerprint == plain else f"another model ({fingerprint[:8]})"


def count(n: int) -> str:
    """So many edits."""
    return "1 edit" if n == 1 else f"{n} edits"


Telling = tuple[Sequence[Any], Callable[..., dict[str, str]], Sequence[Any] | set[Any]]
"""Events after which a strip is told something, the handler that says what, and its inputs."""


def watch(telling: Telling, strips: Sequence[gr.HTML]) -> None:
    """After any of the events the strips say what the handler answers; of many in a row only the last counts."""
    events, tell, inputs = telling

    def everywhere(*given: Any) -> Any:
        said = tell(*given)
        values = [gr.update(value=dict(said)) for _ in strips]
        return values if len(strips) > 1 else values[0]

    gr.on(events, show_errors(everywhere), inputs, strips, trigger_mode="always_last", **QUICK)
