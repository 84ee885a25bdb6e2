"""From a table to the runs of a study: their configs, their folders, and what they share."""

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from snakesteer.config import Config, ReplicatesConfig
from snakesteer.config.load import check_config, overlaid
from snakesteer.config.runs import SEEDS, set_key
from snakesteer.errors import UserError
from snakesteer.models.copies import gguf_copy_name
from snakesteer.records.paths import expanded
from snakesteer.study.settled import Settled, settle
from snakesteer.study.shared import (
    EMBEDDED_RULES,
    GGUF_RULES,
    RULES,
    idle_rules,
    stage_hashes,
)
from snakesteer.study.table import CONFIGFILE, PREDICTS, Row, identifier, read_table, refuse

# Runs may ask for different directions of the same activations: none leaves these to another.
TAKES_TURNS = {"vector"}


@dataclass(frozen=True, eq=False)
class PlannedRun:
    """One run of a study.

    Attributes:
        name: Its folder.
        group: Name of the first row of the table whose runs differ from it in seeds alone.
        values: The whole config, as a single run would read it.
        settled: The same, checked.
        cells: What the table and the replicates say of it, by config key.
        folders: Of each stage, for Snakemake's ``pathvars``.
        without: Rules that it has no use for, or whose files a run before it makes.
    """

    name: str
    group: str
    values: Mapping[str, Any]
    settled: Settled
    cells: Mapping[str, Any]
    folders: Mapping[str, str]
    without: tuple[str, ...]

    @property
    def rules(self) -> str:
        """What the names of the run's rules begin with."""
        return f"{identifier(self.name)}__"

    @property
    def told(self) -> dict[str, str | int | float]:
        """Its cells, each as one value."""
        return {
            key: value if isinstance(value, str | int | float) else json.dumps(value)
            for key, value in self.cells.items()
        }

    @property
    def results(self) -> str:
        """The run's own folder."""
        return self.settled.config.results


@dataclass(frozen=True, eq=False)
class Study:
    """All runs, in the order of the table, replicates behind one another."""

    results: str
    runs: tuple[PlannedRun, ...]

    @property
    def takes_turns(self) -> dict[str, list[str]]:
        """Rules that several runs have for the same files, by their name; the first one counts."""
        return {rule: [f"{run.rules}{rule}" for run in self.runs] for rule in TAKES_TURNS}


def is_study(values: Mapping[str, Any]) -> bool:
    """Whether a config asks for several runs."""
    replicates = values.get("replicates")
    seeds = replicates.get("seeds", 1) if isinstance(replicates, Mapping) else 1
    return values.get("runs") is not None or seeds != 1


def plan_study(values: Mapping[str, Any]) -> Study:
    """Plan all runs of a study.

    Args:
        values: The merged YAML, with the keys ``runs`` or ``replicates``.

    Raises:
        UserError: A config or a table that is not valid; names every line and column.
    """
    common = {key: value for key, value in values.items() if key not in ("runs", "replicates")}
    # What is wrong elsewhere a row may put right.
    _, wrong = check_config(values)
    if bad := [text for key, text in wrong.items() if _of_study(key)]:
        refuse(bad)
    replicates = ReplicatesConfig.model_validate(values.get("replicates") or {})
    results = expanded(str(values.get("results") or Config().results), "results")
    runs = values.get("runs")
    rows = [Row("the config", "run", {}, {})] if runs is None else read_table(runs)
    problems: list[str] = []
    found: list[_Found] = []
    for row in rows:
        for name, one, cells in _replicated(row, common, replicates, problems):
            one["results"] = str(Path(results, "runs", name))
            try:
                found.append(_Found(name, row.name, one, cells, settle(one)))
            except UserError as error:
                problems.append(f"{row.place}: {error}")
    problems += _twice(found)
    if problems:
        refuse([*dict.fromkeys(problems)])  # replicates have the same ones
    return Study(results, _with_folders(found, results))


@dataclass(frozen=True, eq=False)
class _Found:
    """A valid run; see `PlannedRun`."""

    name: str
    row: str
    values: dict[str, Any]
    cells: dict[str, Any]
    settled: Settled


def _of_study(key: str) -> bool:
    return key.split(".")[0] in ("runs", "replicates", "results")


def _replicated(
    row: Row, common: Mapping[str, Any], replicates: ReplicatesConfig, problems: list[str]
) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Name, config and cells of each replicate of a row; nothing where the row is not valid."""
    values = _laid_over(row, common, problems)
    if values is None:
        return
    config, wrong = check_config(values)
    if config is None:
        for key, text in wrong.items():
            named = [
                number for column, number in row.columns.items() if column in (key, *text.split())
            ]
            column = f", column {named[0]}" if named else ""
            problems.append(f"{row.place}{column}: {text}")
        return
    drawn_alone = replicates.seeds > 1 and replicates.vary == ["generation"]
    if drawn_alone and config.generation.temperature == 0.0:
        problems.append(
            f"{row.place}: replicates.vary is [generation], and with generation.temperature 0 no "
            "token is drawn: all replicates would be one run. Name other seeds, or sample "
            "(generation.do_sample and temperature)"
        )
        return
    for number in range(replicates.seeds):
        one, cells = copy.deepcopy(values), dict(row.cells)
        for draw in replicates.vary if replicates.seeds > 1 else ():
            section, key = SEEDS[draw]
            cells[f"{section}.{key}"] = getattr(getattr(config, section), key) + number
            set_key(one, f"{section}.{key}", cells[f"{section}.{key}"])
        name = row.name if replicates.seeds == 1 else f"{row.name}-{number}"
        yield name, one, cells


def _laid_over(row: Row, common: Mapping[str, Any], problems: list[str]) -> dict[str, Any] | None:
    """The common config with a row's file and cells laid over it."""
    values = copy.deepcopy(dict(common))
    path = row.cells.get(CONFIGFILE)
    if path is not None:
        try:
            text = Path(expanded(str(path), CONFIGFILE)).read_text(encoding="utf-8")
            overlay = yaml.safe_load(text) or {}
        except (UserError, OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            problems.append(f"{row.place}: {CONFIGFILE} {str(path)!r} cannot be read ({error})")
            return None
        if not isinstance(overlay, dict) or overlay.keys() & {"runs", "replicates"}:
            problems.append(
                f"{row.place}: {CONFIGFILE} {str(path)!r} must hold config keys, and neither runs "
                "nor replicates"
            )
            return None
        values = copy.deepcopy(overlaid(values, overlay))
    for key, value in row.cells.items():
        if key not in (CONFIGFILE, PREDICTS):
            set_key(values, key, value)
    return values


def _twice(found: list[_Found]) -> list[str]:
    """Runs that are the same run under two names."""
    seen: dict[str, str] = {}
    problems = []
    for one in found:
        told = json.dumps(one.settled.config.model_dump(mode="json", exclude={"results"}))
        if told in seen:
            problems.append(
                f"The runs {seen[told]!r} and {one.name!r} have the same config: one of them would "
                "count twice. Remove one, or change what it is to vary"
            )
        seen.setdefault(told, one.name)
    return problems


def _with_folders(found: list[_Found], results: str) -> tuple[PlannedRun, ...]:
    """Runs with the folders of their stages, and without the rules that other runs have."""
    groups: dict[str, str] = {}
    made: set[tuple[str, str]] = set()
    runs = []
    for one in found:
        settled = one.settled
        config = settled.config
        hashes = stage_hashes(config, settled.engine, settled.layers, settled.planned_tokens)
        folders = {
            stage: str(Path(results, "shared", f"{stage}-{told}")) for stage, told in hashes.items()
        }
        makes = {rule: folders[stage] for stage, rules in RULES.items() for rule in rules}
        makes |= dict.fromkeys(EMBEDDED_RULES, "")
        if config.model.gguf_file is not None:
            makes |= dict.fromkeys(GGUF_RULES, gguf_copy_name(config.model))
        idle = idle_rules(config)
        others = {rule for rule, place in makes.items() if (rule, place) in made}
        made |= {(rule, place) for rule, place in makes.items() if rule not in idle | TAKES_TURNS}
        runs.append(
            PlannedRun(
                name=one.name,
                group=groups.setdefault(_without_seeds(config), one.row),
                values=one.values,
                settled=settled,
                cells=one.cells,
                folders=folders,
                without=tuple(sorted(idle | others)),
            )
        )
    return tuple(runs)


def _without_seeds(config: Config) -> str:
    values = config.model_dump(mode="json", exclude={"results"})
    for section, key in SEEDS.values():
        del values[section][key]
    return json.dumps(values)
