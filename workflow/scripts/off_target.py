"""What the tested steering does on neutral text, to the test answers and on a second task."""

from functools import partial

from snakesteer.config import EvaluationConfig, GenerationConfig
from snakesteer.config.params import section
from snakesteer.data.neutral import read_passages
from snakesteer.data.prompts import open_prompter
from snakesteer.engine.open import open_engine
from snakesteer.evaluation import off_target
from snakesteer.evaluation.final import read_best, read_generations
from snakesteer.evaluation.second_task import second_task
from snakesteer.models.open import open_model
from snakesteer.records.files import read_json, read_jsonl, write_json, write_jsonl
from snakesteer.records.logs import script_log

with script_log(snakemake.log[0]):
    params, given = snakemake.params, snakemake.input
    best, final = read_best(given.best, given.vectors, given.probes), read_json(given.results)
    before, after = (read_generations(given.generations, n) for n in ("baseline", "steered"))
    evaluation = section(EvaluationConfig, "evaluation", params)
    loaded = open_model(params, given.info, snakemake.resources.gpu, snakemake.threads)
    prompter, _ = open_prompter(params, given.train, loaded.tokenizer)
    costs = off_target.neutral_costs(loaded, prompter, read_passages(given.texts), best.steering)
    task, task_rows = None, []
    for path in given.task:  # one, or none
        engine = partial(open_engine, params, loaded, prompter, final["run"])
        how = (section(GenerationConfig, "generation", params), evaluation)
        asked = [row["question"] for row in read_jsonl(given.generations)]
        task, task_rows = second_task(path, loaded, engine, prompter, best.steering, *how, asked)
    record = {
        "best_trial_params": final["best_trial_params"],
        "neutral": off_target.neutral_record(costs, evaluation),
        "test_answers": off_target.answers_record(before, after, evaluation),
        "second_task": task,
        "confidence": evaluation.confidence,
    }
    off_target.log_off_target(record)
    write_jsonl(snakemake.output.rows, [*off_target.cost_rows(costs), *task_rows])
    write_json(snakemake.output.record, record)
