"""Paths as a shell reads them: ``~`` is a home, ``$DATA`` and ``${DATA}`` the environment's."""

import os
import re

from snakesteer.errors import UserError

_VARIABLE = re.compile(r"\$(?:([A-Za-z_]\w*)|\{([^{}]*)\})", re.ASCII)


def expanded(path: str, key: str) -> str:
    """A path with its variables and its home written out.

    Args:
        path: As the user wrote it.
        key: What names it (a config key, say), for the message.

    Raises:
        UserError: A variable is not set, or is empty; there is no such user.
    """

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if not os.environ.get(name):
            raise UserError(
                f"{key} is {path!r}, but the environment variable {name!r} is not set",
                "Set it, alike on all machines that run jobs, or write the path out.",
            )
        return os.environ[name]

    found = os.path.expanduser(_VARIABLE.sub(value, path))
    if found.startswith("~"):
        raise UserError(
            f"{key} is {path!r}, but this machine has no user of that name",
            "Write the path out; a folder whose name begins with ~ is ./~…",
        )
    return found
