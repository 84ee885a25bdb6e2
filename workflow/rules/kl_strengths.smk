"""Which doses strengths in nats are (steering.unit: kl); none of it in other units.

Inputs: vectors, splits/train.jsonl, model/info.json.
Outputs: kl_strengths.json.
Steps: read train prompts with their gold solutions with and without steering, and find by bisection, for
every method, direction, layer and operator and either sign, the doses at which the 95th percentile of the KL
per token is what is asked for.
"""


rule kl_strengths:
    input:
        vectors=VECTOR_FILES,
        train="<problems>/splits/train.jsonl",
        info="<depth>/model/info.json",
        model=MODEL_INPUT,
    output:
        "<results>/kl_strengths.json",
    log:
        "<results>/logs/kl_strengths.log",
    benchmark:
        "<results>/benchmarks/kl_strengths.tsv"
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
            **section_params("steering", "layers"),
            layer_list=LAYERS,
        ),
        code=code_of("kl_strengths"),
    script:
        "../scripts/kl_strengths.py"
