"""What the tested steering does elsewhere.

Inputs: best_config.json, vectors, probes, test_evaluation.json, test_generations.jsonl, neutral texts of
the library; the user's second task (off_target.task_file). No split but train, whose few-shot examples
stand in prompts: test answers are those that are there.
Outputs: off_target.json (the record with its intervals), off_target.jsonl (a row a text or problem);
harness.json and harness.jsonl for tasks of lm-evaluation-harness (off_target.harness_tasks). Both records
become part of test_final.json.
Steps: read neutral texts with and without steering and compare what the model says at every token; count
what else changed in the test answers; do the second task with and without steering; do the harness'
tasks, after a look at the test split that none of them asks its problems.
"""

NEUTRAL_TEXTS = package_file("data", "assets", "neutral.txt")
# What of the evaluation section intervals and tests depend on.
STATISTICS = section_params(
    "evaluation",
    "samples",
    "planned_changes",
    "random_controls",
    "shuffled_controls",
    "prompt_control",
    "ledger",
)


rule off_target:
    input:
        best="<results>/best_config.json",
        results="<results>/test_evaluation.json",
        generations="<results>/test_generations.jsonl",
        train="<problems>/splits/train.jsonl",
        vectors=VECTOR_FILES,
        probes=expand("<directions>/probes/layer_{layer}.safetensors", layer=LAYERS),
        texts=NEUTRAL_TEXTS,
        task=second_task_file(),
        info="<depth>/model/info.json",
        model=MODEL_INPUT,
    output:
        record="<results>/off_target.json",
        rows="<results>/off_target.jsonl",
    log:
        "<results>/logs/off_target.log",
    benchmark:
        "<results>/benchmarks/off_target.tsv"
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
            **STATISTICS,
        ),
        code=code_of("off_target"),
    script:
        "../scripts/off_target.py"


rule harness:
    input:
        best="<results>/best_config.json",
        results="<results>/test_evaluation.json",
        problems="<problems>/splits/test.jsonl",
        vectors=VECTOR_FILES,
        probes=expand("<directions>/probes/layer_{layer}.safetensors", layer=LAYERS),
        tasks=harness_files(),
        info="<depth>/model/info.json",
        model=MODEL_INPUT,
    output:
        record="<results>/harness.json",
        rows="<results>/harness.jsonl",
    log:
        "<results>/logs/harness.log",
    benchmark:
        "<results>/benchmarks/harness.tsv"
    conda:
        "../../envs/harness.yaml"
    threads: 4
    resources:
        gpu=GPUS,
        mem_mb=model_memory,
    params:
        **named(
            **MODEL,
            **section_params("prompt"),
            **section_params("engine"),
            **section_params("off_target", "in_report", "task_file"),
            **STATISTICS,
        ),
        code=code_of("harness"),
    script:
        "../scripts/harness.py"
