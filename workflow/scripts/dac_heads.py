"""Contrast activations of attention heads by generation step."""

from snakesteer.config import HeadsConfig, PromptConfig
from snakesteer.config.params import section
from snakesteer.data.prompts import Prompter
from snakesteer.engine.reference.engine import greedy_answers
from snakesteer.models.open import open_model
from snakesteer.records.logs import script_log
from snakesteer.steering.vector import write_head_vector
from snakesteer.vectors.capture import source_of
from snakesteer.vectors.dac_heads import contrast, contrast_prompts, step_means
from snakesteer.vectors.pairs import read_pairs

with script_log(snakemake.log[0]) as log:
    params = snakemake.params
    prompt = section(PromptConfig, "prompt", params)
    heads = section(HeadsConfig, "heads", params)
    loaded = open_model(params, snakemake.input.info, snakemake.resources.gpu, snakemake.threads)
    prompts = contrast_prompts(
        prompt,
        loaded.tokenizer,
        read_pairs(snakemake.input.pairs),
        heads.prompts,
        heads.examples,
        heads.seed,
    )
    answer = greedy_answers(loaded, prompt.stops, heads.steps, params.batch_size)
    right, wrong = (
        step_means(loaded, kind, answer, heads.steps, params.batch_size, progress=True)
        for kind in zip(*prompts, strict=True)
    )
    answers = {"right": right.count.tolist(), "wrong": wrong.count.tolist()}
    log.info("answers that have each step: %s", answers)
    source = source_of(snakemake.input.info, loaded, Prompter(prompt, (), loaded.tokenizer))
    write_head_vector(
        snakemake.output[0],
        contrast(right, wrong),
        {**source, **heads.model_dump(exclude={"iti_heads"}), "answers_by_step": answers},
    )
