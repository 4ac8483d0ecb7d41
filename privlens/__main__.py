"""`python -m privlens` is the command line."""

import sys

if __name__ == "__main__":
    try:
        from privlens.cli.commands import main

        main()
    except KeyboardInterrupt:  # while torch is read in
        print("Stopped.", file=sys.stderr)
        sys.exit(130)
