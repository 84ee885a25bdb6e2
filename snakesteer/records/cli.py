"""What the commands (``python -m snakesteer.…``) have in common."""

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn

from snakesteer.errors import UserError
from snakesteer.records.library_errors import anywhere
from snakesteer.records.paths import expanded


def run_command(main: Callable[[], int]) -> NoReturn:
    """Run a command and exit with its status; 1 and one paragraph where the user must act.

    Args:
        main: Reads the command line, does the work and returns the exit status.
    """
    try:
        status = main()
    except Exception as error:
        said = error if isinstance(error, UserError) else anywhere(error)
        if said is None:
            raise
        print(f"error: {said}", file=sys.stderr)
        status = 1
    raise SystemExit(status)


def path_argument(text: str) -> str:
    """The type of an argument that is a path: shells leave ``--output=~/x`` as it is.

    Raises:
        ArgumentTypeError: A variable in it is not set, or there is no such user.
    """
    try:
        return expanded(text, "the path")
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
