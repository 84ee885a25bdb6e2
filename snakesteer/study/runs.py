"""The runs of a study as their results folders tell of them: finished, or how far they came."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from snakesteer.errors import UserError
from snakesteer.records.files import read_json, read_jsonl
from snakesteer.records.library_causes import RESULT
from snakesteer.report.wording import model_name
from snakesteer.study.costs import Cost, cost_of
from snakesteer.study.elsewhere import NOTHING, Elsewhere, elsewhere_of
from snakesteer.study.harness_tasks import TaskChanges, task_changes_of
from snakesteer.study.last_words import LastWords, last_words
from snakesteer.study.rows import RunRow, run_row

Cell = str | int | float


@dataclass(frozen=True)
class StudyRun:
    """A run of a study.

    Attributes:
        name: Of the run, unlike that of every other.
        group: Which runs it is a replicate of: those are the same in everything but seeds.
        results: Its results folder.
        table: Its cells in the table of runs: config keys, and ``predicts``, what is claimed of it.
    """

    name: str
    group: str
    results: Path
    table: Mapping[str, Cell]


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """A run with its final test.

    Attributes:
        run: Which.
        final: Its test_final.json.
        row: What it found, judged among all runs of the study.
        differences: Steered − unsteered of every test problem, by the problem's text.
        seeds: By config key.
        cost: What it took.
        elsewhere: What its steering costs elsewhere.
        tasks: What it does to tasks of lm-evaluation-harness.
    """

    run: StudyRun
    final: Mapping[str, Any]
    row: RunRow
    differences: Mapping[str, float]
    seeds: Mapping[str, Cell]
    cost: Cost
    elsewhere: Elsewhere = NOTHING
    tasks: TaskChanges = field(default_factory=dict)


@dataclass(frozen=True)
class FailedRun:
    """A run without its final test.

    Attributes:
        run: Which.
        status: ``failed`` where a log has an error, else ``not finished``.
        words: How far it came, and what it said last.
        cost: What it took so far.
    """

    run: StudyRun
    status: Literal["failed", "not finished"]
    words: LastWords
    cost: Cost


AnyRun = FinishedRun | FailedRun


def read_run(run: StudyRun) -> AnyRun:
    """What is there of a run; its row is not judged yet."""
    results = Path(run.results)
    if not (results / "test_final.json").exists():
        words = last_words(results)
        status: Literal["failed", "not finished"] = "failed" if words.error else "not finished"
        return FailedRun(run, status, words, cost_of(results, None))
    try:
        final = read_json(results / "test_final.json")
        return FinishedRun(
            run=run,
            final=final,
            row=run_row(str(run.results), final),
            differences=differences_by_problem(results / "test_generations.jsonl"),
            seeds=_seeds(run),
            cost=cost_of(results, final),
            elsewhere=elsewhere_of(final),
            tasks=task_changes_of(final),
        )
    except (UserError, KeyError, TypeError) as error:
        said = str(error) if isinstance(error, UserError) else f"a result without {error}"
        words = LastWords("answered the test split, but left damaged files", "", said, error=True)
        return FailedRun(run, "failed", words, cost_of(results, None))


def differences_by_problem(path: str | Path) -> dict[str, float]:
    """Steered − unsteered share of right answers of every test problem, by its text.

    Args:
        path: test_generations.jsonl.

    Raises:
        UserError: The file is missing or damaged.
    """
    found: dict[str, list[float]] = {}
    for row in read_jsonl(path):
        try:
            difference = float(row["steered_correct"]) - float(row["baseline_correct"])
            found.setdefault(row["question"], []).append(difference)
        except KeyError as error:
            raise UserError(
                f"{path} has a row without {error}",
                RESULT.remedy,
            ) from None
    return {question: sum(each) / len(each) for question, each in found.items()}


def planned_model(run: FailedRun) -> str:
    """What a run without a result was to steer; empty where its table does not say."""
    name = run.run.table.get("model.name")
    return model_name({"name": name}) if name else ""


def varying(seeds: Sequence[Mapping[str, Cell]]) -> list[str]:
    """Names of the seeds that are not the same in all runs that tell them."""
    names = dict.fromkeys(name for each in seeds for name in each)
    return [name for name in names if len({each[name] for each in seeds if name in each}) > 1]


def seeds_words(seeds: Mapping[str, Cell]) -> str:
    """The seed where all are one, else each with its name."""
    values = set(seeds.values())
    if len(values) == 1:
        return str(values.pop())
    return ", ".join(f"{key}: {value}" for key, value in seeds.items())


def _seeds(run: StudyRun) -> dict[str, Cell]:
    """All seeds, as the record of the run has them; those of the table where there is no record."""
    record = Path(run.results) / "provenance.json"
    if record.exists():
        return dict(read_json(record)["seeds"])
    return {key: value for key, value in run.table.items() if key.endswith("seed")}
