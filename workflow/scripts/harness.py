"""Tasks of lm-evaluation-harness with and without the tested steering."""

from functools import partial

from snakesteer.config import EvaluationConfig, OffTargetConfig, PromptConfig
from snakesteer.config.params import section
from snakesteer.data.problem import read_problems
from snakesteer.engine.open import open_decoder
from snakesteer.evaluation.final import read_best
from snakesteer.evaluation.harness.run import run_tasks
from snakesteer.evaluation.harness.tasks import find_tasks, load_tasks
from snakesteer.models.open import open_model
from snakesteer.records.files import read_json, write_json, write_jsonl
from snakesteer.records.logs import script_log

with script_log(snakemake.log[0]):
    params, given = snakemake.params, snakemake.input
    best = read_best(given.best, given.vectors, given.probes)
    loaded = open_model(params, given.info, snakemake.resources.gpu, snakemake.threads)
    wanted = section(OffTargetConfig, "off_target", params)
    manager = find_tasks(wanted.harness_tasks, wanted.harness_folder)
    record, rows = run_tasks(
        load_tasks(manager, wanted.harness_tasks),
        loaded,
        partial(open_decoder, params, loaded),
        best.steering,
        section(PromptConfig, "prompt", params),
        section(EvaluationConfig, "evaluation", params),
        [problem.question for problem in read_problems(given.problems)],
        wanted.harness_limit,
    )
    record["best_trial_params"] = read_json(given.results)["best_trial_params"]
    write_jsonl(snakemake.output.rows, rows)
    write_json(snakemake.output.record, record)
