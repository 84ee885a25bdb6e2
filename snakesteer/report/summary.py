"""The result of a run in plain words, for the terminal."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snakesteer.records.files import read_json
from snakesteer.report.wording import (
    changes_found,
    configuration,
    delivered_words,
    gained_from,
    unchanged_words,
    verdict_words,
)


def final_summary(results_folder: str | Path, since: float = 0.0) -> str:
    """What a run found; empty where it made no final test.

    Args:
        results_folder: Of the run.
        since: When it began, in seconds since the epoch.
    """
    path = Path(results_folder) / "test_final.json"
    if not path.exists() or path.stat().st_mtime < since:
        return ""
    text = describe(read_json(path), path)
    report = path.with_name("report.html")
    return f"{text}\nReport: {report}" if report.exists() else text


def describe(results: Mapping[str, Any], path: str | Path) -> str:
    """The content of test_final.json in a few lines."""
    params = results["best_trial_params"]
    before = results["baseline_benchmark_metrics"]
    after = results["steered_benchmark_metrics"]
    low, high = results["accuracy_improvement_ci"]
    test = results["mcnemar"]
    return "\n".join(
        [
            "",
            f"Tested: {configuration(params)}",
            *([f"Delivered: {delivered}"] if (delivered := delivered_words(results)) else []),
            f"Recommendation: {results['recommendation']}",
            f"Why: {results['why']}",
            f"Validation accuracy: {results['baseline_validation_score']:.1%} unsteered, "
            f"{results['best_validation_score']:.1%} with it",
            f"Test accuracy (n = {results['num_test_samples']}): {before['accuracy']:.1%} "
            f"unsteered, {after['accuracy']:.1%} with it",
            f"Difference: {results['accuracy_improvement']:+.1%}, "
            f"{results['confidence']:.0%} interval [{low:+.1%}, {high:+.1%}]; "
            f"{test['gained']} gained, {test['lost']} lost, "
            f"{results['test']} p = {test['p_value']:.2g}",
            *_kinds(results),
            *filter(None, [unchanged_words(results)]),
            *_limits(results),
            *_elsewhere(results),
            f"Verdict: {verdict_words(results)}",
            f"Details: {path}",
        ]
    )


def _kinds(results: Mapping[str, Any]) -> list[str]:
    """What the gained answers were before."""
    words = gained_from(results)
    return [words[0].upper() + words[1:]] if words else []


def _limits(results: Mapping[str, Any]) -> list[str]:
    """What the test could be expected to find, and how much of the search's gain was luck."""
    least, improvement = results["minimum_detectable_effect"], results["accuracy_improvement"]
    lines = []
    if least is not None:
        rate, how = changes_found(least, results["config"]["evaluation"]["planned_changes"])
        lines.append(
            f"Smallest effect that so many problems detect four times in five, where {rate:.0%} "
            f"of the answers change{how}: {least:.1%}"
        )
    lines.append(
        f"From validation to test: {improvement + results['shrinkage']:+.1%} became "
        f"{improvement:+.1%}"
    )
    return lines


def _elsewhere(results: Mapping[str, Any]) -> list[str]:
    """What the tested steering costs on other text."""
    record = results.get("off_target")
    if record is None:
        return []
    cost, task = record["neutral"]["kl"], record["second_task"]
    if cost["estimate"] is None:
        told = "steering breaks the model's numbers on neutral text"
    else:
        low, high = cost["ci"]
        told = f"{cost['estimate']:.2g} nats a token on neutral text [{low:.2g}, {high:.2g}]"
    if task:
        low, high = task["difference_ci"]
        told += f"; second task {task['difference']:+.1%} [{low:+.1%}, {high:+.1%}]"
    return [f"Elsewhere: {told}"]
