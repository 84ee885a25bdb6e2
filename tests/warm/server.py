"""The warm server: forks of a process that has imported what is slow to import.

Every request has a keeper, a fork that waits: it hands signals to the fork that does the work,
kills it when the asker is gone, and says how it ended. The server ends with the process that
started it.
"""

import atexit
import contextlib
import gc
import importlib
import io
import json
import os
import random
import runpy
import select
import signal
import socket
import struct
import sys
import threading
import traceback
from collections.abc import Sequence
from typing import Any

# What is imported before the fork: no library code, and nothing that computes.
SLOW = (
    *("torch", "transformers", "transformers.modeling_utils", "transformers.masking_utils"),
    *("transformers.models.llama.modeling_llama", "transformers.models.qwen2.modeling_qwen2"),
    *("transformers.models.auto.modeling_auto", "transformers.models.auto.tokenization_auto"),
    *("optuna", "optuna.storages.journal", "sqlalchemy", "pandas", "h5py", "safetensors.torch"),
    *("sklearn.linear_model", "sklearn.ensemble", "scipy.stats", "statsmodels.stats.proportion"),
    *("pydantic", "yaml", "altair", "vl_convert", "jinja2", "math_verify", "snakemake.cli"),
)


def serve(path: str) -> None:
    """Answer requests until the starter is gone."""
    for name in SLOW:
        importlib.import_module(name)
    gc.freeze()  # a collection in a fork would copy all of it
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # keepers are nobody's concern
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    print("ready", flush=True)
    while True:
        ready, _, _ = select.select([listener, 0], [], [])
        if 0 in ready:
            return
        asker, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            keep(asker)
        asker.close()


def keep(asker: socket.socket) -> None:
    """Let a fork do what is asked for; watch over it and end with it."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    head, files, _, _ = socket.recv_fds(asker, 4, 3)
    (length,) = struct.unpack("!I", head)
    text = b""
    while len(text) < length:
        text += asker.recv(length - len(text))
    told = json.loads(text)
    worker = os.fork()
    if worker == 0:
        asker.close()
        work(told, files)
    for file in files:
        os.close(file)
    watched = os.pidfd_open(worker)
    while True:
        ready, _, _ = select.select([asker, watched], [], [])
        if watched in ready:
            break
        received = asker.recv(16)
        for number in received or [signal.SIGKILL]:  # none: the asker is gone
            signal.pidfd_send_signal(watched, number)
        if not received:
            break
    _, status = os.waitpid(worker, 0)
    ended = (os.WEXITSTATUS(status), 0) if os.WIFEXITED(status) else (0, os.WTERMSIG(status))
    with contextlib.suppress(BrokenPipeError):
        asker.sendall(bytes(ended))
    os._exit(0)


def work(told: dict[str, Any], files: Sequence[int]) -> None:
    """Be the process that was asked for, from its arguments to its end."""
    import numpy as np

    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(told["env"])
    os.chdir(told["folder"])
    random.seed()
    np.random.seed()
    argv = told["argv"]
    added = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:] = [*added, *(one for one in sys.path[1:] if one not in added)]  # not our own folder
    sys.stdin = io.TextIOWrapper(open(0, "rb", closefd=False), "utf-8")  # noqa: SIM115
    for name, number, errors in (("stdout", 1, "strict"), ("stderr", 2, "backslashreplace")):
        stream = open(number, "w", 1, "utf-8", errors, closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    code = 0
    try:
        if argv[1] == "-m":
            sys.argv = [argv[2], *argv[3:]]
            sys.path.insert(0, told["folder"])
            runpy.run_module(argv[2], run_name="__main__", alter_sys=True)
        else:
            sys.argv = argv[1:]
            sys.path.insert(0, os.path.dirname(argv[1]))
            runpy.run_path(argv[1], run_name="__main__")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if not isinstance(end.code, int | None):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        for thread in threading.enumerate():
            if thread is not threading.current_thread() and not thread.daemon:
                thread.join()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve(sys.argv[1])
