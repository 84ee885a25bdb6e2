"""profiles/slurm names the rules that there are, and what it needs is pinned."""

import re
import subprocess
import sys
import tomllib

import yaml
from packaging.requirements import Requirement

from tests.workflow.project import CHECKOUT

PROFILE = yaml.safe_load((CHECKOUT / "profiles" / "slurm" / "config.yaml").read_text("utf-8"))


def rules() -> dict[str, str]:
    """Rules of the workflow with their definitions."""
    files = sorted((CHECKOUT / "workflow" / "rules").glob("*.smk"))
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    parts = re.split(r"^rule (\w+):\n", text, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_rules_that_the_profile_names_exist():
    named = {*PROFILE["set-resources"], *PROFILE["groups"]}
    assert named <= rules().keys()
    assert set(PROFILE["group-components"]) == set(PROFILE["groups"].values())


def test_every_rule_that_is_submitted_has_its_own_memory_and_time():
    submitted = {name: text for name, text in rules().items() if "localrule: True" not in text}
    for name, text in submitted.items():
        resources = PROFILE["set-resources"][name]
        assert "runtime" in resources, name
        # That of a model follows from its weights.
        assert ("mem_mb=model_memory" in text) == ("gpu=" in text) != ("mem_mb" in resources), name
        assert ("slurm_partition" in resources) == ("gpu=" in text), name
        assert ("gpu=" not in text) or name not in PROFILE["groups"], name


def test_the_executor_is_pinned_inside_its_range():
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text("utf-8"))["project"]
    (text,) = project["optional-dependencies"]["slurm"]
    executor = Requirement(text)
    pins = (CHECKOUT / "requirements.txt").read_text("utf-8")
    (version,) = re.findall(rf"^{executor.name}==(\S+)$", pins, re.MULTILINE)
    assert executor.specifier.contains(version)
    assert not executor.specifier.contains("2.7.9")


def test_reading_the_workflow_imports_no_torch():
    """Every SLURM job reads it anew, twice."""
    code = "import snakemake.cli, sys; snakemake.cli.main(['--list-rules'])"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
    )
    modules = set(re.findall(r"\| +([\w.]+)$", done.stderr, re.MULTILINE))
    assert "snakesteer.config.load" in modules, done.stderr[-2000:]
    assert not {"torch", "transformers", "optuna", "sklearn", "datasets"} & modules
