"""What a run took: seconds of the jobs that hold a device, and tokens that were generated."""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snakesteer.errors import UserError
from snakesteer.records.files import read_json


@dataclass(frozen=True)
class Cost:
    """What a run took, as far as its files say.

    Attributes:
        device: What it ran on; empty before its final test.
        jobs: Wall time of all jobs that hold the device, in seconds, by the benchmark file that
            tells it; with those that the run shares with others.
        answers: Generated tokens by the file that tells them: in validation, search, test and
            control answers.
    """

    device: str
    jobs: Mapping[Path, float]
    answers: Mapping[Path, float]

    @property
    def seconds(self) -> float:
        """Of all jobs, each counted for itself."""
        return sum(self.jobs.values())

    @property
    def new_tokens(self) -> int:
        """Of all answers."""
        return round(sum(self.answers.values()))


def total(costs: Iterable[Cost]) -> Cost:
    """What several runs took; what they share counts once."""
    jobs: dict[Path, float] = {}
    answers: dict[Path, float] = {}
    devices: dict[str, None] = {}
    for cost in costs:
        jobs.update(cost.jobs)
        answers.update(cost.answers)
        devices.update({cost.device: None} if cost.device else {})
    return Cost(", ".join(devices), jobs, answers)


def cost_of(results: str | Path, final: Mapping[str, Any] | None) -> Cost:
    """Add up what a run's files tell of its cost; what is not there counts nothing.

    Args:
        results: The results folder.
        final: Its test_final.json, where there is one.
    """
    results = Path(results)
    run = (final or {}).get("run", {})
    trials, baseline = results / "study" / "trials.csv", results / "baseline" / "val.json"
    answers = {
        trials: _column(trials, "new_tokens", ","),
        baseline: _of_answers(_read(baseline)),
        results / "test_final.json": _of_test(final, _read(results / "controls.json")),
    }
    return Cost(
        device=str(run.get("device_name") or run.get("device") or ""),
        # Links lead to what several runs share.
        jobs={p.resolve(): _column(p, "s", "\t") for p in results.glob("benchmarks/**/*.tsv")},
        answers={path.resolve(): tokens for path, tokens in answers.items()},
    )


def _of_test(final: Mapping[str, Any] | None, controls: Mapping[str, Any]) -> float:
    if final is None:
        return 0.0
    baseline, steered = (final[f"{run}_benchmark_metrics"] for run in ("baseline", "steered"))
    arms = [baseline, steered, *controls.get("controls", ())]
    return sum(_of_answers({**arm, "total_samples": baseline["total_samples"]}) for arm in arms)


def _of_answers(summary: Mapping[str, Any]) -> float:
    return float(summary.get("mean_new_tokens", 0.0) * summary.get("total_samples", 0))


def _read(path: Path) -> Mapping[str, Any]:
    try:
        return dict(read_json(path))
    except (UserError, TypeError, ValueError):
        return {}


def _column(path: Path, name: str, delimiter: str) -> float:
    """The sum of a column; cells that are no number (a job too short to measure) count nothing."""
    if not path.exists():
        return 0.0
    total = 0.0
    with path.open(encoding="utf-8", errors="replace", newline="") as stream:
        for row in csv.DictReader(stream, delimiter=delimiter):
            try:
                total += float(row.get(name) or 0.0)
            except ValueError:
                continue
    return total
