"""How often the test split was read, over all runs that drew it, in words."""

from collections.abc import Iterator

from snakesteer.report.evidence import Evidence, Record


def reads_of(evidence: Evidence) -> Record:
    """The counts of the ledger when the run's last read was entered."""
    last: Record = evidence.controls.get("test_reads", evidence.test["test_reads"])
    return last


def reads_words(evidence: Evidence) -> str:
    """How often and for how many configurations, to follow "read"."""
    counts = reads_of(evidence)
    final, controls = counts["final"], counts["controls"]["reads"]
    count = final["configurations"]
    words = f"{_times(final['reads'])}, for {'one' if count == 1 else count} configuration"
    words += "" if count == 1 else "s"
    return f"{words}, and {_times(controls)} by controls" if controls else words


def reads_text(evidence: Evidence) -> str:
    """A paragraph on what the ledger holds, and what follows from it."""
    counts = reads_of(evidence)
    text = (
        f"This test split has been read {reads_words(evidence)}. All runs that drew these problems "
        "count, up to the last read of this one."
    )
    if count := counts["unreadable"]:
        text += f" Lines of the ledger that cannot be read, and are not in these numbers: {count}."
    if (count := counts["final"]["configurations"]) > 1:
        text += (
            " Choosing among configurations by their test results is a search on the test split: "
            "interval and p-value hold for one that was fixed before, not for the best of "
            f"{count}. python -m snakesteer.compare adjusts for their number."
        )
    return text


def reads_cautions(evidence: Evidence) -> Iterator[str]:
    """What to know before believing a verdict on a split that served other configurations, too."""
    if (count := reads_of(evidence)["final"]["configurations"]) > 1:
        yield (
            f"The test split has been read for {count} configurations. The best of them, chosen "
            "by these results, would look better than it is."
        )


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
