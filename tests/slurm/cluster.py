"""A real SLURM cluster of one node for tests: munged, slurmctld and slurmd on loopback.

It needs Debian's packages (or the like), no systemd, no cgroups, no database and no root. Its GPU
is /dev/null under another name: SLURM counts and hands it out as it would a real one.
"""

import getpass
import os
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")
SEARCH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
# What the node says it has, whatever this machine is: enough for any one job of the profile on each
# of its GPUs.
CPUS_A_GPU, MEMORY_MB = 4, 64_000
# Jobs of this partition take what they need from those of the others.
URGENT = "urgent"
START_SECONDS = 30

CONFIG = """\
ClusterName=test
SlurmctldHost={node}(127.0.0.1)
SlurmctldPort={control_port}
SlurmdPort={node_port}
# Nothing listens beyond loopback.
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
# A requeued job waits as long as a credential lasts, two minutes by default.
AuthInfo=socket={folder}/munge.socket,cred_expire=20
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
MailProg=/bin/true
# Processes are found by their parents, as there may be no cgroups to put them in.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
MpiDefault=none
# No accounting: finished jobs stay in the controller's memory for an hour.
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MinJobAge=3600
# CPUs, memory and GPUs are handed out, each for itself.
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
GresTypes=gpu
# Look for work every second.
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1,bf_resolution=1
KillWait=2
CompleteWait=0
InactiveLimit=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
# Believe the next line, whatever the machine has.
SlurmdParameters=config_overrides
NodeName={node} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} Gres=gpu:{gpus} State=UNKNOWN
"""


class NoCluster(Exception):
    """SLURM cannot be had here; the text says why."""


@dataclass(frozen=True)
class Job:
    """What the controller knows of a job.

    Attributes:
        id: SLURM's number.
        rule: What it runs: a rule, or a group's name with the names of its rules.
        state: Such as COMPLETED.
        partition: Where it was sent.
        gpus: GPUs that it held.
        start: First second of its run, None before that.
        end: Its end; before that the end of its time limit.
        restarts: How often it went back into the queue.
    """

    id: int
    rule: str
    state: str
    partition: str
    gpus: int
    start: datetime | None
    end: datetime | None
    restarts: int


@dataclass(frozen=True)
class Cluster:
    """A running cluster; its clients find it through the environment of this process."""

    folder: Path
    stack: ExitStack

    def jobs(self) -> list[Job]:
        """All jobs so far, by number."""
        lines = client("scontrol", "--oneliner", "--details", "show", "jobs").splitlines()
        return [_job(line) for line in lines if line.startswith("JobId=")]

    def cancel(self, job: Job) -> None:
        """End a job as its owner would."""
        client("scancel", str(job.id))

    def requeue(self, job: Job) -> None:
        """Send a job back into the queue."""
        client("scontrol", "requeue", str(job.id))

    def preempt(self, gpus: int) -> None:
        """Submit a short job that is more important than all others."""
        client("sbatch", "-p", URGENT, f"--gpus={gpus}", "-o", "/dev/null", "--wrap", "sleep 2")

    def lose_node(self) -> None:
        """Kill the node's daemon; the controller gives its jobs up. Then the node comes back."""
        os.kill(int((self.folder / "slurmd.pid").read_text()), signal.SIGKILL)
        client("scontrol", "update", f"NodeName={_node()}", "State=DOWN", "Reason=lost")
        _start_node(self.folder, self.stack)


@contextmanager
def running_cluster(partitions: Sequence[str], gpus: int = 1) -> Iterator[Cluster]:
    """Start a cluster and set ``SLURM_CONF`` and ``PATH`` to it; at the end stop its jobs and it.

    Args:
        partitions: Names; all have the one node, the first is the default.
        gpus: Of the node.

    Raises:
        NoCluster: A program is missing, or a daemon does not come up.
    """
    if missing := [name for name in PROGRAMS if shutil.which(name, path=SEARCH) is None]:
        raise NoCluster(f"not installed: {', '.join(missing)}")
    # Short, as a Unix socket's path has at most 107 bytes, and those of job steps lie deep in it.
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        _write_files(folder, partitions, gpus)
        stack.enter_context(_environment(folder))
        key, pipe = folder / "munge.key", folder / "munge.socket"
        munged = [f"--key-file={key}", f"--socket={pipe}", f"--pid-file={folder}/munged.pid"]
        munged += [f"--log-file={folder}/munged.log", f"--seed-file={folder}/munged.seed"]
        # --force: parent folders that others may write to are a warning, no error.
        stack.enter_context(_daemon(folder, "munged", "--foreground", "--force", *munged))
        _wait_for(folder, "munged", pipe.is_socket)
        config = ("-f", str(folder / "slurm.conf"))
        stack.enter_context(_daemon(folder, "slurmctld", "-D", *config))
        # slurmd waits long between two tries where no controller answers: the controller first.
        _wait_for(folder, "slurmctld", lambda: "is UP" in client("scontrol", "ping", check=False))
        _start_node(folder, stack)
        stack.callback(_cancel_all)
        yield Cluster(folder, stack)


def client(*command: str, check: bool = True) -> str:
    """What a client program prints."""
    for _ in range(3):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode >= 0:  # on a busy machine the connection may break, which kills it
            break
    if check:
        done.check_returncode()
    return done.stdout


def _start_node(folder: Path, stack: ExitStack) -> None:
    config = ("-f", str(folder / "slurm.conf"))
    stack.enter_context(_daemon(folder, "slurmd", "-D", "-N", _node(), *config))
    _wait_for(folder, "slurmd", lambda: client("sinfo", "-h", "-N", "-o", "%T")[:4] == "idle")


def _write_files(folder: Path, partitions: Sequence[str], gpus: int) -> None:
    """Configuration, key and the pretend GPU."""
    node = _node()
    try:
        address = socket.gethostbyname(socket.gethostname())
    except OSError:
        address = "nothing"
    if not address.startswith("127."):
        # The daemons and srun listen on the address of the host name.
        raise NoCluster(f"the host name {node} stands for {address}, not for loopback")
    for name in ("state", "spool", "bin", "dev"):
        (folder / name).mkdir()
    control_port, node_port = _free_ports(2)
    sizes = {"cpus": CPUS_A_GPU * gpus, "memory": MEMORY_MB, "gpus": gpus}
    values = {**sizes, "user": getpass.getuser()}
    config = CONFIG.format(
        node=node, folder=folder, control_port=control_port, node_port=node_port, **values
    )
    for index, name in enumerate(partitions):
        default = "NO" if index else "YES"
        config += f"PartitionName={name} Nodes={node} Default={default} State=UP\n"
    config += f"PartitionName={URGENT} Nodes={node} PriorityTier=10 State=UP\n"
    (folder / "slurm.conf").write_text(config)
    # A GPU must be a character device; the number its name ends with is CUDA_VISIBLE_DEVICES.
    gres = ["AutoDetect=off"]
    for index in range(gpus):
        (folder / "dev" / f"nvidia{index}").symlink_to("/dev/null")
        gres.append(f"Name=gpu File={folder}/dev/nvidia{index}")
    (folder / "gres.conf").write_text("\n".join(gres) + "\n")
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(1024))


@contextmanager
def _environment(folder: Path) -> Iterator[None]:
    """Point clients to the cluster, also those that the executor plugin starts inside a job."""
    config = folder / "slurm.conf"
    # The plugin clears SLURM_CONF before it calls srun; on a real cluster /etc has the file.
    srun = folder / "bin" / "srun"
    real = shutil.which("srun", path=SEARCH)
    srun.write_text(f'#!/bin/sh\nSLURM_CONF={config} exec {shlex.quote(str(real))} "$@"\n')
    srun.chmod(0o755)
    before = dict(os.environ)
    for name in before:
        if name.startswith(("SLURM_", "SBATCH_", "SRUN_", "SQUEUE_", "SINFO_", "SCANCEL_")):
            del os.environ[name]
    os.environ["SLURM_CONF"] = str(config)
    os.environ["PATH"] = os.pathsep.join([str(folder / "bin"), SEARCH])
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _daemon(folder: Path, name: str, *arguments: str) -> Iterator[None]:
    """Run a daemon in the foreground, with its messages in a file, until the end of the block."""
    command = [str(shutil.which(name, path=SEARCH)), *arguments]
    if setpriv := shutil.which("setpriv"):
        command = [setpriv, "--pdeathsig", "TERM", *command]  # it never outlives the tests
    with (folder / f"{name}.out").open("w") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(folder: Path, name: str, ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not ready():
        if time.monotonic() > deadline:
            logs = [folder / f"{name}.out", folder / f"{name}.log"]
            said = " ".join(line for log in logs if log.exists() for line in _last_lines(log))
            raise NoCluster(f"{name} is not ready after {START_SECONDS} s: {said or 'no message'}")
        time.sleep(0.1)


def _last_lines(log: Path) -> list[str]:
    return log.read_text(errors="replace").splitlines()[-5:]


def _cancel_all() -> None:
    """Cancel what runs or waits while there are daemons that can do it."""
    client("scancel", "--user", getpass.getuser(), check=False)
    deadline = time.monotonic() + 20
    while client("squeue", "-h", check=False).strip() and time.monotonic() < deadline:
        time.sleep(0.1)


def _job(line: str) -> Job:
    """A job from its line of ``scontrol --oneliner --details show jobs``."""
    fields = dict(field.split("=", 1) for field in line.split() if "=" in field)
    gres = fields.get("JOB_GRES", "")
    return Job(
        id=int(fields["JobId"]),
        rule=fields.get("Comment", "").removeprefix("rule_").partition("_wildcards_")[0],
        state=fields["JobState"],
        partition=fields["Partition"],
        gpus=int(gres.rpartition(":")[2]) if gres.startswith("gpu:") else 0,
        start=_time(fields["StartTime"]),
        end=_time(fields["EndTime"]),
        restarts=int(fields["Restarts"]),
    )


def _time(text: str) -> datetime | None:
    return None if text == "Unknown" else datetime.fromisoformat(text)


def _node() -> str:
    return socket.gethostname().partition(".")[0]


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on; all are held until all are found, so that they differ."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
