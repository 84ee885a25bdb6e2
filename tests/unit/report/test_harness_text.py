"""What the report and the methods paragraph say of tasks of lm-evaluation-harness."""

from dataclasses import replace

from snakesteer.report.harness_text import harness_sentences, harness_table, harness_text
from snakesteer.report.methods_text import methods_text, references
from snakesteer.report.page import render_page


def measured(metric, before, after, interval, **more):
    values = {"baseline": before, "steered": after, "difference": after - before}
    known = {"metric": metric, "filter": "none", "higher_is_better": True}
    return {**known, **values, "difference_ci": interval, **more}


RIGHT = {"mcnemar": {"gained": 1, "lost": 5, "p_value": 0.2}, "verdict": "inconclusive"}
RECORD = {
    **{"lm_eval": "0.4.13", "chat": False, "limit": 50, "confidence": 0.95, "not_finite": 0},
    "tasks": {
        "astronomy": {"documents": 40, "metrics": [measured("acc", 0.5, 0.5, [0, 0], **RIGHT)]},
        "anatomy": {"documents": 50, "metrics": [measured("acc", 0.4, 0.32, [0, 0], **RIGHT)]},
        "wikitext": {
            "documents": 9,
            "metrics": [
                measured("word_perplexity", 20.5, 31.25, [8.5, 12.25], higher_is_better=False)
            ],
        },
    },
    "groups": {
        "mmlu": {
            "tasks": ["astronomy", "anatomy"],
            "metrics": [measured("acc", 0.4444, 0.4, [-0.1, 0.01], filter="first", **RIGHT)],
        }
    },
}


def test_groups_stand_for_their_tasks():
    table = harness_table(RECORD)
    assert table.columns[-1] == "95% interval"
    assert table.rows == (
        ("mmlu", "acc, first", "44.4%", "40.0%", "−4.4 points", "−10.0 to +1.0 points"),
        (
            "wikitext",
            "word_perplexity (less is better)",
            "20.5",
            "31.25",
            "+10.750",
            "+8.500 to +12.250",
        ),
    )


def test_plain_words():
    text = harness_text(RECORD)
    assert "3 tasks of lm-evaluation-harness 0.4.13 (99 documents, at most 50 of a task)" in text
    assert "not finite" not in text
    broken = {**RECORD["tasks"]["wikitext"]["metrics"][0], "steered": None, "difference": None}
    task = {"documents": 9, "metrics": [{**broken, "difference_ci": None}]}
    record = {**RECORD, "not_finite": 1, "limit": None, "tasks": {"wikitext": task}, "groups": {}}
    assert harness_text(record).startswith("One task of lm-evaluation-harness 0.4.13 (9 documents)")
    assert "On 1 text steering made numbers that are not finite" in harness_text(record)
    [row] = harness_table(record).rows
    assert row[2:] == ("20.5", *["not finite"] * 3)


def test_the_page_and_the_methods_tell_it(report):
    made = report("helps")
    assert "Tasks of lm-evaluation-harness" not in made.html
    evidence = replace(made.evidence, harness=RECORD)
    methods = methods_text(evidence)
    assert harness_sentences(RECORD)[0] in methods
    assert "mmlu (acc, first): 44.4% unsteered, 40.0% steered, −4.4 points (−10.0 to" in methods
    assert "gao2024harness" in references(methods)
    html = render_page(evidence, made.figures, methods, references(methods))
    [_, section] = html.split('<section id="elsewhere"')
    section = section.split("</section>")[0]
    assert "Tasks of lm-evaluation-harness" in section
    assert "44.4%" in section
