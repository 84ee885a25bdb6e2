"""Checks of the machinery, before anything is believed.

Inputs: splits/{train,val}.jsonl, vectors, baseline/val.json, model/info.json.
Outputs: checks/zero_steering.json, checks/model_check.json.
Steps: compare steering at strength 0 with the model without hooks, and measure what hooks change at
other strengths (a gate: no search before it); on request, answer a few validation problems and say
what looks wrong with model, tokenizer and prompt.
"""


rule zero_steering:
    input:
        problems="<problems>/splits/val.jsonl",
        train="<problems>/splits/train.jsonl",
        baseline_summary="<unsteered>/baseline/val.json",
        vectors=VECTOR_FILES,
        curves=KL_STRENGTHS,
        info="<depth>/model/info.json",
        model=MODEL_INPUT,
    output:
        "<results>/checks/zero_steering.json",
    log:
        "<results>/logs/zero_steering.log",
    benchmark:
        "<results>/benchmarks/zero_steering.tsv"
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
            **section_params("steering", "layers"),
            **section_params("checks"),
            layer_list=LAYERS,
        ),
        code=code_of("zero_steering"),
    script:
        "../scripts/zero_steering.py"


rule model_check:
    input:
        problems="<problems>/splits/val.jsonl",
        train="<problems>/splits/train.jsonl",
        info="<depth>/model/info.json",
        model=MODEL_INPUT,
    output:
        "<results>/checks/model_check.json",
    log:
        "<results>/logs/model_check.log",
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
        ),
        code=code_of("model_check"),
    script:
        "../scripts/model_check.py"
