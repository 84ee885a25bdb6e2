"""The table of a study: one run a line, one config key a column."""

import csv
import difflib
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any, get_args

import yaml
from pydantic import BaseModel

from snakesteer.config import Config
from snakesteer.errors import UserError
from snakesteer.records.paths import expanded

NAME_COLUMN = "name"
CONFIGFILE = "configfile"
PREDICTS = "predicts"
# Columns that are no keys of the config, and what they hold.
COLUMNS = {
    NAME_COLUMN: "the run's name",
    CONFIGFILE: "a config file that is laid over the common config before the row's own cells",
    PREDICTS: "what a claim predicts for the run, shown beside what was found",
}

# A run's name is a folder, and part of rule names.
_NAME = re.compile(r"[A-Za-z][\w.-]*")
_NOT_HERE = ("results", "runs", "replicates")
_SHOWN = 10


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        place: Where it stands, for messages: ``runs.tsv, line 7``.
        name: Of the run.
        cells: What it sets: config keys, and the columns of `COLUMNS`. Empty cells set nothing.
        columns: The numbers of the columns, counted from 1; none for a list.
    """

    place: str
    name: str
    cells: Mapping[str, Any]
    columns: Mapping[str, int]


def read_table(runs: str | Sequence[Mapping[str, Any]]) -> list[Row]:
    """Read a table of runs.

    Args:
        runs: A file, tab-separated or, if its name ends in ``.csv``, comma-separated, whose first
            line names the columns; or a list of mappings from column to value. Lines that begin
            with ``#`` and empty lines are passed over. Cells are YAML, those of text keys as they
            stand.

    Raises:
        UserError: No table, an unknown column, a name that is missing, double or no name. Names
            line and column of all of them.
    """
    rows = (
        _rows_of_list(runs) if not isinstance(runs, str) else _rows_of_file(expanded(runs, "runs"))
    )
    problems = [*_bad_names(rows)]
    if problems:
        refuse(problems)
    return rows


def refuse(problems: Sequence[str]) -> None:
    """Raise an error that names the first problems of a table.

    Raises:
        UserError: Always.
    """
    more = len(problems) - _SHOWN
    lines = [f"  - {text}" for text in problems[:_SHOWN]]
    raise UserError(
        "The table of runs is not valid:\n"
        + "\n".join([*lines, *([f"  - and {more} more"] if more > 0 else [])]),
        "Every key is explained in config/config.yaml, the table in docs/studies.md.",
    )


def _rows_of_file(path: str) -> list[Row]:
    lines = _lines(path)
    if not lines:
        raise UserError(
            f"{path} is empty",
            "Write a first line with the names of columns, name among them, and a line a run.",
        )
    number, header = lines[0]
    problems = _bad_header(path, number, header)
    if problems:
        refuse(problems)
    columns = {column: index for index, column in enumerate(header, start=1)}
    rows = []
    for number, cells in lines[1:]:
        place = f"{path}, line {number}"
        if len(cells) != len(header):
            problems.append(
                f"{place}: the first line names {len(header)} columns, this one has {len(cells)}"
            )
            continue
        values = {}
        for column, text in zip(header, cells, strict=True):
            if text:
                try:
                    values[column] = _value(column, text)
                except yaml.YAMLError:
                    problems.append(
                        f"{place}, column {columns[column]} ({column}): {text!r} is no YAML value"
                    )
        rows.append(Row(place, str(values.pop(NAME_COLUMN, "")), values, columns))
    if problems:
        refuse(problems)
    if not rows:
        raise UserError(f"{path} names no run", "Write a line a run below the first line.")
    return rows


def _lines(path: str) -> list[tuple[int, list[str]]]:
    """Numbered lines with their cells; blanks around cells go."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(
            f"runs is {path!r}, but that is not a file",
            "Correct the path; relative ones start in the working directory.",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} cannot be read as text ({error})", "Save the table as UTF-8."
        ) from None
    delimiter = "," if path.endswith(".csv") else "\t"
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    lines = []
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if any(stripped) and not stripped[0].startswith("#"):
                lines.append((reader.line_num, stripped))
    except csv.Error as error:
        raise UserError(
            f"{path}, line {reader.line_num} cannot be read ({error})",
            "Look for a quotation mark that is not closed.",
        ) from None
    return lines


def _bad_header(path: str, number: int, header: Sequence[str]) -> list[str]:
    place = f"{path}, line {number}"
    if len(header) == 1 and ("," in header[0] or ";" in header[0] or "  " in header[0]):
        return [
            f"{place} has no tab: it is one column, {header[0]!r}. Put tabs between the columns, "
            "or commas into a file whose name ends in .csv"
        ]
    problems = [
        f"{place}, column {index}: {_unknown(column)}"
        for index, column in enumerate(header, start=1)
        if not _is_column(column)
    ]
    problems += [
        f"{place} names the column {column!r} twice"
        for column in dict.fromkeys(header)
        if header.count(column) > 1
    ]
    if NAME_COLUMN not in header:
        problems.append(f"{place} has no column {NAME_COLUMN!r}")
    return problems


def _rows_of_list(runs: Sequence[Mapping[str, Any]]) -> list[Row]:
    if not runs:
        raise UserError("runs is an empty list", "Name a run, or set runs: null for a single one.")
    rows, problems = [], []
    for number, given in enumerate(runs, start=1):
        cells = _flat(given)
        place = f"runs, entry {number}"
        problems += [f"{place}: {_unknown(key)}" for key in cells if not _is_column(key)]
        rows.append(Row(place, str(cells.pop(NAME_COLUMN, "")), cells, {}))
    if problems:
        refuse(problems)
    return rows


def _flat(given: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections as dotted keys; what is no section stays."""
    found: dict[str, Any] = {}
    for key, value in given.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and name in Config.model_fields:
            found.update(_flat(value, f"{name}."))
        else:
            found[name] = value
    return found


def _bad_names(rows: Iterable[Row]) -> list[str]:
    problems = []
    seen: dict[str, str] = {}
    for row in rows:
        if not _NAME.fullmatch(row.name):
            problems.append(
                f"{row.place}: the name {row.name!r} must be a letter, and behind it letters, "
                "digits, '.', '_' and '-'"
                if row.name
                else f"{row.place} has no name"
            )
        # Rule names have no dots and dashes, and not every file system tells cases apart.
        key = identifier(row.name).lower()
        if row.name and key in seen:
            problems.append(f"{row.place}: the name {row.name!r} is that of {seen[key]}, too")
        seen.setdefault(key, row.place)
    return problems


def identifier(name: str) -> str:
    """A run's name as part of a rule's."""
    return re.sub(r"\W", "_", name)


def _is_column(column: str) -> bool:
    return column in COLUMNS or column in _keys()


def _keys() -> dict[str, Any]:
    """All dotted keys of the config that a run may set, with the types of their values."""
    found: dict[str, Any] = {}
    for name, field in Config.model_fields.items():
        kind = field.annotation
        if name in _NOT_HERE:
            continue
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found.update({f"{name}.{key}": f.annotation for key, f in kind.model_fields.items()})
    return found


def _unknown(column: str) -> str:
    if not column:
        return "the column has no name"
    close = difflib.get_close_matches(column, [*COLUMNS, *_keys()], n=1)
    own = f" Besides keys there are {', '.join(COLUMNS)}." if not close else ""
    meant = f" Did you mean {close[0]!r}?" if close else ""
    if column.partition(".")[0] in _NOT_HERE:
        meant, own = " It is the same for all runs.", ""
    return f"{column!r} is no key that a run can set.{meant}{own}"


def _value(column: str, text: str) -> Any:
    """A cell's value: text as it stands where the key holds text, else YAML."""
    kind = _keys().get(column, str)
    if kind is str or {*get_args(kind)} == {str, NoneType}:
        return None if text in ("null", "~") and kind is not str else text
    return yaml.safe_load(text)
