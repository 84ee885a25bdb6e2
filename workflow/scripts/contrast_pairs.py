"""Contrast pairs of one split."""

from snakesteer.data.problem import read_problems
from snakesteer.data.prompts import split_examples
from snakesteer.records.files import read_jsonl
from snakesteer.records.logs import script_log
from snakesteer.vectors.pairs import check_enough, make_pairs, write_pairs

with script_log(snakemake.log[0]) as log:
    params = snakemake.params
    problems = read_problems(snakemake.input.problems)
    if snakemake.wildcards.split == "train":
        _, problems = split_examples(problems, params.shots, params.shots_seed)
    solutions = read_jsonl(snakemake.input.solutions) if snakemake.input.solutions else []
    pairs = make_pairs(params.kind, problems, solutions, tuple(params.prompts), params.seed)
    check_enough(pairs, params.min_pairs, snakemake.wildcards.split)
    write_pairs(snakemake.output[0], pairs)
    log.info("%d pairs", len(pairs))
