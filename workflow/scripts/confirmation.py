"""The best trial on validation problems that were kept from the search."""

from snakesteer.config import GenerationConfig
from snakesteer.config.params import section
from snakesteer.data.problem import read_problems
from snakesteer.data.prompts import open_prompter
from snakesteer.engine.open import check_same_run, open_answering_model, open_engine, run_record
from snakesteer.evaluation.answers import read_answers
from snakesteer.records.files import read_json, write_json
from snakesteer.records.logs import script_log
from snakesteer.search.confirmation import confirm_best
from snakesteer.search.kept import searched

with script_log(snakemake.log[0]):
    params, given = snakemake.params, snakemake.input
    loaded = open_answering_model(params, given.info, snakemake.resources.gpu, snakemake.threads)
    prompter, _ = open_prompter(params, given.train, loaded.tokenizer)
    record = read_json(given.baseline_summary)
    engine = open_engine(params, loaded, prompter, record)
    problems = read_problems(given.problems)
    first = searched(len(problems), params.confirm)
    found = confirm_best(
        given.db,
        params.one_standard_error,
        given.vectors,
        engine,
        prompter,
        problems[first:],
        read_answers(given.baseline)[first:],
        section(GenerationConfig, "generation", params),
        params.chunk_size,
    )
    check_same_run(record, run_record(engine, loaded), given.baseline_summary)
    write_json(snakemake.output[0], found)
