"""What the report and the methods paragraph say of what steering does elsewhere."""

from dataclasses import replace

from snakesteer.report.methods_text import methods_text
from snakesteer.report.off_target_text import (
    off_target_sentences,
    off_target_table,
    off_target_text,
)
from snakesteer.report.page import render_page

MEAN = {"estimate": 0.32068, "ci": [0.29, 0.35]}
RECORD = {
    "neutral": {
        **{"texts": 40, "tokens": 1280, "start_tokens": 8, "kl": MEAN, "mean_alpha_t": 0.776},
        **{"baseline_perplexity": 39.18, "steered_perplexity": 53.86},
        "perplexity_ratio": {"estimate": 1.37467, "ci": [1.316, 1.4366]},
        "changed_tokens": {"estimate": 0.33, "ci": [0.305, 0.355]},
    },
    "test_answers": {
        **{"problems": 100, "baseline_mean_new_tokens": 20.85, "steered_mean_new_tokens": 20.95},
        "length_change": {"estimate": 0.1, "ci": [-0.07, 0.36]},
        "right_before": 44,
        "reworded": {"estimate": 0.5, "ci": [0.36, 0.64]},
        "lost": {"estimate": 0.114, "ci": [0.023, 0.205]},
    },
    "second_task": {
        **{"file": "tasks/facts.jsonl", "scored_by": "likelihood of the choices", "n": 50},
        **{"baseline_accuracy": 0.6, "baseline_accuracy_ci": [0.46, 0.72]},
        **{"steered_accuracy": 0.5, "steered_accuracy_ci": [0.37, 0.63]},
        **{"difference": -0.1, "difference_ci": [-0.2, 0.0], "verdict": "inconclusive"},
        "mcnemar": {"gained": 1, "lost": 6, "p_value": 0.125},
    },
    "confidence": 0.95,
}


def test_plain_words():
    neutral, answers, task = off_target_text(RECORD)
    assert "40 short passages of plain English" in neutral
    assert "steering costs 0.321 nats a token (95% interval 0.29 to 0.35)" in neutral
    assert "Perplexity is 1.375 times what it was (95% interval 1.316 times to 1.437 times)" in (
        neutral
    )
    assert "33.0% of the tokens have another likeliest candidate" in neutral
    assert "α_t was 0.776 on average there" in neutral
    assert "by +0.1 tokens on average (95% interval −0.1 to +0.4)" in answers
    assert "50.0% read differently with it and 11.4% are wrong (95% interval 2.3% to" in answers
    assert "facts.jsonl: 50 questions" in task
    assert "−10.0 points (95% interval −20.0 to 0.0 points), 1 gained, 6 lost" in task
    assert task.endswith("exact McNemar p = 0.12: inconclusive.")


def test_the_table_has_every_number_with_its_interval():
    rows = {row[0]: row[1:] for row in off_target_table(RECORD).rows}
    assert rows["Neutral text: KL per token, nats"] == ("", "", "0.321", "0.29 to 0.35")
    assert rows["Neutral text: perplexity"][:3] == ("39.2", "53.9", "1.375 times")
    assert rows["Right test answers that became wrong"][2:] == ("11.4%", "2.3% to 20.5%")
    assert rows["Second task (facts.jsonl): accuracy"][:3] == ("60.0%", "50.0%", "−10.0 points")
    assert len(rows) == 7


def test_a_gate_s_share_is_told():
    share = {"estimate": 0.25, "ci": [0.2, 0.31]}
    neutral = {**RECORD["neutral"], "steered_share": share}
    record = {**RECORD, "neutral": neutral}
    assert "The gate let 25.0% of the tokens be steered." in off_target_text(record, gated=True)[0]
    rows = {row[0]: row[1:] for row in off_target_table(record).rows}
    assert rows["Neutral text: tokens that are steered"] == ("", "", "25.0%", "20.0% to 31.0%")
    none = {**neutral, "steered_share": {"estimate": 0.0, "ci": [0.0, 0.0]}}
    told = off_target_text({**record, "neutral": none})[0]
    assert told.endswith(
        "The scope let 0.0% of the tokens be steered. So this text says nothing of what steering "
        "does where it acts."
    )


def test_the_methods_sentences():
    first, second = off_target_sentences(RECORD)
    assert "on 40 neutral passages (1280 tokens)" in first
    assert "0.321 nats per token (95% CI 0.29 to 0.35, bootstrap" in first
    assert "a difference of −10.0 points (95% CI −20.0 to 0.0 points, exact McNemar p =" in second


def test_numbers_that_are_not_finite_are_no_numbers():
    broken = {"estimate": None, "ci": None}
    gone = dict.fromkeys(("kl", "perplexity_ratio", "changed_tokens"), broken)
    neutral = {**RECORD["neutral"], **gone, "steered_perplexity": None}
    record = {**RECORD, "neutral": neutral, "second_task": None}
    neutral, _ = off_target_text(record)
    assert neutral.endswith("some of them are not finite.")
    [sentence] = off_target_sentences(record)
    assert sentence.endswith("steering made numbers that are not finite.")
    rows = off_target_table(record).rows
    assert rows[1] == ("Neutral text: perplexity", "39.2", *["not finite"] * 3)


def test_where_nothing_was_right_nothing_is_said_to_be_lost():
    answers = {**RECORD["test_answers"], "right_before": 0, "reworded": None, "lost": None}
    record = {**RECORD, "test_answers": answers}
    assert off_target_text(record)[1].endswith("The unsteered model had none right.")
    assert not [row for row in off_target_table(record).rows if "Right" in row[0]]


def test_the_page_and_the_methods_tell_it(report):
    made = report("helps")
    [_, section] = made.html.split('<section id="elsewhere"')
    section = section.split("</section>")[0]
    kl = made.evidence.off_target["neutral"]["kl"]["estimate"]
    assert f"steering costs {kl:.3g} nats a token" in section
    assert "Second task (facts.jsonl): accuracy" in section
    assert f"was {kl:.3g} nats per token" in methods_text(made.evidence)


def test_a_report_that_does_without_says_nothing_of_it(report):
    made = report("helps")
    evidence = replace(made.evidence, off_target=None)
    methods = methods_text(evidence)
    html = render_page(evidence, made.figures, methods, "")
    assert "elsewhere" not in html.lower()
    assert "Off target" not in methods
