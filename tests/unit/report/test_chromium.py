"""The report as a reader's browser shows it."""

import pytest

from tests.unit.report.browser import A4, DESK, PHONE, check_opened

VIEWS = [
    ("left alone", DESK),
    ("left alone", PHONE),
    ("helps", DESK),
    ("helps", PHONE),
    ("on a grid", PHONE),
    ("hostile", DESK),
    ("two trials", PHONE),
]


@pytest.mark.parametrize(("name", "width"), VIEWS)
def test_all_is_drawn_and_nothing_goes_wrong(report, browser, name: str, width: int):
    made = report(name)
    opened = browser.open(made.path, width)
    check_opened(opened, width)
    figures = opened.found["figures"]
    assert set(figures) == set(made.figures)
    for each in made.figures.values():
        seen = figures[each.name]
        if each.chart is None:
            assert seen["width"] == 0
        elif each.spec() is None:  # panels stay a picture
            assert seen["image"] > 0
            assert seen["image_seen"]
        else:
            assert 0.9 * seen["room"] <= seen["width"] <= seen["room"]
            assert seen["image"] > 0
            assert not seen["image_seen"]
    assert marks(figures) == expected_marks(made)


def marks(figures) -> dict[str, int]:
    cells = {"layer_dose", "importance"}
    return {
        name: figure["cells" if name in cells else "symbols"] for name, figure in figures.items()
    }


def expected_marks(made) -> dict[str, int]:
    """One for every number."""
    evidence = made.evidence
    arms = len(evidence.arms)
    heat_map = made.figures["layer_dose"].rows
    return {
        "accuracy": arms,
        "difference": arms - 1,
        "dose": len(evidence.sensitivity or evidence.trials),
        "layer_dose": sum(cell != "" for row in heat_map for cell in row[1:]),
        "history": len(evidence.trials) + len(evidence.failures),
        "importance": len(evidence.importance or ()),
        "probes": len(evidence.probes),
        **({"sensitivity": 0} if evidence.sensitivity else {}),
    }


def test_on_paper_pictures_and_small_tables_stand_in(report, browser):
    found = browser.open(report("helps").path, A4, media="print").found
    assert found["tables_shown"]
    assert found["needed"] <= A4
    for seen in found["figures"].values():
        assert seen["image_seen"]
        assert seen["width"] == 0
