"""What lessons name is on the page: tabs, parts, switches and buttons by what is written on them."""

import re

import pytest

from privlens.ui import build_cache, build_ui
from privlens.ui.lesson.files import lessons
from privlens.ui.text import en
from tests.helpers import MODEL


def test_every_tab_and_part_that_a_lesson_names_is_on_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradio.blocks.App.create_app", lambda *_, **__: None)  # it opens event loops and never closes them
    blocks = list(build_ui(build_cache(MODEL)).blocks.values())
    ids = {block.elem_id for block in blocks if getattr(block, "elem_id", None)}
    templates = " ".join(str(getattr(block, "html_template", "") or "") for block in blocks)
    ids |= set(re.findall(r'id="([^"]+)"', templates))
    tabs = {block.id for block in blocks if type(block).__name__ == "Tab"}
    steps = [step for lesson in lessons() for step in lesson.steps]
    acts = [step.until for step in steps if step.until]
    parts = {step.point for step in steps} | {reading.part for step in steps for reading in step.reads}
    parts |= {act.results for act in acts} | {act.switched_off for act in acts}
    assert parts - {None} - ids == set()
    assert ({step.tab for step in steps} | {act.opened for act in acts}) - {None} - tabs == set()
    assert len(ids) > 50 and len(tabs) >= 7
    said = " ".join(step.do for step in steps)
    assert set(re.findall(r'Press "([^"]+)"', said)) <= {en.OVERVIEW_WORK}
    assert f'Press "{en.OVERVIEW_WORK}"' in said
