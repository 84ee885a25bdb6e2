"""The generated files say what the classes say, and the overlays fit on top of them."""

import difflib
import json
from itertools import pairwise
from pathlib import Path

import jsonschema
import pytest
import yaml
from snakemake.utils import update_config

from snakesteer.config import Config, gates_of
from snakesteer.config.files import config_reference, config_schema, config_yaml
from snakesteer.config.gates import settled_gates
from snakesteer.config.layers import resolve_layers
from snakesteer.config.load import load_config
from snakesteer.models.depth import depth_before_download
from snakesteer.search.grid import check_sampler, grid_points
from snakesteer.steering.space import check_parts

FOLDER = Path(__file__).parents[3] / "config"
OVERLAYS = sorted(
    path.relative_to(FOLDER).as_posix()
    for path in FOLDER.rglob("*.yaml")
    if path.name != "config.yaml"
)


def merged(name: str) -> dict:
    """config.yaml with an overlay, as Snakemake merges them."""
    values = yaml.safe_load((FOLDER / "config.yaml").read_text())
    update_config(values, yaml.safe_load((FOLDER / name).read_text()))
    return values


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("config/config.yaml", config_yaml()),
        ("config/schema.json", config_schema()),
        ("docs/config.md", config_reference()),
    ],
)
def test_files_are_up_to_date(name, wanted):
    found = (FOLDER.parent / name).read_text(encoding="utf-8")
    diff = difflib.unified_diff(
        found.splitlines(), wanted.splitlines(), name, "generated", lineterm=""
    )
    assert found == wanted, "\n".join(
        ["run python -m snakesteer.config.files, or undo your edit:", *diff]
    )


def test_the_generated_yaml_is_the_default_config():
    values = yaml.safe_load(config_yaml())
    assert load_config(values) == Config()
    assert values == Config().model_dump(mode="json")


def test_every_key_is_explained_above_it():
    lines = config_yaml().splitlines()
    for above, line in pairwise(lines):
        if ":" in line and not line.lstrip().startswith("#"):
            assert above.lstrip().startswith("# "), line
    assert max(map(len, lines)) <= 100


def test_the_reference_names_every_key_with_its_values():
    lines = config_reference().splitlines()
    for section, values in Config().model_dump(mode="json").items():
        assert (f"## `{section}`" in lines) == isinstance(values, dict)
        for key in values if isinstance(values, dict) else [section]:
            assert any(line.startswith(f"| `{key}` | ") for line in lines), key
    assert "| `c` | `1.0` | number > 0.0 | Inverse regularisation strength. |" in lines
    assert any("| `auto`, `always`, `never` |" in line for line in lines)
    assert all(line.count("|") - line.count("\\|") == 5 for line in lines if line[:1] == "|")


def test_line_breaks_are_escaped():
    assert '  template: "Question: {question}\\nAnswer:"\n' in config_yaml()
    assert '  separator: "\\n\\n"\n' in config_yaml()


def test_the_schema_accepts_the_files_and_refuses_a_typing_error():
    schema = json.loads(config_schema())
    jsonschema.validate(yaml.safe_load(config_yaml()), schema)
    for name in OVERLAYS:
        jsonschema.validate(yaml.safe_load((FOLDER / name).read_text()), schema)
    with pytest.raises(jsonschema.ValidationError, match="ntrials"):
        jsonschema.validate({"search": {"ntrials": 3}}, schema)


@pytest.mark.parametrize("name", OVERLAYS)
def test_overlays_load_and_hold_only_what_differs(name):
    config = load_config(merged(name))
    assert config.results == f"results/{Path(name).stem}"
    assert config.data.source == ("folder" if name == "gsm8k-folder.yaml" else "hub")
    resolve_layers(config.steering.layers, depth_before_download(config.model))
    default = Config().model_dump(mode="json")
    for group, keys in yaml.safe_load((FOLDER / name).read_text()).items():
        if isinstance(keys, dict):
            for key, value in keys.items():
                assert value != default[group][key], f"{group}.{key} is the default"


def sizes(config: Config) -> tuple[int, int, int]:
    return config.data.train, config.data.val, config.data.test


def layers(config: Config) -> list[int]:
    return resolve_layers(config.steering.layers, config.model.num_layers)


def test_minimal():
    config = load_config(merged("gsm8k-minimal.yaml"))
    assert sizes(config) == (20, 20, 20)
    assert layers(config) == [10]
    assert config.steering.methods == ["caa"]
    assert (config.steering.unit, config.steering.strength) == ("alpha", (0.0, 0.3))
    assert config.generation.max_new_tokens == 128
    assert config.search.n_trials == 8


def test_debug():
    config = load_config(merged("gsm8k-debug.yaml"))
    assert sizes(config) == (10, 10, 10)
    assert layers(config) == [8, 9, 10, 11, 12]
    assert config.search.n_trials == 3


def test_full():
    config = load_config(merged("gsm8k-full.yaml"))
    assert sizes(config) == (500, 319, 1000)  # all 1319 problems of the test part
    assert config.search.n_trials == 50
    assert config.steering.methods == ["caa", "dac"]


@pytest.mark.parametrize("mode", ["minimal", "debug", "full"])
def test_rho_is_asked_as_it_was_trained(mode):
    config = load_config(merged(f"gsm8k-{mode}.yaml"))
    assert config.model.name == "realtreetune/rho-1b-sft-GSM8K"
    assert config.model.num_layers == 22
    assert config.data.validation_from == "test"  # it knows the problems of the train part
    prompt = config.prompt
    assert prompt.template == "[MATH_TASK] Problem:\n{question}\n\nSolution:"
    assert prompt.answer_template == "\n{answer}"
    assert (prompt.shots, prompt.bos, prompt.stop) == (0, "always", ["\n\n\nProblem:"])


def test_base_model():
    config = load_config(merged("gsm8k-gpt-neo.yaml"))
    assert (config.model.name, config.model.num_layers) == ("EleutherAI/gpt-neo-1.3B", 24)
    assert config.prompt.template == "Question: {question}\nAnswer:"
    assert config.prompt.shots == 4
    assert config.generation.max_new_tokens == 256


def test_chat_model():
    config = load_config(merged("gsm8k-dialogpt.yaml"))
    assert (config.model.name, config.model.num_layers) == ("microsoft/DialoGPT-medium", 24)
    assert config.prompt.template.endswith("<|endoftext|>")
    assert config.generation.max_new_tokens < 1024 / 2


def test_the_example_of_the_readme_loads():
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    example = yaml.safe_load(readme.split("```yaml")[1].split("```")[0])
    assert load_config(example).results == "results/my-model"
    for name in OVERLAYS:
        assert f"`{name}`" in readme


def recipe(word):
    """The YAML of docs/methods.md that has a word."""
    methods = (FOLDER.parent / "docs" / "methods.md").read_text(encoding="utf-8")
    [found] = [part for part in methods.split("```")[1::2] if word in part]
    return yaml.safe_load(found.removeprefix("yaml"))


def test_the_recipe_of_gates_loads():
    config = load_config(recipe("gates:"))
    settled = settled_gates(config.steering, [12, 18], 30)
    assert [gate.name for gate in gates_of(settled)] == [
        "token cosine caa layer 12 above 0.5",
        "token projection probe layer 12 below 0.3",
        "prompt cosine caa layer 9 above 0.5",
    ]


def test_the_example_of_several_vectors_loads():
    config = load_config(recipe("together:"))
    check_parts(config.steering, config.steering.layers)
    assert [part.operator for part in config.steering.together] == ["add", "clamp", "add"]


def test_the_recipe_of_dac_as_published_loads():
    """Its grid is no steering, and the authors' strength at both ends of their top-p."""
    config = load_config(recipe("# dac-as-published.yaml"))
    check_sampler(config.search, config.steering, (1, 2))
    points = grid_points(config.search, config.steering, (1, 2))
    assert len(points) + 1 == config.search.n_trials
    assert {(p["steering_alpha"], p["max_alpha"]) for p in points} == {(1.0, 2.0)}
    assert {p["ptop"] for p in points} == {0.4, 0.95}
    assert {p["steering_method"] for p in points} == {"dac_heads"}
    assert config.steering.dac_kl == "per_token"
