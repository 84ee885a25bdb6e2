"""A real PostgreSQL for tests, on loopback, which can be killed and started again.

It needs Debian's package (or the like), no systemd and no rights: root lends it to the user that
the package makes, as PostgreSQL refuses to run as root.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

USER = "postgres"
START_SECONDS = 60


class NoServer(Exception):
    """PostgreSQL cannot be had here; the text says why."""


@dataclass
class Server:
    """A cluster of databases in a folder, and the process that serves it while there is one."""

    folder: Path
    programs: Path
    port: int
    password: str = field(default_factory=lambda: f"s3cret{secrets.token_hex(8)}")
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """What the environment variable of a study says."""
        return f"postgresql+psycopg2://{USER}:{self.password}@127.0.0.1:{self.port}/{USER}"

    def start(self) -> None:
        """Serve; returns when it lets somebody in."""
        command = [self.programs / "postgres", "-D", self.folder / "data", "-p", str(self.port)]
        # Nothing listens beyond loopback. A killed server loses nothing without fsync, either: the
        # machine goes on.
        command += ["-h", "127.0.0.1", "-k", "", "-c", "fsync=off"]
        if setpriv := shutil.which("setpriv"):
            command = [setpriv, "--pdeathsig", "INT", *command]  # it never outlives the tests
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, **_user())
        deadline = time.monotonic() + START_SECONDS
        ready = [self.programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        while subprocess.run(ready, check=False).returncode != 0:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise NoServer((self.folder / "server.log").read_text()[-500:])
            time.sleep(0.1)

    def stop(self, sent: signal.Signals = signal.SIGINT) -> None:
        """End it: orderly (INT), at once (QUIT), or by a kill of all its processes (KILL)."""
        if self.process is None:
            return
        if sent == signal.SIGKILL:
            for child in psutil.Process(self.process.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    child.kill()
        self.process.send_signal(sent)
        self.process.wait(timeout=60)
        self.process = None


@contextmanager
def running_server() -> Iterator[Server]:
    """Make a cluster of databases and serve it until the end of the block.

    Raises:
        NoServer: It is not installed, or does not start.
    """
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    server = Server(folder, _programs(), _free_port())
    secret = folder / "secret"
    secret.write_text(server.password)
    if os.getuid() == 0:
        for path in (folder, secret):
            shutil.chown(path, USER, USER)
    make = [server.programs / "initdb", "-D", folder / "data", "-U", USER, "--pwfile", secret]
    make += ["--auth", "scram-sha-256", "--no-sync", "--encoding", "UTF8", "--locale", "C"]
    try:
        done = subprocess.run(make, capture_output=True, text=True, check=False, **_user())
        if done.returncode != 0:
            raise NoServer(done.stderr.strip())
        server.start()
        yield server
    finally:
        server.stop(signal.SIGQUIT)
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path:
    """The folder of PostgreSQL's programs; Debian keeps them away from PATH."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=_version)
    found = str(debian[-1]) if debian else shutil.which("initdb")
    if found is None:
        raise NoServer("not installed: postgresql")
    return Path(found).parent


def _version(program: Path) -> int:
    return int(program.parts[-3])


def _user() -> dict[str, str]:
    return {"user": USER, "group": USER, "cwd": "/"} if os.getuid() == 0 else {}


def _free_port() -> int:
    with socket.socket() as each:
        each.bind(("127.0.0.1", 0))
        return int(each.getsockname()[1])
