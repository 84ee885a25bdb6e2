"""Which GPU of a machine a job gets.

Snakemake counts GPUs but does not say which one a job may use. Local jobs therefore lease one: each
device has a lock file, held for as long as the process lives and freed by the kernel when it ends,
however it ends. Where a scheduler such as SLURM gives a job one GPU, there is nothing to choose,
and nothing is leased.
"""

import logging
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from filelock import FileLock, Timeout

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5


@dataclass(frozen=True, eq=False)
class Lease:
    """A device that no other leasing job uses.

    Attributes:
        index: Position of the device among those that the process sees.
        lock: Held until it is released or the process ends.
    """

    index: int
    lock: FileLock

    def release(self) -> None:
        """Give the device back."""
        self.lock.release()


def lease_device(devices: Sequence[str], folder: str | Path | None = None) -> Lease:
    """Take the first free device; waits until there is one.

    Args:
        devices: Names that are the same in every process of the machine, such as UUIDs.
        folder: Of the lock files; the machine's temporary folder by default.
    """
    place = Path(tempfile.gettempdir()) / "snakesteer-devices" if folder is None else Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    with suppress(PermissionError):
        place.chmod(0o1777)  # for every user of the machine, like the folder above it
    told = False
    while True:
        for index, device in enumerate(devices):
            lock = FileLock(place / f"{device}.lock", timeout=0, mode=0o666)
            try:
                lock.acquire()
            except Timeout:
                continue
            logger.info("leased device %s", device)
            return Lease(index, lock)
        if not told:
            logger.info("all %d devices are in use: waiting", len(devices))
            told = True
        time.sleep(POLL_SECONDS)


def lease_gpu() -> Lease | None:
    """Take one of the GPUs that this process sees, for as long as it lives.

    Returns:
        None where there is nothing to choose.
    """
    count = torch.cuda.device_count()
    if count < 2:
        return None
    # Processes may see different devices under the same index; the hardware's own name is one.
    return lease_device([str(torch.cuda.get_device_properties(i).uuid) for i in range(count)])
