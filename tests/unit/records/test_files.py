"""Files appear whole or not at all, and say what is wrong with them."""

import os

import pytest

from snakesteer.errors import UserError
from snakesteer.records import files
from snakesteer.records.files import (
    atomic_path,
    check_writable,
    read_json,
    read_jsonl,
    sha256_file,
    sha256_text,
    write_json,
    write_jsonl,
    write_text,
)

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, B.1


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_the_block_ends(tmp_path):
    target = tmp_path / "new" / "data.safetensors"
    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert not target.exists()
        assert (temporary.parent, temporary.suffix) == (target.parent, ".safetensors")
    assert target.read_text() == "new"
    assert names(target.parent) == ["data.safetensors"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path, error):
    def interrupted_write(target):
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise error

    target = tmp_path / "data.json"
    target.write_text("old")
    with pytest.raises(error):
        interrupted_write(target)
    assert target.read_text() == "old"
    assert names(tmp_path) == ["data.json"]


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "data.json"):
        pass
    assert names(tmp_path) == []


def test_a_failing_move_leaves_the_old_file(tmp_path, monkeypatch):
    def full(*_):
        raise OSError("no space left on device")

    target = tmp_path / "data.json"
    target.write_text("old")
    monkeypatch.setattr(files.os, "replace", full)
    with pytest.raises(OSError, match="no space"):
        write_text(target, "new")
    monkeypatch.undo()
    assert target.read_text() == "old"
    assert names(tmp_path) == ["data.json"]


def test_a_row_that_is_not_json_leaves_the_old_file(tmp_path):
    target = tmp_path / "rows.jsonl"
    write_jsonl(target, [{"a": 1}])
    with pytest.raises(ValueError, match="JSON compliant"):
        write_jsonl(target, [{"a": 2}, {"a": float("nan")}])
    assert read_jsonl(target) == [{"a": 1}]
    assert names(tmp_path) == ["rows.jsonl"]


def test_json_round_trip(tmp_path):
    value = {"text": "α·v — “日本”\n", "numbers": [1, 2.5, None, True]}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value
    assert "α·v" in (tmp_path / "a.json").read_text(encoding="utf-8")


def test_json_refuses_what_is_no_number(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", {"accuracy": float("inf")})
    assert names(tmp_path) == []


@pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe"])
def test_corrupt_json_is_named(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.json is not a JSON file.*Delete it"):
        read_json(tmp_path / "a.json")


def test_missing_files_are_named(tmp_path):
    with pytest.raises(UserError, match=r"gone\.json cannot be read: it does not exist"):
        read_json(tmp_path / "gone.json")
    with pytest.raises(UserError, match=r"gone\.jsonl cannot be read: it does not exist"):
        read_jsonl(tmp_path / "gone.jsonl")


def test_jsonl_round_trip(tmp_path):
    # U+2028 and U+0085 are line breaks to str.splitlines, but not in JSONL.
    rows = [{"text": "one\ntwo"}, {"text": "a\u2028b\u0085c"}, {"number": 1.5}]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    assert read_jsonl(tmp_path / "rows.jsonl") == rows
    assert (tmp_path / "rows.jsonl").read_bytes().count(b"\n") == 3


def test_jsonl_passes_over_blank_lines_and_reads_windows_line_ends(tmp_path):
    (tmp_path / "rows.jsonl").write_bytes(b'{"a": 1}\r\n\r\n   \n{"a": 2}')
    assert read_jsonl(tmp_path / "rows.jsonl") == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"a": 1', "line 3: not JSON"),
        (b"[1, 2]", "line 3: a JSON list, not an object"),
        (b'"text"', "line 3: a JSON str, not an object"),
        (b'{"a": "\xff"}', "line 3: not UTF-8"),
    ],
)
def test_jsonl_errors_name_the_line(tmp_path, line, problem):
    (tmp_path / "rows.jsonl").write_bytes(b'{"a": 1}\n\n' + line + b'\n{"a": 2}\n')
    with pytest.raises(UserError, match=problem) as caught:
        read_jsonl(tmp_path / "rows.jsonl")
    assert str(tmp_path / "rows.jsonl") in str(caught.value)


def test_a_folder_is_writable_or_not(tmp_path):
    check_writable(tmp_path / "new" / "folder")
    assert list((tmp_path / "new" / "folder").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot be written to .Not a directory.*Set results"):
        check_writable(tmp_path / "file" / "folder")
    with pytest.raises(UserError, match=r"Set evaluation\.ledger to another folder"):
        check_writable(tmp_path / "file" / "folder", "evaluation.ledger")


def test_hashes(tmp_path):
    write_text(tmp_path / "a", "abc")
    assert sha256_file(tmp_path / "a") == sha256_text("abc") == ABC
    assert sha256_text("é") != sha256_text("e\u0301")


def test_the_temporary_name_belongs_to_this_process(tmp_path):
    with atomic_path(tmp_path / "a.json") as temporary:
        temporary.touch()
        assert str(os.getpid()) in temporary.name
        assert temporary.name.startswith(".")
