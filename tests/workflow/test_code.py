"""Every rule declares as its code what its script imports: held against Python's own finder."""

import modulefinder
import os
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from snakemake.api import SnakemakeApi
from snakemake.settings.types import ConfigSettings, OutputSettings, ResourceSettings

from snakesteer.config.catalogue import METHODS
from snakesteer.records.code_files import PLUMBING, fingerprint, imported_files
from tests.workflow.project import CHECKOUT, CONFIG, Project

pytestmark = pytest.mark.workflow

ADJUSTED = {"remove_token_means": True}
# Together they have every rule.
RUNS: dict[str, dict[str, Any]] = {
    "the project's": {
        "steering": {
            "methods": ["dac"],
            "directions": ["caa", "file"],
            "vector_file": "problems/train.jsonl",
        },
        "pairs": {"kind": "model_correct_vs_wrong", "read": "last_token"} | ADJUSTED,
        "sensitivity": {"methods": ["caa"]},  # not among those of the search
    },
    "all methods": {
        "steering": {
            "methods": [*METHODS],
            "actadd_prompts": ["Good", "Bad"],
            "together": [{"direction": "caa", "layer": 1}, {"direction": "probe", "layer": 2}],
        },
        "heads": {"examples": 2},
        "pairs": ADJUSTED,
    },
    "trained vectors": {
        "steering": {"directions": ["trained"], "unit": "kl"},
        "training": {"objective": "preference"},
        "search": {"confirm": 0.5, "objectives": ["accuracy", "kl"]},
    },
    "the embedded model": {"model": {"name": "embedded"}},
    "a GGUF file": {"model": {"name": "some/model", "gguf_file": "q4.gguf"}},
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


def path_of(script: str) -> Path:
    return CHECKOUT / "workflow" / "scripts" / f"{script}.py"


@cache
def found_by_python(script: str, chosen: frozenset[str] = frozenset()) -> set[str]:
    """Library files that Python finds behind a script; plumbing stops the search.

    Args:
        script: Its name.
        chosen: Modules that the run imports by name; they count where their package is reached.
    """
    finder = modulefinder.ModuleFinder([str(CHECKOUT)], excludes=sorted(PLUMBING))
    finder.run_script(str(path_of(script)))
    for module in sorted(chosen):
        file = CHECKOUT.joinpath(*module.split(".")).with_suffix(".py")
        if module.rpartition(".")[0] in finder.modules and file.exists():
            finder.import_hook(module)
    return library(Path(m.__file__) for m in finder.modules.values() if m.__file__)


def library(paths: Iterable[Path]) -> set[str]:
    """Python files of the library, but for packages that only say what they are.

    Python passes every package on the way to a module, that of the library itself first.
    """

    def counts(path: str) -> bool:
        text = (CHECKOUT / path).read_text("utf-8")
        package = path.endswith("__init__.py")
        return not package or re.search(r"^(from|import|def) ", text, re.M) is not None

    inside = [path for path in paths if CHECKOUT / "snakesteer" in path.parents]
    own = {path.relative_to(CHECKOUT).as_posix() for path in inside}
    return {path for path in own - {"snakesteer/__init__.py"} if counts(path)}


def chosen_by(rule: str, name: str, direction: str | None = None) -> dict[str, list[str]]:
    """Packages whose modules a rule imports by name, with those of a run: its methods mostly."""
    overlay = RUNS[name]
    methods = {*{**CONFIG["steering"], **overlay.get("steering", {})}["methods"]}
    if rule == "sensitivity_grid":
        methods |= {*overlay.get("sensitivity", {}).get("methods", ["caa"])}
    chosen = {"steering.methods": sorted(methods), "report.methods": sorted(methods)}
    return chosen if direction is None else {**chosen, "vectors.directions": [direction]}


@pytest.fixture(scope="module")
def declared(fresh: Project) -> dict[str, dict[str, Any]]:
    """Run → rule → its parameter `code`, which may be a function of wildcards."""
    before, found = Path.cwd(), {}
    os.chdir(fresh.folder)
    try:
        for name, overlay in RUNS.items():
            with SnakemakeApi(OutputSettings(verbose=False, quiet=set())) as api:
                rules = api.workflow(
                    resource_settings=ResourceSettings(cores=1),
                    config_settings=ConfigSettings(config=overlay),
                    snakefile=fresh.folder / "Snakefile",
                )._workflow.rules
                found[name] = {rule.name: dict(rule.params.items()).get("code") for rule in rules}
    finally:
        os.chdir(before)
    return found


def test_every_rule_with_a_script_is_there(declared: dict[str, dict[str, Any]]):
    assert scripts().keys() <= {rule for rules in declared.values() for rule in rules}
    assert len(scripts()) > 25


def test_a_rule_declares_the_code_of_its_own_script(declared: dict[str, dict[str, Any]]):
    by_rule = scripts()
    for name, rules in declared.items():
        for rule in rules.keys() & by_rule.keys():
            for direction in ("caa", "probe") if callable(rules[rule]) else (None,):
                code = rules[rule]
                if direction is not None:
                    code = code(SimpleNamespace(direction=direction))
                wanted = fingerprint(path_of(by_rule[rule]), chosen_by(rule, name, direction))
                assert code == wanted, (name, rule)


@pytest.mark.parametrize("script", sorted({*scripts().values()}))
def test_it_is_what_python_finds(script: str):
    for direction in ("caa", "pca") if script == "vector" else (None,):
        for name in RUNS:
            chosen = chosen_by(script, name, direction)
            modules = frozenset(
                f"snakesteer.{k}.{one}" for k, names in chosen.items() for one in names
            )
            ours = library(imported_files(path_of(script), chosen))
            assert ours == found_by_python(script, modules), name
