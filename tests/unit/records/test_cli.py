"""How the commands end, and how they read paths."""

import argparse
import errno

import pytest

from snakesteer.errors import UserError
from snakesteer.records.cli import path_argument, run_command


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (UserError("It is wrong", "Mend it."), "error: It is wrong. Mend it.\n"),
        (OSError(errno.ENOSPC, "No space left on device"), "error: The disk is full"),
    ],
)
def test_what_the_user_can_put_right_is_one_paragraph(capsys, error, said):
    def main():
        raise error

    with pytest.raises(SystemExit) as ended:
        run_command(main)
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith(said)


def test_a_bug_is_a_bug_and_a_status_a_status():
    with pytest.raises(ZeroDivisionError):
        run_command(lambda: 1 // 0)
    with pytest.raises(SystemExit) as ended:
        run_command(lambda: 3)
    assert ended.value.code == 3


def test_paths_on_the_command_line(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.delenv("GONE", raising=False)
    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--output", type=path_argument)
    assert parser.parse_args(["--output=~/x"]).output == "/home/ada/x"
    with pytest.raises(argparse.ArgumentError, match="'GONE' is not set"):
        parser.parse_args(["--output=$GONE/x"])
