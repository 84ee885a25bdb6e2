"""The evaluation of the chosen configuration on the test split.

Inputs: splits/test.jsonl (answered here, and by the controls afterwards), best_config.json,
vectors, probes.
Outputs: test_evaluation.json, test_generations.jsonl; a line in the ledger of test reads
(evaluation.ledger), which lies outside the results and is no declared output, so that it outlives them;
test_final.json.
Steps: answer the test split unsteered and with the best configuration, and compare them pairwise; put
what that steering does elsewhere (off_target.smk, made from these answers) beside the comparison. These
are two rules, so that a change of the second part answers no test problem again.
"""


rule test_evaluation:
    input:
        problems="<problems>/splits/test.jsonl",
        train="<problems>/splits/train.jsonl",
        best="<results>/best_config.json",
        baseline_summary="<unsteered>/baseline/val.json",
        vectors=VECTOR_FILES,
        probes=expand("<directions>/probes/layer_{layer}.safetensors", layer=LAYERS),
        token_effects=TOKEN_EFFECTS,
        info="<depth>/model/info.json",
        model=MODEL_INPUT,
    output:
        results="<results>/test_evaluation.json",
        generations="<results>/test_generations.jsonl",
    log:
        "<results>/logs/test_evaluation.log",
    benchmark:
        "<results>/benchmarks/test_evaluation.tsv"
    conda:
        "../../envs/snakesteer.yaml"
    threads: 4
    resources:
        gpu=GPUS,
        mem_mb=model_memory,
    params:
        **named(
            **MODEL,
            **section_params("prompt"),
            **section_params("generation"),
            **section_params("engine"),
            **section_params(
                "pairs", "samples", "temperature", "min_pairs", "remove_token_means"
            ),
            **section_params(
                "evaluation",
                "random_controls",
                "shuffled_controls",
                "prompt_control",
                "ledger",
            ),
            # Of one part that is all there is, a model knows either all problems or none.
            validation_from=(
                "test" if CONFIG.data.one_part else CONFIG.data.validation_from
            ),
            # Generated problems are called so whatever data.task says.
            task="embedded" if CONFIG.data.source == "embedded" else CONFIG.data.task,
        ),
        code=code_of("test_evaluation"),
        # Taking `input` keeps it out of the rerun triggers: a ledger elsewhere changes no answer.
        ledger=lambda wildcards, input: CONFIG.evaluation.ledger,
    script:
        "../scripts/test_evaluation.py"


rule test_final:
    input:
        evaluation="<results>/test_evaluation.json",
        off_target=expand("<results>/{name}.json", name=OFF_TARGET),
    output:
        "<results>/test_final.json",
    log:
        "<results>/logs/test_final.log",
    localrule: True
    conda:
        "../../envs/snakesteer.yaml"
    params:
        records=OFF_TARGET,
        code=code_of("test_final"),
    script:
        "../scripts/test_final.py"
