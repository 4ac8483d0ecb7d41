"""The door in Chromium: a foreign name is refused, nobody frames the page, and the token lets in who types it."""

import gc

import gradio as gr
from playwright.sync_api import Browser

from privlens.bench.serving import free_port
from privlens.ui import launch
from privlens.ui.door import Door
from tests.browser.conftest import PATIENCE
from tests.ui.test_door import TOKEN


def test_a_foreign_name_and_a_frame_are_shut_out_and_the_token_is_typed(browser: Browser, outward: list[str]) -> None:
    with gr.Blocks(analytics_enabled=False) as page:
        gr.State(0)
        gr.Markdown("The page within", elem_id="within")
        gr.File(elem_id="list")
    address = launch(page, port=free_port(), door=Door(token=TOKEN), prevent_thread_lock=True, quiet=True)
    port = address.rstrip("/").rpartition(":")[2]
    # A browser of its own, for it takes a foreign name for this machine, as after DNS rebinding.
    foreign = browser.browser_type.launch(
        executable_path="/usr/bin/chromium", args=["--no-sandbox", "--host-resolver-rules=MAP rebind.example 127.0.0.1"]
    )
    tab = foreign.new_context().new_page()
    tab.set_default_timeout(PATIENCE)
    refused = tab.goto(f"http://rebind.example:{port}/?token={TOKEN}")
    assert refused is not None
    assert (refused.status, "--allow-host" in tab.inner_text("body")) == (403, True)
    tab.goto(address)
    tab.fill("input[name=token]", "not the token at all")
    tab.press("input[name=token]", "Enter")
    tab.get_by_text("That token is not right.").wait_for()
    tab.fill("input[name=token]", TOKEN)
    tab.press("input[name=token]", "Enter")
    tab.wait_for_selector("#within")
    assert TOKEN not in tab.url
    assert tab.evaluate("document.cookie") == ""
    with tab.expect_response(lambda answer: "/gradio_api/upload?" in answer.url) as sent:
        tab.set_input_files("#list input[type=file]", {"name": "a.csv", "mimeType": "text/csv", "buffer": b"prompt,value\n"})
    assert sent.value.status == 200
    tab.goto(f"http://rebind.example:{port}/")
    tab.evaluate(f"document.body.innerHTML = '<iframe src=\"{address}\"></iframe>'")
    tab.wait_for_timeout(3000)
    assert len(tab.frames) == 2
    assert not any(frame.query_selector("#within, input[name=token]") for frame in tab.frames)
    foreign.close()
    page.close()
    gc.collect()
