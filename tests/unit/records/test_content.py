"""The content of a file without the time and place of its making."""

import pytest

from snakesteer.errors import UserError
from snakesteer.records.content import content_sha256
from snakesteer.records.files import sha256_file, write_json, write_jsonl, write_text


def hash_of(tmp_path, value):
    path = tmp_path / "a.json"
    write_json(path, value)
    return content_sha256(path)


def test_times_and_surroundings_do_not_count(tmp_path):
    value = {"a": 1, "rows": [{"b": 2.5}]}
    told = {
        "created": "now",
        "git": {"commit": "c"},
        "rows": [{"seconds": 3.0, "b": 2.5}],
        "machine": {},
        "threads": 2,
        "versions": {},
        "test_reads": {"final": {"reads": 3}},
        "a": 1,
    }
    assert hash_of(tmp_path, told) == hash_of(tmp_path, value)


@pytest.mark.parametrize("other", [{"a": 2}, {"a": "1"}, {"b": 1}, {"a": 1, "b": 1}, {"a": [1]}])
def test_everything_else_counts(tmp_path, other):
    assert hash_of(tmp_path, other) != hash_of(tmp_path, {"a": 1})


def test_tables(tmp_path):
    def csv_hash(text):
        write_text(tmp_path / "a.csv", text)
        return content_sha256(tmp_path / "a.csv")

    first = csv_hash("number,value,seconds\n0,1.5,9.1\n")
    assert csv_hash("number,value,seconds\n0,1.5,7\n") == first
    assert csv_hash("number,value,seconds\n0,1.6,9.1\n") != first


def test_lines_count_in_their_order(tmp_path):
    rows = [{"id": 1}, {"id": 2}]
    hashes = []
    for some in (rows, rows[::-1]):
        write_jsonl(tmp_path / "a.jsonl", some)
        hashes.append(content_sha256(tmp_path / "a.jsonl"))
    assert hashes[0] != hashes[1]


def test_other_files_by_their_bytes(tmp_path):
    write_text(tmp_path / "a.safetensors", "seconds")
    assert content_sha256(tmp_path / "a.safetensors") == sha256_file(tmp_path / "a.safetensors")


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(UserError, match=r"a\.json"):
        content_sha256(tmp_path / "a.json")
