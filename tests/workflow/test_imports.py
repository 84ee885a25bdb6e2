"""Which heavy packages a script imports before it begins: no job pays for what it does not use."""

import ast
import json
import subprocess
import sys

import pytest

from tests.workflow.project import CHECKOUT

SCRIPTS = CHECKOUT / "workflow" / "scripts"
HEAVY = {
    *("altair", "datasets", "matplotlib", "optuna", "pandas", "scipy", "sklearn", "sqlalchemy"),
    *("lm_eval", "statsmodels", "torch", "transformers", "vllm"),
}
MODEL = {"torch", "transformers", "scipy"}  # transformers looks into scipy
LEARN = {"sklearn", "scipy", "pandas"}  # scikit-learn imports both
STUDY = {"optuna", "sqlalchemy"}
# What each group may import; whatever else is heavy, none of its scripts does.
ALLOWED: dict[tuple[str, ...], set[str]] = {
    (
        *("contrast_pairs", "embedded_model_wheel", "official_data", "provenance"),
        *("test_final", "test_split", "train_split", "val_split"),
    ): set(),
    ("sensitivity",): {"altair"},
    ("head_token_means", "imported_vector", "iti", "probe", "token_means", "vector"): LEARN,
    ("best_config", "trials"): STUDY | {"torch", "scipy", "pandas"},
    # Optuna's importances come from scikit-learn.
    ("report", "study_summary"): STUDY | LEARN | {"altair", "statsmodels"},
    (
        *("activations", "baseline", "dac_heads", "embedded_model", "export", "export_manifest"),
        *("gates", "gguf_file", "gguf_model", "head_activations", "kl_strengths", "model_check"),
        *("model_info", "own_solutions", "trained_vectors", "zero_steering"),
    ): MODEL,
    ("confirmation", "search"): MODEL | STUDY,
    ("sensitivity_grid",): MODEL | {"pandas"},
    ("actadd_vectors", "controls", "off_target", "test_evaluation"): MODEL
    | LEARN
    | {"statsmodels"},
    ("harness",): MODEL | LEARN | {"datasets", "lm_eval", "statsmodels"},
}
TOLD = "\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))\n"


def test_every_script_has_its_row():
    named = [name for group in ALLOWED for name in group]
    assert sorted(named) == sorted(path.stem for path in SCRIPTS.glob("*.py"))


@pytest.mark.parametrize("group", ALLOWED, ids=lambda group: group[0])
def test_scripts_import_what_they_need(group: tuple[str, ...]):
    if group == ("harness",):
        pytest.importorskip("lm_eval", reason="lm_eval is not installed")
    imports = [
        ast.unparse(node)
        for name in group
        for node in ast.parse((SCRIPTS / f"{name}.py").read_text("utf-8")).body
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    command = [sys.executable, "-c", "\n".join(imports) + TOLD]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    loaded = HEAVY & set(json.loads(done.stdout.splitlines()[-1]))
    assert loaded <= ALLOWED[group]
