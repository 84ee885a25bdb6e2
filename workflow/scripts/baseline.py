"""Unsteered answers to the validation split."""

from snakesteer.config import GenerationConfig
from snakesteer.config.params import section
from snakesteer.data.problem import read_problems
from snakesteer.data.prompts import open_prompter
from snakesteer.engine.open import open_engine, run_record, settled
from snakesteer.evaluation.answers import answer_all, chunks, summary, write_answers
from snakesteer.models.open import open_model
from snakesteer.records.files import write_json
from snakesteer.records.logs import script_log

with script_log(snakemake.log[0]):
    params = snakemake.params
    loaded = open_model(params, snakemake.input.info, snakemake.resources.gpu, snakemake.threads)
    prompter, _ = open_prompter(params, snakemake.input.train, loaded.tokenizer)
    engine = open_engine(params, loaded, prompter)
    generation = section(GenerationConfig, "generation", params)
    # In the search's chunks, so that steered and unsteered answers come from the same batches.
    parts = chunks(read_problems(snakemake.input.problems), params.chunk_size)
    answers = settled(
        engine,
        lambda: [
            answer
            for part in parts
            for answer in answer_all(engine, prompter, part, [None], generation)[0]
        ],
    )
    write_answers(snakemake.output.answers, answers)
    write_json(snakemake.output.summary, {**summary(answers), **run_record(engine, loaded)})
