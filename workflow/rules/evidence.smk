"""What speaks for and against the result.

Inputs: test_evaluation.json, test_generations.jsonl, splits/{val,test}.jsonl, best_config.json, vectors,
activations of train, baseline/val.jsonl.
Outputs: controls.json, control_generations.jsonl (controls on the test split), sensitivity.csv,
figures/sensitivity.{svg,png} (validation split only). The ledger of test reads gets a line for each
control.
Steps: answer the test split with random directions, shuffled labels, −v and an instruction in place of
the chosen vector, and compare each with the unsteered answers; answer the validation split over a grid
of strengths.
"""


rule controls:
    input:
        problems="<problems>/splits/test.jsonl",
        train="<problems>/splits/train.jsonl",
        best="<results>/best_config.json",
        results="<results>/test_evaluation.json",
        generations="<results>/test_generations.jsonl",
        activations=expand(f"{ACTIVATIONS}/train/layer_{{layer}}.h5", layer=LAYERS),
        vectors=VECTOR_FILES,
        probes=expand("<directions>/probes/layer_{layer}.safetensors", layer=LAYERS),
        info="<depth>/model/info.json",
        model=MODEL_INPUT,
    output:
        controls="<results>/controls.json",
        generations="<results>/control_generations.jsonl",
    log:
        "<results>/logs/controls.log",
    benchmark:
        "<results>/benchmarks/controls.tsv"
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
            **section_params("evaluation", "ledger"),
        ),
        code=code_of("controls"),
        # Taking `input` keeps it out of the rerun triggers: a ledger elsewhere changes no answer.
        ledger=lambda wildcards, input: CONFIG.evaluation.ledger,
    script:
        "../scripts/controls.py"


rule sensitivity_grid:
    input:
        problems="<problems>/splits/val.jsonl",
        train="<problems>/splits/train.jsonl",
        baseline="<unsteered>/baseline/val.jsonl",
        baseline_summary="<unsteered>/baseline/val.json",
        vectors=[
            *dict.fromkeys([*vector_files(CONFIG.steering.directions), *GATE_VECTORS])
        ],
        gates=THRESHOLDS,
        curves=KL_STRENGTHS,
        info="<depth>/model/info.json",
        model=MODEL_INPUT,
    output:
        "<results>/sensitivity.csv",
    log:
        "<results>/logs/sensitivity_grid.log",
    benchmark:
        "<results>/benchmarks/sensitivity_grid.tsv"
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
            **section_params("steering", "layers", "strength"),
            **section_params("sensitivity", "in_report"),
            layer_list=LAYERS,
            chunk_size=CONFIG.search.chunk_size,
            confidence=CONFIG.evaluation.confidence,
        ),
        code=code_of("sensitivity_grid", **GRID_METHODS),
    script:
        "../scripts/sensitivity_grid.py"


rule sensitivity:
    input:
        table="<results>/sensitivity.csv",
    output:
        png="<results>/figures/sensitivity.png",
        svg=report(
            "<results>/figures/sensitivity.svg",
            caption="../report/sensitivity.rst",
            category="Search",
            labels={"shows": "accuracy and broken answers over strength"},
        ),
    log:
        "<results>/logs/sensitivity.log",
    localrule: True
    conda:
        "../../envs/snakesteer.yaml"
    params:
        code=code_of("sensitivity"),
        confidence=CONFIG.evaluation.confidence,
    script:
        "../scripts/sensitivity.py"
