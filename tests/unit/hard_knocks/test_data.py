"""Data that is bad, and data that looks it."""

import json
from pathlib import Path

import pytest

from snakesteer.config import DataConfig
from snakesteer.data.problem import read_problems, write_problems
from snakesteer.data.sources import load_official
from snakesteer.data.splits import carve_test, carve_train_val
from snakesteer.errors import UserError
from snakesteer.vectors.pairs import gold_vs_corrupted, write_pairs
from tests.unit.hard_knocks.harm import Harm, Knocks, check_knock
from tests.workflow.project import problem_rows


def write_lines(path: Path, *lines: str | bytes) -> None:
    """Good rows, with these lines behind the third."""
    rows = [json.dumps(row).encode() for row in problem_rows()[:8]]
    odd = [line.encode() if isinstance(line, str) else line for line in lines]
    path.write_bytes(b"\n".join([*rows[:3], *odd, *rows[3:]]) + b"\n")


def train(*lines: str | bytes) -> Harm:
    return lambda folder: write_lines(folder / "train.jsonl", *lines)


def answer(text: str) -> Harm:
    """A row with this answer, in JSON."""
    return train(f'{{"question": "How many?", "answer": {text}}}')


def replaced(content: bytes) -> Harm:
    return lambda folder: (folder / "train.jsonl").write_bytes(content)


def instead(name: str, content: bytes) -> Harm:
    """Another file in the place of train.jsonl."""

    def harm(folder: Path) -> None:
        (folder / "train.jsonl").unlink()
        (folder / name).write_bytes(content)

    return harm


def as_folder(folder: Path) -> None:
    (folder / "train.jsonl").unlink()
    (folder / "train.jsonl").mkdir()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data ü"
    folder.mkdir()
    for part in ("train", "test"):
        write_lines(folder / f"{part}.jsonl")
    return folder


def read_data(folder: Path) -> None:
    """From the official parts to pairs, as the rules before the model do it."""
    config = DataConfig(source="folder", folder=str(folder))
    problems = load_official(config, "train")
    chosen, val = carve_train_val(problems, 5, 3, 0, "numbers")
    write_pairs(folder / "out", gold_vs_corrupted([*chosen, *val], seed=0))


ROWS = "\n".join(json.dumps(row) for row in problem_rows()[:8])
MILLIONS = "9" * 5000
SAME = json.dumps({"question": "Ann has 5 pens. How many?", "answer": "#### 5"})
LINE_4 = "train.jsonl, line 4: "
BAD_DATA: Knocks = {
    "the answer NaN": (answer("NaN"), (LINE_4, "not a finite number", "remove the row")),
    "the answer Infinity": (answer("-Infinity"), (LINE_4, "not a finite number")),
    "a fraction as answer": (answer('"1/2"'), (LINE_4, "not one number", "'1/2'")),
    "two numbers as answer": (answer('"3 or 4"'), (LINE_4, "not one number")),
    **{
        f"the answer {text}": (answer(f'"{text}"'), (LINE_4, "not one number", f"'{text}'"))
        for text in (
            *("1½", "3 ½ (miles)", "1.5 million", "$5m", "2 dozen", "5k", "3e5", "10³"),
            *("3:30", "16-18", "0.333…", "1 080", "3万"),
        )
    },
    "thirty bad rows": (
        train(*['{"question": "How many?", "answer": "1/2"}'] * 30),
        ("lines 4, 5, 6, 7, 8, 9, 10, 11, 12, 13: no ####", "and 20 more (30 of 38 rows)"),
    ),
    "bad rows of several kinds": (
        train("{", '{"question": "How many?"}', '{"question": "?", "answer": "½"}'),
        ("line 4: not JSON", "line 5: 'answer' is missing", "line 6: no ####", "(3 of 11 rows)"),
    ),
    "two files for one part": (
        lambda folder: (folder / "train.csv").write_text("question,answer\n"),
        ("holds train.jsonl and train.csv", "Remove all but one"),
    ),
    "a damaged Parquet file": (
        instead("train.parquet", b"PAR1"),
        (
            "train.parquet: not a file of rows in the format .parquet",
            "write its rows as JSON lines",
        ),
    ),
    "a JSON file that is no list": (
        instead("train.json", b'{"data": []}'),
        ("train.json: not a file of rows in the format .json", "not a list of objects"),
    ),
    "a list as answer": (answer("[4]"), (LINE_4, "'answer' is missing", "text or a number")),
    "true as answer": (answer("true"), (LINE_4, "'answer' is missing", "text or a number")),
    "null as answer": (answer("null"), (LINE_4, "'answer' is missing", "text or a number")),
    "no final mark": (answer('"It is seven."'), (LINE_4, "no #### in the answer")),
    "a list in place of a row": (train("[1]"), (LINE_4, "a JSON list", "one JSON object")),
    "no number behind ####": (answer('"It is\\n#### many"'), (LINE_4, "no number after ####")),
    "other field names": (
        train('{"Body": "How many?", "Answer": 4}'),
        (LINE_4, "'question' is missing", "'Body', 'Answer'", "data.question_fields"),
    ),
    "a question that is a number": (
        train('{"question": 5, "answer": "#### 5"}'),
        (LINE_4, "'question' is missing, empty or not text"),
    ),
    "half a character": (
        train('{"question": "\\ud800?", "answer": "#### 5"}'),
        (LINE_4, "half a character", "Save the text as UTF-8"),
    ),
    "a number of 5000 digits": (train(f'{{"question": {MILLIONS}}}'), (LINE_4, "not JSON")),
    "brackets without end": (train("[" * 100_000), (LINE_4, "not JSON", "one JSON object")),
    "bytes of zero": (train(b"\0" * 4096), (LINE_4, "not JSON")),
    "Latin-1": (train('{"question": "ü"}'.encode("latin-1")), (LINE_4, "not UTF-8", "Save")),
    "UTF-16": (replaced(ROWS.encode("utf-16")), ("line 1: not UTF-8", "Save the file as UTF-8")),
    "one JSON list over many lines": (
        replaced(json.dumps(problem_rows()[:8], indent=1).encode()),
        ("lines 1, 5, 9: not JSON", "Every line must be one JSON object; lists belong into"),
    ),
    "a table of comma-separated values": (
        replaced(b"question,answer\nHow many?,5\n"),
        ("lines 1, 2: not JSON", "tables into .csv"),
    ),
    "half a line at the end": (
        replaced(ROWS.encode()[:-20]),
        ("line 8: not JSON", "Every line must be one JSON object"),
    ),
    "an empty file": (replaced(b""), ("has 0 problems", "use a larger source")),
    "a folder in place of the file": (as_folder, ("is not a file", "correct data.folder")),
    "no file": (
        lambda folder: (folder / "train.jsonl").unlink(),
        ("is not a file", "correct data.folder"),
    ),
    "one question over and over": (
        replaced("\n".join([SAME.replace("5", str(n)) for n in range(40)]).encode()),
        ("has 1 problems, not counting 39 near duplicates", "larger source"),
    ),
}


@pytest.mark.parametrize("name", BAD_DATA)
def test_bad_data(data: Path, capsys: pytest.CaptureFixture[str], name: str):
    check_knock(data, read_data, *BAD_DATA[name], capsys)


FINE_DATA: dict[str, tuple[bytes, int]] = {
    "a byte-order mark": (b"\xef\xbb\xbf" + ROWS.encode(), 8),
    "line ends of Windows": (ROWS.replace("\n", "\r\n").encode(), 8),
    "blank lines": (b"\n \n" + ROWS.replace("\n", "\n\n").encode() + b"\n\n", 8),
    "no line end at the end": (ROWS.encode(), 8),
    "a line separator inside a text": (
        f'{ROWS}\n{{"question": "a\N{LINE SEPARATOR}b", "answer": 1}}'.encode(),
        9,
    ),
    "a line of 10 MB": (
        ROWS.encode()
        + b'\n{"question": "'
        + b"Ann has 5 pens. " * 650_000
        + b'?", "answer": "#### 5"}',
        9,
    ),
    "other fields beside": (ROWS.replace('{"', '{"id": "a", "').encode(), 8),
    "bare numbers": (b'{"question": "How many?", "answer": 5}\n' * 2, 2),
}


@pytest.mark.parametrize("name", FINE_DATA)
def test_odd_data_that_is_fine(data: Path, name: str):
    content, count = FINE_DATA[name]
    (data / "train.jsonl").write_bytes(content)
    problems = load_official(DataConfig(source="folder", folder=str(data)), "train")
    assert len(problems) == count
    write_problems(data / "out", problems)
    assert read_problems(data / "out") == problems
    assert len(gold_vs_corrupted(problems, seed=0)) == count


def test_a_test_part_that_repeats_the_train_part(data: Path):
    config = DataConfig(source="folder", folder=str(data))
    problems, test = load_official(config, "train"), load_official(config, "test")
    chosen, val = carve_train_val(problems, 6, 2, seed=0)
    with pytest.raises(UserError, match="has 0 problems, not counting 8 that duplicate"):
        carve_test(test, 1, 0, chosen, val)
