"""What an audit is asked with, the controls of its plan, and an audit that was begun or ended."""

import secrets as random_bytes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from privlens import validation
from privlens.audit.records import Audit, Plan
from privlens.audit.run import check_plan, readable
from privlens.audit.sample import KEY_BYTES, ReadSample, sample_of
from privlens.audit.store import Store, open_store
from privlens.erasure import ERASURE_METHODS
from privlens.lm.model import LanguageModel
from privlens.localization import METHODS
from privlens.secret_lists import ListFile
from privlens.ui.sidebar.panel import SidebarValues
from privlens.ui.state.freshness import Asked, Made
from privlens.ui.text import en

FIRST_METHOD, FIRST_AT_MOST = "stepwise", 3
"""What is done about memorized secrets unless a person chooses otherwise: something, and not for long."""


@dataclass(frozen=True, eq=False)
class Begun:
    """An audit that was begun: of which question and model, what was read, and everything that is measured so far."""

    question: object
    read: ReadSample
    store: Store
    made: Made


@dataclass(frozen=True, eq=False)
class Finished:
    """An audit that ended, and the command that makes it."""

    audit: Audit
    command: Callable[[], str]


@dataclass(frozen=True)
class AuditForm:
    """The list, the model and the plan; and what was begun before, which is not part of the question."""

    side: SidebarValues
    source: ListFile
    reference: tuple[str, ...]
    methods: list[str]
    erasure: str
    at_most: float | None
    attacks: bool
    temperature: float | None
    top_k: float | None
    seed: float | None
    begun: Begun | None

    @property
    def question(self) -> object:
        """What must be the same for an audit to go on: all but the secret in the sidebar."""
        return self.side.model, self.source, self.reference, self.plan

    @property
    def described(self) -> Asked:
        """The question by name, for the strip."""
        return (
            ("list", f"{self.source.name} ({self.source.sha256[:8]})"),
            ("methods", ", ".join(self.methods) or "none"),
            ("erasing", self.erasure or "none"),
            ("attacks", "yes" if self.attacks else "no"),
            ("at most", f"{self.at_most or 0:.0f}"),
            ("temperature", f"{1.0 if self.temperature is None else self.temperature:g}"),
            ("top-k", f"{self.top_k or 0:.0f}"),
            ("seed", f"{self.seed or 0:.0f}"),
        )

    @property
    def plan(self) -> Plan:
        """Raises BadInput for a plan that cannot be carried out."""
        plan = Plan(
            seed=validation.seed(self.seed or 0),
            temperature=1.0 if self.temperature is None else self.temperature,
            top_k=int(self.top_k or 0),
            methods=tuple(self.methods),
            erasure=self.erasure,
            attacks=self.attacks,
            at_most=int(self.at_most or 0),
        )
        check_plan(plan)
        return plan


def begin(form: AuditForm, lm: LanguageModel) -> Begun:
    """An audit of which nothing is measured yet, under a key of its own. Raises BadInput where the model can read no secret."""
    read = readable(lm, sample_of(form.source, random_bytes.token_bytes(KEY_BYTES)))
    return Begun(form.question, read, open_store("sqlite://"), Made(lm.fingerprint, form.described, len(form.side.model.edits)))


def unnamed(source: ListFile) -> ReadSample:
    """What was read of a list; under no key of its own, since nothing that it names is kept."""
    return sample_of(source, bytes(KEY_BYTES))


def plan_controls() -> dict[str, Any]:
    """The controls of the plan, by the fields of `AuditForm`."""
    with gr.Accordion(en.AUDIT_PLAN, open=True, elem_id="audit-plan"):
        with gr.Row():
            methods = gr.Dropdown(
                list(METHODS),
                value=[FIRST_METHOD],
                multiselect=True,
                label=en.AUDIT_METHODS,
                info=en.AUDIT_METHODS_INFO,
                elem_id="audit-methods",
                min_width=260,
            )
            erasure = gr.Dropdown(
                [(en.AUDIT_NO_ERASE, ""), *((name, name) for name in ERASURE_METHODS)],
                value="",
                label=en.AUDIT_ERASE,
                info=en.AUDIT_ERASE_INFO,
                elem_id="audit-erase",
                min_width=220,
            )
            at_most = gr.Number(
                FIRST_AT_MOST,
                label=en.AUDIT_AT_MOST,
                info=en.AUDIT_AT_MOST_INFO,
                precision=0,
                minimum=0,
                elem_id="audit-at-most",
                min_width=160,
            )
        attacks = gr.Checkbox(False, label=en.AUDIT_ATTACKS, elem_id="audit-attacks")
        with gr.Accordion(en.AUDIT_MORE, open=False), gr.Row():
            temperature = gr.Number(
                1.0, label=en.TEMPERATURE, info=en.TEMPERATURE_INFO, elem_id="audit-temperature", min_width=160
            )
            top_k = gr.Number(0, label=en.SAMPLED_TOKENS, info=en.SAMPLED_TOKENS_INFO, precision=0, elem_id="audit-top-k")
            seed = gr.Number(0, label=en.SEED, precision=0, minimum=0, elem_id="audit-seed", min_width=120)
    return {
        "methods": methods,
        "erasure": erasure,
        "at_most": at_most,
        "attacks": attacks,
        "temperature": temperature,
        "top_k": top_k,
        "seed": seed,
    }
