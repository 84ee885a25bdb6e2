import json
import sys

import datasets
import pytest

from snakesteer.config import DataConfig
from snakesteer.data.duplicates import check_disjoint
from snakesteer.data.problem import Problem
from snakesteer.data.sources import EMBEDDED_TEST, EMBEDDED_TRAIN, load_official
from snakesteer.data.splits import carve_train_val
from snakesteer.errors import UserError


def row(number: int) -> dict[str, str]:
    return {
        "question": f"Tom has {number} pens. How many?",
        "answer": f"{number} pens\n#### {number}",
    }


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for part, count in (("train", 3), ("test", 2)):
        lines = [json.dumps(row(number)) for number in range(count)]
        (folder / f"{part}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.parametrize("steps", [1, 2])
def test_embedded_parts_are_disjoint_pools(steps):
    data = DataConfig(source="embedded", steps=steps, seed=5)
    train, test = load_official(data, "train"), load_official(data, "test")
    assert len(train) == EMBEDDED_TRAIN
    assert len(test) == EMBEDDED_TEST
    assert (train[12].id, test[3].id) == ("embedded-train-00012", "embedded-test-00003")
    check_disjoint({"train": train, "test": test})
    carve_train_val(train, EMBEDDED_TRAIN - 1, 1, seed=0)  # not one of them is a near duplicate


def test_embedded_problems_follow_the_seed():
    assert load_official(DataConfig(seed=0), "test") != load_official(DataConfig(seed=1), "test")


def test_folder(folder):
    data = DataConfig(source="folder", folder=str(folder))
    assert [each.id for each in load_official(data, "train")] == [
        "gsm8k-train-00000",
        "gsm8k-train-00001",
        "gsm8k-train-00002",
    ]
    assert load_official(data, "test")[1] == Problem("gsm8k-test-00001", **row(1), gold="1")


def test_another_task_in_a_folder(folder):
    rows = [{"Body": f"Ann has {n} pens.", "Question": "How many?", "Answer": n} for n in (3, 4)]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = DataConfig(
        source="folder",
        folder=str(folder),
        task="svamp",
        question_fields=["Body", "Question"],
        answer_field="Answer",
    )
    assert load_official(data, "train")[1] == Problem(
        "svamp-train-00001", "Ann has 4 pens. How many?", "#### 4", "4"
    )
    with pytest.raises(UserError, match=r"test\.jsonl, lines 1, 2: 'Body' is missing"):
        load_official(data, "test")


def test_folder_without_a_part(folder):
    (folder / "test.jsonl").unlink()
    with pytest.raises(UserError, match=r"test\.jsonl is not a file.*correct data\.folder"):
        load_official(DataConfig(source="folder", folder=str(folder)), "test")


def test_folder_error_names_the_true_line(folder):
    path = folder / "train.jsonl"
    path.write_text(json.dumps(row(1)) + "\n\n\n" + json.dumps({"question": "q"}) + "\n")
    with pytest.raises(UserError, match=r"train\.jsonl, line 4: 'answer' is missing"):
        load_official(DataConfig(source="folder", folder=str(folder)), "train")


def test_hub_is_asked_for_the_pinned_revision(monkeypatch):
    asked = []

    def load_dataset(*args, **kwargs):
        asked.append((args, kwargs))
        return [row(4), row(5)]

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    data = DataConfig(source="hub")
    problems = load_official(data, "test")
    assert problems == [
        Problem("gsm8k-test-00000", **row(4), gold="4"),
        Problem("gsm8k-test-00001", **row(5), gold="5"),
    ]
    revision = {"split": "test", "revision": data.hub_revision}
    assert asked == [(("openai/gsm8k", "main"), revision)]


@pytest.mark.parametrize(
    "error",
    [
        ConnectionError("Couldn't reach the Hub"),
        FileNotFoundError("no file"),
        ValueError("BuilderConfig 'main' not found"),
        datasets.exceptions.DatasetNotFoundError("gone"),
        datasets.exceptions.DatasetGenerationError("damaged"),
    ],
)
def test_hub_failure_names_the_way_out(monkeypatch, error):
    def load_dataset(*args, **kwargs):
        raise error

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(UserError) as caught:
        load_official(DataConfig(source="hub"), "train")
    assert str(error) in caught.value.problem
    assert "openai/gsm8k" in caught.value.problem
    assert "data.source: folder" in caught.value.remedy
    assert "data.source: embedded" in caught.value.remedy


def test_a_set_that_is_a_script_names_the_way_out(tmp_path):
    """The real loader, and a data set of before version 4 of `datasets`."""
    (tmp_path / "mgsm").mkdir()
    (tmp_path / "mgsm" / "mgsm.py").write_text("raise SystemExit('never run')\n")
    data = DataConfig(source="hub", hub_id=str(tmp_path / "mgsm"), hub_config="en")
    with pytest.raises(UserError) as caught:
        load_official(data, "test")
    assert "scripts are no longer supported, but found mgsm.py" in caught.value.problem
    for word in ("refs/convert/parquet", "a copy of the set", "data.source: folder"):
        assert word in caught.value.remedy


def test_a_set_with_a_test_part_only(folder, tmp_path, monkeypatch):
    """Through the real loader: a paragraph first, then the way that it names."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (folder / "train.jsonl").unlink()
    hub = {"source": "hub", "hub_id": str(folder), "hub_config": "default"}
    with pytest.raises(UserError) as caught:
        load_official(DataConfig(**hub), "train")
    assert "the train part of" in caught.value.problem
    assert "['test']" in caught.value.problem
    assert "data.train_part and data.test_part" in caught.value.remedy
    for source in (hub, {"source": "folder", "folder": str(folder)}):
        data = DataConfig(**source, train_part="test")
        assert data.one_part
        assert load_official(data, "train") == load_official(data, "test")
        assert load_official(data, "train")[1].id == "gsm8k-test-00001"
    assert not DataConfig(train_part="test").one_part  # the embedded source has two


def test_groups_and_answers_that_are_left_out(folder, caplog):
    rows = [row(n) | {"seed": n // 2} for n in range(4)]
    rows[2]["answer"] = "None"
    (folder / "train.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    data = {"source": "folder", "folder": str(folder), "group_field": "seed"}
    with pytest.raises(UserError, match=r"line 3: no #### in the answer.*leave_out"):
        load_official(DataConfig(**data), "train")
    problems = load_official(DataConfig(**data, unreadable_answers="leave_out"), "train")
    assert [(each.id[-1], each.group) for each in problems] == [("0", "0"), ("1", "0"), ("3", "1")]
    with pytest.raises(UserError, match=r"lines 1, 2: 'seed' is missing.*data\.group_field"):
        load_official(DataConfig(**data), "test")


@pytest.mark.parametrize("part", ["", "test[:10]", "../test", "-test", "a b"])
def test_names_of_parts(part):
    with pytest.raises(ValueError, match="test_part"):
        DataConfig(test_part=part)


def test_hub_row_error_names_data_set_and_row(monkeypatch):
    monkeypatch.setattr(
        datasets, "load_dataset", lambda *args, **kwargs: [row(4), {"question": "q"}]
    )
    with pytest.raises(UserError, match="openai/gsm8k train part, row 2: 'answer' is missing"):
        load_official(DataConfig(source="hub"), "train")


def test_hub_and_folder_agree_through_the_real_loader(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    hub = DataConfig(source="hub", hub_id=str(folder), hub_config="default")
    local = DataConfig(source="folder", folder=str(folder))
    for part in ("train", "test"):
        assert load_official(hub, part) == load_official(local, part)


def test_other_sources_do_not_import_datasets(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)  # an import would raise
    load_official(DataConfig(source="folder", folder=str(folder)), "train")
