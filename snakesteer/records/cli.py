"""What the commands (``python -m snakesteer.…``) have in common."""

import sys
from collections.abc import Callable
from typing import NoReturn

from snakesteer.errors import UserError


def run_command(main: Callable[[], int]) -> NoReturn:
    """Run a command and exit with its status; 1 and one paragraph where the user must act.

    Args:
        main: Reads the command line, does the work and returns the exit status.
    """
    try:
        status = main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        status = 1
    raise SystemExit(status)
