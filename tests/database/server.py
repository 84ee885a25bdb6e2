"""Real database servers for tests, on loopback, which can be killed and started again.

They need Debian's packages (or the like), no systemd and no rights: root lends them to the user
that the package makes, as they refuse to run as root.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

START_SECONDS = 60

How = Literal["orderly", "at once", "killed"]


class NoServer(Exception):
    """A server cannot be had here; the text says why."""


@dataclass(frozen=True)
class Kind:
    """How a server is made and run.

    Attributes:
        user: Who owns it, where root starts it.
        url: Of its database, without what stands before the user's name.
        make: Makes its folder; done once.
        serve: Serves it, in the foreground.
        ready: Succeeds when it lets somebody in.
        ends: The signals that end it.
    """

    user: str
    url: str
    make: list[str]
    serve: list[str]
    ready: list[str]
    ends: dict[How, signal.Signals]


@dataclass
class Server:
    """A cluster of databases in a folder, and the process that serves it while there is one."""

    folder: Path
    kind: Kind
    password: str
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """What the environment variable of a study says."""
        return self.kind.url.format(password=self.password)

    def start(self) -> None:
        """Serve; returns when it lets somebody in."""
        command = self.kind.serve
        if setpriv := shutil.which("setpriv"):  # it never outlives the tests
            command = [setpriv, "--pdeathsig", self.kind.ends["orderly"].name[3:], *command]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, **_as(self.kind.user))
        deadline = time.monotonic() + START_SECONDS
        while subprocess.run(self.kind.ready, check=False, capture_output=True).returncode != 0:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise NoServer((self.folder / "server.log").read_text()[-500:])
            time.sleep(0.1)

    def stop(self, how: How = "orderly") -> None:
        """End it: orderly, at once, or by a kill of all its processes."""
        if self.process is None:
            return
        if how == "killed":
            for child in psutil.Process(self.process.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    child.kill()
        self.process.send_signal(self.kind.ends[how])
        self.process.wait(timeout=60)
        self.process = None


def postgresql(folder: Path, secret: str) -> Kind:
    """PostgreSQL. A killed server loses nothing without fsync, either: the machine goes on."""
    programs = _postgresql_programs()
    port, data = _free_port(), str(folder / "data")
    (folder / "secret").write_text(secret)
    make = [f"{programs}/initdb", "-D", data, "-U", "postgres", "--pwfile", f"{folder}/secret"]
    make += ["--auth", "scram-sha-256", "--no-sync", "--encoding", "UTF8", "--locale", "C"]
    serve = [f"{programs}/postgres", "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", ""]
    return Kind(
        "postgres",
        f"postgresql+psycopg2://postgres:{{password}}@127.0.0.1:{port}/postgres",
        make,
        [*serve, "-c", "fsync=off"],
        [f"{programs}/pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)],
        {"orderly": signal.SIGINT, "at once": signal.SIGQUIT, "killed": signal.SIGKILL},
    )


def mariadb(folder: Path, secret: str) -> Kind:
    """MariaDB, which is MySQL for its clients. It knows no end between orderly and killed."""
    program, install, admin = (
        shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
        for name in ("mariadbd", "mariadb-install-db", "mariadb-admin")
    )
    if program is None or install is None or admin is None:
        raise NoServer("not installed: mariadb-server")
    port, data = _free_port(), f"--datadir={folder}/data"
    (folder / "secret").write_text(
        "CREATE DATABASE IF NOT EXISTS studies CHARACTER SET utf8mb4;\n"
        f"CREATE USER IF NOT EXISTS snake@'127.0.0.1' IDENTIFIED BY '{secret}';\n"
        "GRANT ALL ON studies.* TO snake@'127.0.0.1';\n"
    )
    serve = [program, "--no-defaults", data, f"--port={port}", "--bind-address=127.0.0.1"]
    serve += [f"--socket={folder}/socket", f"--init-file={folder}/secret", "--skip-name-resolve"]
    return Kind(
        "mysql",
        f"mysql+pymysql://snake:{{password}}@127.0.0.1:{port}/studies",
        [install, "--no-defaults", data, "--auth-root-authentication-method=socket"],
        [*serve, "--innodb-flush-log-at-trx-commit=2"],
        [admin, "--no-defaults", "ping", "--protocol=tcp", "-h", "127.0.0.1", f"-P{port}"],
        {"orderly": signal.SIGTERM, "at once": signal.SIGKILL, "killed": signal.SIGKILL},
    )


@contextmanager
def running_server(kind: Callable[[Path, str], Kind]) -> Iterator[Server]:
    """Make a cluster of databases and serve it until the end of the block.

    Raises:
        NoServer: It is not installed, or does not start.
    """
    folder = Path(tempfile.mkdtemp(prefix="database-"))
    password = f"s3cret{secrets.token_hex(8)}"
    server = None
    try:
        server = Server(folder, kind(folder, password), password)
        owner = server.kind.user
        if os.getuid() == 0:
            for path in (folder, folder / "secret"):
                shutil.chown(path, owner, owner)
        done = subprocess.run(
            server.kind.make, capture_output=True, text=True, check=False, **_as(owner)
        )
        if done.returncode != 0:
            raise NoServer(done.stderr.strip())
        server.start()
        yield server
    finally:
        if server is not None:
            server.stop("at once")
        shutil.rmtree(folder, ignore_errors=True)


def _postgresql_programs() -> Path:
    """The folder of PostgreSQL's programs; Debian keeps them away from PATH."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=_version)
    found = str(debian[-1]) if debian else shutil.which("initdb")
    if found is None:
        raise NoServer("not installed: postgresql")
    return Path(found).parent


def _version(program: Path) -> int:
    return int(program.parts[-3])


def _as(user: str) -> dict[str, str]:
    return {"user": user, "group": user, "cwd": "/"} if os.getuid() == 0 else {}


def _free_port() -> int:
    with socket.socket() as each:
        each.bind(("127.0.0.1", 0))
        return int(each.getsockname()[1])
