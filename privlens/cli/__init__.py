"""The command line, `privlens` or `python -m privlens`: the browser page, and one command for each thing that it does."""
