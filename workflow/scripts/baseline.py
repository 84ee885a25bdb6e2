"""Unsteered answers to the validation split."""

from functools import partial

from snakesteer.config import GenerationConfig
from snakesteer.config.params import section
from snakesteer.data.problem import read_problems
from snakesteer.data.prompts import open_prompter
from snakesteer.engine.open import open_answering_model, open_engine, prepare, run_record, settled
from snakesteer.evaluation.agreement import math_verify_agreement
from snakesteer.evaluation.answers import (
    answer_in_chunks,
    make_request,
    summary,
    write_answers,
)
from snakesteer.evaluation.noise_floor import AGAIN_AT_MOST, noise_floor
from snakesteer.records.files import write_json
from snakesteer.records.logs import script_log

with script_log(snakemake.log[0]):
    params = snakemake.params
    loaded = open_answering_model(
        params, snakemake.input.info, snakemake.resources.gpu, snakemake.threads
    )
    prompter, _ = open_prompter(params, snakemake.input.train, loaded.tokenizer)
    engine = open_engine(params, loaded, prompter)
    generation = section(GenerationConfig, "generation", params)
    problems = read_problems(snakemake.input.problems)
    prepare(engine, [make_request(prompter, problem, None, generation) for problem in problems])
    answer = partial(answer_in_chunks, engine, prompter, generation, params.chunk_size)
    answers = settled(engine, lambda: answer(problems))
    write_answers(snakemake.output.answers, answers)
    agreement = math_verify_agreement(answers, problems)
    record = {**summary(answers), "math_verify_agreement": agreement}
    record |= run_record(engine, loaded)
    floor = noise_floor(engine, answers, lambda: answer(problems[:AGAIN_AT_MOST]))
    write_json(snakemake.output.summary, {**record, "noise_floor": floor})
