"""What the report says of other reads of its test split."""

from dataclasses import replace

from snakesteer.report.methods_text import methods_text
from snakesteer.report.page import render_page
from snakesteer.report.reads import reads_cautions, reads_text, reads_words
from snakesteer.report.verdict import read_verdict


def after(evidence, reads, configurations, controls=8, unreadable=0):
    counts = {
        "final": {"reads": reads, "configurations": configurations},
        "controls": {"reads": controls, "configurations": controls},
        "unreadable": unreadable,
    }
    return replace(evidence, controls={**evidence.controls, "test_reads": counts})


def test_one_configuration_and_its_controls(report):
    evidence = report("helps").evidence
    assert reads_words(evidence) == "once, for one configuration, and 12 times by controls"
    assert "is a search" not in reads_text(evidence)
    assert list(reads_cautions(evidence)) == []
    again = after(evidence, 3, 1, controls=24)
    assert reads_words(again) == "3 times, for one configuration, and 24 times by controls"
    assert list(reads_cautions(again)) == []
    # What is not recommended is tested all the same, and so are its controls.
    assert reads_words(report("left alone").evidence) == reads_words(evidence)


def test_several_configurations_are_a_search(report):
    evidence = after(report("helps").evidence, 5, 3, controls=1)
    text = reads_text(evidence)
    assert "has been read 5 times, for 3 configurations, and once by controls." in text
    assert "is a search on the test split" in text
    assert "not for the best of 3. python -m snakesteer.compare adjusts" in text
    [caution] = reads_cautions(evidence)
    assert "read for 3 configurations" in caution
    assert caution in read_verdict(evidence).cautions


def test_lines_that_cannot_be_read_are_told(report):
    evidence = report("helps").evidence
    assert "cannot be read" not in reads_text(evidence)
    assert "not in these numbers: 2." in reads_text(after(evidence, 1, 1, unreadable=2))


def test_page_and_methods_say_it(report):
    made = report("helps")
    assert reads_text(made.evidence) in made.html
    told = "The test split had by then been read once, for one configuration, and 12 times by"
    assert told in methods_text(made.evidence)
    assert "not adjusted" not in methods_text(made.evidence)
    several = after(made.evidence, 2, 2)
    assert "for which p-values are not adjusted." in methods_text(several)
    assert "is a search on the test split" in render_page(several, made.figures, "", "")
