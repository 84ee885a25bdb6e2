"""Every rule declares as its code what its script imports: held against Python's own finder."""

import modulefinder
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from snakesteer.config.catalogue import METHODS
from snakesteer.records.code_files import PLUMBING
from tests.workflow.graph import Job, graph
from tests.workflow.project import CHECKOUT, CONFIG, Project

pytestmark = pytest.mark.workflow

EXPORTS = (
    "manifest.json",
    "steering_vector.json",
    "control_vector.gguf",
    "lm_eval_steering.pt",
    "easysteer.json",
)
ADJUSTED = {"remove_token_means": True}
# Together they plan every rule.
RUNS = {
    "everything on request": (
        ["all", "vectors", "results/checks/model_check.json", "results/figures/sensitivity.svg"]
        + [f"results/export/{file}" for file in EXPORTS],
        {
            "pairs": {"kind": "model_correct_vs_wrong", "read": "last_token"} | ADJUSTED,
            "steering": {
                "methods": ["dac"],
                "directions": ["caa", "file"],
                "vector_file": "problems/train.jsonl",
            },
            "sensitivity": {"methods": ["caa"]},  # not among those of the search
        },
    ),
    "all methods": (
        ["all"],
        {
            "steering": {
                "methods": [*METHODS],
                "actadd_prompts": ["Good", "Bad"],
                "together": [{"direction": "caa", "layer": 1}, {"direction": "probe", "layer": 2}],
            },
            "heads": {"examples": 2},
            "pairs": ADJUSTED,
        },
    ),
    "trained vectors": (
        ["all"],
        {
            "steering": {"directions": ["trained"]},
            "training": {"objective": "preference"},
            "search": {"confirm": 0.5},
        },
    ),
    "the embedded model": (["all"], {"model": {"name": "embedded"}}),
    "a GGUF file": (["vectors"], {"model": {"name": "some/model", "gguf_file": "q4.gguf"}}),
}


def scripts() -> dict[str, str]:
    """Rule → its script, from the rule files; a rule that uses another has that one's."""
    found: dict[str, str] = {}
    for path in sorted((CHECKOUT / "workflow" / "rules").glob("*.smk")):
        for block in re.split(r"(?m)^(?=rule |checkpoint |use rule )", path.read_text("utf-8")):
            own = re.match(r"(?:rule|checkpoint) (\w+):", block)
            script = re.search(r"\.\./scripts/(\w+)\.py", block)
            if own and script:
                found[own[1]] = script[1]
            if (used := re.match(r"use rule (\w+) as (\w+) with:", block)) is not None:
                found[used[2]] = found[used[1]]
    return found


@cache
def imported(script: str, chosen: frozenset[str] = frozenset()) -> set[str]:
    """Library files that Python finds behind a script; plumbing stops the search.

    Args:
        script: Its name.
        chosen: Modules that the run imports by name; they count where their package is reached.
    """
    finder = modulefinder.ModuleFinder([str(CHECKOUT)], excludes=sorted(PLUMBING))
    finder.run_script(str(CHECKOUT / "workflow" / "scripts" / f"{script}.py"))
    for module in sorted(chosen):
        file = CHECKOUT.joinpath(*module.split(".")).with_suffix(".py")
        if module.rpartition(".")[0] in finder.modules and file.exists():
            finder.import_hook(module)
    files = [Path(m.__file__) for m in finder.modules.values() if m.__file__]
    inside = [path for path in files if CHECKOUT / "snakesteer" in path.parents]
    return library(path.relative_to(CHECKOUT).as_posix() for path in inside)


def chosen_by(job: Job, overlay: Mapping[str, Any]) -> frozenset[str]:
    """Modules that a job imports by name: of its direction, and of the run's methods."""
    steering = {**CONFIG["steering"], **overlay.get("steering", {})}
    methods = set(steering["methods"])
    if job.rule == "sensitivity_grid":
        methods |= set(overlay.get("sensitivity", {}).get("methods", ["caa"]))
    directions = [
        direction
        for direction in steering["directions"]
        if job.rule == "vector" and any(f"/vectors/{direction}/" in path for path in job.outputs)
    ]
    return frozenset(
        [f"snakesteer.steering.methods.{name}" for name in methods]
        + [f"snakesteer.report.methods.{name}" for name in methods]
        + [f"snakesteer.vectors.directions.{name}" for name in directions]
    )


def library(paths: Iterable[str]) -> set[str]:
    """Python files of the library, but for packages that only say what they are.

    Python passes every package on the way to a module, that of the library itself first.
    """

    def counts(path: str) -> bool:
        text = (CHECKOUT / path).read_text("utf-8")
        package = path.endswith("__init__.py")
        return not package or re.search(r"^(from|import|def) ", text, re.M) is not None

    own = {path for path in paths if re.fullmatch(r"snakesteer/.+\.py", path)}
    return {path for path in own - {"snakesteer/__init__.py"} if counts(path)}


@pytest.fixture(scope="module")
def jobs(fresh: Project) -> dict[str, list[Job]]:
    return {
        name: graph(fresh, *targets, overlay=overlay) for name, (targets, overlay) in RUNS.items()
    }


def test_every_rule_with_a_script_is_planned(jobs: dict[str, list[Job]]):
    planned = {job.rule for found in jobs.values() for job in found}
    assert scripts().keys() <= planned
    assert len(scripts()) > 25


def test_a_rule_has_the_code_that_its_script_imports_and_no_other(jobs: dict[str, list[Job]]):
    by_rule = scripts()
    for name, found in jobs.items():
        for job in (one for one in found if one.rule in by_rule):
            wanted = imported(by_rule[job.rule], chosen_by(job, RUNS[name][1]))
            assert library(job.inputs) == wanted, job.rule
