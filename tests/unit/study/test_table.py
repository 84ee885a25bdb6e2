"""Tables of runs: what is read, and what a wrong one is told."""

import pytest

from snakesteer.errors import UserError
from snakesteer.study.table import read_table


def write(tmp_path, text, name="runs.tsv", encoding="utf-8"):
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    return str(path)


def test_cells_are_values(tmp_path):
    path = write(
        tmp_path,
        "# a comment\n"
        "name\tmodel.name\tmodel.revision\tsteering.methods\tdata.seed\tpredicts\n"
        "\n"
        "base\torg/model\t0123456\t[caa, dac]\t3\thelps\n"
        "tuned\tother\tnull\t\t \t\n",
    )
    first, second = read_table(path)
    assert (first.name, second.name) == ("base", "tuned")
    assert first.cells == {
        "model.name": "org/model",
        "model.revision": "0123456",  # text stays text
        "steering.methods": ["caa", "dac"],
        "data.seed": 3,
        "predicts": "helps",
    }
    assert second.cells == {"model.name": "other", "model.revision": None}
    assert first.place == f"{path}, line 4"
    assert first.columns["data.seed"] == 5


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("runs.csv", 'name,steering.methods\na,"[caa, dac]"\n'),
        ("runs.tsv", "\ufeffname\tsteering.methods\r\na\t[caa, dac]\r\n"),  # as Windows saves it
    ],
)
def test_other_ways_to_write_it(tmp_path, name, text):
    [row] = read_table(write(tmp_path, text, name))
    assert (row.name, row.cells) == ("a", {"steering.methods": ["caa", "dac"]})


def test_a_list_is_a_table():
    given = [{"name": "a", "data": {"seed": 1}, "steering.methods": ["caa"]}, {"name": "b"}]
    first, second = read_table(given)
    assert first.cells == {"data.seed": 1, "steering.methods": ["caa"]}
    assert (second.place, second.cells) == ("runs, entry 2", {})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", ["is empty", "first line"]),
        ("# nothing\n\n", ["is empty"]),
        ("name\tdata.seed\n", ["names no run"]),
        ("name,data.seed\na,1\n", ["line 1 has no tab", "'name,data.seed'", ".csv"]),
        ("name   data.seed\na  1\n", ["line 1 has no tab"]),
        ("name\tdata.sed\na\t1\n", ["line 1, column 2", "'data.sed'", "'data.seed'? Every"]),
        ("name\tresults\na\tx\n", ["column 2", "'results'", "same for all runs"]),
        ("name\treplicates.seeds\na\t2\n", ["'replicates.seeds' is no key", "same for all"]),
        ("name\tdata\na\tx\n", ["column 2", "'data' is no key"]),
        ("name\t\na\tx\n", ["column 2: the column has no name"]),
        ("data.seed\tmodel.name\n1\tx\n", ["has no column 'name'"]),
        ("name\tdata.seed\tdata.seed\na\t1\t2\n", ["'data.seed' twice"]),
        ("name\tdata.seed\na\t1\na\t2\n", ["line 3", "'a' is that of", "line 2"]),
        ("name\tdata.seed\na.b\t1\nA-b\t2\n", ["line 3", "'A-b' is that of", "line 2"]),
        ("name\tdata.seed\n\t1\n", ["line 2 has no name"]),
        ("name\tdata.seed\n../x\t1\n", ["line 2: the name '../x' must be"]),
        ("name\tdata.seed\n1st\t1\n", ["line 2: the name '1st' must be"]),
        ("name\tdata.seed\na\n", ["line 2: the first line names 2 columns, this one has 1."]),
        ("name\tsteering.methods\na\t[caa\n", ["line 2, column 2 (steering.methods)", "YAML"]),
    ],
)
def test_bad_tables(tmp_path, text, told):
    path = write(tmp_path, text)
    with pytest.raises(UserError) as caught:
        read_table(path)
    for words in (path, *told):
        assert words in str(caught.value)


def test_all_lines_that_are_wrong_are_named(tmp_path):
    rows = "".join(f"{number}\t{number}\n" for number in range(14))
    with pytest.raises(UserError) as caught:
        read_table(write(tmp_path, f"name\tdata.seed\n{rows}"))
    assert str(caught.value).count("must be a letter") == 10
    assert "and 4 more" in str(caught.value)


def test_what_is_no_text(tmp_path):
    with pytest.raises(UserError, match=r"cannot be read as text.*UTF-8"):
        read_table(write(tmp_path, "name\tdata.seed\na\t1\n", encoding="utf-16"))
    with pytest.raises(UserError, match="not a file"):
        read_table(str(tmp_path / "none.tsv"))
    with pytest.raises(UserError, match="quotation mark"):
        read_table(write(tmp_path, 'name\tdata.seed\na\t"1\n' + "x" * 140_000, "b.tsv"))


def test_bad_lists():
    with pytest.raises(UserError, match="empty list"):
        read_table([])
    with pytest.raises(UserError, match=r"entry 1: 'data\.sed' is no key"):
        read_table([{"name": "a", "data": {"sed": 1}}])
