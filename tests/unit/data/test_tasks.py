"""Every overlay of config/tasks/ reads its data set's format, and makes splits of it."""

import logging
from pathlib import Path

import pytest

from snakesteer.config.load import load_config
from snakesteer.data.problem import is_bare
from snakesteer.data.sources import load_official
from snakesteer.data.splits import carve_test, carve_train_val, splits_manifest
from tests.task_files import SETS, asdiv, write_set
from tests.unit.config.test_files import FOLDER, merged

# Problems that each part of the tiny set gives, and the first of them.
EXPECTED = {
    "svamp": ((10, 6), "svamp-train-00000", "8"),
    "asdiv": ((12, 12), "asdiv-validation-00000", "8"),
    "mawps": ((10, 6), "mawps-train-00000", "3005"),
    "gsm-plus": ((32, 32), "gsm-plus-test-00000", "9"),
    "gsm-symbolic": ((64, 64), "gsm-symbolic-test-00000", "9"),
    "mgsm": ((16, 16), "mgsm-en-test-00000", "8"),
    "gsm1k": ((16, 16), "gsm1k-test-00000", "8"),
}


def test_every_overlay_has_a_tiny_set():
    assert {path.stem for path in (FOLDER / "tasks").glob("*.yaml")} == set(SETS) == set(EXPECTED)


def data_of(name: str, folder: Path):
    config = load_config(merged(f"tasks/{name}.yaml"))
    local = {"source": "folder", "folder": str(folder), "train": 4, "val": 3, "test": 4}
    return config.data.model_copy(update=local)


@pytest.mark.parametrize("name", EXPECTED)
def test_an_overlay_makes_splits(name, tmp_path, caplog):
    write_set(name, tmp_path / name)
    data = data_of(name, tmp_path / name)
    with caplog.at_level(logging.WARNING):
        sources = {part: load_official(data, part) for part in ("train", "test")}
    sizes, first, gold = EXPECTED[name]
    assert tuple(map(len, sources.values())) == sizes
    assert (sources["train"][0].id, sources["train"][0].gold) == (first, gold)
    assert ("left out" in caplog.text) == (name in ("asdiv", "gsm-plus"))
    assert is_bare(sources["train"][0]) == (name != "gsm-symbolic")
    assert all((each.group is not None) == bool(data.group_field) for each in sources["test"])

    train, val = carve_train_val(sources["train"], data.train, data.val, data.seed, data.near)
    test, left_out = carve_test(sources["test"], data.test, data.seed, train, val, data.near)
    splits = {"train": train, "val": val, "test": test}
    document = splits_manifest(splits, sources, left_out, dict.fromkeys(splits, "x"), data.near)
    assert {name: split["size"] for name, split in document["splits"].items()} == {
        **{"train": 4, "val": 3, "test": 4}
    }
    if data.one_part:
        assert {each.id for each in train + val} <= set(left_out)
    if data.group_field:
        assert all("group_sha256" in split for split in document["splits"].values())
        assert len({each.group for each in train + val + test}) == 11


@pytest.mark.parametrize("name", EXPECTED)
def test_the_sizes_of_an_overlay_are_of_one_mind_with_its_pairs(name):
    """Bare numbers have nothing before them that the default kind of pairs could be read at."""
    config = load_config(merged(f"tasks/{name}.yaml"))
    bare = name != "gsm-symbolic"
    assert (config.pairs.kind == "own_right_vs_wrong") == bare
    text = (FOLDER / "tasks" / f"{name}.yaml").read_text(encoding="utf-8")
    pinned = len(config.data.hub_revision) == 40
    assert pinned or ("write the commit" in text and config.data.hub_revision == "main")


def test_asdiv_as_its_authors_publish_it(tmp_path):
    rows = [
        f'<Problem ID="nluds-{n:04d}" Grade="1" Source="here"><Body>{row["body"]}</Body>'
        f"<Question>{row['question']}</Question><Solution-Type>Addition</Solution-Type>"
        f"<Answer>{row['answer']}</Answer><Formula>1+1=2</Formula></Problem>"
        for n, row in enumerate(asdiv())
    ]
    (tmp_path / "ASDiv.xml").write_text(
        f"<Machine-Reading-Corpus-File><ProblemSet>{''.join(rows)}</ProblemSet>"
        "</Machine-Reading-Corpus-File>"
    )
    as_file = {"train_part": "ASDiv", "test_part": "ASDiv"}
    fields = {"question_fields": ["Body", "Question"], "answer_field": "Answer"}
    data = data_of("asdiv", tmp_path).model_copy(update=as_file | fields)
    found = load_official(data, "test")
    write_set("asdiv", tmp_path / "asdiv")
    wanted = load_official(data_of("asdiv", tmp_path / "asdiv"), "test")
    assert [(each.question, each.gold) for each in found] == [
        (each.question, each.gold) for each in wanted
    ]
    assert found[0].id == "asdiv-ASDiv-00000"
