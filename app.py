"""Starts the browser page: `python app.py`, the same as `privlens app`; --help lists its options."""

from privlens.cli.app import main

if __name__ == "__main__":
    main()
