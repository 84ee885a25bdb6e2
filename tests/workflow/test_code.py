"""Every rule declares as its code what its script imports: held against Python's own finder."""

import modulefinder
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest

from snakesteer.records.code_files import PLUMBING
from tests.workflow.graph import Job, graph
from tests.workflow.project import CHECKOUT, Project

pytestmark = pytest.mark.workflow

EXPORTS = (
    "manifest.json",
    "steering_vector.json",
    "control_vector.gguf",
    "lm_eval_steering.pt",
    "easysteer.json",
)
# Together they plan every rule.
RUNS = {
    "everything on request": (
        ["all", "vectors", "results/checks/model_check.json", "results/figures/sensitivity.svg"]
        + [f"results/export/{file}" for file in EXPORTS],
        {
            "pairs": {"kind": "model_correct_vs_wrong"},
            "steering": {"directions": ["caa", "file"], "vector_file": "problems/train.jsonl"},
        },
    ),
    "all methods": (
        ["all"],
        {
            "steering": {
                "methods": ["caa", "dac", "actadd", "dac_heads", "iti"],
                "actadd_prompts": ["Good", "Bad"],
            },
            "heads": {"examples": 2},
        },
    ),
    "the embedded model": (["all"], {"model": {"name": "embedded"}}),
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
        chosen: Modules that are imported by name at run time.
    """
    finder = modulefinder.ModuleFinder([str(CHECKOUT)], excludes=sorted(PLUMBING))
    finder.run_script(str(CHECKOUT / "workflow" / "scripts" / f"{script}.py"))
    for module in chosen:
        finder.import_hook(module)
    files = [Path(m.__file__) for m in finder.modules.values() if m.__file__]
    inside = [path for path in files if CHECKOUT / "snakesteer" in path.parents]
    return library(path.relative_to(CHECKOUT).as_posix() for path in inside)


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
    for job in (one for found in jobs.values() for one in found if one.rule in by_rule):
        chosen = frozenset(
            f"snakesteer.vectors.directions.{direction}"
            for direction in ("caa", "probe")
            if job.rule == "vector"
            and any(f"/vectors/{direction}/" in path for path in job.outputs)
        )
        assert library(job.inputs) == imported(by_rule[job.rule], chosen), job.rule
