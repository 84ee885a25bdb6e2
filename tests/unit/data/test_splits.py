import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snakesteer.data.duplicates import check_disjoint, exact_key, group_key, near_keys
from snakesteer.data.problem import Problem
from snakesteer.data.splits import carve_test, carve_train_val, carve_val_test, splits_manifest
from snakesteer.errors import UserError

WORDS = [
    "apple",
    "berry",
    "citron",
    "date",
    "elder",
    "fig",
    "grape",
    "hazel",
    "iris",
    "juniper",
    "kiwi",
    "lemon",
]


def problem(name: str, question: str, group: str | None = None) -> Problem:
    return Problem(name, question, "#### 1", "1", group)


def distinct(count: int, part: str = "train") -> list[Problem]:
    words = [f"{one} {two}" for one in WORDS for two in WORDS]
    return [problem(f"{part}-{i}", f"{part}: has 3 {words[i]}?") for i in range(count)]


def test_train_and_val_are_disjoint_draws():
    problems = distinct(100)
    train, val = carve_train_val(problems, 60, 40, seed=0)
    assert len(train) == 60
    assert len(val) == 40
    assert {each.id for each in train + val} == {each.id for each in problems}
    assert [each.id for each in train] != [each.id for each in problems[:60]]


def test_draw_depends_on_seed_only():
    problems = distinct(100)
    train, val = carve_train_val(problems, 20, 20, seed=3)
    assert carve_train_val(problems[::-1], 20, 20, seed=3) == (train, val)
    assert carve_train_val(problems, 20, 50, seed=3) == (
        train,
        val + carve_train_val(problems, 20, 50, seed=3)[1][20:],
    )
    assert carve_train_val(problems, 50, 20, seed=3)[0][:20] == train
    assert carve_train_val(problems, 50, 20, seed=3)[1] == val
    assert carve_train_val(problems, 20, 20, seed=4)[0] != train


def test_draw_is_the_same_on_every_machine():
    train, val = carve_train_val(distinct(10), 3, 2, seed=0)
    expected = sorted(
        (f"train-{i}" for i in range(10)),
        key=lambda name: hashlib.sha256(f"0/{name}".encode()).hexdigest(),
    )
    assert [each.id for each in train] == expected[:3]
    assert [each.id for each in val] == [expected[-1], expected[-2]]


def test_near_duplicates_never_cross_train_and_val():
    # Ten groups of four that differ in numbers; only one of each group may be drawn.
    problems = [
        problem(f"train-{i}-{group}", f"Anna has {i} {WORDS[group]}.")
        for i in range(4)
        for group in range(10)
    ]
    for seed in range(20):
        train, val = carve_train_val(problems, 5, 5, seed)
        drawn = train + val
        assert len({key for each in drawn for key in near_keys(each, "numbers")}) == 10
        assert all(each.id.startswith("train-0-") for each in drawn)


def test_too_few_train_problems():
    problems = [*distinct(10), problem("train-10", distinct(1)[0].question.replace("3", "4"))]
    carve_train_val(problems, 6, 4, seed=0)
    with pytest.raises(UserError) as caught:
        carve_train_val(problems, 6, 5, seed=0)
    assert "data.train + data.val is 6 + 5 = 11" in caught.value.problem
    assert "has 10 problems, not counting 1 near duplicates" in caught.value.problem
    assert "Lower data.train or data.val" in caught.value.remedy


def test_too_few_train_problems_beside_a_validation_split_of_the_test_part():
    with pytest.raises(UserError, match=r"^data\.train is 11, but .* has 10 problems\.") as caught:
        carve_train_val(distinct(10), 11, 0, seed=0)
    assert caught.value.remedy.startswith("Lower data.train, or")


def test_validation_and_test_of_one_part_are_disjoint_draws():
    problems = distinct(50, "test")
    val, test, left_out = carve_val_test(problems, 15, 35, 0, distinct(50))
    assert (len(val), len(test), left_out) == (15, 35, [])
    assert {each.id for each in val + test} == {each.id for each in problems}
    assert test == [each for each in problems if each in test]  # in source order
    check_disjoint({"train": distinct(50), "val": val, "test": test})
    # The test split is the one that validation from the train part leaves, too.
    assert test == carve_test(problems, 35, 0, distinct(50), [])[0]


@settings(max_examples=30)
@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20), st.integers(0, 3))
def test_the_size_of_one_changes_no_draw_of_the_other(val, test, more, seed):
    # A quarter of the test part is an earlier problem with other numbers.
    problems = distinct(60, "test")
    problems += [
        problem(f"test-{60 + i}", problems[i].question.replace("3", "4")) for i in range(0, 60, 3)
    ]
    one, other, _ = carve_val_test(problems, val, test, seed, [])
    larger_val, same_test, _ = carve_val_test(problems, val + more, test, seed, [])
    same_val, larger_test, _ = carve_val_test(problems, val, test + more, seed, [])
    assert (same_val, same_test) == (one, other)
    assert larger_val[:val] == one
    assert set(ids(other)) <= set(ids(larger_test))
    assert set(ids(larger_val)).isdisjoint(ids(other))


def ids(problems: list[Problem]) -> list[str]:
    return [each.id for each in problems]


def test_what_the_test_problems_say_changes_no_validation_problem():
    problems = distinct(50, "test")
    val, test, _ = carve_val_test(problems, 15, 20, 0, [])
    others = [problem(p.id, p.question[::-1]) if p in test else p for p in problems]
    assert others != problems
    again, changed, _ = carve_val_test(others, 15, 20, 0, [])
    assert again == val
    assert ids(changed) == ids(test)


def test_validation_of_the_test_part_is_the_same_on_every_machine():
    val, test, _ = carve_val_test(distinct(10, "test"), 2, 3, 0, [])
    expected = sorted(
        (f"test-{i}" for i in range(10)),
        key=lambda name: hashlib.sha256(f"0/{name}".encode()).hexdigest(),
    )
    assert ids(val) == [expected[-1], expected[-2]]
    assert sorted(ids(test)) == sorted(expected[:3])


def test_near_duplicates_never_cross_validation_and_test():
    problems = [
        problem(f"test-{i}-{group}", f"Anna has {i} {WORDS[group]}.")
        for i in range(4)
        for group in range(10)
    ]
    train = [problem("train-0", f"ANNA has 77 {WORDS[3]}")]
    for seed in range(20):
        val, test, left_out = carve_val_test(problems, 4, 5, seed, train)
        check_disjoint({"train": train, "val": val, "test": test})
        assert len({key for each in val + test for key in near_keys(each, "numbers")}) == 9
        assert {each.id[:7] for each in val + test} == {"test-0-"}
        # Three of each of nine groups, and all four of the one that train has.
        assert len(left_out) == 31
        assert {f"test-{i}-3" for i in range(4)} < set(left_out)


def test_validation_and_test_that_do_not_fit_into_the_test_part():
    problems = [*distinct(10, "test"), problem("test-10", "TEST has 4 apple apple")]
    problems[0] = problem("test-0", "test: has 3 apple apple?")
    carve_val_test(problems, 4, 6, 0, [])
    with pytest.raises(UserError) as caught:
        carve_val_test(problems, 4, 7, 0, [])
    assert "data.val + data.test is 4 + 7 = 11" in caught.value.problem
    assert "test part has 10 problems, not counting 1 that duplicate" in caught.value.problem
    assert "Lower data.val or data.test" in caught.value.remedy
    with pytest.raises(UserError, match=r"has 10 problems\. "):
        carve_val_test(distinct(10, "test"), 5, 6, 0, [])


def test_test_split_is_a_sample_in_source_order():
    problems = distinct(50, "test")
    drawn, left_out = carve_test(problems, 20, 0, [], [])
    assert left_out == []
    assert len(drawn) == 20
    assert drawn == [each for each in problems if each in drawn]
    assert drawn != problems[:20]
    assert {each.id for each in drawn} < {
        each.id for each in carve_test(problems, 30, 0, [], [])[0]
    }
    assert drawn != carve_test(problems, 20, 1, [], [])[0]


def test_test_side_gives_way_to_train_and_val():
    problems = distinct(10, "test")
    train = [problem("train-0", problems[2].question.upper())]  # exact
    val = [problem("train-1", problems[7].question.replace("3", "1,000"))]  # near
    drawn, left_out = carve_test(problems, 8, 0, train, val)
    assert left_out == ["test-2", "test-7"]
    assert [each.id for each in drawn] == [f"test-{i}" for i in (0, 1, 3, 4, 5, 6, 8, 9)]
    with pytest.raises(UserError, match=r"data\.test is 9.*has 8 problems, not counting 2 that"):
        carve_test(problems, 9, 0, train, val)


def test_manifest():
    train, val = carve_train_val(distinct(10), 2, 1, seed=0)
    test = distinct(2, "test")
    hashes = {"train": "1", "val": "2", "test": "3"}
    splits = {"train": train, "val": val, "test": test}
    repeated = [*test, problem("test-9", test[0].question)]
    document = splits_manifest(splits, {"test": repeated}, ["test-5"], hashes)
    assert document["splits"]["train"] == {
        "size": 2,
        "file_sha256": "1",
        "ids": [each.id for each in train],
        "question_sha256": [exact_key(each) for each in train],
    }
    assert list(document["splits"]) == ["train", "val", "test"]
    assert set(document["overlaps"]) == {"train/val", "train/test", "val/test"}
    assert document["left_out_of_test"] == {"count": 1, "ids": ["test-5"]}
    assert document["near_duplicates_in_sources"] == {"test": [["test-0", "test-9"]]}
    assert document["near_duplicates"] == "numbers"
    assert document["overlaps"]["train/val"] == {"exact": 0, "near": 0}
    with pytest.raises(UserError, match="share"):
        splits_manifest({"train": train, "val": train}, {}, [], hashes)


NAMED = "Tom has 3 pens. How many pens has {name} now?"


def test_names_count_where_they_are_asked_for():
    others = [problem(f"train-{n}", NAMED.format(name=name)) for n, name in enumerate("ABCDEF")]
    carve_train_val(others, 4, 2, seed=0)
    with pytest.raises(UserError, match="has 1 problems, not counting 5 near duplicates"):
        carve_train_val(others, 1, 1, 0, "names")
    with pytest.raises(UserError, match=r"has 1 problems, not counting 5 that duplicate others"):
        carve_val_test(others, 1, 1, 0, [], "names")
    test = [problem("test-9", NAMED.format(name="Zoe")), *distinct(3, "test")]
    assert carve_test(test, 3, 0, others, [], "names")[1] == ["test-9"]
    assert carve_test(test, 4, 0, others, [])[1] == []
    hashes = {"train": "1", "test": "2"}
    splits = {"train": others[:1], "test": test[:1]}
    assert splits_manifest(splits, {}, [], hashes)["overlaps"]["train/test"]["near"] == 0
    with pytest.raises(UserError, match="up to their names"):
        splits_manifest(splits, {}, [], hashes, "names")


def grouped(groups: int, members: int, part: str = "test") -> list[Problem]:
    """Problems that differ in all but their group, group behind group."""
    texts = distinct(groups * members, part)
    return [
        problem(f"{part}-{n}", each.question, f"seed {n // members}")
        for n, each in enumerate(texts)
    ]


def groups(problems: list[Problem]) -> set[str | None]:
    return {each.group for each in problems}


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 5), st.integers(1, 6), st.integers(1, 5), st.integers(1, 20))
def test_groups_never_cross(seed, train_size, val_size, test_size):
    """Train, validation and test of one part are of other groups each."""
    problems = grouped(20, 4)
    train, val = carve_train_val(problems, train_size, val_size, seed)
    test, left_out = carve_test(problems, test_size, seed, train, val)
    assert len(groups(train)) == train_size
    assert len(groups(val)) == val_size
    assert len(test) == test_size
    assert groups(train).isdisjoint(groups(val))
    assert groups(test).isdisjoint(groups(train) | groups(val))
    assert len(left_out) == 4 * (train_size + val_size)
    splits = {"train": train, "val": val, "test": test}
    check_disjoint(splits)

    val, test, _ = carve_val_test(problems, val_size, min(test_size, 9), seed, train)
    assert len(groups([*train, *val, *test])) == len([*train, *val, *test])


def test_members_of_a_group_have_equal_chances():
    """Not the first of each: perturbations of a problem stand in a fixed order."""
    train, val = carve_train_val(grouped(36, 4), 18, 18, seed=0)
    places = [int(each.id.split("-")[1]) % 4 for each in [*train, *val]]
    assert min(places.count(place) for place in range(4)) >= 3
    assert train == carve_train_val(grouped(36, 4)[::-1], 18, 18, seed=0)[0]


def test_test_has_one_of_each_group_before_a_second():
    problems = grouped(10, 4)
    for size, most in ((10, 1), (11, 2), (20, 2), (31, 4), (40, 4)):
        test, _ = carve_test(problems, size, 0, [], [])
        counts = [[each.group for each in test].count(group) for group in groups(problems)]
        assert max(counts) == most
        assert max(counts) - min(counts) <= 1
    smaller, larger = (carve_test(problems, size, 3, [], [])[0] for size in (7, 23))
    assert set(ids(smaller)) < set(ids(larger))


def test_too_few_groups():
    with pytest.raises(UserError) as caught:
        carve_train_val(grouped(10, 4), 6, 5, seed=0)
    assert "has 10 problems, not counting 30 near duplicates or others of a group" in str(
        caught.value
    )


def test_the_manifest_holds_the_groups():
    problems = grouped(6, 2)
    train, val = carve_train_val(problems, 2, 2, seed=0)
    test, left_out = carve_test(problems, 4, 0, train, val)
    splits = {"train": train, "val": val, "test": test}
    document = splits_manifest(splits, {"test": problems}, left_out, dict.fromkeys(splits, "x"))
    assert document["overlaps"]["train/test"] == {"exact": 0, "near": 0, "group": 0}
    for name, split in splits.items():
        assert document["splits"][name]["group_sha256"] == [group_key(each) for each in split]
    assert document["near_duplicates_in_sources"] == {"test": []}
    bad = {**splits, "test": [*test, problems[ids(problems).index(train[0].id) ^ 1]]}
    with pytest.raises(
        UserError, match=r"train/test share groups of data\.group_field \(1 problems\)"
    ):
        splits_manifest(bad, {}, [], dict.fromkeys(splits, "x"))


def test_one_part_gives_all_splits():
    """Of a set with a test part only."""
    problems = distinct(40, "test")
    train, val = carve_train_val(problems, 10, 10, seed=0)
    test, left_out = carve_test(problems, 20, 0, train, val)
    assert sorted(ids(train + val + test)) == sorted(ids(problems))
    assert sorted(left_out) == sorted(ids(train + val))
    with pytest.raises(UserError, match=r"data\.test is 21, .* has 20 problems, not counting 20"):
        carve_test(problems, 21, 0, train, val)
    val, test, _ = carve_val_test(problems, 10, 20, 0, train)
    assert sorted(ids(train + val + test)) == sorted(ids(problems))
