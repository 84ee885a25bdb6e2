import json

import pytest

from snakesteer.config import DataConfig
from snakesteer.data.part_files import READERS, part_file, read_part
from snakesteer.data.sources import load_official
from snakesteer.errors import UserError
from tests.task_files import write_table

ROWS = [
    {"question": 'How many pens, "red" ones?\nAnd blue?', "answer": "1,080"},
    {"question": "Wie viele Äpfel?", "answer": "9 (Äpfel)"},
]


def write(path, rows):
    if path.suffix in (".csv", ".tsv"):
        quoted = [[f'"{str(v).replace(chr(34), chr(34) * 2)}"' for v in r.values()] for r in rows]
        mark = "," if path.suffix == ".csv" else "\t"
        path.write_text("\r\n".join(map(mark.join, [list(rows[0]), *quoted])), encoding="utf-8")
    elif path.suffix == ".xml":
        escaped = [{k: v.replace("&", "&amp;") for k, v in row.items()} for row in rows]
        each = "".join(
            f"<row><question>{r['question']}</question><answer>{r['answer']}</answer></row>"
            for r in escaped
        )
        path.write_text(f"<rows>{each}</rows>", encoding="utf-8")
    else:
        write_table(path, rows)


@pytest.mark.parametrize("ending", READERS)
def test_every_format_gives_the_same_rows(tmp_path, ending):
    write(tmp_path / f"train{ending}", ROWS)
    assert part_file(tmp_path, "train") == tmp_path / f"train{ending}"
    numbered = read_part(tmp_path / f"train{ending}")
    assert [number for number, _ in numbered] == [1, 2]
    rows = [json.loads(row) if isinstance(row, bytes) else row for _, row in numbered]
    assert rows == ROWS
    data = DataConfig(source="folder", folder=str(tmp_path), test_part="train")
    assert [each.gold for each in load_official(data, "test")] == ["1080", "9"]


@pytest.mark.parametrize("ending", [".json", ".csv", ".tsv"])
def test_a_byte_order_mark_is_passed_over(tmp_path, ending):
    path = tmp_path / f"train{ending}"
    write(path, ROWS)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert [row for _, row in read_part(path)] == ROWS


def test_lines_keep_their_numbers(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_bytes(b"\n{}\n\n \n[1]\r\n")
    assert read_part(path) == [(2, b"{}"), (5, b"[1]")]


def test_a_missing_part_names_the_ways_out(tmp_path):
    write(tmp_path / "test.jsonl", ROWS)
    with pytest.raises(UserError) as caught:
        part_file(tmp_path, "train")
    assert f"{tmp_path}/train.jsonl is not a file" in caught.value.problem
    for word in ("correct data.folder", ".parquet", "data.train_part", "all splits"):
        assert word in caught.value.remedy


def test_two_files_of_a_part_are_refused(tmp_path):
    write(tmp_path / "train.jsonl", ROWS)
    write(tmp_path / "train.csv", ROWS)
    with pytest.raises(UserError, match=r"holds train\.jsonl and train\.csv.*Remove all but one"):
        part_file(tmp_path, "train")


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("a.json", b"{", "not a file of rows in the format .json"),
        ("a.json", b'{"rows": []}', "a JSON dict, not a list of objects"),
        ("a.json", b"[" * 100_000, "not a file of rows in the format .json"),
        ("a.json", '["ü"]'.encode("latin-1"), "not UTF-8"),
        ("a.csv", b'question,answer\n"a"b,1\n', "not a file of rows in the format .csv"),
        ("a.csv", b"question,answer\n" + b"a" * 200_000 + b",1\n", "field larger than field limit"),
        ("a.csv", "question\nü\n".encode("latin-1"), "not UTF-8"),
        ("a.parquet", b"PAR1", "not a file of rows in the format .parquet"),
        ("a.parquet", b"", "not a file of rows in the format .parquet"),
        ("a.xml", b"<a><b>", "not a file of rows in the format .xml"),
    ],
)
def test_a_damaged_file_is_a_user_error(tmp_path, file, content, said):
    (tmp_path / file).write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_part(tmp_path / file)
    assert said in caught.value.problem
    assert str(tmp_path / file) in caught.value.problem


def test_a_bomb_of_xml_entities_does_not_go_off(tmp_path):
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))
    (tmp_path / "a.xml").write_text(
        f'<!DOCTYPE a [<!ENTITY e0 "a">{entities}]><a><b><c>&e11;</c></b></a>'
    )
    with pytest.raises(UserError, match=r"not a file of rows in the format \.xml"):
        read_part(tmp_path / "a.xml")
