"""What is said of the part of the source that validation problems are from."""

from collections.abc import Iterator

from snakesteer.evaluation.origins import knows_train_part
from snakesteer.report.evidence import Evidence, Record
from snakesteer.report.wording import (
    count,
    p_value,
    percent,
    percent_interval,
    points,
    points_interval,
)


def origins_text(evidence: Evidence) -> str:
    """Both unsteered accuracies, and what their difference tells."""
    origins, confidence = evidence.test["origins"], evidence.test["confidence"]
    on_validation, on_test = (_accuracy(origins, name) for name in ("validation", "test"))
    if origins["validation"]["from"] == "test":
        return (
            "Validation and test problems are both from the source's test part, so a model that "
            "was trained on the train part knows neither. Unsteered, the model answers "
            f"{on_validation}, and {on_test}."
        )
    difference = (
        f"{points(origins['difference'])} ({confidence:.0%} interval "
        f"{points_interval(origins['difference_ci'])}, Fisher's exact test, "
        f"{p_value(origins['p_value'])})"
    )
    told = (
        "More than chance explains: it may have been trained on the train part."
        if knows_train_part(origins, confidence)
        else "That is no sign that it was trained on the train part, and no proof that it was not."
    )
    return (
        "Validation problems are from the source's train part, test problems from its test part. "
        f"Unsteered, the model answers {on_validation}, and {on_test}; the difference is "
        f"{difference}. {told}"
    )


def origins_cautions(evidence: Evidence) -> Iterator[str]:
    """A warning where the model seems to have been trained on the validation problems."""
    origins, confidence = evidence.test["origins"], evidence.test["confidence"]
    if knows_train_part(origins, confidence):
        yield (
            f"Unsteered, the model answers {percent(origins['validation']['accuracy'])} of the "
            f"validation problems, which are from the source's train part, and only "
            f"{percent(origins['test']['accuracy'])} of the test problems "
            f"({p_value(origins['p_value'])}): it may have been trained on them, and then the "
            "search optimised what it knows by heart. Set data.validation_from: test."
        )


def _accuracy(origins: Record, name: str) -> str:
    """For example: 45.8% of the 96 validation problems (36.2% to 55.8%)."""
    part = origins[name]
    return (
        f"{percent(part['accuracy'])} of the {count(part['n'], f'{name} problem')} "
        f"({percent_interval(part['ci'])})"
    )
