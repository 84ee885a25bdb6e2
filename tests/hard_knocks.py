"""The catalogue of bad inputs and faults, made from the tests' own tables: docs/hard_knocks.md.

``python -m tests.hard_knocks`` writes it; tests/unit/hard_knocks/test_catalogue.py compares.
"""

from collections.abc import Iterable
from pathlib import Path

from tests.hard_knock_tests import SINGLE
from tests.unit.data import test_second_task
from tests.unit.evaluation.test_final_answer import KINDS
from tests.unit.hard_knocks import (
    test_configs,
    test_data,
    test_faults,
    test_files,
    test_limits,
    test_models,
    test_templates,
)
from tests.workflow import test_bad_inputs

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "hard_knocks.md"

INTRODUCTION = """\
# Hard knocks

What has been tried to break a run, and what happened. "Refused" means: a message of one paragraph
with the words shown, among others; a non-zero exit status; no traceback, no half-written file. What
stands under Data, Models, Chat templates and Result files is repaired in the test, and the same job
finishes; so it is with the disks and limits of the machine. This page is made from the tables of
the tests (`python -m tests.hard_knocks`), and a test compares them.
"""


def refused(words: Iterable[str]) -> str:
    """What is said, as a cell of the table."""
    return "refused: " + ", ".join(f'"{word}"' for word in words)


def sections() -> dict[str, list[tuple[str, str]]]:
    """Heading → rows: what is wrong, and what happens."""
    layers = dict.fromkeys(test_limits.BAD_LAYERS, ("layer",))
    full = {f"a full disk for {name}": ("The disk is full",) for name in test_faults.WRITERS}
    limits = {name: words for name, (_, words) in test_limits.BAD_LIMITS.items()}
    by_rule = {
        "Data": {name: words for name, (_, words) in test_data.BAD_DATA.items()},
        "Models": {name: words for name, (_, words) in test_models.BAD_MODELS.items()},
        "Chat templates": {n: words for n, (_, words) in test_templates.BAD_TEMPLATES.items()},
        "The hub": {name: words for name, (_, words) in test_models.HUB.items()},
        "Result files": {name: words for name, (_, _, words) in test_files.BAD_FILES.items()},
        "Configs": {name: words for name, (_, words) in test_configs.BAD_CONFIGS.items()},
        "A second task": {name: words for name, (_, words) in test_second_task.BAD_TASKS.items()},
        "Limits": limits | layers | full,
    }
    whole = {
        "Configs, in a whole run": {n: w for n, (_, w) in test_bad_inputs.BAD_CONFIGS.items()},
        "Data, in a whole run": {n: words for n, (_, words) in test_bad_inputs.BAD_DATA.items()},
        "Models, in a whole run": {
            n: words for n, (*_, words) in test_bad_inputs.BAD_MODELS.items()
        },
        "Results, in a whole run": {n: words for n, (*_, words) in test_bad_inputs.DAMAGE.items()},
    }
    tables = {
        heading: [(name, refused(words)) for name, words in table.items()]
        for heading, table in (by_rule | whole).items()
    }
    tables["Data"] += [(name, "fine") for name in test_data.FINE_DATA]
    fine = test_templates.FINE_TEMPLATES.items()
    tables["Chat templates"] += [(name, outcome) for name, (_, outcome) in fine]
    answers = [
        (name, "no number" if number is None else f"{number}, not {other}")
        for name, (_, number, other) in KINDS.items()
    ]
    return {
        "The machine, and others": [row[:2] for row in SINGLE],
        **tables,
        "Answers, and what is read": answers,
    }


def document() -> str:
    """The page."""
    parts = [INTRODUCTION]
    total = 0
    for heading, rows in sections().items():
        total += len(rows)
        lines = [f"| {what} | {cell(outcome)} |" for what, outcome in rows]
        parts.append("\n".join([f"## {heading}\n", "| What | Outcome |", "| --- | --- |", *lines]))
    return "\n\n".join([part.strip() for part in parts]) + f"\n\n{total} lines.\n"


def cell(text: str) -> str:
    """A text in a table."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


if __name__ == "__main__":
    DOCUMENT.write_text(document(), encoding="utf-8")
