"""Conditions on which a row is steered (steering.gates).

Inputs: splits/train.jsonl, the vectors that gates look along, model/info.json.
Outputs: gates.json, with the threshold of every gate.
Steps: score the train problems' prompts and solutions with every gate; take the quantiles.
"""


rule gates:
    input:
        train="<problems>/splits/train.jsonl",
        vectors=GATE_VECTORS,
        info="<depth>/model/info.json",
        model=MODEL_INPUT,
    output:
        "<results>/gates.json",
    log:
        "<results>/logs/gates.log",
    benchmark:
        "<results>/benchmarks/gates.tsv"
    conda:
        "../../envs/snakesteer.yaml"
    threads: 4
    resources:
        gpu=GPUS,
        mem_mb=model_memory,
    params:
        **named(
            **MODEL,
            **section_params("prompt", "stop"),
            gates=[gate.model_dump(mode="json") for gate in GATES],
        ),
        code=code_of("gates"),
    script:
        "../scripts/gates.py"
