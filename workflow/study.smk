"""A study: many runs in one graph, and what they say together.

Inputs: the table of runs (config key `runs`), or replicates of the one config (`replicates`).
Outputs: runs/{run}/, with the results of each; shared/, with what several have in common; runs.csv,
report.html and figures/ of the study.
Steps: plan all runs; take in the rules of each as a module, without those whose files another run
makes; put the finished runs side by side and pool what are replicates of one another.
"""

import json
import os
from pathlib import Path

import snakemake.workflow
from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version

from snakesteer.errors import UserError
from snakesteer.records import code_files
from snakesteer.records.files import check_writable
from snakesteer.study.finish import final_words
from snakesteer.study.plan import plan_study

min_version(
    "9.27"
)  # modules that are named while the rules are read; older ones were not tried

try:
    STUDY = plan_study(config)
except UserError as error:
    raise WorkflowError(str(error)) from None


class OfEveryRun(dict):
    """What a profile says of a rule by name, said of the same rule in every run.

    It holds no more entries than the profile: they go into the command line of every job.
    """

    def get(self, name, default=None):
        return super().get(name, super().get(name.rpartition("__")[2], default))


def parsed_once(parse):
    """Snakemake's parser, which looks at a file once."""
    known = {}

    def parsed(path, workflow, linemap, rulecount=0):
        key = str(path)
        if key not in known:
            lines = {}
            known[key] = (*parse(path, workflow, lines), lines)
        code, rules, lines = known[key]
        linemap.update(lines)
        return code, rulecount + rules

    return parsed


for said in ("_parsed_overwrite_resources", "_parsed_overwrite_threads"):
    settings = workflow.resource_settings
    setattr(settings, said, OfEveryRun(getattr(settings, said)))

# Groups of a profile are set when the rules are read already; profiles/slurm has one of that name.
PER_LAYER = ("probe", "vector")

# Snakemake parses a file anew in every module: most of the time that a hundred runs take to plan.
snakemake.workflow.parse = parsed_once(snakemake.workflow.parse)

for place, RUN in enumerate(STUDY.runs):
    NAME = RUN.rules
    earlier = {*workflow._rules}

    module:
        name: NAME
        pathvars:
            RUN.folders,
        snakefile:
            "run.smk"
        config:
            RUN.values

    workflow.userule(["*"], NAME, RUN.without, f"{NAME}*")(lambda: None)
    # Runs are finished in their order, not all of them at the end.
    for rule_ in workflow.rules:
        if rule_.name not in earlier:
            rule_.priority = len(STUDY.runs) - place
            if rule_.name.removeprefix(NAME) in PER_LAYER:
                rule_.group = "layers"


def check_off_target():
    """Stop before the first job where a look elsewhere of some run could only fail.

    Handlers of modules are not called.
    """
    from snakesteer.evaluation.before_start import check_elsewhere

    own_environment = bool(workflow.deployment_settings.deployment_method)
    for run in STUDY.runs:
        try:
            check_elsewhere(run.settled.config.off_target, own_environment)
        except UserError as error:
            raise WorkflowError(f"Run {run.name!r}: {error}") from None


for rules_ in STUDY.takes_turns.values():
    workflow.ruleorder(*rules_)


pathvars:
    results=STUDY.results,


WANTED = ["<results>/runs.csv", "<results>/report.html"]


# What the summary is told of each run.
RUNS = [
    {
        "name": run.name,
        "group": run.group,
        "results": run.results,
        "table": run.told,
        "shared": [*run.folders.values()],
    }
    for run in STUDY.runs
]


rule study_summary:
    input:
        runs=expand(
            "{results}/{file}",
            results=[run.results for run in STUDY.runs],
            file=[
                "test_final.json",
                "provenance.json",
                "controls.json",
                "report.html",
            ],
        ),
    output:
        table="<results>/runs.csv",
        report=report(
            "<results>/report.html",
            caption="report/study.rst",
            category="Study",
            labels={"shows": "all runs"},
        ),
        effects="<results>/figures/effects.svg",
        png="<results>/figures/effects.png",
    log:
        "<results>/logs/study_summary.log",
    localrule: True
    conda:
        "../envs/snakesteer.yaml"
    params:
        # A function, as braces in it (prompt templates) are no wildcards.
        runs=lambda wildcards: json.dumps(RUNS),
        code=code_files.fingerprint(workflow.source_path("scripts/study_summary.py")),
    script:
        "scripts/study_summary.py"


onstart:
    try:
        check_writable(STUDY.results)
    except UserError as error:
        raise WorkflowError(str(error)) from None
    hold_results()
    check_off_target()


onsuccess:
    print(final_words(RUNS, STUDY.results))


# Runs that were finished beside those that failed are told of, too.
onerror:
    print(final_words(RUNS, STUDY.results, rewrite=True))
