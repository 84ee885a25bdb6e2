"""Which GPU of a machine a job gets.

Snakemake counts GPUs but does not say which one a job may use. Local jobs therefore lease one: each
device has a lock file, held for as long as the process lives and freed by the kernel when it ends,
however it ends. Where a scheduler such as SLURM gives a job one GPU, there is nothing to choose,
and nothing is leased.
"""

import logging
import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from snakesteer.errors import UserError

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5


@dataclass(frozen=True, eq=False)
class Lease:
    """Devices that no other leasing job uses.

    Attributes:
        indices: Positions of the devices among those that the process sees.
        locks: Held until they are released or the process ends.
    """

    indices: tuple[int, ...]
    locks: tuple[FileLock, ...]

    def release(self) -> None:
        """Give the devices back."""
        for lock in self.locks:
            lock.release()


def lease_devices(
    devices: Sequence[str], count: int = 1, folder: str | Path | None = None
) -> Lease:
    """Take the first free devices; waits until there are as many.

    All or none are taken, so that two jobs that wait for several never hold what the other needs.

    Args:
        devices: Names that are the same in every process of the machine, such as UUIDs.
        count: How many to take.
        folder: Of the lock files; the machine's temporary folder by default.
    """
    place = Path(tempfile.gettempdir()) / "snakesteer-devices" if folder is None else Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    with suppress(PermissionError):
        place.chmod(0o1777)  # for every user of the machine, like the folder above it
    told = False
    while True:
        taken: dict[int, FileLock] = {}
        for index, device in enumerate(devices):
            lock = FileLock(place / f"{device}.lock", timeout=0, mode=0o666)
            with suppress(Timeout):
                lock.acquire()
                taken[index] = lock
            if len(taken) == count:
                logger.info("leased devices %s", ", ".join(devices[i] for i in taken))
                return Lease(tuple(taken), tuple(taken.values()))
        for lock in taken.values():
            lock.release()
        if not told:
            logger.info("fewer than %d of %d devices are free: waiting", count, len(devices))
            told = True
        time.sleep(POLL_SECONDS)


def gpu_of_slurm() -> str | None:
    """The variable by which SLURM says which GPUs a job has; None outside of such a job."""
    names = ("SLURM_STEP_GPUS", "SLURM_JOB_GPUS", "SLURM_GPUS_ON_NODE")
    return next((f"{name}={os.environ[name]}" for name in names if os.environ.get(name)), None)


def lease_gpus(count: int = 1) -> Lease | None:
    """Take some of the GPUs that this process sees, for as long as it lives.

    Args:
        count: How many.

    Returns:
        None where there is nothing to choose.

    Raises:
        UserError: There are fewer.
    """
    there = torch.cuda.device_count()
    if 0 < there < count:
        raise UserError(
            f"model.gpus is {count}, but this job sees {there}",
            "Lower model.gpus, or ask the cluster for as many GPUs on one node.",
        )
    if there < 2:
        return None
    # Processes may see different devices under the same index; the hardware's own name is one.
    names = [str(torch.cuda.get_device_properties(i).uuid) for i in range(there)]
    return lease_devices(names, count)
