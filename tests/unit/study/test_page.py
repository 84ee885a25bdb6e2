"""The page of a study as a document: whole, safe, its links and numbers in place."""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from snakesteer.report.wording import p_number, signed
from snakesteer.study.effects import effects_figure
from snakesteer.study.page import link_of, render_study
from snakesteer.study.words import study_verdict
from tests.unit.report.documents import Document, check_headings, check_scripts, check_whole
from tests.unit.report.runs import HOSTILE
from tests.unit.study.conftest import STUDIES


@pytest.fixture(params=STUDIES)
def made(study, request):
    return study(request.param)


def test_it_is_one_whole_document_of_moderate_size(made):
    document, ids, named = check_whole(made.html)
    links = [a["href"] for a in document.all("a")]
    inside = {link.removeprefix("#") for link in links if link.startswith("#")}
    assert inside | named <= set(ids)


def test_it_needs_nothing_from_elsewhere(made):
    document = Document(made.html)
    for tag, attributes in document.elements:
        assert attributes.get("src", "data:").startswith("data:")
        if tag != "a":
            assert attributes.get("href", "data:").startswith("data:")
    check_scripts(document)


def test_headings_follow_each_other_and_everything_has_a_name(made):
    check_headings(Document(made.html))


def test_every_finished_run_leads_to_its_report(made):
    document = Document(made.html)
    links = [a["href"] for a in document.all("a") if not a["href"].startswith("#")]
    found = [(made.folder / unquote(link)).resolve() for link in links]
    finished = [run for group in made.found.groups for run in group.finished]
    assert found == [(Path(run.run.results) / "report.html").resolve() for run in finished]
    assert all(path.exists() for path in found)


def test_a_link_holds_no_character_of_its_own_kind(study, tmp_path):
    [group] = study("one group").found.groups
    run = group.finished[0]
    folder = tmp_path / "a: b#c?d%20"
    folder.mkdir()
    made = type(run.run)("x", "y", folder, {})
    (folder / "report.html").touch()
    moved = type(run)(made, run.final, run.row, {}, {}, run.cost)
    assert link_of(moved, tmp_path) == "a%3A%20b%23c%3Fd%2520/report.html"
    (folder / "report.html").unlink()
    assert link_of(moved, tmp_path) == ""


def test_text_of_others_stays_text(study):
    document = Document(study("hostile").html)
    assert not any(a.get("src") == "x" for a in document.all("img"))
    assert len(document.scripts) == 3
    text = "".join(document.text)
    assert text.count(HOSTILE) > 8
    assert "49" not in re.findall(r"<!-- (.{0,6})", text)


def test_the_verdict_comes_first_and_all_numbers_are_there(study):
    made = study("claims")
    text = " ".join("".join(Document(made.html).text).split())
    headline = (
        "Of 4 groups, steering helps in 1, hurts in 1 and is left open in 2 "
        "Each group is one question"
    )
    assert text.index(headline) < text.index("Difference from the unsteered model")
    told = "Of 4 claims: 1 as predicted, 1 not as predicted, 1 for the reader to judge and 1 open."
    assert told in text
    for group in made.found.groups:
        result = group.result
        cells = (
            f"{group.name} {result.verdict} {signed(100 * result.difference)} "
            f"{signed(100 * result.low)} to {signed(100 * result.high)} {p_number(result.p_holm)}"
        )
        assert "".join(cells.split()) in "".join(text.split()).replace("\xa0", "")
    assert "tuned, dac-lost" in text[text.index("1 run without a result") :]
    assert "ValueError: lost" in text


def test_equal_studies_give_equal_bytes(study):
    made = study("claims")
    groups, adjusted = made.found.groups, made.found.comparisons
    figures = {"effects": effects_figure(groups)}
    again = render_study(groups, study_verdict(groups, 0), figures, adjusted, made.folder)
    assert again == made.html
