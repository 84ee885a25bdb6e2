"""Runs of a study: their configs, and what they share."""

import pytest

from snakesteer.errors import UserError
from snakesteer.study.plan import is_study, plan_study


def plan(*rows, replicates=None, **common):
    values = {"results": "out", "runs": [*rows], **common}
    return plan_study({**values, **({"replicates": replicates} if replicates else {})})


def test_what_is_a_study():
    assert not is_study({})
    assert not is_study({"runs": None, "replicates": {"seeds": 1}})
    assert is_study({"runs": "runs.tsv"})
    assert is_study({"replicates": {"seeds": 2}})


def test_cells_lie_over_the_common_config_and_files_between_them(tmp_path):
    overlay = tmp_path / "chat.yaml"
    overlay.write_text("prompt: {shots: 2}\ngeneration: {max_new_tokens: 9}\n")
    [run] = plan(
        {"name": "a", "configfile": str(overlay), "prompt": {"shots": 3}},
        data={"val": 40},
        prompt={"shots": 1},
    ).runs
    config = run.settled.config
    assert (config.prompt.shots, config.generation.max_new_tokens) == (3, 9)
    assert config.data.val == 40
    assert config.results == run.results == "out/runs/a"
    assert config.runs is None


def test_replicates_have_other_seeds_and_a_common_group():
    study = plan(
        {"name": "a", "data.seed": 4},
        {"name": "b", "steering.methods": ["dac"]},
        replicates={"seeds": 3, "vary": ["data", "search"]},
    )
    assert [run.name for run in study.runs] == ["a-0", "a-1", "a-2", "b-0", "b-1", "b-2"]
    assert [run.group for run in study.runs] == ["a"] * 3 + ["b"] * 3
    configs = [run.settled.config for run in study.runs]
    assert [c.data.seed for c in configs] == [4, 5, 6, 0, 1, 2]
    assert [c.search.seed for c in configs] == [0, 1, 2] * 2
    assert {c.training.seed for c in configs} == {0}
    assert study.runs[1].cells == {"data.seed": 5, "search.seed": 1}


def test_rows_that_differ_in_seeds_alone_are_replicates_too():
    study = plan({"name": "a"}, {"name": "b", "data.seed": 1}, {"name": "c", "data.val": 50})
    assert [run.group for run in study.runs] == ["a", "a", "c"]


def test_without_a_table_the_config_is_the_only_row():
    study = plan_study({"replicates": {"seeds": 2}})
    assert [run.name for run in study.runs] == ["run-0", "run-1"]
    assert study.results == "results"


def test_equal_stages_are_one_folder_made_by_the_first():
    study = plan(
        {"name": "a", "steering.methods": ["caa"]},
        {"name": "b", "steering.methods": ["dac"]},
        {"name": "c", "training.seed": 1},
        {"name": "d", "data.seed": 1},
    )
    a, b, c, d = study.runs
    assert a.folders == b.folders
    assert all(folder.startswith("out/shared/") for folder in a.folders.values())
    assert {stage for stage in a.folders if a.folders[stage] != c.folders[stage]} == {"training"}
    assert {stage for stage in a.folders if a.folders[stage] == d.folders[stage]} == {"depth"}
    assert not {"baseline", "activations", "train_split", "embedded_model"} & {*a.without}
    assert {"baseline", "activations", "train_split", "embedded_model"} <= {*b.without}
    assert "vector" not in b.without  # other directions may be asked for
    assert "trained_vectors" in b.without
    assert "trained_vectors" not in c.without
    shared = {"model_info", "embedded_model", "embedded_model_wheel"}
    assert {*d.without} - {*a.without} == shared
    assert study.takes_turns == {"vector": [f"{name}__vector" for name in "abcd"]}


def test_rules_of_no_use_are_left_out_unless_a_later_run_needs_them():
    study = plan(
        {"name": "a", "steering.directions": ["caa"]},
        {"name": "b", "steering.directions": ["caa", "trained"]},
        {"name": "c", "steering.directions": ["trained"]},
        {"name": "d", "steering.methods": ["iti"]},
    )
    a, b, c, d = ({*run.without} for run in study.runs)
    heads = {"dac_heads", "head_activations", "head_token_means", "iti"}
    assert {"trained_vectors", "gguf_model", "confirmation", "actadd_vectors"} | heads <= a
    assert "trained_vectors" not in b  # a would have made the same, but has no use for it
    assert "trained_vectors" in c
    assert "iti" not in d


def test_gates_share_what_they_do_not_read():
    gates = [{"layer": layer} for layer in (12, 3)]
    study = plan(
        {"name": "a"},
        {"name": "b", "steering.gates": gates[:1]},
        {"name": "c", "steering.gates": ["none", *gates]},
    )
    a, b, c = study.runs
    # Steps with gates are not compiled. The lowest layer that is steered is 12.
    assert {stage for stage in a.folders if a.folders[stage] != b.folders[stage]} == {"unsteered"}
    assert {stage for stage in b.folders if b.folders[stage] != c.folders[stage]} == {"directions"}
    assert "gates" in a.without
    assert "gates" not in {*b.without, *c.without}


def test_copies_of_gguf_models_are_made_once(tmp_path):
    def row(name, file):
        return {"name": name, "model": {"name": str(tmp_path), "gguf_file": file}}

    (tmp_path / "config.json").write_text('{"num_hidden_layers": 30}')
    for file in ("x.gguf", "y.gguf"):
        (tmp_path / file).touch()
    a, b, c = plan(
        row("a", "x.gguf"), {**row("b", "x.gguf"), "data.seed": 1}, row("c", "y.gguf")
    ).runs
    assert "gguf_model" not in a.without
    assert "gguf_model" in b.without
    assert "gguf_model" not in c.without


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "name\tdata.seed\tdata.val\nb\t1\t40\nc\tx\t40\n",
            ["line 3, column 2: data.seed", "integer"],
        ),
        ("name\tsteering.layers\na\t[99]\n", ["line 2", "layer 99"]),
        ("name\tsteering.methods\na\t[cab]\n", ["line 2, column 2: steering.methods"]),
        ("name\tdata.seed\tdata.train\na\t0\t3\n", ["line 2, column 3: data.train is 3"]),
        ("name\tdata.seed\na\t1\nb\t1\n", ["'a' and 'b' have the same config"]),
        ("name\tconfigfile\na\tnone.yaml\n", ["line 2: configfile 'none.yaml' cannot be read"]),
    ],
)
def test_bad_values_are_named_with_line_and_column(tmp_path, text, told):
    path = tmp_path / "runs.tsv"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        plan_study({"runs": str(path)})
    for words in told:
        assert words in str(caught.value)


def test_a_row_may_put_right_what_the_common_config_lacks():
    # The common config alone is not valid: it has no folder.
    [run] = plan({"name": "a", "data.folder": "x"}, data={"source": "folder"}).runs
    assert run.settled.config.data.folder == "x"


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"replicates": {"seeds": 0}, "runs": [{"name": "a"}]}, "replicates.seeds"),
        ({"replicates": {"seeds": 2, "vary": []}}, "replicates.vary"),
        ({"replicates": {"seeds": 2, "vary": ["sead"]}}, "replicates.vary"),
        ({"replicates": {"seeds": 2, "vary": ["generation"]}}, "no token is drawn"),
        ({"runs": 7}, "runs"),
    ],
)
def test_bad_studies(values, told):
    with pytest.raises(UserError, match=told):
        plan_study(values)


def test_replicates_may_vary_in_the_answers_that_are_drawn():
    vary = {"seeds": 2, "vary": ["generation"]}
    drawn = {"generation.temperature": 0.7, "generation.do_sample": True}
    study = plan({"name": "a", **drawn}, replicates=vary)
    assert [run.settled.config.generation.seed for run in study.runs] == [0, 1]


def test_paths_with_variables(tmp_path, monkeypatch):
    monkeypatch.setenv("HERE", str(tmp_path))
    (tmp_path / "chat.yaml").write_text("prompt: {shots: 2}\n")
    (tmp_path / "runs.tsv").write_text("name\tconfigfile\na\t$HERE/chat.yaml\n")
    study = plan_study({"runs": "$HERE/runs.tsv", "results": "${HERE}/out"})
    assert study.results == f"{tmp_path}/out"
    assert study.runs[0].results == f"{tmp_path}/out/runs/a"
    assert study.runs[0].settled.config.prompt.shots == 2
    with pytest.raises(UserError, match="'NOT_SET_ANYWHERE' is not set"):
        plan_study({"runs": "$NOT_SET_ANYWHERE/runs.tsv"})
