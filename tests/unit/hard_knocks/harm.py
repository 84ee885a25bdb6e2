"""What the hard knocks have in common: harm, refusal, repair."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from snakesteer.records.logs import script_log

Job = Callable[[Path], object]
Harm = Callable[[Path], object]
Knocks = dict[str, tuple[Harm, tuple[str, ...]]]


def check_knock(folder: Path, job: Job, harm: Harm, said: tuple[str, ...], capsys: Any) -> str:
    """Harm → refusal with these words and no output; repair → the job finishes.

    Returns:
        What was said.
    """
    whole = shutil.copytree(folder, folder.with_name("whole"))
    harm(folder)
    with pytest.raises(SystemExit) as ended, script_log(folder.with_name("rule.log")):
        job(folder)
    assert ended.value.code == 1
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert [word for word in said if word not in message] == [], message
    assert "Traceback" not in message
    left = {path.relative_to(folder) for path in folder.rglob("*")}
    assert not [path for path in left if path.name == "out" or ".part" in path.name]
    if folder.is_file():
        folder.unlink()
    shutil.rmtree(folder, ignore_errors=True)  # the harm may have taken it away
    shutil.move(whole, folder)
    with script_log(folder.with_name("rule.log")):
        job(folder)
    assert (folder / "out").exists()
    return str(message)


def truncated(path: str, keep: float = 0.5) -> Harm:
    def harm(folder: Path) -> None:
        content = (folder / path).read_bytes()
        (folder / path).write_bytes(content[: int(len(content) * keep)])

    return harm


def written(file: str, text: str) -> Harm:
    return lambda folder: (folder / file).write_text(text)


class Payload:
    """What a malicious pickle holds: code that runs when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.path),)
