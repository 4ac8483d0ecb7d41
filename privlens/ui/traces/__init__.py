"""Removes what visitors leave: sessions that ended, files that were read, values in logs, and gradio's other routes."""
