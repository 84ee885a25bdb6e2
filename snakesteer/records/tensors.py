"""safetensors files with a header: written atomically, the same bytes for the same content."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

from snakesteer.errors import UserError
from snakesteer.records.files import atomic_path
from snakesteer.records.library_causes import RESULT
from snakesteer.records.library_errors import told

Array = NDArray[np.float32]
Tensors = dict[str, Array]


def write_tensors(path: str | Path, tensors: Tensors, header: Mapping[str, Any]) -> None:
    """Write tensors with a header, atomically.

    The header is one metadata entry, ``header``, in JSON: safetensors writes several in an order
    that changes from call to call, and files that hold the same would differ.
    """
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, {"header": json.dumps(header, sort_keys=True)})


def read_tensors(
    path: str | Path, *names: str, optional: Collection[str] = ()
) -> tuple[Tensors, dict[str, Any]]:
    """Read tensors by name, with their header.

    Args:
        path: The file.
        names: Tensors that it must have.
        optional: Tensors that are read if they are there.

    Raises:
        UserError: The file is missing, damaged, or holds something else, or numbers that are not
            finite.
    """
    broken = f"is not a readable file of {' and '.join(names)}"
    with told(RESULT, str(path), broken), safe_open(path, framework="numpy") as file:
        header = json.loads((file.metadata() or {})["header"])
        found = [*names, *sorted({*optional} & {*file.keys()})]
        tensors = {name: file.get_tensor(name) for name in found}
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise UserError(f"{path} holds numbers in {name} that are not finite", RESULT.remedy)
    return tensors, header
