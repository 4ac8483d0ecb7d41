"""The settings that a result on the screen was made with, and whether they are still the current ones: shown above the result.

A result keeps a `Made`, and a strip above it compares that with the current settings. A setting that only one of the two has is
not compared: neurons that another tab passed on were not computed with this tab's settings.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from privlens.errors import PrivlensError
from privlens.types import Secret
from privlens.ui.components.form import Given, Update
from privlens.ui.components.parts import part
from privlens.ui.state.jobs import QUICK, show_errors, warn
from privlens.ui.state.session import ModelCache, ModelName
from privlens.ui.text import en

Asked = tuple[tuple[str, str], ...]
"""Names and values of what was asked: secret, method, seed ..."""
PROMPT, SETTINGS, TEXT, TEXTS = "prompt", "settings", "text", "texts"
LONG = {PROMPT: "another prompt", SETTINGS: "other settings", TEXT: "other retained text", TEXTS: "other texts"}
"""What is compared, but is too long to show: the words shown instead where it differs."""
DOT = " \u00b7 "
AGAIN, ELSEWHERE = en.RUN_AGAIN, en.LOCALIZE_AGAIN


@dataclass(frozen=True)
class Made:
    """What a result was made with: the weights' fingerprint, what was asked, and the number of active edits."""

    fingerprint: str
    asked: Asked
    n_edits: int = 0


def strip(elem_id: str) -> gr.HTML:
    """The line above results that says what they were made with; if that is outdated, the results around it are dimmed."""
    template = '<div class="strip" role="status" hidden><strong></strong> <span></span></div>'
    return part("strip", template, value={"kind": "none"}, elem_id=elem_id, elem_classes="strip-part")


def of_secret(prompt: str, value: str) -> Asked:
    """A secret's value, and its prompt too, because two people can have the same value."""
    return ("secret", value), (PROMPT, prompt)


def of_secrets(secrets: Sequence[Secret]) -> Asked:
    """The secret, or the number of secrets and the first of them."""
    if not secrets:
        return of_secret("", "")
    if len(secrets) == 1:
        return of_secret(secrets[0].prompt, secrets[0].value)
    first = ", ".join(secret.value for secret in secrets[:3]) + (", ..." if len(secrets) > 3 else "")
    return ("secret", f"{len(secrets)}: {first}"), (PROMPT, "\n".join(f"{secret.prompt} {secret.value}" for secret in secrets))


def told(cache: ModelCache, model: ModelName, made: Made | None, asked: Asked, again: str = AGAIN) -> dict[str, str]:
    """The value of a strip: what the result was made with, and the current settings that differ; `again` says what to do."""
    if made is None:
        return {"kind": "none"}
    fingerprint = cache.get(model).fingerprint
    made_with, current = dict(made.asked), dict(asked)
    differing = {name: current[name] for name in made_with if name in current and made_with[name] != current[name]}
    if made.fingerprint == fingerprint and not differing:
        return {"kind": "current", "text": en.MADE_WITH, "detail": f"{described(cache, model, made)}."}
    if "secret" in differing:
        differing.pop(PROMPT, None)
    changed = [LONG.get(name) or f"{name} {value or 'none'}" for name, value in differing.items()]
    if made.fingerprint != fingerprint:
        changed.append(weights(cache, model, fingerprint, len(model.edits)))
    detail = en.made_with_but_now(described(cache, model, made), DOT.join(changed))
    return {"kind": "stale", "text": again, "detail": detail}


def described(cache: ModelCache, model: ModelName, made: Made) -> str:
    """What a result was made with, except for what is too long to show."""
    asked = [f"{name} {value}" for name, value in made.asked if name not in LONG]
    return DOT.join([*asked, weights(cache, model, made.fingerprint, made.n_edits)])


def weights(cache: ModelCache, model: ModelName, fingerprint: str, n_edits: int) -> str:
    """A description of weights: the model without edits, with the active ones, or with others."""
    lm = cache.get(model)
    if n_edits and fingerprint == lm.fingerprint:
        return en.weights_with_edits(lm.name, n_edits, fingerprint[:8])
    if n_edits:
        return en.weights_with_other_edits(lm.name, n_edits, fingerprint[:8])
    plain = cache.get(model._replace(edits=())).fingerprint
    return en.weights_without_edits(lm.name) if fingerprint == plain else en.other_model(fingerprint[:8])


Telling = tuple[Sequence[Any], Callable[[Given], dict[str, str]], set[Any]]
"""Events after which a strip is updated, the handler that returns its value, and the handler's inputs."""


class Strips:
    """All strips of a page. What many of them listen to asks one listener for all: a request for each would cost the browser,
    which brings every input of every request up to date, seconds for a click on another secret."""

    def __init__(self) -> None:
        self._watched: list[tuple[Telling, gr.HTML]] = []

    def watch(self, telling: Telling, line: gr.HTML) -> None:
        """After any of the events the strip shows what the handler returns."""
        self._watched.append((telling, line))

    def wire(self, shared: Sequence[Any]) -> None:
        """Once all are known: a listener for all strips after the shared events, and one for each strip after its others."""
        _listen(shared, self._watched)
        for telling, line in self._watched:
            own = [event for event in telling[0] if event not in shared]
            if own:
                _listen(own, [(telling, line)])


def _listen(events: Sequence[Any], watched: Sequence[tuple[Telling, gr.HTML]]) -> None:
    """Of many events in a row only the last counts. What one strip cannot tell is said, and the others are told all the same.

    The values come as the browser sent them, for they are only compared: of one that gradio refuses, such as a choice that is no
    longer offered, no strip would be told.
    """

    def update_strips(given: Given) -> Update:
        updates: Update = {}
        errors: set[str] = set()
        for (_, tell, _), line in watched:
            try:
                updates[line] = gr.update(value=dict(tell(given)))
            except PrivlensError as error:
                errors.add(str(error))
        for message in sorted(errors):
            warn(message)
        return updates

    inputs: set[Any] = set().union(*(inputs for (_, _, inputs), _ in watched))
    lines = [line for _, line in watched]
    gr.on(events, show_errors(update_strips), inputs, lines, preprocess=False, trigger_mode="always_last", **QUICK)
