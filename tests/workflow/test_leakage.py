"""The test split has no way to the search: shown by the graph, and by runs without a test part."""

import pytest

from tests.workflow.conftest import Finished
from tests.workflow.graph import ancestors, graph, readers
from tests.workflow.project import Project, read_rows
from tests.workflow.test_bad_inputs import check_refusal

pytestmark = pytest.mark.workflow

TEST_PART = frozenset(
    {
        "problems/test.jsonl",
        "results/data/test.jsonl",
        "results/splits/test.jsonl",
        "results/splits/manifest.json",
    }
)
VALIDATION = frozenset({"results/splits/val.jsonl"})
# Of the test split. Of these, provenance takes the hash.
READERS = {"test_evaluation", "controls", "provenance"}
# Where validation problems are drawn from the official test part.
OF_TEST_PART = {"data": {"validation_from": "test"}}


def test_nothing_before_the_choice_comes_from_the_test_part(fresh: Project):
    found = ancestors(graph(fresh), "results/best_config.json")
    assert not found & TEST_PART
    # The graph was read at all, down to the source.
    assert {"results/study/study.db", "results/splits/val.jsonl", "problems/train.jsonl"} <= found


def test_who_reads_the_test_part(fresh: Project):
    jobs = graph(fresh)
    assert readers(jobs, "problems/test.jsonl") == {"official_data"}
    assert readers(jobs, "results/data/test.jsonl") == {"test_split", "provenance"}
    assert readers(jobs, "results/splits/test.jsonl") == READERS
    assert readers(jobs, "results/splits/manifest.json") == {"provenance", "report"}


def leaks(jobs) -> set[str]:
    """What the choice depends on of the test part, other than by the validation problems."""
    return ancestors(jobs, "results/best_config.json", behind=VALIDATION) & TEST_PART


def test_of_the_test_part_nothing_but_validation_reaches_the_choice(fresh: Project):
    jobs = graph(fresh, overlay=OF_TEST_PART)
    assert not leaks(jobs)
    found = ancestors(jobs, "results/best_config.json")
    # Validation does come from there, and from nowhere near the test split.
    assert found & TEST_PART == {"problems/test.jsonl", "results/data/test.jsonl"}
    [draw] = [job for job in jobs if job.outputs & VALIDATION]
    assert (draw.rule, draw.outputs) == ("val_split", VALIDATION)
    assert readers(jobs, "problems/test.jsonl") == {"official_data"}
    assert readers(jobs, "results/data/test.jsonl") == {"val_split", "test_split", "provenance"}
    assert readers(jobs, "results/splits/test.jsonl") == READERS
    assert readers(jobs, "results/splits/manifest.json") == {"provenance", "report"}


@pytest.mark.parametrize(
    ("file", "rule", "leak"),
    [
        ("search", "best_config", "splits/test.jsonl"),
        ("data", "train_split", "data/test.jsonl"),
    ],
)
def test_another_way_from_the_test_part_would_be_seen(
    fresh_copy: Project, file: str, rule: str, leak: str
):
    add_input(fresh_copy, file, rule, f"<results>/{leak}")
    assert leaks(graph(fresh_copy, "results/best_config.json", overlay=OF_TEST_PART))


def test_validation_of_the_test_part_is_no_part_of_the_test_split(fresh_copy: Project):
    run = fresh_copy.snakemake("splits", overlay=OF_TEST_PART)
    assert run.code == 0, run.text
    splits = fresh_copy.results / "splits"
    val, test = (read_rows(splits / f"{name}.jsonl") for name in ("val", "test"))
    assert (len(val), len(test)) == (8, 8)
    assert all("-test-" in row["id"] for row in val + test)
    assert {row["question"] for row in val}.isdisjoint(row["question"] for row in test)

    script = fresh_copy.folder / "workflow" / "scripts" / "val_split.py"
    text = script.read_text(encoding="utf-8")
    assert "val, _, _ = carve_val_test" in text
    text = text.replace("val, _, _ = carve_val_test", "_, val, _ = carve_val_test")
    script.write_text(text, encoding="utf-8")
    run = fresh_copy.snakemake("splits", overlay=OF_TEST_PART)
    check_refusal(run, "The splits val/test share 8 questions", "Delete the splits")


@pytest.mark.parametrize(
    "kind", ["model_correct_vs_wrong", "own_right_vs_wrong", "gold_vs_own_wrong"]
)
def test_own_solutions_leave_the_test_part_alone(fresh: Project, kind: str):
    overlay = {"pairs": {"kind": kind, "read": "response_mean", "remove_token_means": True}}
    run = fresh.snakemake("results/best_config.json", "-n", overlay=overlay)
    assert run.jobs["own_solutions"] == 2
    assert run.jobs["official_data"] == 1
    assert "test_split" not in run.jobs


@pytest.mark.parametrize("objective", ["sft", "own_correct", "preference", "reinforce"])
def test_vectors_are_trained_on_the_train_split_alone(fresh: Project, objective: str):
    overlay = {"steering": {"directions": ["trained"]}, "training": {"objective": objective}}
    jobs = graph(fresh, overlay=overlay)
    vector = "results/vectors/trained/layer_1.safetensors"
    found = ancestors(jobs, vector)
    assert "results/splits/train.jsonl" in found
    samples = objective in ("own_correct", "preference")
    assert ("results/training/solutions.jsonl" in found) == samples
    assert "trained_vectors" not in readers(jobs, "results/splits/val.jsonl")
    assert not seen_of_others(jobs, vector)


def seen_of_others(jobs, vector: str) -> set[str]:
    """What a vector depends on besides the train split: files of validation and test problems.

    The rule that splits makes all splits at once; what it reads and makes is not read on that way.
    """
    made_by = {path: job for job in jobs for path in job.outputs}
    others = ("splits/val.jsonl", "splits/test.jsonl", "baseline/val", "solutions/val", "pairs/val")
    waiting, found = [vector], set()
    while waiting:
        path = waiting.pop()
        if path in found or path.endswith("splits/train.jsonl"):
            continue
        found.add(path)
        waiting += made_by[path].inputs if path in made_by else ()
    return {path for path in found if any(other in path for other in others)}


@pytest.mark.parametrize("rule", ["trained_vectors", "training_solutions"])
def test_a_training_that_reads_validation_would_be_seen(fresh_copy: Project, rule: str):
    add_input(fresh_copy, "vectors", rule, "<results>/splits/val.jsonl")
    overlay = {"steering": {"directions": ["trained"]}, "training": {"objective": "preference"}}
    jobs = graph(fresh_copy, overlay=overlay)
    assert seen_of_others(jobs, "results/vectors/trained/layer_1.safetensors")


def add_input(project: Project, file: str, rule: str, leak: str) -> None:
    """Let a rule read one more file."""
    path = project.folder / "workflow" / "rules" / f"{file}.smk"
    text = path.read_text(encoding="utf-8")
    head = f"rule {rule}:\n    input:\n"
    assert head in text
    path.write_text(text.replace(head, f'{head}        leak="{leak}",\n'), encoding="utf-8")


@pytest.mark.parametrize(
    ("file", "rule"),
    [("search", "search"), ("vectors", "contrast_pairs"), ("data", "train_split")],
)
def test_a_leak_would_be_seen(fresh_copy: Project, file: str, rule: str):
    leak = "<results>/data/test.jsonl" if file == "data" else "<results>/splits/test.jsonl"
    add_input(fresh_copy, file, rule, leak)
    targets = ["results/best_config.json"]
    assert ancestors(graph(fresh_copy, *targets), targets[0]) & TEST_PART


def test_the_search_ran_before_there_was_a_test_part(finished: Finished):
    assert finished.search.jobs["search"] == 1
    assert finished.search.jobs["official_data"] == 1  # train alone
    assert finished.rest.jobs == {
        "official_data": 1,
        "test_split": 1,
        "test_evaluation": 1,
        "test_final": 1,
        "controls": 1,
        "off_target": 1,
        "provenance": 1,
        "report": 1,
    }
