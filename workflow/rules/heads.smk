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
        pairs="<directions>/pairs/train.jsonl",
        info="<depth>/model/info.json",
        model=MODEL_INPUT,
    output:
        "<directions>/heads/dac_heads.safetensors",
    log:
        "<directions>/logs/dac_heads.log",
    benchmark:
        "<directions>/benchmarks/dac_heads.tsv"
    conda:
        "../../envs/snakesteer.yaml"
    threads: 4
    resources:
        gpu=GPUS,
        mem_mb=model_memory,
    params:
        **named(
            **MODEL,
            **section_params("prompt", "shots", "shots_seed"),
            **section_params("heads", "iti_heads"),
            batch_size=CONFIG.engine.batch_size,
        ),
        code=code_of("dac_heads"),
    script:
        "../scripts/dac_heads.py"


rule head_activations:
    input:
        pairs="<directions>/pairs/{split}.jsonl",
        train="<problems>/splits/train.jsonl",
        info="<depth>/model/info.json",
        model=MODEL_INPUT,
    output:
        # All layers of the model, however many.
        directory("<directions>/heads/activations/{split}"),
    log:
        "<directions>/logs/head_activations_{split}.log",
    benchmark:
        "<directions>/benchmarks/head_activations_{split}.tsv"
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
            read=CONFIG.pairs.read,
            min_pairs=CONFIG.pairs.min_pairs,
        ),
        code=code_of("head_activations"),
    script:
        "../scripts/head_activations.py"


rule head_token_means:
    input:
        train="<directions>/heads/activations/train",
        val="<directions>/heads/activations/val",
    output:
        train=directory("<directions>/heads/without_token_means/train"),
        val=directory("<directions>/heads/without_token_means/val"),
    log:
        "<directions>/logs/head_token_means.log",
    conda:
        "../../envs/snakesteer.yaml"
    params:
        code=code_of("head_token_means"),
    script:
        "../scripts/head_token_means.py"


rule iti:
    input:
        train=f"<directions>/heads/{Path(ACTIVATIONS).name}/train",
        val=f"<directions>/heads/{Path(ACTIVATIONS).name}/val",
    output:
        "<directions>/heads/iti.safetensors",
    log:
        "<directions>/logs/iti.log",
    conda:
        "../../envs/snakesteer.yaml"
    params:
        **named(heads=CONFIG.heads.iti_heads, c=CONFIG.probe.c),
        code=code_of("iti"),
    script:
        "../scripts/iti.py"
