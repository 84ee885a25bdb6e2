"""Running the workflow from Python: the one module that starts Snakemake."""

import os
import re
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import yaml

from snakesteer.config import Config
from snakesteer.errors import UserError
from snakesteer.files import write_text

SNAKEFILE = Path(__file__).parents[1] / "Snakefile"

_KEPT_LINES = 1000
_TOLD_LINES = 25
# What Snakemake prints of a failed job: its rule, then indented what belongs to it.
_FAILED_JOB = re.compile(r"^Error in rule (\w+)[^\n]*:\n((?: {4}[^\n]*\n)*)", re.M)
_NOISE = re.compile(r" {4}(?:message|jobid|input|output|benchmark|resources|threads|reason): ")
_LOG = re.compile(r"^ {4}log: (.*?)(?: \(check log file.*)?$", re.M)


def run_workflow(
    config: Config,
    *targets: str,
    folder: str | Path = ".",
    cores: int | None = None,
    gpus: int | None = None,
) -> Path:
    """Run the workflow and wait for its end; what is done already is not done again.

    Snakemake's messages go to standard output as they come. The config is kept as ``config.yaml``
    in the results folder, so that ``snakemake --configfile`` can go on where this ended.

    Args:
        config: The whole config; paths in it are relative to `folder`.
        targets: Rules or files; all results by default.
        folder: Where to run; Snakemake keeps its records there.
        cores: Cores to use; None for what the workflow's default profile says.
        gpus: GPUs to use; 0 stays on the CPU, None for what the profile says.

    Returns:
        The results folder.

    Raises:
        UserError: The workflow failed, or is not there. Names the failed rules and their logs.
    """
    if not SNAKEFILE.is_file():
        raise UserError(
            f"snakesteer was installed without its workflow ({SNAKEFILE} is missing)",
            "Clone the repository and install it from there (`pip install --editable .`), or run "
            "Python in the clone.",
        )
    folder = Path(folder).resolve()
    results = folder / config.results
    path = results / "config.yaml"
    values = config.model_dump(mode="json")
    try:
        write_text(path, yaml.safe_dump(values, allow_unicode=True, sort_keys=False))
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror})", "Choose another folder, or free this."
        ) from error
    command = [sys.executable, "-m", "snakemake", *targets]
    command += ["--snakefile", str(SNAKEFILE), "--configfile", str(path)]
    if cores is not None:
        command += ["--cores", str(cores)]
    if gpus is not None:
        command += ["--resources", f"gpu={gpus}"]
    code, said = _stream(command, folder)
    if code != 0:
        raise _failure(code, said)
    return results


def _stream(command: Sequence[str], folder: Path) -> tuple[int, str]:
    """Run a command, pass on what it prints, and return its exit status and last lines."""
    kept: deque[str] = deque(maxlen=_KEPT_LINES)
    with subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONUTF8": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        process_group=0,
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                kept.append(line)
                print(line, end="", flush=True)
        except BaseException:
            # Snakemake and its jobs are a group of their own, so that they hear of it once,
            # whether it comes from a terminal, a notebook or another process.
            os.killpg(process.pid, signal.SIGINT)
            process.wait()
            raise
    return process.returncode, "".join(kept)


def _failure(code: int, said: str) -> UserError:
    jobs = _FAILED_JOB.findall(said)
    rules = ", ".join(dict.fromkeys(rule for rule, _ in jobs))
    logs = ", ".join(dict.fromkeys(log for _, block in jobs for log in _LOG.findall(block)))
    lines = [line for line in said.splitlines(keepends=True) if not _NOISE.match(line)]
    last = "".join(lines[-_TOLD_LINES:])
    return UserError(
        f"The workflow failed (exit status {code}{f', rule {rules}' if rules else ''}). It said:\n"
        f"{last}",
        "Put right what it says and start again: what was finished stays."
        + (f" Logs: {logs}" if logs else ""),
    )
