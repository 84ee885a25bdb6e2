"""What the tested steering does elsewhere, in words and as a table."""

from collections.abc import Callable
from pathlib import Path

from snakesteer.report.evidence import Record
from snakesteer.report.figures.figure import Table
from snakesteer.report.wording import (
    p_value,
    percent,
    percent_interval,
    points,
    points_interval,
    signed,
)

# Where steering makes numbers that are none, or that no float holds.
BROKEN = "not finite"


def off_target_text(record: Record, gated: bool = False) -> list[str]:
    """Paragraphs for the report: neutral text, test answers and, where there is one, the task.

    Args:
        record: off_target.json.
        gated: Whether the tested configuration has a gate.
    """
    neutral = record["neutral"]
    about = (
        f"The model read {neutral['texts']} short passages of plain English that have nothing to "
        "do with the task, with and without the tested steering, each as if it had written all but "
        f"the first {neutral['start_tokens']} tokens. "
    )
    if neutral["kl"]["estimate"] is None:
        about += "Steering breaks the model's numbers there: some of them are not finite."
    else:
        about += (
            f"On this neutral text steering costs {_nats(neutral['kl']['estimate'])} nats a token "
            f"({_between(neutral['kl'], _nats, record)}): that is KL(unsteered ‖ steered), how far "
            "it moves what the model expects next. 0 would be no change at all. Perplexity is "
            f"{_told(neutral['perplexity_ratio'], _times)} what it was "
            f"({_between(neutral['perplexity_ratio'], _times, record)}), and "
            f"{_told(neutral['changed_tokens'], percent)} of the tokens have another likeliest "
            "candidate."
        )
        if "mean_alpha_t" in neutral:
            about += f" α_t was {neutral['mean_alpha_t']:.3g} on average there."
        if "steered_share" in neutral:
            share = _told(neutral["steered_share"], percent)
            who = "gate" if gated else "scope"
            about += f" The {who} let {share} of the tokens be steered."
            if not neutral["steered_share"]["estimate"]:
                about += " So this text says nothing of what steering does where it acts."
    return [about, _answers_text(record), *_task_text(record)]


def off_target_sentences(record: Record) -> list[str]:
    """What the methods paragraph says of it.

    Args:
        record: off_target.json.
    """
    neutral, task = record["neutral"], record["second_task"]
    kl, ratio = neutral["kl"], neutral["perplexity_ratio"]
    where = f"Off target, on {neutral['texts']} neutral passages ({neutral['tokens']} tokens), "
    if kl["estimate"] is None:
        sentences = [where + "steering made numbers that are not finite."]
    else:
        sentences = [
            f"{where}the mean KL(unsteered ‖ steered) was {_told(kl, _nats)} nats per token "
            f"({record['confidence']:.0%} CI {_interval(kl, _nats)}, bootstrap over passages), and "
            f"perplexity was {_told(ratio, _times)} the unsteered one ({_interval(ratio, _times)})."
        ]
    if task:
        sentences.append(
            f"On a second task ({Path(task['file']).name}, {task['n']} questions, "
            f"{task['scored_by']}), accuracy was {percent(task['baseline_accuracy'])} unsteered "
            f"and {percent(task['steered_accuracy'])} steered, a difference of "
            f"{points(task['difference'])} ({record['confidence']:.0%} CI "
            f"{points_interval(task['difference_ci'])}, {_mcnemar(task)})."
        )
    return sentences


def off_target_table(record: Record) -> Table:
    """All of it with its intervals.

    Args:
        record: off_target.json.
    """
    neutral, answers, task = record["neutral"], record["test_answers"], record["second_task"]
    lengths = [f"{answers[f'{side}_mean_new_tokens']:.1f}" for side in ("baseline", "steered")]
    perplexities = [
        BROKEN if value is None else f"{value:.3g}"
        for value in (neutral["baseline_perplexity"], neutral["steered_perplexity"])
    ]
    rows = [
        ("Neutral text: KL per token, nats", "", "", *_cells(neutral["kl"], _nats)),
        (
            "Neutral text: perplexity",
            *perplexities,
            *_cells(neutral["perplexity_ratio"], _times),
        ),
        (
            "Neutral text: another likeliest token",
            *("", ""),
            *_cells(neutral["changed_tokens"], percent),
        ),
        *(
            [("Neutral text: tokens that are steered", "", "", *_cells(share, percent))]
            if (share := neutral.get("steered_share"))
            else []
        ),
        (
            "Test answers: mean length in tokens",
            *lengths,
            *_cells(answers["length_change"], signed),
        ),
    ]
    if answers["right_before"]:
        rows += [
            (
                "Right test answers that read differently",
                "",
                "",
                *_cells(answers["reworded"], percent),
            ),
            ("Right test answers that became wrong", "", "", *_cells(answers["lost"], percent)),
        ]
    if task:
        rows.append(
            (
                f"Second task ({Path(task['file']).name}): accuracy",
                percent(task["baseline_accuracy"]),
                percent(task["steered_accuracy"]),
                points(task["difference"]),
                points_interval(task["difference_ci"]),
            )
        )
    return Table(
        "What steering does elsewhere",
        ("What", "Unsteered", "Steered", "Change", f"{record['confidence']:.0%} interval"),
        tuple(rows),
    )


def _answers_text(record: Record) -> str:
    answers = record["test_answers"]
    text = (
        "It changes the length of the answers to the test problems by "
        f"{_told(answers['length_change'], signed)} tokens on average "
        f"({_between(answers['length_change'], signed, record)}). "
    )
    if not answers["right_before"]:
        return text + "The unsteered model had none right."
    return (
        f"{text}Of those that were right without steering, "
        f"{_told(answers['reworded'], percent)} read differently with it and "
        f"{_told(answers['lost'], percent)} are wrong "
        f"({_between(answers['lost'], percent, record)})."
    )


def _task_text(record: Record) -> list[str]:
    task = record["second_task"]
    if not task:
        return []
    changed = task["mcnemar"]
    return [
        f"On a second task ({Path(task['file']).name}: {task['n']} questions, {task['scored_by']}) "
        f"accuracy is {percent(task['baseline_accuracy'])} without steering "
        f"({percent_interval(task['baseline_accuracy_ci'])}) and "
        f"{percent(task['steered_accuracy'])} with it "
        f"({percent_interval(task['steered_accuracy_ci'])}): {points(task['difference'])} "
        f"({record['confidence']:.0%} interval {points_interval(task['difference_ci'])}), "
        f"{changed['gained']} gained, {changed['lost']} lost, {_mcnemar(task)}: {task['verdict']}."
    ]


def _mcnemar(task: Record) -> str:
    return f"exact McNemar {p_value(task['mcnemar']['p_value'])}"


def _cells(found: Record, words: Callable[[float], str]) -> tuple[str, str]:
    return _told(found, words), _interval(found, words)


def _told(found: Record, words: Callable[[float], str]) -> str:
    return BROKEN if found["estimate"] is None else words(found["estimate"])


def _interval(found: Record, words: Callable[[float], str]) -> str:
    return BROKEN if found["ci"] is None else " to ".join(map(words, found["ci"]))


def _between(found: Record, words: Callable[[float], str], record: Record) -> str:
    return f"{record['confidence']:.0%} interval {_interval(found, words)}"


def _nats(value: float) -> str:
    """0.01234 → 0.0123."""
    return f"{value:.3g}"


def _times(ratio: float) -> str:
    """1.0312 → 1.031 times."""
    return f"{ratio:.4g} times"
