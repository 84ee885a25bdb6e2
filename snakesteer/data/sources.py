"""Where problems come from: generator, hub or folder. Each has a train and a test part."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from snakesteer.config import DataConfig
from snakesteer.data import embedded
from snakesteer.data.problem import Problem, problem_from_row
from snakesteer.errors import UserError
from snakesteer.records.files import read_jsonl
from snakesteer.records.library_causes import DATA
from snakesteer.records.library_errors import told

Part = Literal["train", "test"]

# Cut from one generated sequence, so that no test problem is a near duplicate of a train problem.
EMBEDDED_TRAIN = 2400
EMBEDDED_TEST = 600


def load_official(data: DataConfig, part: Part) -> list[Problem]:
    """Load one part of the source, in source order.

    Ids name the part and the row in it, counted from 0: ``gsm8k-train-00012`` (with ``data.task``)
    for hub and folder, which agree on the same data; ``embedded-test-00003``.

    Raises:
        UserError: The source cannot be reached, a file is missing or a row is not a problem.
    """
    match data.source:
        case "embedded":
            return _from_generator(data, part)
        case "hub":
            return _from_hub(data, part)
        case "folder":
            return _from_folder(data, part)


def _from_generator(data: DataConfig, part: Part) -> list[Problem]:
    pool = embedded.generate_problems(EMBEDDED_TRAIN + EMBEDDED_TEST, data.steps, data.seed)
    rows = pool[:EMBEDDED_TRAIN] if part == "train" else pool[EMBEDDED_TRAIN:]
    return [
        problem_from_row(row, f"embedded {part} part", index + 1, f"embedded-{part}", index)
        for index, row in enumerate(rows)
    ]


def _from_hub(data: DataConfig, part: Part) -> list[Problem]:
    import datasets  # takes seconds, and only this source needs it

    subject = (
        f"data.source is 'hub', but the {part} part of {data.hub_id!r} (configuration "
        f"{data.hub_config!r}, revision {data.hub_revision!r})"
    )
    with told(DATA, subject, "cannot be loaded"):
        rows = datasets.load_dataset(
            data.hub_id, data.hub_config, split=part, revision=data.hub_revision
        )
    place = f"{data.hub_id} {part} part"
    return _problems(data, part, place, ((index + 1, row) for index, row in enumerate(rows)))


def _from_folder(data: DataConfig, part: Part) -> list[Problem]:
    assert data.folder is not None  # DataConfig refuses a folder source without a folder
    path = Path(data.folder) / f"{part}.jsonl"
    if not path.is_file():
        raise UserError(
            f"data.folder is {data.folder!r}, but {path} is not a file",
            "Put train.jsonl and test.jsonl there, one JSON object with question and answer a "
            "line, or correct data.folder.",
        )
    lines = [
        number
        for number, line in enumerate(path.read_bytes().splitlines(), start=1)
        if line.strip()  # read_jsonl passes over blank lines
    ]
    return _problems(data, part, path, zip(lines, read_jsonl(path), strict=True))


def _problems(
    data: DataConfig, part: Part, place: str | Path, rows: Iterable[tuple[int, Mapping[str, Any]]]
) -> list[Problem]:
    """Problems of numbered rows, with the fields that the config names."""
    fields = (tuple(data.question_fields), data.answer_field)
    return [
        problem_from_row(row, place, line, f"{data.task}-{part}", index, *fields)
        for index, (line, row) in enumerate(rows)
    ]
