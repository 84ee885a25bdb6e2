"""The gate before the search: hooks at strength 0 do nothing, and otherwise what they should."""

from snakesteer.config import ChecksConfig, GenerationConfig, SteeringConfig
from snakesteer.config.params import section
from snakesteer.data.problem import read_problems
from snakesteer.data.prompts import open_prompter
from snakesteer.engine.open import check_same_run, open_engine, run_record
from snakesteer.evaluation.answers import make_request
from snakesteer.evaluation.checks.gate_cases import gate_cases
from snakesteer.evaluation.checks.zero_steering import check_zero_steering
from snakesteer.models.open import open_model
from snakesteer.records.files import read_json, write_json
from snakesteer.records.logs import script_log
from snakesteer.steering.kl_unit import read_curves
from snakesteer.steering.thresholds import with_thresholds
from snakesteer.steering.vector import read_vectors

with script_log(snakemake.log[0]):
    params = snakemake.params
    loaded = open_model(params, snakemake.input.info, snakemake.resources.gpu, snakemake.threads)
    prompter, _ = open_prompter(params, snakemake.input.train, loaded.tokenizer)
    record = read_json(snakemake.input.baseline_summary)
    engine = open_engine(params, loaded, prompter, record)
    check_same_run(record, run_record(engine, loaded), snakemake.input.baseline_summary)
    checks = section(ChecksConfig, "checks", params)
    generation = section(GenerationConfig, "generation", params)
    generation = generation.model_copy(update={"max_new_tokens": checks.new_tokens})
    problems = read_problems(snakemake.input.problems)[: checks.prompts]
    steering = with_thresholds(section(SteeringConfig, "steering", params), snakemake.input.gates)
    vectors, curves = read_vectors(snakemake.input.vectors), read_curves(snakemake.input.curves)
    found = check_zero_steering(
        lambda compiled: open_engine(params, loaded, prompter, {**record, "compiled": compiled}),
        loaded,
        {problem.id: make_request(prompter, problem, None, generation) for problem in problems},
        gate_cases(steering, params.layer_list, vectors, curves),
        compiled=bool(record.get("compiled")),
    )
    heads = {"passed": True, **run_record(engine, loaded), "prompts": len(problems)}
    asked = {"prompts_asked_for": checks.prompts, "new_tokens": checks.new_tokens}
    write_json(snakemake.output[0], {**heads, **asked, "kinds": found})
