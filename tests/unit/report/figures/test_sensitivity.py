"""The figure of the sensitivity grid draws every number of the grid, and says where the best is."""

import pytest

from snakesteer.evaluation.strengths import in_words
from snakesteer.report.figures.figure import write_figure
from snakesteer.report.figures.sensitivity import MEASURES, sensitivity_figure

LAYERS, DOSES = (9, 14, 20), 7


@pytest.fixture
def rows(report):
    return report("on a grid").evidence.strengths


def test_a_panel_for_every_measure_and_method_with_all_of_its_numbers(rows):
    panels = sensitivity_figure(rows, 0.95).chart.to_dict()["vconcat"]
    assert len(panels) == len(MEASURES)
    for (key, title, *_), line in zip(MEASURES, panels, strict=True):
        drawn = [panel["layer"][-1]["encoding"]["y"] for panel in line["hconcat"]]
        assert [each["field"] for each in drawn] == [key, key]
        assert [each["title"] for each in drawn] == [title, None]
        for panel, method in zip(line["hconcat"], ("caa", "dac"), strict=True):
            shown = panel["data"]["values"]
            assert shown == [row for row in rows if row["method"] == method]
            assert len(shown) == len(LAYERS) * DOSES
    band, _ = panels[0]["hconcat"][0]["layer"]
    assert (band["encoding"]["y"]["field"], band["encoding"]["y2"]["field"]) == ("low", "high")


def test_its_words_and_table(rows):
    figure = sensitivity_figure(rows, 0.95)
    assert in_words(rows) in figure.caption
    assert in_words(rows) in figure.alt
    assert len(figure.rows) == len(rows)
    first = dict(zip(figure.columns, figure.rows[0], strict=True))
    assert (first["Configuration"], first["Layer"], first["Dose"]) == ("caa / caa", "9", "−0.200")
    assert (first["No number"], first["Cut off"], first["Repetitive"]) == ("20.0%", "4.0%", "0.0%")
    assert first["Mean tokens"] == "50.0"


def test_its_files(rows, tmp_path):
    write_figure(sensitivity_figure(rows, 0.95), tmp_path)
    svg = (tmp_path / "sensitivity.svg").read_text(encoding="utf-8")
    assert all(title in svg for _, title, *_ in MEASURES)
    assert (tmp_path / "sensitivity.png").read_bytes().startswith(b"\x89PNG")


def test_a_report_with_the_grid_shows_it(report):
    shown, without = report("on a grid").html, report("helps").html
    assert 'id="figure-sensitivity"' in shown
    assert "The best strength is α = " in shown
    assert "figure-sensitivity" not in without
