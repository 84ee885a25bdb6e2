"""The evaluation of the best steered configuration on the test split."""

from snakesteer.config import EvaluationConfig, GenerationConfig, PairsConfig
from snakesteer.config.params import nested, section
from snakesteer.data.problem import read_problems
from snakesteer.data.prompts import open_prompter
from snakesteer.engine.open import open_engine, run_record, settled
from snakesteer.evaluation.final import evaluate_test, read_best
from snakesteer.evaluation.ledger import open_ledger
from snakesteer.models.open import open_model
from snakesteer.records.files import read_json, write_json, write_jsonl
from snakesteer.records.logs import script_log
from snakesteer.records.machine import machine

with script_log(snakemake.log[0]):
    params, given, output = snakemake.params, snakemake.input, snakemake.output
    loaded = open_model(params, given.info, snakemake.resources.gpu, snakemake.threads)
    prompter, _ = open_prompter(params, given.train, loaded.tokenizer)
    problems = read_problems(given.problems)
    best = read_best(given.best, given.vectors, given.probes, given.token_effects)
    validation = read_json(given.baseline_summary)
    engine = open_engine(params, loaded, prompter, validation)
    ledger = open_ledger(params, given.info, loaded, problems, output.results)
    results, generations = settled(
        engine,
        lambda: evaluate_test(
            *(loaded, engine, prompter, problems, best),
            section(GenerationConfig, "generation", params),
            section(PairsConfig, "pairs", params),
            section(EvaluationConfig, "evaluation", params),
            *(params.task, validation, params.validation_from, ledger),
        ),
    )
    write_jsonl(output.generations, generations)
    run = {"run": run_record(engine, loaded), "machine": machine(loaded.device)}
    record = {**results, "config": nested(dict(params.items())), **run}
    write_json(output.results, record)
