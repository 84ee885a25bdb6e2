"""Where problems come from: generator, hub or folder.

Each has a train and a test part; of hub and folder one part may be both.
"""

from typing import Literal

from snakesteer.config import DataConfig
from snakesteer.data import embedded
from snakesteer.data.part_files import LINES, NumberedRows, part_file, read_part
from snakesteer.data.problem import Problem
from snakesteer.data.rows import Fields, Source, problems_from_rows
from snakesteer.records.library_causes import DATA
from snakesteer.records.library_errors import told

Part = Literal["train", "test"]

# Cut from one generated sequence, so that no test problem is a near duplicate of a train problem.
EMBEDDED_TRAIN = 2400
EMBEDDED_TEST = 600


def load_official(data: DataConfig, part: Part) -> list[Problem]:
    """Load one part of the source, in source order.

    Ids name the part and the row in it, counted from 0: ``gsm8k-train-00012`` (with ``data.task``
    and the source's own name of the part) for hub and folder, which agree on the same data;
    ``embedded-test-00003``.

    Args:
        data: The config.
        part: What the part is for.

    Raises:
        UserError: The source cannot be reached, a file is missing or a row is not a problem.
    """
    match data.source:
        case "embedded":
            return _from_generator(data, part)
        case "hub":
            return _from_hub(data, data.part(part))
        case "folder":
            return _from_folder(data, data.part(part))


def _from_generator(data: DataConfig, part: Part) -> list[Problem]:
    pool = embedded.generate_problems(EMBEDDED_TRAIN + EMBEDDED_TEST, data.steps, data.seed)
    rows = pool[:EMBEDDED_TRAIN] if part == "train" else pool[EMBEDDED_TRAIN:]
    source = Source(f"embedded {part} part", "row", f"embedded-{part}")
    return problems_from_rows(enumerate(rows, start=1), source)


def _from_hub(data: DataConfig, part: str) -> list[Problem]:
    import datasets  # takes seconds, and only this source needs it

    subject = (
        f"data.source is 'hub', but the {part} part of {data.hub_id!r} (configuration "
        f"{data.hub_config!r}, revision {data.hub_revision!r})"
    )
    with told(DATA, subject, "cannot be loaded"):
        rows = datasets.load_dataset(
            data.hub_id, data.hub_config, split=part, revision=data.hub_revision
        )
    return _problems(data, part, f"{data.hub_id} {part} part", "row", [*enumerate(rows, start=1)])


def _from_folder(data: DataConfig, part: str) -> list[Problem]:
    assert data.folder is not None  # DataConfig refuses a folder source without a folder
    path = part_file(data.folder, part)
    row_name = "line" if path.suffix == LINES else "row"
    return _problems(data, part, str(path), row_name, read_part(path))


def _problems(
    data: DataConfig, part: str, place: str, row_name: str, rows: NumberedRows
) -> list[Problem]:
    """Problems of numbered rows, with the fields that the config names."""
    fields = Fields(tuple(data.question_fields), data.answer_field, data.group_field)
    source = Source(place, row_name, f"{data.task}-{part}")
    return problems_from_rows(rows, source, fields, data.unreadable_answers == "leave_out")
