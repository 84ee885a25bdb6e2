"""Runs share a stage only where all is equal that its rules read.

One leaf of the config after the other is changed, and what the rules of each stage are told is
compared: where that changes, the stage's folder must be another.
"""

import json
from pathlib import Path

import pytest
from snakemake.api import SnakemakeApi
from snakemake.settings.types import ConfigSettings, OutputSettings, ResourceSettings

from snakesteer.config import Config, Section
from snakesteer.config.runs import set_key
from snakesteer.errors import UserError
from snakesteer.study.settled import settle
from snakesteer.study.shared import RULES, stage_hashes

SNAKEFILE = Path(__file__).parents[2] / "Snakefile"
pytestmark = pytest.mark.workflow

# Changes that no rule has to hear of by themselves, as the config refuses each alone.
OTHER = {
    "steering.layers": [11, 16],
    "steering.strength": [0.5, 1.5],
    "steering.methods": ["dac"],
    "steering.directions": ["caa"],
    "steering.operators": ["clamp"],
    "steering.scope": "all",
    "steering.gates": [{"layer": 1}],
    "search.sampler": "random",
    "search.pruner": "none",
}


def told(values):
    """What the rules of all stages are told, by rule: parameters, and inputs that are no code."""
    with SnakemakeApi(OutputSettings(verbose=False, quiet=set())) as api:
        workflow = api.workflow(
            resource_settings=ResourceSettings(cores=1),
            config_settings=ConfigSettings(config=values),
            snakefile=SNAKEFILE,
        )._workflow
        return {
            rule.name: json.dumps(
                [
                    {
                        k: v(None) if k == "record" else v
                        for k, v in rule.params.items()
                        if k == "record" or not callable(v)
                    },
                    sorted(
                        str(path)
                        for path in rule.input
                        if not callable(path) and "snakesteer" not in str(path)
                    ),
                    [str(path) for path in rule.output],
                ]
            )
            for rule in workflow.rules
        }


def other_value(key, value, schema):
    if key in OTHER:
        return OTHER[key]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1 if isinstance(value, int) else value * 0.9 + 0.01
    if "enum" in schema:
        return next(option for option in schema["enum"] if option != value)
    return None


def changes():
    """Configs that differ from the default one in one leaf."""
    for name, section in Config():
        if isinstance(section, Section) and name != "replicates":
            schemas = type(section).model_json_schema()["properties"]
            for key, value in section.model_dump(mode="json").items():
                other = other_value(f"{name}.{key}", value, schemas[key])
                if other is not None:
                    values = {}
                    set_key(values, f"{name}.{key}", other)
                    try:
                        settle(values)
                    except UserError:
                        continue
                    yield f"{name}.{key}", values


def hashes(values):
    found = settle(values)
    return stage_hashes(found.config, found.engine, found.layers, found.planned_tokens)


def test_a_stage_is_another_where_its_rules_are_told_something_else(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before, stages = told({}), hashes({})
    assert {rule for rules in RULES.values() for rule in rules} <= {*before}
    seen, parted = [], set()
    for key, values in changes():
        seen.append(key)
        after, there = told(values), hashes(values)
        for stage, rules in RULES.items():
            if any(after[rule] != before[rule] for rule in rules):
                assert there[stage] != stages[stage], (key, stage)
                parted.add(stage)
    assert len(seen) > 60, seen
    assert {"steering.scope", "steering.layers", "search.n_trials", "search.chunk_size"} <= {*seen}
    assert parted == {*RULES}
