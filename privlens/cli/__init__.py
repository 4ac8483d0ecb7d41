"""The command line, `privlens` or `python -m privlens`: the browser page, and all that it does, one command each."""
