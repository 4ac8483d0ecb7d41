"""That nothing is left behind: of a visit that ended, of a file that was read, in a log, or behind an address of gradio's own."""
