"""Accuracy over a grid of strengths, layers and methods, on the validation split."""

from snakesteer.config import GenerationConfig, SensitivityConfig, SteeringConfig
from snakesteer.config.params import section
from snakesteer.data.problem import read_problems
from snakesteer.data.prompts import open_prompter
from snakesteer.engine.open import check_same_run, open_answering_model, open_engine, run_record
from snakesteer.evaluation.answers import read_answers
from snakesteer.evaluation.sensitivity import sensitivity_rows, strength_grid, write_sensitivity
from snakesteer.records.files import read_json
from snakesteer.records.logs import script_log
from snakesteer.steering.kl_unit import read_curves
from snakesteer.steering.vector import read_vectors

with script_log(snakemake.log[0]):
    params, given = snakemake.params, snakemake.input
    loaded = open_answering_model(params, given.info, snakemake.resources.gpu, snakemake.threads)
    prompter, _ = open_prompter(params, given.train, loaded.tokenizer)
    record = read_json(given.baseline_summary)
    engine = open_engine(params, loaded, prompter, record)
    vectors = read_vectors(given.vectors)
    steering = section(SteeringConfig, "steering", params)
    sensitivity = section(SensitivityConfig, "sensitivity", params)
    rows = sensitivity_rows(
        engine,
        prompter,
        read_problems(given.problems),
        strength_grid(sensitivity, steering, params.layer_list, vectors, read_curves(given.curves)),
        vectors,
        read_answers(given.baseline),
        section(GenerationConfig, "generation", params),
        params.chunk_size,
        params.confidence,
    )
    check_same_run(record, run_record(engine, loaded), given.baseline_summary)
    write_sensitivity(snakemake.output[0], rows)
