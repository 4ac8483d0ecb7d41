"""Is a value of higher entropy harder to memorize? Sets of the list and a line through them, with the objections."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from privlens import plots
from privlens.lm.model import LanguageModel, Stop
from privlens.neurons.entropy_memorization import entropy_law
from privlens.neurons.entropy_records import ENTROPY_CAUTIONS, EntropyLaw, EntropyStep, Line
from privlens.neurons.reports import entropy_report
from privlens.ui.components.form import Form
from privlens.ui.components.parts import facts, results_table
from privlens.ui.components.plot import plot
from privlens.ui.sidebar import commands
from privlens.ui.sidebar.panel import Sidebar, SidebarValues
from privlens.ui.state.freshness import Asked
from privlens.ui.state.session import ModelCache
from privlens.ui.tabs.neurons.study import Study, study_controls, wire_study
from privlens.ui.tabs.neurons.view import table
from privlens.ui.text import en, wording
from privlens.ui.text.wording import Fact, fact


@dataclass(frozen=True)
class EntropyForm:
    """The list."""

    side: SidebarValues

    @property
    def asked(self) -> Asked:
        """The question by name, for the strip."""
        return (("secrets", str(len(self.side.listed))),)


def entropy_part(shelf: ModelCache, side: Sidebar) -> None:
    """Builds the part."""
    gr.Markdown(en.ENTROPY_INTRO + "\n\n" + "\n".join(f"- {caution}" for caution in ENTROPY_CAUTIONS))
    with study_controls("entropy") as controls:
        numbers = facts("entropy-facts", en.ENTROPY_EMPTY)
        picture = plot("entropy-line", "", 450)
        groups = results_table("entropy-groups", en.ENTROPY_GROUPS, ["105px", "95px", "90px", "150px", "125px"])
    form = Form(EntropyForm, side=Form(SidebarValues, **side.controls))
    nothing = gr.update(value=[]), gr.update(value=""), gr.update(visible=False)
    events = [side.model.change, side.listed.change]
    parts = [numbers, picture, groups]
    study = Study(form, steps, command, entropy_report, parts=parts, drawn=drawn, nothing=nothing, events=events)
    wire_study("entropy", shelf, side, controls, study)


def command(form: EntropyForm) -> str:
    """The command that makes it."""
    return commands.entropy_law(form.side)


def steps(form: EntropyForm, lm: LanguageModel, stop: Stop) -> Iterator[EntropyStep]:
    """The measurement of all listed secrets."""
    return entropy_law(lm, [row.secret for row in form.side.listed], stop=stop)


def drawn(law: EntropyLaw) -> tuple[Any, ...]:
    """Facts, picture and the table of sets."""
    rows = [
        (
            group.distance,
            group.n_items,
            group.n_tokens,
            f"{group.entropy:.2f}",
            "-" if group.normalized is None else f"{group.normalized:.3f}",
        )
        for group in law.groups
    ]
    return gr.update(value=facts_of(law)), gr.update(value=plots.entropy_line(law).to_json()), table(en.ENTROPY_COLUMNS, rows)


def facts_of(law: EntropyLaw) -> list[Fact]:
    """Pearson's r of sets, beside random deals, normalized, and of single secrets."""
    by_chance = "" if law.shuffled is None else en.entropy_shuffled(law.shuffled, law.p_value)
    return [
        fact("r of sets", r_of(law.line), "", law.too_few or en.NOTE_ENTROPY_R, by_chance),
        fact("r of sets, normalized", r_of(law.normalized), "", en.NOTE_ENTROPY_NORMALIZED),
        fact("r of single secrets", r_of(law.of_items), "", en.NOTE_ENTROPY_ITEMS),
        wording.time_of(law),
    ]


def r_of(line: Line | None) -> str:
    """Pearson's r with its interval."""
    if line is None:
        return "-"
    ends = f" [{line.interval[0]:+.2f}, {line.interval[1]:+.2f}]" if line.interval else ""
    return f"{line.r:+.2f}{ends}"
