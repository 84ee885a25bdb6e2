"""What a run without a final test has left: how far it came, and what its logs said last."""

import re
from dataclasses import dataclass
from pathlib import Path

# What is there when a stage has ended, the last stage first.
STAGES = (
    ("best_config.json", "chose a configuration"),
    ("study/study.db", "ended its search"),
    ("study/journal.log", "was searching"),
    ("checks/zero_steering.json", "passed the zero-steering check"),
    ("baseline/val.json", "answered the validation split without steering"),
    ("vectors", "made vectors"),
    ("heads", "made vectors of attention heads"),
    ("activations", "read activations"),
    ("model/info.json", "looked at the model"),
    ("splits/manifest.json", "drew its splits"),
    ("data", "read its data"),
)
LONGEST_WORDS = 400  # characters
_STAMP = re.compile(r"^\d{4}-\d\d-\d\d [\d:,]+ [A-Z]+ ")
_ERROR = re.compile(r"^\d{4}-\d\d-\d\d [\d:,]+ (?:ERROR|CRITICAL) ", re.M)


@dataclass(frozen=True)
class LastWords:
    """What a run has left.

    Attributes:
        stage: How far it came.
        log: The log that spoke last, in the results folder; empty without any.
        words: Its last line.
        error: Whether a log has an error.
    """

    stage: str
    log: str
    words: str
    error: bool


def last_words(results: str | Path) -> LastWords:
    """What is there of a run that has no final test.

    The log is the newest that has an error, or the newest of all: other jobs may have gone on.
    """
    results = Path(results)
    stage = next((words for file, words in STAGES if (results / file).exists()), "left no file")
    texts = {path: _text(path) for path in results.glob("logs/**/*.log")}
    with_error = [path for path, text in texts.items() if _ERROR.search(text)]
    newest = max(with_error or texts, key=lambda path: path.stat().st_mtime, default=None)
    if newest is None:
        return LastWords(stage, "", "", error=False)
    lines = [line for line in texts[newest].splitlines() if line.strip()]
    words = _STAMP.sub("", lines[-1]).strip() if lines else ""
    if len(words) > LONGEST_WORDS:
        words = f"{words[:LONGEST_WORDS]} …"
    return LastWords(stage, newest.relative_to(results).as_posix(), words, error=bool(with_error))


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")
