"""`python -m privlens` is the command line."""

from privlens.cli import main

main()
