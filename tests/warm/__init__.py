"""Processes of a run that begin warm, so that whole runs take a third of their time in tests.

A run of the smallest model starts thirty Python processes, each of which imports torch and
transformers for five seconds. Here a process beside the tests has imported them; `site` makes every
process of Snakemake, and of a rule's script, ask it for a fork of itself with the asker's
arguments, environment, folder and open files. The library itself is never imported before the fork,
so that a project's own copy counts. Tests of kills, clusters and imports start their processes as
users do; ``pytest --cold`` lets all of them.
"""

import atexit
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

SOCKET = "SNAKESTEER_WARM_SOCKET"
HERE = Path(__file__).parent


def environment() -> Mapping[str, str]:
    """Variables with which a process starts warm; none after `stay_cold`."""
    if _cold or not _can_watch():
        return {}
    others = [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
    path = os.pathsep.join([str(HERE / "site"), *others])
    return {SOCKET: _server(), "PYTHONPATH": path}


def stay_cold() -> None:
    """From now on, all processes start as users start them."""
    _cold.append(True)


_cold: list[bool] = []


@cache
def _can_watch() -> bool:
    """Whether this system lets a process watch over another one, as the server must."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True


@cache
def _server() -> str:
    """The socket of a server that ends with this process."""
    folder = tempfile.mkdtemp(prefix="warm-")
    path = os.path.join(folder, "socket")
    command = [sys.executable, str(HERE / "server.py"), path]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )

    def end() -> None:
        process.kill()
        process.wait()
        if os.path.exists(path):
            os.unlink(path)
        os.rmdir(folder)

    atexit.register(end)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n", "the server of warm processes did not start"
    return path
