"""What is written says and does what was chosen; what cannot be said is refused."""

from dataclasses import replace

import gguf
import numpy as np
import pytest
from safetensors.numpy import load_file

from snakesteer.errors import UserError
from snakesteer.records.code_files import PACKAGE, imported_files
from snakesteer.records.files import read_json, sha256_file
from snakesteer.records.tensors import read_tensors
from snakesteer.report.exports.easysteer import apply_spec
from snakesteer.report.exports.files import FILES
from snakesteer.report.exports.formats import FORMATS, check, export_manifest
from snakesteer.vectors.imported import read_user_vector
from tests.tiny_models import HIDDEN
from tests.unit.report.exports.chosen import BAND, LAYERS, MEANS, RAW, candidate, make_chosen

ALL = {"canonical", "control_vector", "lm_eval", "easysteer"}
DAC = {"method": "dac", "schedule": "dynamic", "entropy_threshold": 0.0}
DAC |= {"ptop": 0.4, "max_alpha": 2.0, "probe_alpha": 2.0}
HEADS = {"method": "iti", "scope": "from_last_prompt_token", "schedule": "fixed", "after": "hold"}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """All formats of a band of two layers."""
    folder = tmp_path_factory.mktemp("export")
    chosen = make_chosen(folder, BAND)
    for format_ in FORMATS.values():
        format_.write(folder, chosen)
    return folder


def test_files_are_those_announced(written):
    names = {path.name for path in written.iterdir() if path.is_file()}
    announced = {file for files in FILES.values() for file in files}
    assert names - {"best.json", "results.json", "info.json", "pairs.jsonl"} == announced
    assert set(FILES) == set(FORMATS) == ALL


def test_the_canonical_form_holds_raw_vectors_and_a_card(written):
    tensors = load_file(written / "steering_vector.safetensors")
    assert set(tensors) == {"layer_1", "layer_3"}
    for layer, raw in RAW.items():
        np.testing.assert_array_equal(tensors[f"layer_{layer}"], raw)
    card = read_json(written / "steering_vector.json")
    assert read_tensors(written / "steering_vector.safetensors", "layer_1")[1] == card
    assert card["model"]["model_type"] == "llama"
    assert card["model"]["hidden_size"] == HIDDEN
    assert {layer: row["alpha"] for layer, row in card["layers"].items()} == {"1": 1.5, "3": -0.7}
    assert card["layers"]["3"]["norm"] == pytest.approx(np.linalg.norm(RAW[3]))
    assert card["layers"]["3"]["mean_residual_norm"] == 10.0
    assert card["configuration"] == BAND.params()
    assert card["prompt"] == {"template": "Question: {question}\nAnswer:"}
    assert (card["pairs"]["count"], card["pairs"]["kind"]) == (2, "gold_vs_corrupted")
    assert card["pairs"]["sha256"] == sha256_file(written / "pairs.jsonl")
    assert card["test"]["accuracy_improvement_ci"] == [-0.01, 0.05]
    assert card["validation"]["best_validation_score"] == 0.6
    assert card["validation"]["recommendation"] == "leave alone"
    assert card["test"]["verdict"] == "inconclusive"
    assert (card["seed"], card["operator"]) == (7, "add")
    assert card["strength"] == "alpha times the tensor is added"


def test_the_canonical_form_of_a_rotation_holds_its_plane(tmp_path):
    chosen = make_chosen(tmp_path, replace(BAND, operator="rotate"))
    FORMATS["canonical"].write(tmp_path, chosen)
    tensors = load_file(tmp_path / "steering_vector.safetensors")
    assert set(tensors) == {f"{name}_{layer}" for name in ("layer", "axis") for layer in LAYERS}
    for layer in LAYERS:
        np.testing.assert_array_equal(tensors[f"axis_{layer}"], MEANS[layer])
        again = read_user_vector(tmp_path / "steering_vector.safetensors", layer, HIDDEN)
        np.testing.assert_array_equal(again, RAW[layer])
    angles = [row["alpha"] for row in chosen.card["layers"].values()]
    lengths = [np.linalg.norm(RAW[layer]) / 10.0 for layer in LAYERS]
    assert angles == pytest.approx([1.5 * lengths[0], -0.7 * lengths[1]])
    assert "axis_L" in chosen.card["strength"]


def test_the_card_says_that_the_strength_of_dac_is_dynamic(tmp_path):
    card = make_chosen(tmp_path, candidate(**DAC)).card
    assert card["strength"].startswith("alpha times alpha_t times the tensor is added")
    assert {"ptop", "max_alpha", "probe_alpha"} <= set(card["configuration"])
    assert "licence" in card


def test_llama_cpp_reads_one_float32_tensor_per_layer(written):
    reader = gguf.GGUFReader(written / "control_vector.gguf")
    assert reader.get_field("general.architecture").contents() == "controlvector"
    assert reader.get_field("controlvector.model_hint").contents() == "llama"
    assert reader.get_field("controlvector.layer_count").contents() == 2
    assert [tensor.name for tensor in reader.tensors] == ["direction.1", "direction.3"]
    for tensor, alpha in zip(reader.tensors, BAND.band_alphas, strict=True):
        assert tensor.tensor_type == gguf.GGMLQuantizationType.F32
        assert tensor.shape.tolist() == [HIDDEN]
        layer = int(tensor.name.removeprefix("direction."))
        np.testing.assert_array_equal(tensor.data, np.float32(alpha) * RAW[layer])


def test_exports_come_back_through_the_direction_file(written):
    for layer, alpha in zip(LAYERS, BAND.band_alphas, strict=True):
        raw = read_user_vector(written / "steering_vector.safetensors", layer, HIDDEN)
        np.testing.assert_array_equal(raw, RAW[layer])
        scaled = read_user_vector(written / "control_vector.gguf", layer, HIDDEN)
        np.testing.assert_array_equal(scaled, np.float32(alpha) * RAW[layer])


def test_easysteer_names_its_vectors_relative_to_the_specification(written):
    [vector] = read_json(written / "easysteer.json")["vectors"]
    assert vector["apply"] == {"prompt": "all", "generation": "all"}
    assert (vector["algorithm"], vector["scale"], vector["normalize"]) == ("direct", 1.0, False)
    for layer, alpha in zip(vector["layers"], BAND.band_alphas, strict=True):
        found = read_user_vector(written / vector["source"], layer, HIDDEN)
        np.testing.assert_array_equal(found, np.float32(alpha) * RAW[layer])


def positions(spec, prompt, generated):
    """What an ApplySpec selects, after its documentation: the union of all that is named."""
    assert spec.keys() <= {"prompt", "generation", "prompt_positions", "generation_window"}
    chosen = set(range(prompt)) if spec.get("prompt") == "all" else set()
    chosen |= {position % prompt for position in spec.get("prompt_positions", [])}
    start, stop = spec.get("generation_window", (0, 0))
    steps = range(generated) if spec.get("generation") == "all" else range(start, stop)
    return chosen | {prompt + step for step in steps if step < generated}


@pytest.mark.parametrize(
    "scope",
    [
        {"scope": "all"},
        {"scope": "from_last_prompt_token"},
        {"scope": "generated_only"},
        {"scope": "last_prompt_token"},
        {"scope": "first_k", "first_k": 1},
        {"scope": "first_k", "first_k": 2},
        {"scope": "first_k", "first_k": 5},
        {"scope": "generated_window", "generated_window": (0, 2)},
        {"scope": "generated_window", "generated_window": (2, 5)},
    ],
)
def test_easysteer_steers_the_positions_of_the_scope(tmp_path, scope):
    found = candidate(**scope)
    steering = make_chosen(tmp_path, found).steering
    expected = {4 + step for step in range(8) if steering.steers_step(step)}
    expected |= set(range(5)) if steering.steers_prompt else set()
    # Of 5 prompt tokens, the last is step 0; 7 generated tokens are read again.
    assert positions(apply_spec(found), prompt=5, generated=7) == expected


def test_norms_are_kept_by_easysteer_where_they_were(tmp_path):
    FORMATS["easysteer"].write(
        tmp_path, make_chosen(tmp_path, candidate(operator="norm_preserving"))
    )
    assert read_json(tmp_path / "easysteer.json")["vectors"][0]["normalize"] is True


@pytest.mark.parametrize(
    ("changes", "held", "reason"),
    [
        ({}, ALL, None),
        ({"scope": "from_last_prompt_token"}, {"canonical", "easysteer"}, "the scope is from_last"),
        ({"scope": "first_k", "first_k": 3}, {"canonical", "easysteer"}, "scope is first_k"),
        (
            {"scope": "generated_window", "generated_window": (2, 5)},
            {"canonical", "easysteer"},
            "the scope is generated_window, and the tool steers every token",
        ),
        (
            {"scope": "outside_generated_window", "generated_window": (2, 5)},
            {"canonical"},
            "the scope is outside_generated_window, and ",
        ),
        (
            {"scope": "at_tokens", "at_tokens": r"\n\n$"},
            {"canonical"},
            "the scope is at_tokens, and ",
        ),
        (
            {"scope": "not_at_tokens", "at_tokens": (7,)},
            {"canonical"},
            "the scope is not_at_tokens, and ",
        ),
        ({"operator": "clamp"}, {"canonical", "lm_eval"}, "operator is clamp, and the format"),
        ({"operator": "norm_preserving"}, {"canonical", "easysteer"}, "is norm_preserving"),
        ({"operator": "angular"}, {"canonical"}, "operator is angular"),
        ({"operator": "ablate"}, {"canonical"}, "operator is ablate, and the format has add"),
        ({"operator": "rotate"}, {"canonical"}, "operator is rotate"),
        ({"layer": 0}, ALL - {"control_vector"}, "steers layer 0"),
        ({"band_layers": (0, 1), "band_alphas": (1.0, 1.0)}, ALL - {"control_vector"}, "layer 0"),
        (DAC, {"canonical"}, "dac sets the strength anew at every token"),
        (HEADS, set(), "the method iti steers attention heads"),
        ({"method": "together", "beside": (candidate(),)}, set(), "does several things at once"),
        ({"method": "actadd"}, set(), "a vector for each of the prompt's first positions"),
    ],
)
def test_what_a_format_cannot_hold_is_refused_with_the_reason(changes, held, reason):
    found = candidate(**changes)
    listed = export_manifest({"best_trial_params": found.params()})
    assert listed["configuration"] == found.params()
    assert set(listed["written"]) == held
    assert set(listed["refused"]) == ALL - held
    for name in FORMATS:
        if name in held:
            assert listed["written"][name]["files"] == list(FILES[name])
            check(name, found)
        else:
            assert reason in listed["refused"][name]
            with pytest.raises(UserError, match=reason.split()[-1]):
                check(name, found)


def test_formats_depend_on_no_engine():
    script = PACKAGE.parent / "workflow" / "scripts" / "export.py"
    names = [path.as_posix() for path in imported_files(script)]
    assert not any("/engine/" in name for name in names)
