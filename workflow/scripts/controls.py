"""Controls of the chosen configuration on the test split."""

from snakesteer.config import EvaluationConfig, GenerationConfig
from snakesteer.config.params import section
from snakesteer.data.problem import read_problems
from snakesteer.data.prompts import open_prompter
from snakesteer.engine.open import check_same_run, open_engine, run_record
from snakesteer.evaluation.control_tests import controls_record, log_controls
from snakesteer.evaluation.controls import answer_controls, control_rows, make_controls
from snakesteer.evaluation.final import read_best, read_generations
from snakesteer.models.open import open_model
from snakesteer.records.files import read_json, write_json, write_jsonl
from snakesteer.records.logs import script_log

with script_log(snakemake.log[0]):
    params, given = snakemake.params, snakemake.input
    best = read_best(given.best, given.vectors, given.probes)
    final = read_json(given.results)
    run, mean_alpha_t = final["run"], final.get("mean_alpha_t")
    evaluation = section(EvaluationConfig, "evaluation", params)
    loaded = open_model(params, given.info, snakemake.resources.gpu, snakemake.threads)
    prompter, _ = open_prompter(params, given.train, loaded.tokenizer)
    engine = open_engine(params, loaded, prompter, run)
    problems = read_problems(given.problems)
    generation = section(GenerationConfig, "generation", params)
    controls = make_controls(best.steering, mean_alpha_t, given.activations, evaluation)
    answers = answer_controls(engine, prompter, problems, controls, generation, evaluation.samples)
    check_same_run(run, run_record(engine, loaded), given.results)
    before, after = (read_generations(given.generations, n) for n in ("baseline", "steered"))
    record = controls_record(before, after, controls, answers, evaluation)
    log_controls(record)
    write_jsonl(snakemake.output.generations, control_rows(controls, answers))
    write_json(snakemake.output.controls, {**record, "run": run})
