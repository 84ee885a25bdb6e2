"""Files of a data folder: one for each part, in one of the formats that data sets come in."""

import codecs
import csv
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from snakesteer.errors import UserError

NumberedRows = list[tuple[int, bytes | Any]]

LINES = ".jsonl"


def part_file(folder: str | Path, part: str) -> Path:
    """The file of a part: ``train.jsonl``, or the same with another ending of `READERS`.

    Args:
        folder: ``data.folder``.
        part: Name of the file without its ending (``data.train_part``, ``data.test_part``).

    Raises:
        UserError: There is none, or more than one.
    """
    there = [path for ending in READERS if (path := Path(folder) / f"{part}{ending}").is_file()]
    if not there:
        raise UserError(
            f"data.folder is {str(folder)!r}, but {Path(folder) / part}{LINES} is not a file",
            f"Put it there ({', '.join(READERS)} are read), or correct data.folder; "
            "data.train_part and data.test_part name the files, and where both name the same, all "
            "splits are drawn from it.",
        )
    if len(there) > 1:
        raise UserError(
            f"data.folder holds {' and '.join(path.name for path in there)}",
            "Remove all but one: each of them could be the part that is meant.",
        )
    return there[0]


def read_part(path: Path) -> NumberedRows:
    """The rows of a part's file with their numbers, counted from 1.

    Returns:
        Of JSON lines the lines that are not blank, each as its bytes, so that a bad one does not
        hide the others; of other formats the rows.

    Raises:
        UserError: The file as a whole cannot be read.
    """
    try:
        return READERS[path.suffix](path)
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 ({error.reason})", "Save the file as UTF-8.") from None
    # What the parsers raise: JSON and Arrow a ValueError, XML a SyntaxError.
    except (ValueError, SyntaxError, RecursionError, csv.Error) as error:
        raise UserError(
            f"{path}: not a file of rows in the format {path.suffix} ({error})",
            "Correct the file, or write its rows as JSON lines.",
        ) from None


def _read_lines(path: Path) -> NumberedRows:
    lines = path.read_bytes().removeprefix(codecs.BOM_UTF8).splitlines()
    return [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]


def _read_json(path: Path) -> NumberedRows:
    rows = json.loads(path.read_text(encoding="utf-8-sig"))
    if not isinstance(rows, list):
        raise ValueError(f"it holds a JSON {type(rows).__name__}, not a list of objects")
    return list(enumerate(rows, start=1))


def _read_csv(path: Path) -> NumberedRows:
    text = io.StringIO(path.read_text(encoding="utf-8-sig"), newline="")
    delimiter = "\t" if path.suffix == ".tsv" else ","
    return list(enumerate(csv.DictReader(text, delimiter=delimiter, strict=True), start=1))


def _read_parquet(path: Path) -> NumberedRows:
    import pyarrow.parquet  # takes a while, and only this format needs it

    return list(enumerate(pyarrow.parquet.read_table(path).to_pylist(), start=1))


def _read_xml(path: Path) -> NumberedRows:
    """ASDiv's format: a row is an element of attributes and of elements that hold only text."""
    elements = ElementTree.fromstring(path.read_bytes()).iter()
    rows = [each for each in elements if len(each) and not any(len(child) for child in each)]
    return [(number, _row_of(element)) for number, element in enumerate(rows, start=1)]


def _row_of(element: ElementTree.Element) -> Mapping[str, str]:
    return {**element.attrib, **{child.tag: (child.text or "").strip() for child in element}}


READERS: dict[str, Callable[[Path], NumberedRows]] = {
    LINES: _read_lines,
    ".json": _read_json,
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".parquet": _read_parquet,
    ".xml": _read_xml,
}
