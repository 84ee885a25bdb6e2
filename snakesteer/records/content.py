"""What of a result file stays the same when a run is done again.

Files also say when and where they were made. Those keys are named here, and nowhere else.
"""

import csv
import json
from pathlib import Path
from typing import Any

from snakesteer.records.files import read_json, read_jsonl, sha256_file, sha256_text

TIMES = frozenset({"created", "seconds"})
# Told apart by comparing the provenance of two runs.
SURROUNDINGS = frozenset({"git", "versions", "machine", "threads"})
# How often the test split was read, over all runs: doing a run again is one more.
TEST_READS = frozenset({"test_reads"})
LEFT_OUT = TIMES | SURROUNDINGS | TEST_READS

# Optuna's database holds the time of every trial; its content is that of study/trials.csv.
NOT_COMPARED = frozenset({"study/study.db"})


def content_sha256(path: str | Path) -> str:
    """SHA-256 of a file's content without `LEFT_OUT`; of all its bytes where it holds no text.

    Raises:
        UserError: A JSON or JSONL file that cannot be read.
    """
    path = Path(path)
    match path.suffix:
        case ".json":
            content = _without(read_json(path))
        case ".jsonl":
            content = _without(read_jsonl(path))
        case ".csv":
            with path.open(encoding="utf-8", newline="") as stream:
                content = _without(list(csv.DictReader(stream)))
        case _:
            return sha256_file(path)
    return sha256_text(json.dumps(content, sort_keys=True))


def _without(value: Any) -> Any:
    """A JSON value without the keys in `LEFT_OUT`, at any depth."""
    if isinstance(value, dict):
        return {key: _without(item) for key, item in value.items() if key not in LEFT_OUT}
    if isinstance(value, list):
        return [_without(item) for item in value]
    return value
