"""The model's own sampled solutions, graded, for contrast pairs."""

from snakesteer.config import GenerationConfig
from snakesteer.config.params import section
from snakesteer.data.problem import read_problems
from snakesteer.data.prompts import open_prompter
from snakesteer.engine.open import open_answering_model, open_sampler
from snakesteer.evaluation.solutions import sample_solutions
from snakesteer.records.files import write_jsonl
from snakesteer.records.logs import script_log

with script_log(snakemake.log[0]):
    params = snakemake.params
    loaded = open_answering_model(
        params, snakemake.input.info, snakemake.resources.gpu, snakemake.threads
    )
    prompter, rest = open_prompter(params, snakemake.input.train, loaded.tokenizer)
    own = snakemake.input.problems == snakemake.input.train  # no example is its own question
    problems = rest if own else read_problems(snakemake.input.problems)
    generation = section(GenerationConfig, "generation", params)
    engine = open_sampler(params, loaded, prompter, params.temperature)
    generation = generation.model_copy(update={"seed": params.seed})
    rows = sample_solutions(engine, prompter, problems, generation, params.samples)
    write_jsonl(snakemake.output[0], rows)
