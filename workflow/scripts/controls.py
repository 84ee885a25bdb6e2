"""Controls of the tested configuration on the test split."""

from snakesteer.config import EvaluationConfig, GenerationConfig
from snakesteer.config.params import section
from snakesteer.data.problem import read_problems
from snakesteer.data.prompts import open_prompter
from snakesteer.engine.open import check_same_run, open_answering_model, open_engine, run_record
from snakesteer.evaluation import controls
from snakesteer.evaluation.control_tests import controls_record, log_controls
from snakesteer.evaluation.final import read_best, read_generations
from snakesteer.evaluation.ledger import open_ledger
from snakesteer.records.files import read_json, write_json, write_jsonl
from snakesteer.records.logs import script_log

with script_log(snakemake.log[0]):
    params, given = snakemake.params, snakemake.input
    best = read_best(given.best, given.vectors, given.probes)
    final = read_json(given.results)
    run, mean_alpha_t = final["run"], final.get("mean_alpha_t")
    evaluation = section(EvaluationConfig, "evaluation", params)
    generation = section(GenerationConfig, "generation", params)
    loaded = open_answering_model(params, given.info, snakemake.resources.gpu, snakemake.threads)
    prompter, _ = open_prompter(params, given.train, loaded.tokenizer)
    engine = open_engine(params, loaded, prompter, run)
    asked = (prompter, read_problems(given.problems))
    made = controls.make_controls(best.steering, mean_alpha_t, given.activations, evaluation)
    answers = controls.answer_controls(engine, *asked, made, generation, evaluation.samples)
    check_same_run(run, run_record(engine, loaded), given.results)
    ledger = open_ledger(params, given.info, loaded, asked[1], snakemake.output.controls)
    reads = controls.enter_controls(
        ledger, *asked, best.steering, made, generation, evaluation.samples
    )
    before, after = (read_generations(given.generations, n) for n in ("baseline", "steered"))
    record = controls_record(before, after, made, answers, evaluation)
    log_controls(record)
    write_jsonl(snakemake.output.generations, controls.control_rows(made, answers))
    write_json(snakemake.output.controls, {**record, "test_reads": reads, "run": run})
