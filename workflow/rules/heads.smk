"""Vectors of attention heads, for the methods `dac_heads` and `iti`; none of it without them.

Inputs: pairs/{train,val}.jsonl, splits/train.jsonl, model/info.json.
Outputs: heads/dac_heads.safetensors, heads/activations/{split}/layer_{L}.h5 and (if asked for)
heads/without_token_means/{split}/layer_{L}.h5, heads/iti.safetensors.
Steps: answer train questions behind right and behind wrong solutions and keep the heads' difference
at each generated token; read the heads' outputs on contrast pairs at all layers, probe every head,
and keep those that tell right from wrong best. Vectors are made from train; validation pairs only
rank the probes.
"""


rule dac_heads:
    input:
        pairs="<results>/pairs/train.jsonl",
        info="<results>/model/info.json",
        model=MODEL_INPUT,
        code=code_of("dac_heads"),
    output:
        "<results>/heads/dac_heads.safetensors",
    log:
        "<results>/logs/dac_heads.log",
    benchmark:
        "<results>/benchmarks/dac_heads.tsv"
    conda:
        "../../envs/snakesteer.yaml"
    threads: 4
    resources:
        gpu=1,
    params:
        **named(
            **MODEL,
            **section_params("prompt", "shots", "shots_seed"),
            **section_params("heads", "iti_heads"),
            batch_size=CONFIG.engine.batch_size,
        ),
    script:
        "../scripts/dac_heads.py"


rule head_activations:
    input:
        pairs="<results>/pairs/{split}.jsonl",
        train="<results>/splits/train.jsonl",
        info="<results>/model/info.json",
        model=MODEL_INPUT,
        code=code_of("head_activations"),
    output:
        # All layers of the model, however many.
        directory("<results>/heads/activations/{split}"),
    log:
        "<results>/logs/head_activations_{split}.log",
    benchmark:
        "<results>/benchmarks/head_activations_{split}.tsv"
    conda:
        "../../envs/snakesteer.yaml"
    threads: 4
    resources:
        gpu=1,
    params:
        **named(
            **MODEL,
            **section_params("prompt", "stop"),
            read=CONFIG.pairs.read,
            min_pairs=CONFIG.pairs.min_pairs,
        ),
    script:
        "../scripts/head_activations.py"


rule head_token_means:
    input:
        train="<results>/heads/activations/train",
        val="<results>/heads/activations/val",
        code=code_of("head_token_means"),
    output:
        train=directory("<results>/heads/without_token_means/train"),
        val=directory("<results>/heads/without_token_means/val"),
    log:
        "<results>/logs/head_token_means.log",
    conda:
        "../../envs/snakesteer.yaml"
    script:
        "../scripts/head_token_means.py"


rule iti:
    input:
        train=f"<results>/heads/{Path(ACTIVATIONS).name}/train",
        val=f"<results>/heads/{Path(ACTIVATIONS).name}/val",
        code=code_of("iti"),
    output:
        "<results>/heads/iti.safetensors",
    log:
        "<results>/logs/iti.log",
    conda:
        "../../envs/snakesteer.yaml"
    params:
        **named(heads=CONFIG.heads.iti_heads, c=CONFIG.probe.c),
    script:
        "../scripts/iti.py"
