"""`python -m trialdm` and the console script."""

import sys

from trialdm.cli import run


def main() -> None:
    """Run one command and exit with its code."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
