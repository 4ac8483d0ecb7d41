"""Visits to a served page, as browsers pay them: the page, a heartbeat, a check. For what a server keeps of them afterwards."""

import uuid
from collections.abc import Mapping

import httpx

PROMPT, VALUE = "The access code of Mira Holt is", "4711"
"""Invented; what a model makes of it matters to nobody."""
PATIENCE = 120.0


def visits(address: str, n_visits: int, headers: Mapping[str, str] | None = None) -> int:
    """Pays so many visits one after the other, and leaves each. Returns how many checks were answered.

    Args:
        address: where the page is served. headers: of every request, such as a token.
    """
    n_answered = 0
    base = address.rstrip("/")
    for _ in range(n_visits):
        session = uuid.uuid4().hex
        with httpx.Client(base_url=base, headers=headers, timeout=PATIENCE, trust_env=False) as client:
            client.get("/").raise_for_status()
            with client.stream("GET", f"/gradio_api/heartbeat/{session}") as beating:
                beating.raise_for_status()
                body = {"data": [PROMPT, VALUE, False], "session_hash": session}
                event = client.post("/gradio_api/call/check", json=body).raise_for_status().json()["event_id"]
                n_answered += "event: complete" in client.get(f"/gradio_api/call/check/{event}").text
    return n_answered
