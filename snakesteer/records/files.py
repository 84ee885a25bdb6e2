"""Reading and writing files so that a reader never sees half of one."""

import codecs
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from snakesteer.errors import UserError
from snakesteer.records.library_causes import RESULT, USER_FILE, Stage
from snakesteer.records.library_errors import told


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that replaces it when the block succeeds.

    Args:
        path: The file to create or replace; its folder is made if it is missing.

    Yields:
        The temporary path to write to. If the block raises, it is removed and ``path`` stays as it
        was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last: numpy, safetensors and h5py look at it.
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(folder: str | Path, key: str = "results") -> None:
    """Make a folder, and a file in it that goes again.

    Args:
        folder: The folder.
        key: The config key that names it, for the message.

    Raises:
        UserError: That cannot be done.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"The folder {str(folder)!r} cannot be written to ({error.strerror})",
            f"Set {key} to another folder, or change who may write there.",
        ) from None


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write a JSON document atomically: indented, non-finite numbers refused."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def read_json(path: str | Path, stage: Stage = RESULT) -> Any:
    """Read a JSON document.

    Args:
        path: The file.
        stage: What it is, for the remedy: a result, which is made anew, or `USER_FILE`.

    Returns:
        The document. Of a result it is an object, which names the file where it lacks a key.

    Raises:
        UserError: The file is missing or is not JSON, or a result is no object.
    """
    with told(stage, str(path), "is not a JSON file"):
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    if stage is not RESULT:
        return found
    if not isinstance(found, dict):
        raise UserError(f"{path} holds no JSON object", RESULT.remedy)
    return _Result(path, found)


class _Result(dict[str, Any]):
    """A JSON object; what it lacks was lost in the file, which may be of another version."""

    def __init__(self, path: str | Path, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self.path = path

    def __missing__(self, key: str) -> Any:
        raise UserError(f"{self.path} lacks {key!r}", RESULT.remedy)


def write_jsonl(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object a line, atomically."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as stream:
        for row in rows:
            stream.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")


def read_jsonl(path: str | Path) -> list[dict[str, Any]]:
    """Read one JSON object a line; blank lines and a byte-order mark are passed over.

    Raises:
        UserError: The file is missing, not UTF-8, or a line is not a JSON object (names the line).
    """
    path = Path(path)
    rows: list[dict[str, Any]] = []
    with told(USER_FILE, str(path), "cannot be read"):
        lines = path.read_bytes().removeprefix(codecs.BOM_UTF8).splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise UserError(
                f"{path}, line {number}: not UTF-8 ({error.reason})", "Save the file as UTF-8."
            ) from None
        except (ValueError, RecursionError) as error:
            raise UserError(
                f"{path}, line {number}: not JSON ({error})",
                "Every line must be one JSON object.",
            ) from None
        if not isinstance(row, dict):
            raise UserError(
                f"{path}, line {number}: a JSON {type(row).__name__}, not an object",
                'Every line must be one JSON object such as {"question": …, "answer": …}.',
            )
        rows.append(row)
    return rows


def sha256_file(path: str | Path) -> str:
    """The SHA-256 of a file's bytes, as hex."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_text(text: str) -> str:
    """The SHA-256 of a text's UTF-8 bytes, as hex."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
