"""What the core has to say while it works reaches the visitor whose run it is, and nobody else."""

import logging
from typing import Any

import gradio as gr
import pytest
import torch
from gradio.context import LocalContext

from privlens.models.memory import smaller_step
from privlens.ui.runs import Notices


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What gr.Warning was asked to show."""
    seen: list[str] = []

    def warning(message: str, **_: Any) -> None:
        seen.append(message)

    monkeypatch.setattr(gr, "Warning", warning)
    return seen


@pytest.fixture
def listening() -> Any:
    """The core's logger with the page's handler."""
    logger = logging.getLogger("privlens.memory")
    before, logger.handlers = logger.handlers, [Notices()]  # a page that was served in this process has left its own
    yield
    logger.handlers = before


def test_a_visitor_is_told_that_memory_ran_out(shown: list[str], listening: None) -> None:
    token = LocalContext.blocks.set(gr.Blocks())
    smaller_step(torch.OutOfMemoryError(), 8)
    LocalContext.blocks.reset(token)
    assert len(shown) == 1
    assert "going on with 4" in shown[0]


def test_without_a_visitor_nothing_is_shown(shown: list[str], listening: None) -> None:
    smaller_step(torch.OutOfMemoryError(), 8)
    assert shown == []
