"""Read by every Python that starts with this folder on its path: see `tests.warm`.

Where it is to run Snakemake or a rule's script, it becomes the shadow of a fork of the warm server:
it hands over its arguments, environment, folder and open files, passes signals on, and ends as the
fork ends.
"""

import json
import os
import signal
import socket
import struct
import sys

VARIABLE = "SNAKESTEER_WARM_SOCKET"


def wanted(argv):
    """Whether a command is Snakemake, or a script as Snakemake writes it down to run it."""
    return argv[1:3] == ["-m", "snakemake"] or (
        len(argv) > 1 and "/.snakemake/scripts/" in argv[1] and argv[1].endswith(".py")
    )


def shadow(path):
    """Let the server run this command, and end as it does."""
    server = socket.socket(socket.AF_UNIX)
    server.connect(path)
    told = {"argv": sys.orig_argv, "env": dict(os.environ), "folder": os.getcwd()}
    text = json.dumps(told).encode()
    socket.send_fds(server, [struct.pack("!I", len(text))], [0, 1, 2])
    server.sendall(text)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _frame: server.sendall(bytes([received])))
    ended = server.recv(2)
    if len(ended) < 2:
        os._exit(70)  # the server is gone
    code, by_signal = ended
    if by_signal:
        signal.signal(by_signal, signal.SIG_DFL) if by_signal != signal.SIGKILL else None
        os.kill(os.getpid(), by_signal)
    os._exit(code)


if os.environ.get(VARIABLE) and wanted(sys.orig_argv):
    shadow(os.environ[VARIABLE])
