"""The page as a document: whole, safe, readable for machines that read it out."""

import json
import re
from dataclasses import replace

import pytest

from snakesteer.report.figures.all import make_figures
from snakesteer.report.methods_text import methods_text, references
from snakesteer.report.page import ASSETS, EXAMPLES, LONGEST, examples, render_page, script_json
from snakesteer.report.tables import make_tables
from snakesteer.report.wording import configuration
from tests.unit.report.documents import Document, check_headings, check_scripts, check_whole
from tests.unit.report.runs import HOSTILE

ALL = ("left alone", "helps", "on a grid", "hostile", "two trials")


@pytest.fixture(params=ALL)
def made(report, request):
    return report(request.param)


def test_it_is_one_whole_document_of_moderate_size(made):
    document, ids, named = check_whole(made.html)
    links = {a["href"].removeprefix("#") for a in document.all("a")}
    assert links | named <= set(ids)


def test_it_needs_nothing_from_elsewhere(made):
    document = Document(made.html)
    for _, attributes in document.elements:
        assert attributes.get("src", "data:").startswith("data:")
        assert attributes.get("href", "#").startswith(("#", "data:"))
    scripts = check_scripts(document)
    assert len(scripts) == 2
    style = (ASSETS / "page.css").read_text(encoding="utf-8")
    assert not re.search(r"url\(|@import", style)


def test_headings_follow_each_other_and_everything_has_a_name(made):
    document = Document(made.html)
    check_headings(document)
    drawn = [each for each in made.figures.values() if each.chart is not None]
    pictures = [a["aria-label"] for a in document.all("div") if a.get("role") == "img"]
    assert sorted(pictures) == sorted(each.alt for each in drawn)
    assert len(document.all("img")) == len(drawn)


def test_text_of_the_model_stays_text(report):
    document = Document(report("hostile").html)
    assert not any(a.get("src") == "x" for a in document.all("img"))
    assert len(document.scripts) == 3
    text = "".join(document.text)
    assert text.count(HOSTILE) > 20
    assert "49" not in re.findall(r"<!-- (.{0,6})", text)


def test_data_blocks_cannot_be_ended_from_inside():
    text = script_json({"a": HOSTILE + "\u2028"})
    assert "<" not in text
    assert "\u2028" not in text
    assert json.loads(text) == {"a": HOSTILE + "\u2028"}


def test_equal_evidence_gives_equal_bytes(report):
    made = report("helps")
    methods = methods_text(made.evidence)
    again = make_figures(made.evidence)
    assert render_page(made.evidence, again, methods, references(methods)) == made.html
    for name, figure in made.figures.items():
        assert again[name].svg() == figure.svg()


def test_the_verdict_comes_first(report):
    alone, helps = ("".join(Document(report(n).html).text) for n in ("left alone", "helps"))
    for text, words in ((alone, "Inconclusive: 100 problems"), (helps, "Steering helps: 22.0")):
        assert text.index(words) < text.index("On the test split")
    unchanged = "No answer went from wrong to right or from right to wrong."
    assert unchanged in alone
    assert unchanged not in helps


@pytest.mark.parametrize(("name", "said"), [("left alone", "leave alone"), ("helps", "steer")])
def test_what_was_tested_and_what_is_recommended(report, name, said):
    made = report(name)
    text = " ".join("".join(Document(made.html).text).split())
    test = made.evidence.test
    assert f"Tested: {configuration(made.evidence.params)}. Recommended on" in text
    assert f"Recommended on validation: {said}. Why: {test['why']}" in text
    tables = make_tables(made.evidence)
    for table in (tables["families"], tables["against"]):
        for cells in table.rows:
            assert " ".join("".join(cells).split()) in text


def row(number: int, before: bool, after: bool, text: str = "a b c") -> dict:
    name = {True: "right", False: "wrong"}
    return {
        **{"id": str(number), "baseline_correct": before, "steered_correct": after},
        **{"baseline_text": f"{text} {name[before]}", "steered_text": f"{text} {name[after]}"},
    }


def test_examples_are_gained_and_lost_ones():
    rows = [row(n, n % 2 == 0, n % 3 == 0) for n in range(24)]
    found = examples(rows, samples=1)
    assert found["changed"]
    gained, lost = found["groups"]
    assert (gained["count"], lost["count"]) == (4, 8)
    assert [shown["id"] for shown in gained["rows"]] == ["3", "9", "15", "21"]
    assert [shown["id"] for shown in lost["rows"]] == ["2", "4", "8", "10", "14"]
    assert gained["rows"][0]["baseline_parts"] == ("a b c ", "wrong")
    assert gained["rows"][0]["steered_parts"] == ("a b c ", "right")


def test_examples_where_nothing_changed():
    found = examples([row(n, n == 1, n == 1) for n in range(3)], samples=1)
    assert not found["changed"]
    assert [(g["title"], g["count"]) for g in found["groups"]] == [("Right", 1), ("Wrong", 2)]
    [shown] = found["groups"][0]["rows"]
    assert shown["baseline_parts"] == ("a b c right", "")
    long = examples([row(0, True, True, "x" * 2 * LONGEST)], samples=1)
    [shown] = long["groups"][0]["rows"]
    cut = (f"{'x' * LONGEST} … ({LONGEST + 6} more characters)", "")
    assert shown["baseline_parts"] == shown["steered_parts"] == cut


def test_with_several_samples_answers_are_counted(report):
    sampled = [{**row(1, False, True), "sample": sample} for sample in range(2)]
    [gained] = examples(sampled, samples=2)["groups"]
    assert (gained["title"], gained["count"]) == ("Gained answers: right only with steering", 2)
    evidence = report("left alone").evidence
    seeds = {"samples": 2, "baseline_sd": 0.0, "steered_sd": 0.0}
    evidence = replace(evidence, test={**evidence.test, "seeds": seeds})
    page = render_page(evidence, make_figures(evidence), "", "")
    assert page.count(", sample 0</h4>") == 2 * EXAMPLES
    assert ", sample" not in report("left alone").html


def test_controls_of_dac_are_said_to_be_at_its_mean_strength(report):
    evidence = report("helps").evidence
    params = {**evidence.params, "scope": "dynamic"}
    dynamic = replace(evidence, test={**evidence.test, "best_trial_params": params})
    page = render_page(dynamic, make_figures(dynamic), "", "")
    assert "equally long (at its mean α_t, so that as much is added" in page
    assert "equally long: random directions" in report("helps").html


def contrast(one: str, other: str) -> float:
    """WCAG 2's contrast ratio of two colours."""

    def luminance(colour: str) -> float:
        channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_text_stands_out():
    style = (ASSETS / "page.css").read_text(encoding="utf-8")
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", style))
    on_soft = [colours[name] for name in ("ink", "muted", "blue", "helps", "hurts", "none")]
    on_soft += re.findall(r"\.(?:same|mark) \{ color: (#[0-9a-f]{6})", style)
    assert len(on_soft) == 9
    for colour in on_soft:
        assert contrast(colour, colours["soft"]) >= 4.5
        assert contrast(colour, "#ffffff") >= 4.5


def test_where_the_effect_is_follows_what_the_gained_answers_were(report):
    html = report("helps").html
    told = html.index("Where the effect is")
    assert told < html.index("Of the gained answers") < html.index("are not tested one by")
    assert "Where the effect is" in report("left alone").html
