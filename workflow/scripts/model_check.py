"""A direct test of the model, printed and kept."""

from snakesteer.config import GenerationConfig
from snakesteer.config.params import section
from snakesteer.data.problem import read_problems
from snakesteer.data.prompts import open_prompter
from snakesteer.engine.open import open_answering_model, open_engine, run_record
from snakesteer.evaluation.checks.model_check import PROBLEMS, check_model, page
from snakesteer.records.files import read_json, write_json
from snakesteer.records.logs import script_log

with script_log(snakemake.log[0]) as logger:
    greedy = {"generation__do_sample": False, "generation__temperature": 0.0}
    params = dict(snakemake.params.items()) | greedy
    loaded = open_answering_model(
        params, snakemake.input.info, snakemake.resources.gpu, snakemake.threads
    )
    prompter, _ = open_prompter(params, snakemake.input.train, loaded.tokenizer)
    engine = open_engine(params, loaded, prompter)
    found = check_model(
        loaded,
        engine,
        prompter,
        read_problems(snakemake.input.problems)[:PROBLEMS],
        section(GenerationConfig, "generation", params),
    )
    name = read_json(snakemake.input.info)["name"]
    record = {"name": name, **run_record(engine, loaded), **found}
    logger.info("\n%s", page(record))
    print(page(record))
    write_json(snakemake.output[0], record)
