"""The page of a study as a reader's browser shows it."""

import pytest

from tests.unit.report.browser import A4, DESK, PHONE, check_opened

VIEWS = [
    ("one group", DESK),
    ("claims", DESK),
    ("claims", PHONE),
    ("hostile", DESK),
    ("hostile", PHONE),
    ("nothing", PHONE),
]


@pytest.mark.parametrize(("name", "width"), VIEWS)
def test_all_is_drawn_and_nothing_goes_wrong(study, browser, name: str, width: int):
    made = study(name)
    opened = browser.open(made.path, width)
    check_opened(opened, width)
    [seen] = opened.found["figures"].values()
    if name == "nothing":
        assert seen["width"] == 0
        return
    assert 0.9 * seen["room"] <= seen["width"] <= seen["room"]
    assert not seen["image_seen"]
    # A mark for every run, and one for every group of several.
    groups = made.found.groups
    pooled = sum(len(group.finished) > 1 for group in groups)
    assert seen["symbols"] == pooled + sum(len(group.finished) for group in groups)


@pytest.mark.parametrize("name", ["one group", "claims"])
def test_on_paper_pictures_and_small_tables_stand_in(study, browser, name: str):
    found = browser.open(study(name).path, A4, media="print").found
    assert found["tables_shown"]
    assert found["needed"] <= A4
    assert found["figures"]["effects"]["image_seen"]
