"""`python -m dlrun` is `dlrun`."""

import sys

if __name__ == "__main__":
    # Python has put the current folder first; as for the console script, a random.py in it must not
    # hide Python's own.
    if not sys.flags.safe_path:
        del sys.path[0]
    from dlrun.cli import main

    main()
