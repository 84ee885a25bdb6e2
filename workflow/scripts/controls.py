"""Controls of the chosen configuration on the test split."""

from snakesteer.config import EvaluationConfig, GenerationConfig
from snakesteer.config.params import section
from snakesteer.data.problem import read_problems
from snakesteer.data.prompts import open_prompter
from snakesteer.engine.open import check_same_run, open_engine, run_record
from snakesteer.evaluation.controls import evaluate_controls, log_controls, nothing_to_control
from snakesteer.evaluation.final import read_best, read_generations
from snakesteer.evaluation.ledger import open_ledger
from snakesteer.models.open import open_model
from snakesteer.records.files import read_json, write_json, write_jsonl
from snakesteer.records.logs import script_log

with script_log(snakemake.log[0]):
    params, given = snakemake.params, snakemake.input
    best = read_best(given.best, given.vectors, given.probes)
    run = read_json(given.results)["run"]
    record, rows = nothing_to_control(), []
    if best.steering is not None:
        loaded = open_model(params, given.info, snakemake.resources.gpu, snakemake.threads)
        prompter, _ = open_prompter(params, given.train, loaded.tokenizer)
        engine = open_engine(params, loaded, prompter, run)
        problems = read_problems(given.problems)
        record, rows = evaluate_controls(
            engine,
            prompter,
            problems,
            best.steering,
            given.activations,
            read_generations(given.generations, "baseline"),
            read_generations(given.generations, "steered"),
            section(GenerationConfig, "generation", params),
            section(EvaluationConfig, "evaluation", params),
            open_ledger(params, given.info, loaded, problems, snakemake.output.controls),
        )
        check_same_run(run, run_record(engine, loaded), given.results)
    log_controls(record)
    write_jsonl(snakemake.output.generations, rows)
    write_json(snakemake.output.controls, {**record, "run": run})
